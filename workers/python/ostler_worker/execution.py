"""One request that runs user code: its options, and how urgently it has been asked to stop."""

from .bindings import monotonic, process_time

POLITE, FORCE = 1, 2  # how urgently a running execution has been asked to stop


class Execution:
    """One request that runs user code, from `started` to its `result` or `error`."""

    filename = None
    capture = allow_stdin = True
    fresh = silent = rich = False
    level = 0  # asked to stop: 0, POLITE or FORCE
    raised = 0  # the level at which an exception was raised: 0 or POLITE. FORCE raises again and again
    insist = False  # force was asked for after the polite exception had been given
    given = None  # the Bell (weakly) of a polite exception; dead if the code has swallowed it
    asked_at = 0.0
    interrupt = False  # a KeyboardInterrupt is due
    interrupted = False  # one was given
    signals = 0  # SIGINTs that the host sends along with its messages, and that have not arrived yet
    task = None  # the asyncio task, for top-level await
    context = None  # its context variables when it ended, where they are the session's too
    outputs = 0  # `output` frames so far (stdio transport)
    namespace = newest = None  # where it runs, and the last name in there before
    packed_id = b""  # the id as MessagePack
    sources = None  # the linecache that holds its source
    leaves_nothing = False  # no function or class that needs the source later
    closed = False

    def __init__(self, id):
        self.id = id
        self.started_at = monotonic()
        self.cpu_at_start = process_time()

    def ask_to_stop(self, level):
        """Asks the code to stop. A repeated polite request interrupts again."""
        if level == FORCE:
            self.insist = self.raised == POLITE
        elif self.level == POLITE:
            self.raised = 0
        self.level = max(self.level, level)
        self.asked_at = self.asked_at or monotonic()

    def ask_interrupt(self):
        self.interrupt = True
        self.asked_at = self.asked_at or monotonic()

    def due(self):
        """Whether user code is to be given an exception."""
        if self.interrupt or (self.level and not self.raised):
            return True
        return self.level == FORCE and (self.insist or (self.given is not None and self.given() is None))

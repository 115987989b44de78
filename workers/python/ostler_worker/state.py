"""What the signal handler and the main loop share. Only the main thread changes it."""

import sys

from .bindings import DEFAULT_HANDLER

FOR_EVER = 1e6  # seconds


class State:
    def __init__(self):
        self.current = None  # the running Execution
        self.user = False  # user code may be on the stack
        self.main_reads = True  # the main thread looks at the channel next: the handler keeps out
        self.waiting = False  # inside input(), at a point where a handler may raise
        self.serving = False  # the handler is at work
        self.pending = False  # the doorbell rang while the handler kept out
        self.rung = False  # CPython 3.9: the next SIGINT is a Bell of ours
        self.forked = False  # this is a child that user code forked
        self.branching = False  # the session is being forked: what comes of that is no child of user code
        self.background = False  # asyncio tasks run between executions
        self.tainted = False  # a forced cancel cut `finally` blocks short
        self.forced = None  # the exception of a forced cancel; see `raise_forced`
        self.known_threads = frozenset()  # those of which was told, or of the warmup
        self.handlers = []  # of `WATCHED_SIGNALS`, as what is not stateless has left them
        self.handler = DEFAULT_HANDLER  # of SIGINT, as the code has set it; see `set_signal`
        self.shutdown = False
        self.patience = FOR_EVER  # seconds that the code has for its end
        self.sequence = 0  # executions so far; names them `<exec:N>`
        self.stop_left = False  # the loop may stop at once when it runs again
        self.abandoned = []  # event loops and tasks that a forced cancel left in an unknown state
        self.loop = None  # the event loop of top-level await; lives on between executions
        self.home = None  # the working folder of the start
        self.folder = None  # the working folder, as long as only executions ran that give it back
        self.module = None  # the user's __main__
        self.namespace = None
        self.baseline = 0  # names that every new module has
        self.future = 0  # `from __future__` flags that later cells inherit
        self.holds = False  # what code has opened may be open yet, though it ran in a namespace of its own
        self.untidy = False  # a namespace was thrown away, and lives on in cycles; collect them when idle
        self.clean_path = list(sys.path)  # sys.path before the host or the user changed it
        self.idle = False  # the idle work is done
        self.framed_output = False  # prints travel as frames (stdio transport)


class Limits:
    """What `init` may change."""

    max_repr = 64 << 10  # characters
    max_frames = 60
    max_display = 16 << 20  # bytes of one display's data
    import_grace = 0.5  # seconds for which an interrupt waits for an import to finish


state = State()
limits = Limits()
channel = streams = health = codec_name = idle_work = None  # set by `start`

"""What the signal handler and the main loop share. Only the main thread changes it."""

import sys

from .bindings import DEFAULT_HANDLER

FOR_EVER = 1e6  # seconds


class State:
    def __init__(self):
        self.current = None  # the running Execution
        self.user = False  # user code may be on the stack
        self.main_reads = True  # the main thread reads the channel next: the handler must not
        self.waiting = False  # inside input(), at a point where a handler may raise
        self.serving = False  # the handler is at work
        self.pending = False  # the doorbell rang while the handler could not read
        self.rung = False  # CPython 3.9: the next SIGINT is a Bell of ours
        self.forked = False  # this is a child that user code forked
        self.branching = False  # the worker forks the session, so the child is not one of user code
        self.background = False  # asyncio tasks run between executions
        self.tainted = False  # a forced cancel cut `finally` blocks short
        self.forced = None  # the exception of a forced cancel; see `raise_forced`
        self.known_threads = frozenset()  # reported already, or started by the warmup
        self.handlers = []  # of `WATCHED_SIGNALS`, as the session has set them
        self.handler = DEFAULT_HANDLER  # of SIGINT, as the code has set it; see `set_signal`
        self.shutdown = False
        self.patience = FOR_EVER  # seconds for the end of the session
        self.sequence = 0  # executions so far; names them `<exec:N>`
        self.stop_left = False  # a stop of the loop is scheduled, see `run_loop`
        self.abandoned = []  # event loops and tasks that a forced cancel left in an unknown state
        self.loop = None  # the event loop of top-level await; lives on between executions
        self.home = None  # the working folder of the start
        self.folder = None  # the working folder, if it is known without asking
        self.module = None  # the user's __main__
        self.namespace = None
        self.baseline = 0  # names that every new module has
        self.future = 0  # `from __future__` flags that later cells inherit
        self.holds = False  # objects of executions may live on, and their files be open
        self.untidy = False  # a dropped namespace may live on in cycles; collect them when idle
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

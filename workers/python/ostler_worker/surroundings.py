"""Surroundings of one execution: streams, paths, folder, signal handlers. They are restored at its end."""

import _signal
import sys

from .bindings import get_signal, os, real_signal
from .channel import log
from .event_loop import open_loop
from .fields import RequestError
from .namespace import use_new_module
from .state import state


class Borrowed:
    """Surroundings of its own for one execution: a namespace if it is fresh, path and folder if given."""

    FIELDS = frozenset(("fresh", "sys_path", "cwd"))

    def __init__(self, message):
        self.fresh = message.get("fresh") is True
        self.module = (state.module, state.namespace, state.baseline, state.future)
        self.streams = sys.stdin, sys.stdout, sys.stderr
        self.argv = sys.argv
        self.path = sys.path
        self.entries = sys.path[:]
        self.added = message.get("sys_path") or []
        self.moves = self.fresh or message.get("cwd") is not None
        # If nothing ran since the last execution, its end has found this out.
        self.folder = current_folder() if state.folder is None else state.folder
        state.folder = None
        self.loop = state.loop
        self.handler = state.handler
        if self.fresh:
            use_new_module()
            state.loop = None
        if self.added:
            sys.path[:0] = self.added
        if message.get("cwd") is not None:
            try:
                os.chdir(message["cwd"])
            except OSError as problem:
                self.give_back()
                raise RequestError(f"cwd: {problem}") from None

    def give_back(self):
        if self.fresh:
            state.handler = self.handler
            restore_signals()
            sys.argv = self.argv
            sys.path = self.path
            self.path[:] = self.entries
            namespace = state.namespace
            state.module, state.namespace, state.baseline, state.future = self.module
            sys.modules["__main__"] = state.module
            sys.stdin, sys.stdout, sys.stderr = self.streams
            loop = open_loop()
            if loop is not None:
                loop.close()
            state.loop = self.loop
            # If nothing else refers to it, it is freed when this returns, and there is no cycle to collect.
            if sys.getrefcount(namespace) > SOLE_OWNERS:
                state.untidy = state.holds = True
        else:
            for entry in self.added:  # what the code itself added stays
                if entry in sys.path:
                    sys.path.remove(entry)
        if not self.moves:  # the session stays in the folder that its code chose
            return
        if self.folder is not None and self.folder != current_folder():
            try:
                os.chdir(self.folder)
            except OSError as problem:
                log("warn", f"the working folder could not be restored: {problem}")
                return
        state.folder = self.folder


def restore_signals():
    """Ends the timers that code has set, and its handlers: they would run during later executions."""
    if get_timer(ITIMER_REAL)[0]:
        _signal.setitimer(ITIMER_REAL, 0)
    if [get_signal(signum) for signum in WATCHED_SIGNALS] != state.handlers:
        for timer in _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF:  # without a handler they end the process
            _signal.setitimer(timer, 0)
        for signum, handler in zip(WATCHED_SIGNALS, state.handlers):
            if get_signal(signum) is not handler and handler is not None:
                real_signal(signum, handler)
    if sys.gettrace() is not None:
        sys.settrace(None)
    if sys.getprofile() is not None:
        sys.setprofile(None)


get_timer = _signal.getitimer
ITIMER_REAL = _signal.ITIMER_REAL
NAMES = "SIGALRM SIGCHLD SIGHUP SIGIO SIGPIPE SIGPROF SIGTERM SIGUSR1 SIGVTALRM SIGWINCH"
WATCHED_SIGNALS = [getattr(_signal, name) for name in NAMES.split()]

# References to the namespace at the end of an execution: from the execution, `give_back`, and the call of `getrefcount`. Newer
# interpreters count differently; there every namespace is collected.
SOLE_OWNERS = 3 if sys.version_info < (3, 14) else 0


def current_folder():
    try:
        return os.getcwd()
    except OSError:
        return None

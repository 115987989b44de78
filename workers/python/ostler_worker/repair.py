"""Repair: what user code broke and the next execution needs."""

import _signal
import builtins
import sys

from .bindings import DEFAULT_HANDLER, DOORBELL, SIGINT, get_signal, os, real_signal
from .channel import log
from .doorbell import on_doorbell
from .input import ask_line
from .interrupt import on_sigint
from .output import open_output
from .rich import display
from .signal_setup import OUR_SIGNALS
from .state import state, streams
from .streams import files_are_intact, open_dev_null, open_file


def is_intact():
    """Whether everything is as we left it. It runs after each execution, so it makes as few calls as possible."""
    ours = streams
    try:
        return (
            sys.stdout is ours.stdout
            and sys.stderr is ours.stderr
            and sys.stdin is ours.stdin
            and builtins.print is PRINT
            and builtins.input is ask_line
            and builtins.display is display
            and get_signal(DOORBELL) is on_doorbell
            and get_signal(SIGINT) is on_sigint
            and OUR_SIGNALS.isdisjoint(signal_mask(ADD_TO_MASK, ()))
            and sys.modules["__main__"] is state.module
            and sys.getrecursionlimit() >= 200
            and files_are_intact()
        )
    except Exception:
        return False


PRINT = print
ADD_TO_MASK = _signal.SIG_BLOCK
signal_mask = _signal.pthread_sigmask
OUR_BUILTINS = {"print": print, "input": ask_line, "display": display}


def repair():
    """Restores what user code broke, and reports it. What user code replaced by something that works is left alone."""
    repaired = []
    repair_descriptors(repaired)
    repair_streams(repaired)
    for signum, handler, name in (DOORBELL, on_doorbell, "SIGURG"), (SIGINT, on_sigint, "SIGINT"):
        if get_signal(signum) is not handler:
            state.handler = DEFAULT_HANDLER
            real_signal(signum, handler)
            repaired.append(f"the handler of {name}")
    blocked = signal_mask(_signal.SIG_UNBLOCK, OUR_SIGNALS)
    if not blocked.isdisjoint(OUR_SIGNALS):
        repaired.append("the signal mask")
    for name, function in OUR_BUILTINS.items():
        if not callable(builtins.__dict__.get(name)):
            setattr(builtins, name, function)
            repaired.append(f"builtins.{name}")
    if sys.modules.get("__main__") is not state.module:
        sys.modules["__main__"] = state.module
        repaired.append("sys.modules['__main__']")
    if sys.getrecursionlimit() < 200:
        sys.setrecursionlimit(1000)
        repaired.append("the recursion limit")
    if repaired:
        log("warn", f"user code broke {', '.join(repaired)}; repaired")


def repair_descriptors(repaired):
    for fd, file in streams.files.items():
        if open_file(fd) != file and open_file(streams.copies[fd]) == file:
            os.dup2(streams.copies[fd], fd)
            repaired.append(f"fd {fd}")
    if open_file(0) is None:
        open_dev_null()
        repaired.append("fd 0")


def repair_streams(repaired):
    for name, method in ("stdin", "readline"), ("stdout", "write"), ("stderr", "write"):
        ours = getattr(streams, name)
        if not usable(ours, method):
            ours = open_output(name)
            setattr(streams, name, ours)
            setattr(sys, f"__{name}__", ours)
        theirs = getattr(sys, name, None)
        if theirs is not ours and not usable(theirs, method):
            setattr(sys, name, ours)
            repaired.append(f"sys.{name}")


def usable(stream, method):
    try:
        return not getattr(stream, "closed", False) and callable(getattr(stream, method, None))
    except Exception:  # detached
        return False

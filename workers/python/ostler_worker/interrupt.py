"""SIGINT: a doorbell too, or an interrupt by itself; and the code's own handler of it."""

import _signal
import sys

from .bindings import SIGINT, get_signal, real_signal
from .cancel import deliver, raise_due
from .control import sort_incoming
from .doorbell import answer_doorbell, serve_channel
from .state import channel, state


def on_sigint(signum, frame):
    """SIGINT, from a terminal, `os.kill` or the host. The host sends it after a frame that says what it is for: native code
    notices only the signal, and here it is a doorbell. A late one arrives before the next execution."""
    if sys.version_info < (3, 10) and (state.rung or (state.current is not None and state.current.level)):
        state.rung = False  # two freed Bells may become one signal; a known cancel covers the second
        bell = answer_doorbell(frame)
    else:
        bell = answer_sigint(frame)  # noqa: F841  freed with this frame


def answer_sigint(frame):
    execution = state.current
    if execution is None or state.forked:
        return None
    if state.waiting:
        channel.take_available()
        sort_incoming(frame)
    elif not state.main_reads and not state.serving:
        try:
            serve_channel(frame)  # the frame may be there already
        except RecursionError:
            state.pending = True
    if execution.signals:
        execution.signals -= 1
    elif not execution.level:
        execution.ask_interrupt()
    if state.waiting and execution.due():
        raise_due(execution, frame)
    return deliver(frame)


def set_signal(signum, handler, /):
    """In the place of `signal.signal`: ours stays the handler of SIGINT, and calls that of the code where that may raise."""
    if signum != SIGINT or state.forked:
        return real_signal(signum, handler)
    if not callable(handler) and handler not in (_signal.SIG_IGN, _signal.SIG_DFL):
        return real_signal(signum, handler)  # refuses it
    real_signal(signum, handler if handler == _signal.SIG_IGN else on_sigint)
    before, state.handler = state.handler, handler
    return before


def get_handler(signum, /):
    """In the place of `signal.getsignal`."""
    return state.handler if signum == SIGINT and not state.forked else get_signal(signum)

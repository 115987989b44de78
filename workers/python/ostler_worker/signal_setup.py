"""Sets the signal handlers, and the file in memory that stacks are written to."""

import _signal
import faulthandler
import fcntl

from .bindings import DOORBELL, SIGINT, os, real_signal
from .doorbell import on_doorbell
from .interrupt import get_handler, on_sigint, set_signal
from .links import private

OUR_SIGNALS = {SIGINT, DOORBELL, _signal.SIGUSR2}
stacks = None  # the descriptor that faulthandler writes to, if it is a file of ours


def install_signals():
    """Sets our handlers, whatever was inherited: nohup and service managers leave signals ignored or blocked."""
    global stacks
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, OUR_SIGNALS)
    real_signal(DOORBELL, on_doorbell)
    real_signal(SIGINT, on_sigint)
    _signal.signal, _signal.getsignal = set_signal, get_handler
    faulthandler.enable(2)
    # How the host sees what the threads do, also while one of them holds the interpreter.
    stacks = open_stacks()
    faulthandler.register(_signal.SIGUSR2, 2 if stacks is None else stacks, all_threads=True)


def open_stacks():
    """Opens a file in memory that the host finds by its name. Writing there never waits for output of the user."""
    try:
        opened = os.memfd_create("ostler-stacks", os.MFD_CLOEXEC)
    except (AttributeError, OSError):  # not Linux
        return None
    fcntl.fcntl(opened, fcntl.F_SETFL, os.O_APPEND)
    copy = private(opened)
    os.close(opened)
    return copy

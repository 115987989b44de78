"""The doorbell: SIGURG, which the kernel sends when a frame arrives while user code runs."""

import fcntl
import gc
from _struct import pack

from .bell import new_bell
from .bindings import DOORBELL, F_SETSIG, LINUX, PID, os
from .cancel import deliver
from .control import sort_incoming
from .state import channel, state


def on_doorbell(signum, frame):
    """SIGURG: something has arrived, or a Bell was freed."""
    if state.main_reads:  # the usual case while a result is sent, so it costs little
        state.pending = True
        return
    bell = answer_doorbell(frame)  # noqa: F841  a Bell is freed with this frame, and then rings again


def answer_doorbell(frame):
    if state.main_reads or state.forked:
        state.pending = True
        return None
    try:
        serve_channel(frame)
    except RecursionError:  # near the user's recursion limit; try again later
        return new_bell()
    return deliver(frame)


def serve_channel(frame):
    """Reads the channel without waiting, acts on control messages and parks the others."""
    if state.serving:  # called within itself: the outer call looks again
        state.pending = True
        return
    collecting = gc.isenabled()
    gc.disable()  # a collection in here would run the user's finalizers where no cancel can reach them
    try:
        state.pending = True
        while state.pending:  # checked after `serving` is unset, so no doorbell is missed
            state.serving = True
            state.pending = False
            channel.take_available()
            sort_incoming(frame)
            state.serving = False
    finally:
        state.serving = False
        if collecting:
            gc.enable()
    if state.background and channel.parked and state.loop is not None:
        state.loop.call_soon_threadsafe(stop_background)


def stop_background():
    """Ends the background run of the loop. If that has ended, this runs in the loop of the next execution, which must not end."""
    if state.background:
        state.loop.stop()


def signal_on_arrival(fd):
    """Makes the kernel send SIGURG to the main thread whenever something arrives; False where that is impossible."""
    if not LINUX:
        return False
    f_setown_ex, owner_is_thread = 15, 0
    try:
        fcntl.fcntl(fd, f_setown_ex, pack("ii", owner_is_thread, PID))
        fcntl.fcntl(fd, F_SETSIG, int(DOORBELL))
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:
        return False
    return True

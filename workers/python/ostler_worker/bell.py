"""An object whose deallocation sends this process the doorbell signal."""

import sys
from _functools import partial
from _thread import interrupt_main

from .bindings import DOORBELL
from .state import state


class Bell:
    """Rings the doorbell again when it is freed.

    The interpreter frees it from C, so no Python frame of ours stands between the ringing and the next look at
    signals. As the last local variable of a signal handler it means "call me again, a little later".
    """

    __slots__ = ("__weakref__",)

    if sys.version_info >= (3, 10):
        __del__ = staticmethod(partial(interrupt_main, DOORBELL))
    else:
        __del__ = staticmethod(interrupt_main)  # can only simulate SIGINT; `on_sigint` asks `state.rung`


def new_bell():
    state.rung = True
    return Bell()

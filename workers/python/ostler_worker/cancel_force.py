"""Cancelling by force: for code that swallows KeyboardInterrupt. Three means together, because each alone fails on some version:

 1. The exception carries a Bell. Swallowing frees it, which rings again, from C: the next check raises again.
 2. Another Bell is dropped right before the raise, so that every check from then on raises (not on 3.9, where
    the check would come before the `raise` itself).
 3. A trace function on the user's frames raises at the next line, which is inside an `except` clause too.
    It never raises at an `exception` event: CPython unsets tracing there, and nothing would change.
"""

import sys
from _weakref import ref

from .bell import Bell, new_bell
from .bindings import WORKER
from .state import state


def raise_forced():
    error = KeyboardInterrupt("cancelled by force")
    error.bell = new_bell()
    # Kept here and not in a local: a frame of the exception's own traceback that held it would make a cycle, and a
    # swallowed exception would not be freed.
    state.forced = error
    del error
    if sys.version_info >= (3, 10):
        bell = Bell()
        bell = None  # noqa: F841  rings now; nothing from here to the raise looks at signals
    raise state.forced


def raise_watched(execution):
    """Raises the polite exception with a Bell, so that swallowing it is noticed; used when force has already been asked for."""
    error = KeyboardInterrupt("cancelled")
    error.bell = new_bell()
    execution.given = ref(error.bell)
    holder = [error]
    del error
    raise holder.pop()  # nothing but the raise holds it


def trace_user_frames(frame):
    while frame is not None:
        if frame.f_globals is not WORKER:
            frame.f_trace = trace_forced
        frame = frame.f_back
    sys.settrace(trace_forced)


def trace_forced(frame, event, argument):
    if frame.f_globals is WORKER:
        return None
    if not state.user:
        sys.settrace(None)
        return None
    if event not in ("line", "call"):
        return trace_forced
    raise_forced()

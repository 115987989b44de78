"""Cancelling: when and where an exception is raised into user code.

An interrupted import leaves packages half-made in sys.modules, broken for the rest of the session. So within one the exception
waits, for `limits.import_grace` at most, until the import statement is done.
"""

import sys

from .bell import new_bell
from .bindings import DEFAULT_HANDLER, SIGINT, WORKER, monotonic
from .cancel_force import raise_forced, raise_watched, trace_user_frames
from .event_loop import RUN_LOOP
from .execution import FORCE, POLITE
from .state import limits, state


def deliver(frame):
    """Raises into user code what is due there. Returns a Bell if that is impossible just now, to be called again."""
    execution = state.current
    if execution is None or not state.user or not execution.due():
        return None
    if state.main_reads or state.serving:  # the outer call delivers when it has finished
        return None
    if frame is None or (frame.f_globals is WORKER and frame.f_code is not RUN_LOOP):
        return new_bell()
    raise_due(execution, frame)
    return None


def deliver_here():
    """The same where our own code allows an exception: just before user code starts."""
    execution = state.current
    if execution.due():
        raise_due(execution, sys._getframe(1))


def raise_due(execution, frame):
    """Raises KeyboardInterrupt at `frame`, or arranges for it."""
    if not execution.raised and monotonic() - execution.asked_at < limits.import_grace:
        importer = importing_frame(frame)
        if importer is not None:
            raise_after_import(importer)
            return
    if sys.gettrace() is trace_import:
        sys.settrace(None)
    if execution.level == FORCE and execution.raised:
        state.tainted = True
        trace_user_frames(frame)
        raise_forced()
    # Even under force the polite exception comes first, for most code ends with it.
    text = ("cancelled",) if execution.level else ()
    first = not execution.raised and not execution.interrupted
    execution.interrupted = execution.interrupted or execution.interrupt
    execution.interrupt = False
    if execution.level:
        execution.raised = POLITE
    if first and isinstance(sys.exc_info()[1], KeyboardInterrupt):
        return  # native code saw the signal too, and has raised this exception itself
    if callable(state.handler) and state.handler is not DEFAULT_HANDLER:
        state.handler(SIGINT, frame)
        return
    task = execution.task
    if task is not None and not task.done() and in_event_loop(frame):
        state.loop.call_soon_threadsafe(task.cancel)  # CancelledError at the await, so that clean-up can run
        return
    if execution.level == FORCE:
        raise_watched(execution)
    raise KeyboardInterrupt(*text)


def in_event_loop(frame):
    """Whether the main thread is in the event loop itself, and in no coroutine or callback. A loop that is written in C has no
    frames."""
    while frame is not None and frame.f_code is not RUN_LOOP:
        name = frame.f_globals.get("__name__")
        if type(name) is not str or name.partition(".")[0] not in ("asyncio", "selectors"):
            return False
        frame = frame.f_back
    return frame is not None


def importing_frame(frame):
    """The frame that runs the outermost import statement, if the main thread is inside one."""
    importer = None
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            importer = frame.f_back
        frame = frame.f_back
    return importer if importer is not None and importer.f_globals is not WORKER else None


def raise_after_import(importer):
    if importer.f_trace is not trace_importer:
        importer.f_trace = trace_importer
        sys.settrace(trace_import)


def trace_importer(frame, event, argument):
    if event in ("line", "return"):
        sys.settrace(None)
        raise_if_due(frame)
    return trace_importer


def trace_import(frame, event, argument):
    """Called for every function that the import calls: watches the time."""
    execution = state.current
    if execution is None or monotonic() - execution.asked_at >= limits.import_grace:
        sys.settrace(None)
        raise_if_due(frame)
    return None


def raise_if_due(frame):
    execution = state.current
    if execution is not None and state.user and execution.due() and frame.f_globals is not WORKER:
        raise_due(execution, frame)

"""Runs the session's event loop, and ends its tasks."""

from .modules import load
from .state import state


def run_loop(loop, future):
    """`run_until_complete` for a loop that may have been interrupted before."""
    while True:
        try:
            return loop.run_until_complete(future)
        except BaseException as error:
            if future.done():
                # Raised between the end of the future and that of the loop, so the loop's stop is still scheduled.
                state.stop_left = type(error) is KeyboardInterrupt and (
                    future.cancelled() or future.exception() is not error
                )
                raise
            if type(error) is not RuntimeError or not state.stop_left:
                raise
            state.stop_left = False  # that stop has been used up


RUN_LOOP = run_loop.__code__


def open_loop():
    """The session's event loop; None if there is none."""
    return None if state.loop is None or state.loop.is_closed() else state.loop


def cancel_tasks(loop):
    """Cancels all tasks of `loop`; returns them."""
    tasks = load("asyncio").all_tasks(loop)
    for task in tasks:
        task.cancel()
    return tasks

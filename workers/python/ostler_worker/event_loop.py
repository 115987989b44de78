"""Runs the session's event loop."""

from .state import state


def run_loop(loop, future):
    """`run_until_complete` for a loop that may have been interrupted before."""
    while True:
        try:
            return loop.run_until_complete(future)
        except BaseException as error:
            if future.done():
                # Not its own exception but one between its end and the loop's: the loop is still to be told to stop.
                state.stop_left = type(error) is KeyboardInterrupt and (
                    future.cancelled() or future.exception() is not error
                )
                raise
            if type(error) is not RuntimeError or not state.stop_left:
                raise
            state.stop_left = False  # it has just been told


RUN_LOOP = run_loop.__code__

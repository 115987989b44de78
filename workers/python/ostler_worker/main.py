"""The worker's `main`."""

from .bindings import EXIT_INTERNAL, exit_now, os
from .main_loop import serve
from .start import greeting, start
from .state import channel


def main():
    """Runs the worker; never returns. Every way out is `_exit`: a normal exit would wait for the user's threads."""
    try:
        hello = greeting(start())
        channel.send(hello)
        serve()
    except BaseException as error:
        try:
            report_internal_error(error)
        finally:
            exit_now(EXIT_INTERNAL)


def report_internal_error(error):
    """By hand: whatever broke the worker may have broken the traceback module too."""
    lines = [f"ostler worker: internal error: {type(error).__name__}: {error}"]
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        lines.append(f"  {code.co_filename}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    os.write(2, "\n".join([*lines, ""]).encode("utf-8", "replace"))

"""What an `error` frame tells of an execution that failed."""

import sys

from .errors import CHAIN_LIMIT, add_text, describe, name_exception
from .state import limits, state
from .text import shorten
from .tracebacks import without_worker_frames


def refusal(problem):
    description = {"type": "ProtocolError", "message": shorten(str(problem), 4096), "frames": []}
    return {"kind": "request", "exception": description}


def failure(execution, error):
    """Returns what an `error` frame tells of an execution that ended with `error`."""
    reply = {"kind": "exception"}
    try:
        describe_failure(execution, error, reply)
    except BaseException:  # it runs user code: the exception's own methods, sys.stderr
        reply.setdefault("exception", name_exception(error))
    finally:
        state.user = False
    return reply


def describe_failure(execution, error, reply):
    if was_cancelled(execution, error):
        reply["kind"] = "cancelled"
        # Without user code if the exception is ours: it must be told in time.
        if type(error) is KeyboardInterrupt:
            error.__cause__ = error.__context__ = None
        else:
            state.user = True
        reply["exception"] = describe(error)
        add_text(reply["exception"], error, -limits.max_frames)
        return
    state.user = True
    if isinstance(error, SystemExit):
        reply["kind"] = "exit"
        reply["exit_code"] = exit_code(error)
        reply["exception"] = describe(error)
        if error.code is not None and not isinstance(error.code, int):
            print(reply["exception"]["message"], file=sys.stderr)
        return
    if isinstance(error, SyntaxError) and is_compile_error(error):
        reply["kind"] = "syntax"
    reply["exception"] = describe(error)
    add_text(reply["exception"], error)
    if not execution.fresh:
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
        if sys.version_info >= (3, 12):
            sys.last_exc = error


def was_cancelled(execution, error):
    """Whether `error` is the cancel itself, or was raised while the code was dealing with it."""
    if not execution.level:
        return False
    for _ in range(CHAIN_LIMIT):
        if error is None:
            return False
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_compile_error(error):
    """Whether compiling the request failed, as opposed to code that it ran."""
    return without_worker_frames(error.__traceback__) is None


def exit_code(error):
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        code = int.__int__(code)
        return code if -(1 << 31) <= code < 1 << 32 else -1
    return 1

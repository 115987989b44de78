"""Exceptions as the protocol tells them: a structure, and the text that Python itself would print."""

from .modules import load
from .msgpack_encoder import DEPTH_LIMIT
from .state import limits
from .text import safe_str, shorten
from .tracebacks import frames_of, related_exceptions, strip_worker_frames

TEXT_LIMIT = 256 << 10  # characters of one traceback's text
CHAIN_LIMIT = 32  # exceptions described for one error: causes, contexts, members of groups


def describe(error):
    """Returns the exception as the protocol tells it. User code runs here (`__str__`); the caller contains it."""
    strip_worker_frames(error)
    return describe_one(error, set())


def add_text(description, error, limit=None):
    """Adds what Python would print; of the last `-limit` frames only, if that is given."""
    traceback = load("traceback")
    try:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__, limit))
    except Exception:  # the exception's own methods fail, or the module is broken
        return
    if len(text) > TEXT_LIMIT:
        half = TEXT_LIMIT // 2
        text = f"{text[:half]}\n… [{len(text)} characters] …\n{text[-half:]}"
    description["text"] = text


def describe_one(error, seen, depth=0):
    seen.add(id(error))
    description = name_exception(error)
    plain = error.msg if isinstance(error, SyntaxError) else error  # its str() repeats the place
    description["message"] = shorten(safe_str(plain), limits.max_repr)
    description["frames"] = frames_of(error)
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, list) and notes:
        description["notes"] = [shorten(safe_str(note), 4096) for note in notes[:20]]
    for role, relative in related_exceptions(error):
        if id(relative) in seen or len(seen) >= CHAIN_LIMIT or depth >= DEPTH_LIMIT // 4:
            continue
        told = describe_one(relative, seen, depth + 1)
        if role == "exceptions":
            description.setdefault(role, []).append(told)
        else:
            description[role] = told
    return description


def name_exception(error):
    kind = type(error)
    module = kind.__module__ if isinstance(kind.__module__, str) else "?"
    return {"type": shorten(kind.__qualname__, 256), "module": shorten(module, 256), "message": "", "frames": []}

"""Tracebacks: without our frames, and frame by frame as the protocol tells them."""

from .bindings import WORKER
from .modules import load
from .running import RUN_PARTS
from .state import limits
from .text import safe_str, shorten


def related_exceptions(error):
    """The exceptions that Python would print along with `error`: its cause or context, and a group's members."""
    if error.__cause__ is not None:
        yield "cause", error.__cause__
    elif error.__context__ is not None and not error.__suppress_context__:
        yield "context", error.__context__
    members = getattr(error, "exceptions", None)
    if isinstance(members, tuple):
        for member in members:
            if isinstance(member, BaseException):
                yield "exceptions", member


def strip_worker_frames(error):
    """Removes our frames from the tracebacks of `error` and its related exceptions."""
    seen = set()
    waiting = [error]
    while waiting and len(seen) < 1000:
        error = waiting.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        first = without_worker_frames(error.__traceback__)
        if first is not error.__traceback__:
            error.__traceback__ = first
        waiting.extend(relative for _, relative in related_exceptions(error))


def without_worker_frames(traceback):
    entry = traceback
    while entry is not None:
        if entry.tb_frame.f_code is RUN_PARTS:  # top-level await: everything before is the event loop's
            traceback = entry
        entry = entry.tb_next
    while traceback is not None and traceback.tb_frame.f_globals is WORKER:
        traceback = traceback.tb_next
    entry = traceback
    while entry is not None:
        following = entry.tb_next
        while following is not None and following.tb_frame.f_globals is WORKER:
            following = following.tb_next
        if following is not entry.tb_next:
            entry.tb_next = following
        entry = following
    return traceback


def frames_of(error):
    """The traceback's frames, outermost first; of a very deep one the first and the last."""
    entries = []
    traceback = error.__traceback__
    while traceback is not None:
        entries.append(traceback)
        traceback = traceback.tb_next
    left_out = len(entries) - limits.max_frames
    if left_out > 0:
        half = limits.max_frames // 2
        shown = [frame_of(entry) for entry in entries[:half]]
        shown.append({"file": "", "line": 0, "name": f"[{left_out} frames omitted]"})
        shown.extend(frame_of(entry) for entry in entries[half + left_out :])
    else:
        shown = [frame_of(entry) for entry in entries]
    if isinstance(error, SyntaxError) and is_place(error.lineno):
        shown.append(frame_of_syntax_error(error))
    return shown


def frame_of(entry):
    code = entry.tb_frame.f_code
    line = entry.tb_lineno or 0
    name = getattr(code, "co_qualname", code.co_name)
    frame = {"file": shorten(code.co_filename, 4096), "line": line, "name": shorten(name, 512)}
    linecache = load("linecache")
    source = linecache.getline(code.co_filename, line, entry.tb_frame.f_globals) if linecache is not None else ""
    if source.strip():
        frame["text"] = shorten(source.strip(), 4096)
    if hasattr(code, "co_positions") and entry.tb_lasti >= 0:
        for index, (first, last, start, end) in enumerate(code.co_positions()):
            if index == entry.tb_lasti // 2:
                if None not in (first, last, start, end):
                    frame["end_line"] = last
                    frame["col"] = column_in_characters(source, start) if first == line else start
                    frame["end_col"] = column_in_characters(source, end) if last == line else end
                break
    return frame


def column_in_characters(source, offset):
    """Turns CPython's column, in UTF-8 bytes, into one in characters."""
    return offset if source.isascii() else len(source.encode("utf-8", "replace")[:offset].decode("utf-8", "ignore"))


def frame_of_syntax_error(error):
    frame = {"file": shorten(safe_str(error.filename), 4096), "line": error.lineno, "name": "<module>"}
    if isinstance(error.text, str) and error.text.strip():
        frame["text"] = shorten(error.text.strip(), 4096)
    if is_place(error.offset):
        frame["col"] = error.offset - 1
    last, end = getattr(error, "end_lineno", None), getattr(error, "end_offset", None)
    if is_place(last) and is_place(end) and last >= error.lineno:
        frame["end_line"], frame["end_col"] = last, end - 1
    return frame


def is_place(number):
    return type(number) is int and 0 < number < 1 << 31

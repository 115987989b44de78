"""Executing: from an `execute` frame to its `result` or `error`."""

import builtins

from .bindings import PID, get_signal, getpid, monotonic, process_time
from .cancel_cleanup import clean_up_after_cancel
from .channel import send_protocol_error
from .doorbell import serve_channel
from .execution import Execution
from .failure import failure, refusal
from .fields import RequestError, check_fields, valid_id
from .forked_child import end_child
from .leftovers import find_leftovers, left_nothing
from .msgpack_encoder import SHORT_TEXT, encode, framed
from .namespace import namespace_size, new_names
from .output import closing_frame, flush_output
from .packed_frames import encode_ending, started_frame
from .questions import answer_leftover_questions, questions
from .repair import repair
from .rich import mime_bundle
from .running import run_cell
from .state import channel, health, limits, state
from .surroundings import Borrowed, WATCHED_SIGNALS
from .text import safe_str, shorten
from .values import can_be_sent


def execute(message):
    id = message.get("id")
    if type(id) is str and 0 < len(id) < 32 and id.isascii():  # as nearly all are
        packed = SHORT_TEXT[len(id)] + id.encode()
    elif valid_id(id):
        packed = encode(id)
    else:
        send_protocol_error("an execute without a valid id", "id: 1 to 64 bytes of text", repr(id))
        return
    unsent = channel.hand_over(started_frame(id, packed))
    execution = begin(id)
    if unsent is not None:  # no code runs before; a cancel is handled meanwhile
        channel.wait_until_sent(unsent)
    execution.packed_id = packed
    ending, reply, borrowed = "result", {}, None
    try:
        try:
            if is_plain(message):
                execution.fresh = len(message) == 4
            else:
                check_fields(message)
                configure(execution, message)
            if Borrowed.FIELDS.isdisjoint(message):
                state.folder = None
            else:
                borrowed = Borrowed(message)
            execution.namespace = state.namespace  # not in a local variable: see SOLE_OWNERS
            execution.newest = next(reversed(execution.namespace), None)
            value = run_cell(execution, message)
            if value is not None and not execution.silent:
                tell_value(execution, value, reply)
                if not execution.fresh:
                    builtins._ = value
            value = None
        finally:
            state.user = False
            execution.ended_at = monotonic()
            execution.cpu_at_end = process_time()
            if execution.level or execution.interrupted:
                clean_up_after_cancel()
    except RequestError as problem:
        ending, reply = "error", refusal(problem)
    except BaseException as error:
        ending, reply = "error", failure(execution, error)
    if state.forked or getpid() != PID:
        end_child(ending, reply)
    end(execution, ending, reply, borrowed)


def is_plain(message):
    """Whether it has only `code` and perhaps `fresh`, as nearly all requests: then no other field needs a look."""
    return type(message.get("code")) is str and (len(message) == 3 or (len(message) == 4 and message.get("fresh") is True))


def begin(id):
    """Makes this the running execution, and catches up with what arrived together with it."""
    execution = Execution(id)
    state.sequence += 1
    state.current = execution
    state.main_reads = False  # from here on the doorbell is answered by the handler
    if channel.parked:
        channel.incoming.extendleft(reversed(channel.parked))
        channel.parked.clear()
    if state.pending or channel.incoming:
        serve_channel(None)
    return execution


def configure(execution, message):
    execution.filename = message.get("filename")
    execution.capture = message.get("capture_source") is not False
    execution.allow_stdin = message.get("allow_stdin") is not False
    execution.silent = message.get("silent") is True
    execution.fresh = message.get("fresh") is True
    execution.rich = message.get("mime") is True


def tell_value(execution, value, reply):
    """Adds to the `result` what can be said about the value. User code runs here (`__repr__` and its like)."""
    if can_be_sent(value):
        reply["value"] = value
    reply["repr"] = shorten(safe_repr(execution, value), limits.max_repr)
    if execution.rich:
        bundle = mime_bundle(value)
        if bundle:
            reply["mime"] = bundle


def safe_repr(execution, value):
    try:
        return repr(value)
    except BaseException as problem:
        if execution.level or execution.interrupted:
            raise
        return f"<{type(value).__name__}: repr() raised {type(problem).__name__}: {safe_str(problem)}>"


def end(execution, ending, reply, borrowed):
    """Sends what ended the execution, after everything that it printed."""
    now = execution.ended_at
    figures = (
        now - execution.started_at,
        execution.cpu_at_end - execution.cpu_at_start,
        health.memory(now),
        namespace_size(),
    )
    newest = execution.newest
    if newest is not None and ending == "result" and newest is not next(reversed(execution.namespace), None):
        names = new_names(execution.namespace, newest)
        if names:
            reply["new_names"] = names
    if state.tainted:
        reply["tainted"] = True
    if not left_nothing(execution):
        left = find_leftovers(execution)
        if left:
            reply["left"] = left
    if questions:
        answer_leftover_questions(execution)
    if flush_output() is not None:
        repair()
        flush_output()
    if borrowed is not None:
        borrowed.give_back()
    if not execution.fresh:
        state.holds = True
        state.handlers = [get_signal(signum) for signum in WATCHED_SIGNALS]
    if execution.sources is not None and execution.leaves_nothing and (ending == "result" or execution.fresh):
        execution.sources.pop(execution.filename, None)  # a long session's queuecache must not grow without bound
    state.main_reads = True
    state.current = None
    try:
        payload = encode_ending(execution, ending, reply, figures)
    except Exception as problem:  # odd values of user code must not end the worker
        reply = {**refusal(f"the ending cannot be sent: {problem!r}"), "kind": "exception"}
        payload = encode_ending(execution, "error", reply, figures)
    frame = framed(payload)
    channel.send_frame((closing_frame, execution, frame) if state.framed_output else frame)

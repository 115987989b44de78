"""Requests that may run user code, such as a `__repr__`: `reset`, `vars`, `checkpoint`, `restore` and `fork`."""

import builtins
import sys

from .bindings import exit_now, monotonic
from .cancel import deliver_here
from .cancel_cleanup import clean_up_after_cancel
from .channel import send_protocol_error
from .execute import begin
from .failure import failure, refusal
from .fields import RequestError, check_fields, valid_id
from .modules import load, load_deferred, load_saving
from .namespace import use_new_module
from .output import flush_output
from .state import channel, state
from .text import shorten


def answer(message, produce):
    """Answers a request that may run user code (a repr, a property), so that it can be cancelled."""
    id = message.get("id")
    if not valid_id(id):
        send_protocol_error(f"a {message['type']} without a valid id", "id: 1 to 64 bytes of text", repr(id))
        return
    execution = begin(id)
    state.sequence -= 1  # the number names a cell, and this is none
    execution.allow_stdin = False
    try:
        try:
            check_fields(message)
            state.user = True
            deliver_here()
            reply = produce(message)
        finally:
            state.user = False
            if execution.level or execution.interrupted:
                clean_up_after_cancel()
        ending = {}
    except RequestError as problem:
        ending = refusal(problem)
    except BaseException as error:
        ending = failure(execution, error)
    if ending:
        reply = {"type": "error", "id": id, "execution_time": monotonic() - execution.started_at, **ending}
    if state.forked:
        exit_now(0)
    flush_output()
    state.main_reads = True
    state.current = None
    channel.send(reply)


def reset(message):
    keep = message.get("keep") or ()
    kept = {name: state.namespace[name] for name in keep if name in state.namespace}
    use_new_module()
    state.namespace.update(kept)
    for name in "last_type", "last_value", "last_traceback", "last_exc":
        sys.__dict__.pop(name, None)
    builtins.__dict__.pop("_", None)
    state.untidy = True
    return {"type": "reset_result", "id": message["id"]}


def list_variables(message):
    most = message.get("max")
    most = 200 if most is None else min(most, 10000)
    reprlib = load("reprlib")
    short = reprlib.Repr()
    short.maxstring = short.maxother = 200
    told, total = [], 0
    for name, value in list(state.namespace.items()):
        if type(name) is not str or name.startswith("__"):
            continue
        total += 1
        if total > most:
            continue
        try:
            text = short.repr(value)
        except Exception as problem:
            text = f"<repr() raised {type(problem).__name__}>"
        entry = {"name": shorten(name, 256), "type": shorten(type(value).__name__, 256), "repr": shorten(text, 400)}
        try:
            entry["size"] = sys.getsizeof(value)
        except Exception:
            pass
        told.append(entry)
    reply = {"type": "vars_result", "id": message["id"], "vars": told}
    if total > most:
        reply["total"] = total
    return reply


def checkpoint(message):
    return load_saving().checkpoint(message)


def restore(message):
    """Takes one part. The last is answered, and only then the fields are checked."""
    saving = load_saving()
    if saving.take_part(message):
        answer(message, saving.restore)


def fork(message):
    """Both processes answer: this one the request, and the copy with `ready`."""
    return load_deferred("branch").fork(message)

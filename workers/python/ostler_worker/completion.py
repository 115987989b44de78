"""The request `complete`."""

import builtins

from .fields import RequestError
from .modules import load
from .state import state


def complete(message):
    code, at = message["code"], message["pos"]
    if not 0 <= at <= len(code):
        raise RequestError(f"`pos` must be a place in the {len(code)} characters of `code`, not {at}")
    start = at
    while start and (code[start - 1].isidentifier() or code[start - 1].isdigit() or code[start - 1] == "."):
        start -= 1
    *owners, prefix = code[start:at].split(".")
    if owners:
        candidates = attributes_of(owners)
    else:
        candidates = [*state.namespace, *dir(builtins), *load("keyword").kwlist]
    hidden_too = prefix.startswith("_")
    matches = sorted(
        {
            name
            for name in candidates
            if type(name) is str and name.startswith(prefix) and (hidden_too or not name.startswith("_"))
        }
    )
    reply = {"type": "complete_result", "id": message["id"], "matches": matches[:1000]}
    reply["start"], reply["end"] = at - len(prefix), at
    return reply


def attributes_of(path):
    first = path[0]
    if first in state.namespace:
        value = state.namespace[first]
    elif hasattr(builtins, first):
        value = getattr(builtins, first)
    else:
        return []
    try:
        for name in path[1:]:
            value = getattr(value, name)
        return dir(value)
    except Exception:
        return []

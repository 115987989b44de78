"""The fields of requests, their types, and what is wrong with them."""

FIELDS = {
    "init": {
        "session": str,
        "cwd": str,
        "env": dict,
        "sys_path": list,
        "limits": dict,
        "seq": int,
    },
    "execute": {
        "code": str,
        "timestamp": float,
        "capture_source": bool,
        "filename": str,
        "silent": bool,
        "allow_stdin": bool,
        "fresh": bool,
        "mime": bool,
        "sys_path": list,
        "cwd": str,
        "args": dict,
    },
    "reset": {"keep": list},
    "vars": {"max": int},
    "complete": {"code": str, "pos": int},
    "checkpoint": {"include": list, "exclude": list, "mode": str, "max_bytes": int, "address": str, "secret": str},
    "restore": {"part": int, "last": bool, "names": list},
    "fork": {"address": str, "tag": str, "folder": str, "secret": str},
}
REQUIRED = {"execute": ("code",), "complete": ("code", "pos"), "fork": ("address", "tag", "folder")}
# lists, and keys of maps
HOLD_TEXT = frozenset(("sys_path", "args", "env", "keep", "include", "exclude", "names"))


class RequestError(Exception):
    """The request itself is at fault; no user code ran."""


def check_fields(message):
    """Raises RequestError if a field is missing or of a wrong type. Unknown fields are ignored, null means absent."""
    fields = FIELDS[message["type"]]
    for name, value in message.items():
        kind = fields.get(name)
        if kind is None or value is None:
            continue
        if type(value) is not kind and (kind is not float or type(value) is not int):
            raise RequestError(f"`{name}` must be {kind.__name__}, not {type(value).__name__}")
        if name in HOLD_TEXT:
            for item in value:
                if type(item) is not str:
                    raise RequestError(f"`{name}` must hold str, not {type(item).__name__}")
    for name in REQUIRED.get(message["type"], ()):
        if message.get(name) is None:
            raise RequestError(f"`{name}` is missing")


def valid_id(id):
    return type(id) is str and 0 < len(id) <= 64 and (id.isascii() or len(id.encode("utf-8", "replace")) <= 64)

"""The request `init`."""

import sys

from .bindings import os
from .channel import FRAME_LIMIT, log, send_protocol_error
from .channel_end import channel_broken
from .fields import RequestError, check_fields
from .state import limits, state

PROTOCOL = 1


def init(message):
    spoken = message.get("protocol")
    if spoken != PROTOCOL:
        channel_broken("protocol version", str(PROTOCOL), str(spoken))
    try:
        check_fields(message)
    except RequestError as problem:
        send_protocol_error(f"init: {problem}")
        return
    for name, value in (message.get("env") or {}).items():
        if value is None:
            os.environ.pop(name, None)
        elif type(value) is str:
            os.environ[name] = value
    sys.path[:0] = message.get("sys_path") or []
    wanted = message.get("limits") or {}
    for name in "max_repr", "max_frames", "max_display":
        if type(wanted.get(name)) is int and wanted[name] > 0:
            setattr(limits, name, min(wanted[name], FRAME_LIMIT // 4))
    if type(wanted.get("import_grace")) in (int, float) and wanted["import_grace"] >= 0:
        limits.import_grace = wanted["import_grace"]
    if message.get("seq") is not None:
        state.sequence = message["seq"]
    if message.get("cwd") is not None:
        try:
            os.chdir(message["cwd"])
        except OSError as problem:
            log("error", f"the working folder could not be entered: {problem}")

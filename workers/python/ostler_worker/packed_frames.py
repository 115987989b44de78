"""The frames of every execution, packed without the codec because every execution waits for them: `started`, `result`, `error`."""

from _struct import Struct

from .msgpack_encoder import KNOWN_KEYS, SHORT_TEXT, _encode_int, _encode_text, encode, framed
from .state import codec_name


def started_frame(id, packed):
    """`packed` is the id as MessagePack."""
    if codec_name == "json":
        return framed(encode({"type": "started", "id": id}))
    return STARTED[len(packed)] + packed


STARTED = [b"\0\0\0%c\x82\xa4type\xa7started\xa2id" % (17 + size) for size in range(67)]  # by the size of the id


def encode_ending(execution, ending, reply, figures):
    """Returns the payload of a `result` or `error`. The fields that all have are packed without the codec."""
    if codec_name == "json":
        names = ("execution_time", "cpu_time", "memory_usage", "namespace_size")
        return encode({"type": ending, "id": execution.id, **dict(zip(names, figures)), **reply})
    took, cpu, memory, names = figures
    parts = [b"%c" % (0x86 + len(reply)), ENDINGS[ending], execution.packed_id]  # 15 entries at most
    for key, item in reply.items():
        parts.append(KNOWN_KEYS.get(key) or encode(key))
        pack = PACKERS.get(type(item), encode)
        parts.append(pack(item))
    figures = EXECUTION_TIME, 0xCB, took, CPU_TIME, 0xCB, cpu, MEMORY_USAGE, 0xCF, memory, NAMESPACE_SIZE, 0xCE, names
    parts.append(PACK_FIGURES(*figures))
    return b"".join(parts)


def pack_text(text):
    if len(text) < 32 and text.isascii():
        return SHORT_TEXT[len(text)] + text.encode()
    parts = []
    _encode_text(text, parts.append)
    return b"".join(parts)


PACKERS = {str: pack_text, int: _encode_int}
ENDINGS = {"result": b"\xa4type\xa6result\xa2id", "error": b"\xa4type\xa5error\xa2id"}
EXECUTION_TIME, CPU_TIME = b"\xaeexecution_time", b"\xa8cpu_time"
MEMORY_USAGE, NAMESPACE_SIZE = b"\xacmemory_usage", b"\xaenamespace_size"
PACK_FIGURES = Struct(">15sBd 9sBd 13sBQ 15sBI").pack

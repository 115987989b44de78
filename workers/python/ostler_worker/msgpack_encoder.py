"""MessagePack, writing. `encode` is rebound where another codec is chosen: see json_codec.py and msgpack_package.py."""

from _struct import Struct, pack

DEPTH_LIMIT = 64  # nesting of maps and arrays in one frame


def encode(value):
    """Returns `value` as MessagePack. Only the protocol's own types: TypeError, OverflowError or ValueError otherwise."""
    parts = []
    _encode(value, parts.append, DEPTH_LIMIT)
    return b"".join(parts)


def _encode(value, write, room):
    kind = type(value)
    if kind is str:
        _encode_text(value, write)
    elif kind is int:
        write(_encode_int(value))
    elif kind is float:
        write(pack_float(0xCB, value))
    elif value is None:
        write(b"\xc0")
    elif kind is bool:
        write(b"\xc3" if value else b"\xc2")
    elif kind is dict:
        if not room:
            raise ValueError(f"nested deeper than {DEPTH_LIMIT} levels")
        write(_container_head(len(value), 0x80, b"\xde", b"\xdf"))
        for key, item in value.items():
            known = KNOWN_KEYS.get(key)
            if known:
                write(known)
            else:
                _encode(key, write, room - 1)
            if type(item) is str and len(item) < 32 and item.isascii():  # the usual kind here, which spares calls
                write(SHORT_TEXT[len(item)])
                write(item.encode())
            else:
                _encode(item, write, room - 1)
    elif kind is list or kind is tuple:
        if not room:
            raise ValueError(f"nested deeper than {DEPTH_LIMIT} levels")
        write(_container_head(len(value), 0x90, b"\xdc", b"\xdd"))
        for item in value:
            _encode(item, write, room - 1)
    elif kind is bytes or kind is bytearray:
        size = len(value)
        if size < 256:
            write(b"\xc4%c" % size)
        elif size < 65536:
            write(b"\xc5" + size.to_bytes(2, "big"))
        else:
            write(b"\xc6" + size.to_bytes(4, "big"))
        write(value)
    else:
        raise TypeError(f"a {kind.__name__} cannot be sent")


def _encode_text(text, write):
    raw = text.encode() if text.isascii() else utf8(text)
    size = len(raw)
    if size < 32:
        write(SHORT_TEXT[size])
    elif size < 256:
        write(b"\xd9%c" % size)
    elif size < 65536:
        write(b"\xda" + size.to_bytes(2, "big"))
    else:
        write(b"\xdb" + size.to_bytes(4, "big"))
    write(raw)


pack_float = Struct(">Bd").pack
SHORT_TEXT = [b"%c" % (0xA0 | size) for size in range(32)]
KNOWN_KEYS = {  # those of frequent messages, encoded once
    key: SHORT_TEXT[len(key)] + key.encode()
    for key in (
        "type id execution_time value repr cpu_time memory_usage namespace_size new_names kind exception frames text "
        "file line name end_line col end_col message module stream seq data cpu_percent running elapsed where"
    ).split()
}


def _encode_int(value):
    if value >= 0:
        if value < 128:
            return b"%c" % value
        if value < 1 << 8:
            return b"\xcc%c" % value
        if value < 1 << 16:
            return b"\xcd" + value.to_bytes(2, "big")
        if value < 1 << 32:
            return b"\xce" + value.to_bytes(4, "big")
        if value < 1 << 64:
            return b"\xcf" + value.to_bytes(8, "big")
    elif value >= -32:
        return b"%c" % (value & 255)
    elif value >= -1 << 7:
        return pack(">Bb", 0xD0, value)
    elif value >= -1 << 15:
        return pack(">Bh", 0xD1, value)
    elif value >= -1 << 31:
        return pack(">Bi", 0xD2, value)
    elif value >= -1 << 63:
        return pack(">Bq", 0xD3, value)
    raise OverflowError("an integer beyond 64 bits cannot be sent")


def _container_head(size, short, head16, head32):
    if size < 16:
        return b"%c" % (short | size)
    if size < 65536:
        return head16 + size.to_bytes(2, "big")
    return head32 + size.to_bytes(4, "big")


def framed(payload):
    """The bytes of a frame: the length of the payload before it."""
    return len(payload).to_bytes(4, "big") + payload


def utf8(text):
    """Returns `text` as valid UTF-8: a lone surrogate, which has no encoding, is written as its escape."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")

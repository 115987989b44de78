"""MessagePack, reading. `decode` is rebound where another codec is chosen: see json_codec.py and msgpack_package.py."""

from _struct import unpack_from

from .msgpack_encoder import DEPTH_LIMIT


def decode(data):
    """Returns the one value that the bytes `data` hold; bytes that are no such value are a ValueError."""
    # Lengths are not checked one by one. Positions only grow, so a length that points past the end either makes a
    # later index fail or leaves `end` beyond the data; both are refused here, and nothing is allocated by a length.
    try:
        if data.startswith(PLAIN_EXECUTE):
            value = _decode_plain_execute(data)
            if value is not None:
                return value
        value, end = _decode(data, 0, DEPTH_LIMIT)
    except IndexError:
        raise ValueError("truncated MessagePack") from None
    if end != len(data):
        raise ValueError(f"MessagePack of {end} bytes in a frame of {len(data)}")
    return value


PLAIN_EXECUTE = b"\x83\xa4type\xa7execute\xa2id", b"\x84\xa4type\xa7execute\xa2id"
PLAIN_HEAD = len(PLAIN_EXECUTE[0])
FRESH = b"\xa5fresh\xc3"


def _decode_plain_execute(data):
    """The most frequent message, without a loop: a short id, code of up to 255 bytes, and perhaps `fresh`. None if it
    is another."""
    head, _, code = data.partition(b"\xa4code")
    if SHORT_TEXT_SPAN[head[PLAIN_HEAD]] != len(head) - PLAIN_HEAD:
        return None
    fresh = data[0] == 0x84
    if fresh:
        if not code.endswith(FRESH):
            return None
        code = code[: -len(FRESH)]
    if code[0] == 0xD9:
        if code[1] != len(code) - 2:
            return None
        code = code[2:]
    elif SHORT_TEXT_SPAN[code[0]] == len(code):
        code = code[1:]
    else:
        return None
    message = {"type": "execute", "id": head[PLAIN_HEAD + 1 :].decode(), "code": code.decode()}
    if fresh:
        message["fresh"] = True
    return message


def _decode(data, at, room):
    head = data[at]
    at += 1
    if 0xA0 <= head < 0xC0:
        end = at + (head & 31)
        return data[at:end].decode(), end
    if head < 0x80:
        return head, at
    if head < 0x90:
        return _decode_map(data, at, head & 15, room)
    if head < 0xA0:
        return _decode_array(data, at, head & 15, room)
    if head >= 0xE0:
        return head - 256, at
    if head == 0xC0:
        return None, at
    if head == 0xC2:
        return False, at
    if head == 0xC3:
        return True, at
    if head == 0xCB:
        if len(data) - at < 8:
            raise IndexError
        return unpack_from(">d", data, at)[0], at + 8
    if head == 0xCA:
        if len(data) - at < 4:
            raise IndexError
        return unpack_from(">f", data, at)[0], at + 4
    if head == 0xC1 or 0xC7 <= head <= 0xC9 or 0xD4 <= head <= 0xD8:
        raise ValueError(f"byte {head:#04x} is not used by the protocol")
    return _decode_sized(data, at, head, room)


def _decode_sized(data, at, head, room):
    """Integers, and everything whose length has bytes of its own."""
    width = _WIDTHS[head]
    number = int.from_bytes(data[at : at + width], "big", signed=0xD0 <= head <= 0xD3)
    at += width
    if head <= 0xC6:
        return data[at : at + number], at + number
    if head <= 0xD3:
        return number, at
    if head <= 0xDB:
        return data[at : at + number].decode(), at + number
    if head <= 0xDD:
        return _decode_array(data, at, number, room)
    return _decode_map(data, at, number, room)


_WIDTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_WIDTHS.update({0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4})
SHORT_TEXT_SPAN = [0] * 256  # what a text of up to 31 bytes takes, by its first byte; 0 for everything else
SHORT_TEXT_SPAN[0xA0:0xC0] = range(1, 33)


def _decode_array(data, at, size, room):
    if not room:
        raise ValueError(f"nested deeper than {DEPTH_LIMIT} levels")
    items = []
    for _ in range(size):
        item, at = _decode(data, at, room - 1)
        items.append(item)
    return items, at


def _decode_map(data, at, size, room):
    if not room:
        raise ValueError(f"nested deeper than {DEPTH_LIMIT} levels")
    items = {}
    for _ in range(size):
        end = at + SHORT_TEXT_SPAN[data[at]]  # as nearly every key and many a value; spares calls
        if end > at:
            key = data[at + 1 : end].decode()
            at = end
        else:
            key, at = _decode(data, at, room - 1)
            if type(key) in (list, dict):
                key = as_key(key)
        end = at + SHORT_TEXT_SPAN[data[at]]
        if end > at:
            items[key] = data[at + 1 : end].decode()
            at = end
        else:
            items[key], at = _decode(data, at, room - 1)
    return items, at


def as_key(value):
    """A list that is a key becomes a tuple; a map cannot be one."""
    if type(value) is list:
        return tuple([as_key(item) for item in value])
    if type(value) is dict:
        raise ValueError("a map cannot be a key")
    return value

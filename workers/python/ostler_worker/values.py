"""Which values a `result` can carry."""

from .msgpack_encoder import DEPTH_LIMIT, encode

VALUE_LIMIT = 64 << 10  # encoded bytes of a `result`'s value; larger ones are told by their repr only


def can_be_sent(value):
    """Whether a `result` can carry the value itself: plain types only, no cycles, VALUE_LIMIT bytes at most."""
    if type(value) is int:
        return -(1 << 63) <= value < 1 << 64
    least = most = 0  # bounds of the encoded size
    waiting = [(value, DEPTH_LIMIT - 1)]
    while waiting:
        item, room = waiting.pop()
        kind = type(item)
        if kind is int:
            if not -(1 << 63) <= item < 1 << 64:
                return False
            least += 1
            most += 9
        elif kind is str or kind is bytes:
            least += len(item)
            if kind is bytes or item.isascii():
                most += len(item) + 5
            else:
                most += 4 * len(item) + 5
                if least > VALUE_LIMIT or not has_encoding(item):
                    return False
        elif kind is float or kind is bool or item is None:
            least += 1
            most += 9
        elif kind is list or kind is tuple or kind is dict:
            if not room or len(item) > VALUE_LIMIT:
                return False
            most += 5
            waiting.extend([(child, room - 1) for child in item])
            if kind is dict:
                if not all(type(key) in KEYS for key in item):
                    return False
                waiting.extend([(child, room - 1) for child in item.values()])
        else:
            return False
        if least > VALUE_LIMIT:
            return False
    return most <= VALUE_LIMIT or len(encode(value)) <= VALUE_LIMIT


KEYS = (str, int, float, bool, bytes, type(None))


def has_encoding(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""MessagePack by the `msgpack` package, where that is installed."""

from _functools import partial

from .modules import load
from .msgpack_decoder import decode
from .msgpack_encoder import encode


def use_fast_codec():
    """Switches to the `msgpack` package if it is installed and proves to speak as we do: a tenth of the CPU time."""
    global encode, decode
    try:
        msgpack = load("msgpack")
        if msgpack is None or msgpack.version < (1, 0):
            return
        fast_encode = msgpack.Packer(use_bin_type=True, autoreset=True, unicode_errors="backslashreplace").pack
        unpack = partial(msgpack.unpackb, raw=False, strict_map_key=False)
        careful_decode = decode

        def fast_decode(data):
            # Where the two differ, in odd keys and in how deep they go, ours decides.
            try:
                value = unpack(data)
            except TypeError:
                return careful_decode(data)
            for item in value.values() if type(value) is dict else ():
                if type(item) in (list, dict):
                    return careful_decode(data)
            return value

        # Its defaults have changed between versions, so it is asked and not trusted.
        sample = {"a": [1, -1, 2.5, None, True, b"x", "y" * 300, {"k": "v"}], "big": "z" * 70000, "\ud800": -(1 << 63)}
        if fast_encode(sample) != encode(sample) or fast_decode(encode(sample)) != decode(encode(sample)):
            return
    except Exception:
        return
    encode, decode = fast_encode, fast_decode

"""The JSON codec, with marked objects for what JSON lacks."""

from .msgpack_decoder import as_key, decode
from .msgpack_encoder import DEPTH_LIMIT, encode, utf8


def use_json_codec():
    """Switches to JSON, where marked objects stand for what it lacks: $bytes, $float, and $map for odd keys."""
    global encode, decode
    import binascii
    import json

    def base64(data):
        return binascii.b2a_base64(data, newline=False).decode()

    def bytes_object(value):
        if type(value) in (bytes, bytearray):
            return {"$bytes": base64(value)}
        raise TypeError(f"a {type(value).__name__} cannot be sent")

    def restore(item):
        """An object that does not hold what its mark promises is an ordinary one."""
        if len(item) != 1:
            return item
        ((mark, held),) = item.items()
        try:
            if mark == "$bytes":
                data = binascii.a2b_base64(held + "=" * (-len(held) % 4))
                return data if base64(data).rstrip("=") == held.rstrip("=") else item  # `a2b_base64` ignores foreign characters
            if mark == "$float":
                return FLOATS.get(held, item)
            if mark == "$map":
                return {as_key(key): value for key, value in held}
        except (TypeError, ValueError):
            pass
        return item

    def refuse_constant(name):
        raise ValueError(f"{name} is no JSON")

    def spell_out(value):
        """The slow path: replaces what the encoder refuses or would write as something else."""
        kind = type(value)
        if kind is float and value - value != 0:
            return {"$float": repr(value)}
        if kind is str:
            return utf8(value).decode()
        if kind is dict:
            if all(type(key) is str and not key.startswith("$") for key in value):
                return {spell_out(key): spell_out(item) for key, item in value.items()}
            return {"$map": [[spell_out(key), spell_out(item)] for key, item in value.items()]}
        return [spell_out(item) for item in value] if kind in (list, tuple) else value

    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=bytes_object)
    decoder = json.JSONDecoder(object_hook=restore, parse_constant=refuse_constant)

    def encode(value):
        if type(value) is dict and ("value" in value or "metadata" in value):
            value = spell_out(value)  # maps of the user's
        try:
            return encoder.encode(value).encode()
        except ValueError:  # not a number, infinite, or a lone surrogate
            return encoder.encode(spell_out(value)).encode()

    def decode(data):
        text = data.decode()
        if text.count("[") + text.count("{") > DEPTH_LIMIT:
            check_json_depth(text)
        try:
            return decoder.decode(text)
        except RecursionError as problem:
            raise ValueError(f"bad JSON: {problem}") from None


FLOATS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def check_json_depth(text):
    """Refuses JSON that nests too deeply, before a recursive parser sees it."""
    depth = 0
    in_string = escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif in_string:
            escaped = character == "\\"
            in_string = character != '"'
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            if depth > DEPTH_LIMIT:
                raise ValueError(f"nested deeper than {DEPTH_LIMIT} levels")
        elif character in "]}":
            depth -= 1

"""The codecs and the framing by themselves: no worker process."""

import json
import os
import unittest
from random import Random

from harness import codec

BOUNDARIES = (0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536)

GOLDEN = [
    (None, "c0"),
    (False, "c2"),
    (True, "c3"),
    (0, "00"),
    (127, "7f"),
    (128, "cc80"),
    (255, "ccff"),
    (256, "cd0100"),
    (65535, "cdffff"),
    (65536, "ce00010000"),
    ((1 << 32) - 1, "ceffffffff"),
    (1 << 32, "cf0000000100000000"),
    ((1 << 64) - 1, "cfffffffffffffffff"),
    (-1, "ff"),
    (-32, "e0"),
    (-33, "d0df"),
    (-128, "d080"),
    (-129, "d1ff7f"),
    (-32768, "d18000"),
    (-32769, "d2ffff7fff"),
    (-(1 << 31), "d280000000"),
    (-(1 << 31) - 1, "d3ffffffff7fffffff"),
    (-(1 << 63), "d38000000000000000"),
    (1.5, "cb3ff8000000000000"),
    ("", "a0"),
    ("é", "a2c3a9"),
    (b"\x00\xff", "c40200ff"),
    ([], "90"),
    ({}, "80"),
    ([1, [2]], "92019102"),
    ({"type": "started", "id": "e1"}, "82a474797065a773746172746564a26964a26531"),
    (
        {"type": "output", "id": "e1", "stream": "stdout", "seq": 0, "data": b"hi\n"},
        "85a474797065a66f7574707574a26964a26531a673747265616da67374646f7574a373657100a464617461c403" + b"hi\n".hex(),
    ),
]


class MessagePack(unittest.TestCase):
    def setUp(self):
        self.codec = codec("msgpack")

    def refuses(self, data, reason=""):
        with self.assertRaisesRegex(ValueError, reason):
            self.codec.decode(data)

    def test_the_short_way_for_an_execute_reads_what_the_long_way_reads(self):
        def read(decode, data):
            try:
                return decode(data)
            except (ValueError, IndexError) as problem:
                return type(problem) is not IndexError and type(problem)

        def the_long_way(data):
            value, end = self.codec._decode(data, 0, self.codec.DEPTH_LIMIT)
            return value if end == len(data) else ValueError

        random = Random(5)
        for id in "", "1", "é", "x" * 31, "x" * 32, "x" * 64:
            for code in "", "1+1", "é" * 15, "x" * 31, "x" * 32, "x" * 255, "x" * 256, 5:
                message = {"type": "execute", "id": id, "code": code}
                data = self.codec.encode(message)
                self.assertEqual(self.codec.decode(data), message)
                for _ in range(50):
                    broken = bytearray(data[: random.randrange(len(data) + 1)] if random.random() < 0.3 else data)
                    if broken:
                        broken[-random.randrange(1, min(len(broken), 80) + 1)] = random.randrange(256)
                    broken = bytes(broken)
                    short, long = read(self.codec.decode, broken), read(the_long_way, broken)
                    if short is not ValueError or type(long) is dict:
                        self.assertEqual(short, long, broken)

    def test_an_ending_put_together_by_hand_is_what_the_codec_writes(self):
        for reply in {}, {"value": 2, "repr": "2"}, {"kind": "exit", "exit_code": 3, "tainted": True}:
            execution = self.codec.Execution("e1")
            execution.packed_id = self.codec.encode("e1")
            for ending in "result", "error":
                data = self.codec.encode_ending(execution, ending, reply, (0.5, 0.25, 1 << 33, 70000))
                figures = {"execution_time": 0.5, "cpu_time": 0.25, "memory_usage": 1 << 33, "namespace_size": 70000}
                self.assertEqual(self.codec.decode(data), {"type": ending, "id": "e1", **reply, **figures})
                self.assertTrue(data[1:].startswith(b"\xa4type"))

    def test_values_have_the_bytes_that_the_format_prescribes(self):
        for value, golden in GOLDEN:
            with self.subTest(value=value):
                self.assertEqual(self.codec.encode(value).hex(), golden)
                self.assertEqual(self.codec.decode(bytes.fromhex(golden)), value)

    def test_every_length_comes_back(self):
        for size in BOUNDARIES:
            for value in ("x" * size, b"y" * size, [7] * size, {str(i): i for i in range(size)}):
                with self.subTest(kind=type(value).__name__, size=size):
                    self.assertEqual(self.codec.decode(self.codec.encode(value)), value)

    def test_heads_grow_at_the_boundaries(self):
        for size, text, binary, array, map in (
            (15, "af", "c40f", "9f", "8f"),
            (16, "b0", "c410", "dc0010", "de0010"),
            (31, "bf", "c41f", "dc001f", "de001f"),
            (32, "d920", "c420", "dc0020", "de0020"),
            (255, "d9ff", "c4ff", "dc00ff", "de00ff"),
            (256, "da0100", "c50100", "dc0100", "de0100"),
            (65535, "daffff", "c5ffff", "dcffff", "deffff"),
            (65536, "db00010000", "c600010000", "dd00010000", "df00010000"),
        ):
            values = "x" * size, b"x" * size, [0] * size, dict.fromkeys(range(size))
            for value, head in zip(values, (text, binary, array, map)):
                self.assertTrue(self.codec.encode(value).hex().startswith(head), (size, head))

    def test_single_precision_floats_are_understood(self):
        self.assertEqual(self.codec.decode(bytes.fromhex("ca3fc00000")), 1.5)

    def test_a_lone_surrogate_travels_as_its_escape(self):
        self.assertEqual(self.codec.encode("a\udc80"), b"\xa7a\\udc80")

    def test_what_the_protocol_lacks_is_refused(self):
        for value in (1 << 64, -(1 << 63) - 1):
            self.assertRaises(OverflowError, self.codec.encode, value)
        for value in (object(), {1, 2}, 1j):
            self.assertRaises(TypeError, self.codec.encode, value)

    def test_bytes_cut_off_anywhere_are_refused(self):
        whole = self.codec.encode({"a": [1, -200, 1.5, "text", "x" * 40, b"bytes", None], "b": {"c": 1 << 40}})
        for end in range(len(whole)):
            self.refuses(whole[:end])
        self.refuses(whole + b"\xc0", "in a frame of")

    def test_lengths_beyond_the_data_are_refused_without_allocating(self):
        for head in ("dbffffffff", "c6ffffffff", "ddffffffff", "dfffffffff", "d9ff", "c5ffff", "dcffff", "bf", "9f", "8f"):
            self.refuses(bytes.fromhex(head))
            self.refuses(bytes.fromhex("91" + head + "00"))

    def test_nesting_stops_at_64(self):
        def nested(depth):
            value = []
            for _ in range(depth - 1):
                value = [value]
            return value

        self.assertEqual(self.codec.decode(self.codec.encode(nested(64))), nested(64))
        self.assertRaisesRegex(ValueError, "nested deeper", self.codec.encode, nested(65))
        self.refuses(b"\x91" * 64 + b"\x90", "nested deeper")
        self.refuses(b"\x81\xa1k" * 64 + b"\x80", "nested deeper")
        self.refuses(b"\x91" * 100_000, "nested deeper")

    def test_bytes_that_mean_nothing_here_are_refused(self):
        for head in (0xC1, 0xC7, 0xC8, 0xC9, 0xD4, 0xD8):
            self.refuses(bytes([head]) + bytes(20), "not used by the protocol")
        self.refuses(b"\xa2\xff\xfe")
        self.refuses(b"\x81\x80\x01", "cannot be a key")
        self.assertEqual(self.codec.decode(b"\x81\x91\x01\x02"), {(1,): 2})

    def test_random_bytes_are_a_value_or_a_value_error(self):
        random = Random(1)
        for size in range(3000):
            data = random.randbytes(size % 40)
            try:
                self.codec.decode(data)
            except ValueError:
                pass


class Json(unittest.TestCase):
    def setUp(self):
        self.codec = codec("json")

    def round_trip(self, value):
        return self.codec.decode(self.codec.encode(value))

    def test_bytes_travel_as_base64(self):
        self.assertEqual(self.codec.encode({"data": b"\x00\xff"}), b'{"data":{"$bytes":"AP8="}}')
        for size in BOUNDARIES:
            value = {"b": os.urandom(size), "t": "é" * size, "l": [1] * size}
            self.assertEqual(self.round_trip(value), value)

    def test_floats_that_json_lacks_have_a_spelling(self):
        infinity = float("inf")
        self.assertEqual(self.codec.encode([infinity, -infinity]), b'[{"$float":"inf"},{"$float":"-inf"}]')
        self.assertEqual(self.round_trip([infinity, -infinity, 1.5]), [infinity, -infinity, 1.5])
        nan = self.round_trip({"x": float("nan")})["x"]
        self.assertNotEqual(nan, nan)

    def test_odd_keys_have_a_spelling(self):
        message = {"type": "result", "value": {1: "one", "$x": {"$bytes": "no"}, None: [{}]}}
        self.assertEqual(self.round_trip(message), message)
        encoded = b'{"value":{"$map":[[1,"one"],["$x",{"$map":[["$bytes","no"]]}],[null,[{}]]]}}'
        self.assertEqual(self.codec.encode({"value": message["value"]}), encoded)

    def test_a_mark_that_holds_something_else_is_an_ordinary_map(self):
        for text in ('{"$bytes":7}', '{"$bytes":"?"}', '{"$float":"1"}', '{"$float":[]}', '{"$map":[[1]]}', '{"$map":[[{},1]]}'):
            self.assertEqual(self.codec.decode(text.encode()), json.loads(text))
        self.assertEqual(self.codec.decode(b'{"$bytes":"aGk"}'), b"hi")
        self.assertEqual(self.codec.decode(b'{"$bytes":"aGk=","x":1}'), {"$bytes": "aGk=", "x": 1})

    def test_what_is_written_is_always_valid_utf8_and_json(self):
        self.assertEqual(self.codec.encode("a\udc80"), b'"a\\\\udc80"')

    def test_bad_json_is_a_value_error(self):
        bad = (b"", b"{", b"\xff", b"[NaN]", b"[1] 2")
        for data in (*bad, b"[" * 65, b'{"a":' * 65, b"[" * 100_000):
            with self.subTest(data=data[:20]):
                self.assertRaises(ValueError, self.codec.decode, data)
        self.assertEqual(self.codec.decode(b'["' + b"[" * 1000 + b'"]'), ["[" * 1000])


class Framing(unittest.TestCase):
    """The channel's reading side, fed with pieces."""

    class Pieces:
        def __init__(self, pieces):
            self.pieces = list(pieces)

        def receive_now(self, size):
            return self.pieces.pop(0) if self.pieces else None

    def messages(self, name, pieces):
        module = codec(name)
        channel = module.Channel(self.Pieces(pieces))
        channel.take_available()
        return list(channel.incoming)

    def test_frames_may_be_split_anywhere(self):
        for name in "msgpack", "json":
            sent = [{"type": "ping", "seq": 1}, {"type": "execute", "id": "é", "code": "x" * 300}, {"type": "ping", "seq": 2}]
            frames = [codec(name).encode(message) for message in sent]
            stream = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)
            for at in range(1, len(stream)):
                self.assertEqual(self.messages(name, [stream[:at], stream[at:]]), sent)
            self.assertEqual(self.messages(name, [stream[i : i + 1] for i in range(len(stream))]), sent)


if __name__ == "__main__":
    unittest.main()

"""The frozen conversations of tests/vectors, spoken to the codecs and replayed to a real worker.

A step of the worker says in `match` which parts of its message are compared; without it, all are. Output is compared
as text of each stream: how many pieces it comes in is the worker's affair.
"""

import json
import os
import subprocess
import sys
import unittest

from harness import HERE, LIMIT, Host, WorkerGone, codec

FOLDER = os.path.join(HERE, "..", "..", "tests", "vectors")
STREAMS = ("stdout", "stderr")


def load_vectors():
    vectors = []
    for name in sorted(os.listdir(FOLDER)):
        with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
            vectors.append(json.load(file))
    return vectors


def conversations():
    return [vector for vector in load_vectors() if "steps" in vector]


def framed(step, codec_name):
    """The frozen frame of a step."""
    if codec_name == "msgpack":
        return bytes.fromhex(step["msgpack"])
    payload = step["json"].encode()
    return len(payload).to_bytes(4, "big") + payload


def is_part(wanted, got):
    """Whether everything that `wanted` says is said by `got`."""
    if type(wanted) is dict:
        return type(got) is dict and all(key in got and is_part(wanted[key], got[key]) for key in wanted)
    if type(wanted) is list:
        return type(got) is list and len(got) == len(wanted) and all(map(is_part, wanted, got))
    return type(got) is type(wanted) and got == wanted


class Codecs(unittest.TestCase):
    def test_every_message_has_its_frozen_bytes(self):
        packed, plain = codec("msgpack"), codec("json")
        for vector in conversations():
            for number, step in enumerate(vector["steps"]):
                with self.subTest(vector=vector["name"], step=number):
                    frame = bytes.fromhex(step["msgpack"])
                    self.assertEqual(int.from_bytes(frame[:4], "big"), len(frame) - 4)
                    message = packed.decode(frame[4:])
                    self.assertEqual(packed.encode(message), frame[4:])
                    if "$map" in step["json"]:
                        continue  # no worker in Python sends keys that are no strings
                    self.assertEqual(plain.encode(message).decode(), step["json"])
                    if "$float" not in step["json"]:  # nan is not equal to itself
                        self.assertEqual(plain.decode(step["json"].encode()), message)


class Replay:
    """The same conversations over each transport and in each codec."""

    transport, codec = "socket", "msgpack"

    def test_frozen_conversations_are_spoken_by_the_worker(self):
        for vector in conversations():
            if vector.get("replay") == "python":
                with self.subTest(vector=vector["name"]):
                    self.replay(vector)

    def replay(self, vector):
        with Host(self.transport, self.codec) as host:
            self.host, self.sequence = host, 0
            self.wanted, self.printed = self.nothing(), self.nothing()
            for step in vector["steps"]:
                if step["from"] == "host":
                    self.catch_up()
                    host.write(framed(step, self.codec))
                elif step["message"]["type"] == "output":
                    self.wanted[step["message"]["stream"]] += self.told(step)["data"]
                else:
                    self.expect(step)
            if "exit" in vector:
                self.assertEqual(host.wait_for_exit(), vector["exit"])

    def nothing(self):
        return dict.fromkeys(STREAMS, b"")

    def told(self, step):
        """The whole message of a step of the worker's."""
        return codec("json").decode(step["json"].encode())

    def expect(self, step):
        """Takes the worker's next message, and compares it and what was printed before."""
        got = host_frame = self.host.ready if step["message"]["type"] == "ready" else None
        while host_frame is None:
            event = self.host.next_event()
            if type(event) is dict:
                got = host_frame = event
            else:
                self.print(event)
        wanted = codec("json").decode(json.dumps(step["match"]).encode()) if "match" in step else self.told(step)
        self.assertEqual(list(got)[0], "type")
        self.assertTrue(is_part(wanted, got), f"{got} instead of {wanted}")
        self.assertEqual(self.printed, self.wanted)
        if got["type"] in ("result", "error"):
            self.wanted, self.printed, self.sequence = self.nothing(), self.nothing(), 0

    def print(self, event):
        stream, data, *framed = event
        self.printed[stream] += data
        if framed:  # the stdio transport: output has ids and numbers of its own
            self.assertEqual(framed[1], self.sequence)
            self.sequence += 1

    def catch_up(self):
        """Waits for the output that the conversation has seen so far."""
        while any(len(self.printed[stream]) < len(self.wanted[stream]) for stream in STREAMS):
            event = self.host.next_event()
            self.assertIs(type(event), tuple, f"{event} before the output {self.wanted}")
            self.print(event)

    def test_malformed_frames_end_the_worker_as_frozen(self):
        cases = [case for vector in load_vectors() for case in vector.get("cases", ())]
        for case in cases:
            if case.get("replay") == "python" and case.get("codec", "msgpack") == self.codec:
                with self.subTest(case=case["name"]), Host(self.transport, self.codec) as host:
                    host.send("init", protocol=1)
                    host.write(bytes.fromhex(case["bytes"]))
                    answer = host.next_frame(seconds=LIMIT)
                    self.assertTrue(is_part(case["answer"], answer), answer)
                    with self.assertRaises(WorkerGone):
                        host.next_frame()
                    self.assertEqual(host.wait_for_exit(), case["exit"])


class OverTheSocketInMessagePack(Replay, unittest.TestCase):
    pass


class OverTheSocketInJson(Replay, unittest.TestCase):
    codec = "json"


class OverPipesInMessagePack(Replay, unittest.TestCase):
    transport = "stdio"


class OverPipesInJson(Replay, unittest.TestCase):
    transport, codec = "stdio", "json"


class TheSmallestWorker(unittest.TestCase):
    """The program at the top of PROTOCOL.md does what the page says."""

    def test_it_speaks_the_protocol(self):
        with open(os.path.join(HERE, "..", "..", "PROTOCOL.md"), encoding="utf-8") as page:
            program = page.read().split("```python\n")[1].split("```")[0]
        requests = [
            {"type": "init", "protocol": 1},
            {"type": "execute", "id": "1", "code": "hello"},
            {"type": "ping", "seq": 5},
            {"type": "cancel", "id": "1"},
            {"type": "dance", "id": "2"},
            {"type": "shutdown"},
        ]
        payloads = [json.dumps(request).encode() for request in requests]
        stream = b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads)
        done = subprocess.run([sys.executable, "-c", program], input=stream, stdout=subprocess.PIPE, timeout=LIMIT)
        answers = []
        rest = done.stdout
        while rest:
            end = 4 + int.from_bytes(rest[:4], "big")
            answers.append(codec("json").decode(rest[4:end]))
            rest = rest[end:]
        wanted = [
            {"type": "ready", "protocol": 1, "codec": "json", "language": "echo"},
            {"type": "started", "id": "1"},
            {"type": "output", "id": "1", "stream": "stdout", "seq": 0, "data": "hello"},
            {"type": "result", "id": "1"},
            {"type": "heartbeat", "seq": 5},
            {"type": "cancel_ack", "id": "1", "hit": False},
            {"type": "protocol_error", "what": "unknown type `dance`, or no id", "id": "2"},
            {"type": "bye"},
        ]
        self.assertTrue(is_part(wanted, answers), answers)
        self.assertEqual(done.returncode, 0)


if __name__ == "__main__":
    unittest.main()

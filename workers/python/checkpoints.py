"""Saves the namespace of one worker and restores it in another, and what the tests save."""

import binascii
import os
import sys
import unittest

from harness import HERE, Host

RICH = open(os.path.join(HERE, "state_sample.py"), encoding="utf-8").read()
SAVED, _, CHECKS = RICH.partition("# -- afterwards --\n")
WIPE = "for _name in [_name for _name in globals() if _name[:2] != '__']: del globals()[_name]"


def kinds(file):
    """The name of each kind that this version of Python has, what is saved, and what must hold."""
    with open(os.path.join(HERE, file), encoding="utf-8") as text:
        parts = text.read()
    for part in parts.split("\n== ")[1:]:
        name, _, text = part.partition("\n")
        name, _, least = name.partition(" (")
        if sys.version_info >= tuple(map(int, least.rstrip(")").split("."))) if least else True:
            yield name, *text.split("\n-- afterwards --\n")


def save(host, id="c1", **fields):
    """Returns the parts, and the last of them without its data."""
    host.send("checkpoint", id=id, **fields)
    parts = []
    while not parts or not parts[-1]["last"]:
        frame = host.next_frame()
        if frame["type"] != "checkpoint_data":
            return [], frame
        assert (frame["id"], frame["part"]) == (id, len(parts)), frame
        parts.append(frame)
    data = [part.get("data", b"") for part in parts]
    last = parts[-1]
    assert last["bytes"] == sum(map(len, data))
    assert last["checksum"] == f"crc32:{binascii.crc32(b''.join(data)):08x}"
    return data, last


def restore(host, parts, id="r1", **fields):
    for number, data in enumerate(parts):
        host.send("restore", id=id, part=number, last=number == len(parts) - 1, data=data, **fields)
    return host.next_frame(nudge=True)


def carry(code, *more, env=None):
    """The parts that hold what `code` made."""
    with Host(init={}, env=env) as host:
        outcome = host.run(code)
        assert outcome.kind == "ok", outcome
        return save(host, *more)


def reasons(skipped):
    return {name["name"]: (name["type"], name["reason"]) for name in skipped}


class StateTest(unittest.TestCase):
    def holds(self, host, code):
        outcome = host.run(code)
        self.assertEqual(outcome.kind, "ok", outcome.frame.get("exception", {}).get("text"))

    def comes_back(self, first, second, number, code, check):
        self.holds(first, WIPE)
        self.holds(second, WIPE)
        self.holds(first, code)
        parts, last = save(first, f"c{number}")
        self.assertEqual((last.get("exception"), last.get("skipped")), (None, []))
        answer = restore(second, parts, f"r{number}")
        self.assertEqual((answer.get("exception"), answer.get("failed")), (None, []))
        self.holds(second, check)
        self.holds(first, check)  # it is true of what was saved, too

"""Tests that hold over both transports and in both codecs."""

import textwrap
import unittest

from harness import Host


def block(code):
    return textwrap.dedent(code).strip("\n")


class Conversation:
    """The same tests for each transport and codec."""

    transport, codec = "socket", "msgpack"

    @classmethod
    def setUpClass(cls):
        cls.host = Host(cls.transport, cls.codec, init={"session": "test"})

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def setUp(self):
        if self.host.running:  # a test that failed left its execution behind
            self.tearDownClass()
            self.setUpClass()

    def fails(self, code, kind="exception", **fields):
        outcome = self.host.run(code, **fields)
        self.assertEqual(outcome.kind, kind, outcome)
        return outcome.frame["exception"]


def on_all_transports(tests):
    """Test cases with the tests of the class `tests`, for each transport and codec."""
    for transport, codec in ("socket", "msgpack"), ("socket", "json"), ("stdio", "msgpack"), ("stdio", "json"):
        name = f"{tests.__name__}Over{transport.capitalize()}In{codec.capitalize()}"
        yield type(name, (tests, unittest.TestCase), dict(transport=transport, codec=codec, __module__=tests.__module__))

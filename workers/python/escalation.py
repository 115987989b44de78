"""Cancels an execution as the host does: politely first, then by force."""

import os
import signal
import textwrap
import time
import unittest

from harness import Host

FORCE_AFTER = 0.05  # seconds from the polite cancel to the first forced one, as the real host has it
FORCE_AGAIN = 0.1
POLITE, FORCE = "polite", "force"


def cancel(host, id, limit=2.0):
    """The host's escalation: a polite cancel and SIGINT, then force and SIGINT for the children. Returns the outcome, stage and seconds."""
    began = time.monotonic()
    host.send("cancel", id=id)
    os.kill(host.process.pid, signal.SIGINT)
    host.interrupt_children()
    stage, next_force = POLITE, began + FORCE_AFTER
    events = []
    while True:
        now = time.monotonic()
        if now > began + limit:
            raise TimeoutError(f"not cancelled within {limit} s")
        try:
            event = host.next_event(max(0.001, min(next_force, began + limit) - now))
        except TimeoutError:
            if time.monotonic() >= next_force:
                host.send("cancel", id=id, force=True)
                host.interrupt_children()  # again: a shell that is just forking loses the first
                stage, next_force = FORCE, time.monotonic() + FORCE_AGAIN
            continue
        events.append(event)
        if type(event) is dict and event["type"] in ("result", "error"):
            host.running = None
            return event, stage, time.monotonic() - began


class OnOneHost(unittest.TestCase):
    """Tests that share a worker, until one leaves it busy."""

    @classmethod
    def setUpClass(cls):
        cls.host = Host(init={"limits": {"import_grace": 0.2}})

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def setUp(self):
        if self.host.running:
            self.tearDownClass()
            self.setUpClass()

    def begin(self, code, **fields):
        return self.host.arrive(textwrap.dedent(code), **fields)

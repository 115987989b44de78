"""Cancels an execution as the host does: politely first, then by force."""

import os
import signal
import time

FORCE_AFTER = 0.05  # seconds from the polite cancel to the first forced one, as the real host has it
FORCE_AGAIN = 0.1
POLITE, FORCE = "polite", "force"


def cancel(host, id, limit=2.0):
    """The host's ladder: a polite cancel and SIGINT, then force and SIGINT for the children. Returns the outcome, rung and seconds."""
    began = time.monotonic()
    host.send("cancel", id=id)
    os.kill(host.process.pid, signal.SIGINT)
    host.interrupt_children()
    rung, next_force = POLITE, began + FORCE_AFTER
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
                rung, next_force = FORCE, time.monotonic() + FORCE_AGAIN
            continue
        events.append(event)
        if type(event) is dict and event["type"] in ("result", "error"):
            host.running = None
            return event, rung, time.monotonic() - began

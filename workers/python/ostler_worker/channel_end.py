"""How the process ends when its channel has ended or is broken."""

import _signal

from .bindings import EXIT_HOST_GONE, EXIT_PROTOCOL, PID, exit_now, os
from .state import channel, state


def host_gone():
    """Ends this process and its children: the host has closed the channel."""
    if not state.forked:
        kill_group()
    exit_now(EXIT_HOST_GONE)


def kill_group():
    if os.getpgrp() == PID:  # only as its leader: another's group is not ours to kill
        os.killpg(0, _signal.SIGKILL)


def channel_broken(what, expected, got):
    """Reports that the host does not speak this protocol, and ends the process."""
    try:
        channel.send({"type": "protocol_error", "what": what, "expected": expected, "got": got[:200]})
        channel.finish()
    finally:
        exit_now(EXIT_PROTOCOL)

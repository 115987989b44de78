"""How the process ends when its channel has ended or is broken."""

import _signal

from .bindings import EXIT_HOST_GONE, EXIT_PROTOCOL, PID, exit_now, os
from .state import channel, state


def host_gone():
    """The channel has ended: nobody wants what this process does, nor what its children do."""
    if not state.forked:
        kill_group()
    exit_now(EXIT_HOST_GONE)


def kill_group():
    if os.getpgrp() == PID:  # only as its leader: another's group is not ours to kill
        os.killpg(0, _signal.SIGKILL)


def channel_broken(what, expected, got):
    """The host does not speak this protocol: say so and end. After a broken frame nothing can be trusted."""
    try:
        channel.send({"type": "protocol_error", "what": what, "expected": expected, "got": got[:200]})
        channel.finish()
    finally:
        exit_now(EXIT_PROTOCOL)

"""Idle work: what would delay `ready`, done while the host has nothing for us."""

import gc
import select

from .modules import load
from .msgpack_package import use_fast_codec
from .state import channel, codec_name, idle_work, state


def idle_steps():
    """The idle work, one piece at a time. Each is short: a frame that arrives meanwhile waits for it."""
    load("linecache")  # needed by the first execution
    yield
    load("traceback")  # needed by the first exception
    yield
    if codec_name == "msgpack":
        use_fast_codec()
        yield


DONE = object()


def do_idle_work():
    """Runs steps of `idle_work` for as long as the channel is quiet."""
    quiet = select.poll()
    quiet.register(channel.link.input, select.POLLIN)
    while not quiet.poll(0):
        if state.untidy:
            state.untidy = False
            gc.collect()
        elif next(idle_work, DONE) is DONE:
            state.idle = True
            return

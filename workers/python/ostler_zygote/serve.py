"""Takes orders."""

import os
import select

from .control import collect, control, receive, tell
from .fork_script import fork_script
from .fork_worker import fork, give_order, spare
from .preload import preload, reason_against_fork
from .tag import find_visible_tag, probe, tag_place

PATIENCE = 1  # ms without an order, before a worker is forked ahead: one that was just ordered comes first


def serve():
    """Takes orders; returns in a worker, and in a script, with its order and its descriptors."""
    global tag_place
    tag_place = find_visible_tag()
    order, _ = receive()
    preload([name.decode() for name in order.split(b"\0")[1:]])
    problem = reason_against_fork()
    if problem is not None:
        tell("unfit", problem)
        os._exit(0)
    tell("ready", probe())
    quiet = select.poll()
    quiet.register(control.fileno(), select.POLLIN)
    while True:
        if spare is None and not quiet.poll(PATIENCE) and fork() is None:
            return None
        order, fds = receive()
        kind = order.partition(b"\0")[0]
        if kind == b"end":
            collect(int(order.partition(b"\0")[2]))
        elif kind == b"script":
            if fork_script():
                return order, fds
        elif not (spare and give_order(order, fds)):
            problem = fork()
            if problem is None:
                break
            if problem or not give_order(order, fds):
                tell("refused", problem or "the child died at once")
        for fd in fds:
            os.close(fd)
    for fd in fds:  # the child will get the order, and these, once more
        os.close(fd)
    return None

"""Forks workers ahead of their orders."""

import _socket
import gc
import os
import sys

from .control import collect, control, mask, receive, tell
from .preload import fork_child, worker_variables
from .tag import TAG, set_visible_tag
from .variables import reseed, set_variables

spare = None  # the worker that was forked ahead, and waits: its id, and the socket to it


def fork():
    """Forks a worker that waits for its order on a socket of its own. None in the worker; what is wrong, if anything."""
    global control, spare
    try:
        ours, its = _socket.socketpair()
    except OSError as error:
        return f"fork: {error}"
    pid, problem = fork_child()
    if pid == 0:
        ours.close()
        control = its
        return None
    its.close()
    if problem:
        ours.close()
        return problem
    spare = pid, ours
    return ""


def give_order(order, fds):
    """Makes the spare a worker by this order. False if it is dead."""
    global spare
    (pid, socket), spare = spare, None
    data = [len(order).to_bytes(4, "big"), order]
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds))]
    try:
        rest = b"".join(data)[socket.sendmsg(data, ancillary) :]
        if rest:  # an empty send could fail: the worker may have closed its end by now
            socket.sendall(rest)
    except OSError:
        collect(pid)
        return False
    finally:
        socket.close()
    tell("forked", pid)
    return True


def become_worker():
    """Starts the worker ahead of its order, and then makes it the ordered one. After a fork the first touch of each page
    costs microseconds, and a start touches hundreds of them: ahead of the order that costs nobody any time."""
    gc.enable()
    reseed()
    start_ahead()
    order, fds = receive()
    control.close()
    _fork, folder, *variables = order.split(b"\0")
    set_variables(dict(variable.split(b"=", 1) for variable in variables))
    set_visible_tag(os.environb[TAG[:-1]])
    os.chdir(folder)
    worker.state.home = worker.current_folder()
    os.umask(mask)
    doorbell = worker.take_descriptors(fds)
    for fd in fds:
        os.close(fd)
    worker.start = lambda: doorbell


def start_ahead():
    worker.PID = os.getpid()
    os.environ.update(worker_variables)
    instead, peer = _socket.socketpair()
    for fd in 0, 1:
        os.dup2(instead.fileno(), fd)
    instead.close()
    worker.start()
    # A rehearsal of what follows an order, which nobody sees.
    set_visible_tag(os.environb[TAG[:-1]])
    set_variables(dict(os.environb))
    worker.signal_on_arrival(worker.channel.link.input)
    worker.execute(worker.decode(worker.encode({"type": "execute", "id": "rehearsal", "code": "None"})))
    worker.is_intact()
    worker.state.sequence = 0
    peer.close()

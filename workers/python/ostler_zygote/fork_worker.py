"""Forks workers ahead of their orders."""

import _socket
import gc
import os
import sys

from .control import children, control, end, mask, receive, tell
from .preload import why_not, worker_variables
from .tag import TAG, mark
from .variables import reseed, set_variables

spare = None  # the worker that was forked ahead, and waits: its id, and the socket to it


def fork():
    """Forks a worker that waits for its order on a socket of its own. None in the worker; what is wrong, if anything."""
    global control, spare
    problem = why_not()
    if problem is not None:
        return problem
    try:
        ours, its = _socket.socketpair()
        pid = os.fork()
    except OSError as error:
        return f"fork: {error}"
    if pid == 0:
        os.setpgid(0, 0)
        children.clear()
        ours.close()
        control.close()
        control = its
        return None
    its.close()
    try:
        os.setpgid(pid, pid)  # here too: the host may signal the group as soon as it knows of it
    except OSError:
        pass
    children.add(pid)
    spare = pid, ours
    return ""


def give(order, fds):
    """Makes the spare a worker by this order. False if it is dead."""
    global spare
    (pid, socket), spare = spare, None
    data = [len(order).to_bytes(4, "big"), order]
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds))]
    try:
        rest = b"".join(data)[socket.sendmsg(data, ancillary) :]
        if rest:  # not for nothing: by now it may have taken the order, and closed its end
            socket.sendall(rest)
    except OSError:
        end(pid)
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
    mark(os.environb[TAG[:-1]])
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
    # What comes next, once, with nobody to hear of it.
    mark(os.environb[TAG[:-1]])
    set_variables(dict(os.environb))
    worker.ring_on_arrival(worker.channel.link.input)
    worker.execute(worker.decode(worker.encode({"type": "execute", "id": "rehearsal", "code": "None"})))
    worker.is_sound()
    worker.state.sequence = 0
    peer.close()

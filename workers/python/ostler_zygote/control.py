"""The control socket, and the children that the zygote answers for."""

import _socket
import os
import sys

children = set()  # forked and not collected yet
mask = os.umask(0o077)
os.umask(mask)
control = _socket.socket(fileno=worker.private(0))
os.close(0)
worker.open_dev_null()
os.dup2(2, 1)  # what modules print while they are imported


def tell(kind, text=""):
    data = f"{kind} {text}".encode("utf-8", "backslashreplace")
    try:
        control.sendall(len(data).to_bytes(4, "big") + data)
    except OSError:
        host_gone()


def take(size):
    data = b""
    while len(data) < size:
        part = control.recv(size - len(data))
        if not part:
            host_gone()
        data += part
    return data


def receive():
    """The next order, and its descriptors."""
    try:
        data, ancillary, _, _ = control.recvmsg(4, _socket.CMSG_SPACE(12), _socket.MSG_CMSG_CLOEXEC)
        if not data:
            host_gone()
        order = take(int.from_bytes(data + take(4 - len(data)), "big"))
    except ConnectionError:
        host_gone()
    raw = b"".join(part for _, _, part in ancillary)
    return order, [int.from_bytes(raw[at : at + 4], sys.byteorder) for at in range(0, len(raw), 4)]


def host_gone():
    """Kills and collects all workers, and ends: the host that would do so is gone."""
    for pid in children:
        kill(pid)
    for pid in children:
        os.waitpid(pid, 0)
    os._exit(worker.EXIT_HOST_GONE)


def kill(pid):
    for send in os.killpg, os.kill:
        try:
            send(pid, 9)
        except OSError:
            pass


def collect(pid):
    """Collects a child. Its id is valid until then, so the rest of its group is killed first."""
    if pid in children:
        kill(pid)
        os.waitpid(pid, 0)
        children.discard(pid)

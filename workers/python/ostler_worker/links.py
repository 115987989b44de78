"""The descriptors of the channel: one socket, or a pair of pipes."""

import _socket
import fcntl
import select
from _struct import pack

from .bindings import os

PRIVATE_FD = 100  # our descriptors live at 100 and above, out of the way of user code


def private(fd):
    """Duplicates `fd` to a high number that children do not inherit."""
    for floor in (PRIVATE_FD, 10, 3):  # a small RLIMIT_NOFILE forbids the first
        try:
            return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, floor)
        except OSError:
            continue
    raise OSError(f"no free descriptor for a copy of fd {fd}")


DONT_WAIT = int(_socket.MSG_DONTWAIT)
QUIET = 0.005  # seconds without a frame after which idle work begins


class SocketLink:
    """One stream socket for both directions."""

    def __init__(self, fd):
        self.input = self.output = fd
        self.socket = _socket.socket(fileno=fd)
        self.socket.setblocking(True)
        self.recv = self.socket.recv
        self.limited = False

    def limit_waits(self, limited):
        """Lets `receive` wait for QUIET at most, or for ever. This costs nothing per wait, as a poll before each would;
        and what arrives during a poll rings the doorbell, for which there is no need."""
        self.limited = limited
        micros = int(QUIET * 1e6) if limited else 0
        self.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, pack("ll", 0, micros))

    def receive(self, size):
        """Waits for at most `size` bytes; b"" is the end, and None that nothing came within the limit."""
        try:
            return self.recv(size)
        except BlockingIOError:
            return None
        except OSError:  # a reset, if the host closed it while our frames lay unread; or user code closed the descriptor
            return b""

    def receive_now(self, size):
        """Returns what is there without waiting; None if that is nothing."""
        try:
            return self.socket.recv(size, DONT_WAIT)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def send(self, data):
        """Sends some of `data`, or none if the peer's buffer is full; returns how much."""
        try:
            return self.socket.send(data, DONT_WAIT)
        except BlockingIOError:
            return 0

    def close(self):
        # The object, and not the bare descriptor: its destructor would later close whatever reused the number.
        self.socket.close()


class PipeLink:
    """Two pipes, or whatever else fd 0 and fd 1 were."""

    def __init__(self, input, output):
        self.input, self.output = input, output
        self.readable = select.poll()
        self.readable.register(input, select.POLLIN)
        self.limited = False

    def limit_waits(self, limited):
        self.limited = limited

    def receive(self, size):
        if self.limited and not self.readable.poll(QUIET * 1e3):
            return None
        try:
            return os.read(self.input, size)
        except OSError:
            return b""

    def receive_now(self, size):
        # O_NONBLOCK belongs to the open file, which others may share; so ask first instead.
        return self.receive(size) if self.readable.poll(0) else None

    def send(self, data):
        return os.write(self.output, data)

    def close(self):
        os.close(self.input)
        os.close(self.output)

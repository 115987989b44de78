"""Frames in both directions, over a link."""

import select
from _collections import deque
from _struct import Struct
from _thread import allocate_lock

from .channel_end import channel_broken, host_gone
from .idle import do_idle_work
from .msgpack_decoder import decode
from .msgpack_encoder import encode, framed
from .state import channel

FRAME_LIMIT = 64 << 20  # bytes of payload; a longer frame, or an empty one, is a broken channel
READ_SIZE = 64 << 10
read_length = Struct(">I").unpack_from


class Channel:
    """Frames to and from the host.

    Reading belongs to the main thread: `wait` while it is idle, `take_available` from the signal handler.
    Sending is open to every thread and to the signal handler: a frame is queued, and whoever gets the lock sends
    the queue. Nobody ever waits for that lock, so a handler cannot deadlock with the frame that it interrupted.
    """

    def __init__(self, link):
        self.link = link
        self.buffer = bytearray()
        self.incoming = deque()  # decoded messages that are not sorted yet
        self.parked = deque()  # messages that arrived while code ran, for the main loop
        self.outgoing = deque()  # frames: bytes, or tuples of a function that returns the bytes and its arguments
        self.sending = allocate_lock()

    # -- receiving

    def wait(self):
        """Waits until something arrives. Returns the message if that is just one, as it usually is; otherwise None, and
        `incoming` may still be empty."""
        data = self.link.receive(self._wanted() if self.buffer else READ_SIZE)
        if data is None:
            do_idle_work()
            return None
        if not self.buffer and len(data) > 4 and read_length(data)[0] == len(data) - 4:
            return self._message(data[4:])
        self._accept(data)
        return None

    def take_available(self):
        """Moves what has arrived into `incoming`, without waiting."""
        while True:
            data = self.link.receive_now(self._wanted())
            if data is None:
                return
            self._accept(data)

    def _wanted(self):
        buffer = self.buffer
        if len(buffer) < 4:
            return READ_SIZE
        missing = 4 + int.from_bytes(buffer[:4], "big") - len(buffer)
        return min(max(missing, READ_SIZE), 1 << 20)

    def _accept(self, data):
        if not data:
            host_gone()
        # Into the buffer first: if the user's recursion limit stops the parsing below (in a signal handler, on top
        # of a deep stack), nothing is lost and the next look continues.
        buffer = self.buffer
        buffer += data
        while len(buffer) >= 4:
            size = int.from_bytes(buffer[:4], "big")
            if not 0 < size <= FRAME_LIMIT:
                channel_broken("frame length", f"1 to {FRAME_LIMIT}", str(size))
            end = 4 + size
            if len(buffer) < end:
                return
            if len(data) == len(buffer) == end:
                payload = data[4:]
            else:
                with memoryview(buffer) as view:
                    payload = bytes(view[4:end])
            self.incoming.append(self._message(payload))
            del buffer[:end]

    def _message(self, payload):
        try:
            message = decode(payload)
        except ValueError as problem:
            channel_broken("frame payload", "one map", str(problem))
        if type(message) is not dict:
            channel_broken("frame payload", "one map", type(message).__name__)
        return message

    # -- sending

    def send(self, message):
        self.send_frame(framed(encode(message)))

    def send_frame(self, frame):
        """Sends a frame, or leaves that to whoever is sending. Returns whether the kernel has all of it for certain."""
        outgoing = self.outgoing
        whole = False
        if outgoing or type(frame) is tuple or not self.sending.acquire(False):
            outgoing.append(frame)
        else:  # nobody sends and nothing waits: nearly always
            try:
                sent = self.link.send(frame)
                whole = sent == len(frame)
                if not whole:
                    outgoing.appendleft(frame[sent:])
            except OSError:
                host_gone()
            finally:
                self.sending.release()
        while outgoing and self.sending.acquire(False):
            try:
                self._send_queue()
            finally:
                self.sending.release()
        return whole

    def hand_over(self, frame):
        """Sends a frame that the kernel must have before something else happens. Returns None if the kernel has it; otherwise,
        as when threads of earlier code have queued much before it, what `wait_until_sent` takes."""
        if self.send_frame(frame):
            return None
        sent = allocate_lock()
        sent.acquire()
        self.send_frame((release, sent))  # made when all that was queued before it has been sent
        return sent

    def wait_until_sent(self, sent):
        """Waits until the frame is sent by the thread that holds the lock, or sends it if no thread does."""
        while not sent.acquire(True, 0.01):
            if self.outgoing and self.sending.acquire(False):
                try:
                    self._send_queue()
                finally:
                    self.sending.release()

    def _send_queue(self):
        outgoing = self.outgoing
        while outgoing:
            frame = outgoing[0]
            if type(frame) is tuple:  # made when it is sent, so that output is numbered in the order of the frames
                frame = outgoing[0] = frame[0](*frame[1:])
            try:
                sent = self.link.send(frame)
            except OSError:
                host_gone()
            if sent == len(frame):
                outgoing.popleft()
            elif sent:
                outgoing[0] = frame[sent:]
            else:
                writable = select.poll()
                writable.register(self.link.output, select.POLLOUT)
                writable.poll(1000)

    def finish(self):
        """Waits, for a second at most, until everything queued has been sent."""
        if self.sending.acquire(True, 1.0):
            try:
                self._send_queue()
            finally:
                self.sending.release()


def release(lock):
    """Makes a frame of no bytes; the release shows that all frames before it are sent."""
    lock.release()
    return b""


def log(level, text):
    channel.send({"type": "log", "level": level, "message": text[:4096]})


def send_protocol_error(what, expected=None, got=None, id=None):
    """Answers a message that is wrong in itself; the channel goes on."""
    message = {"type": "protocol_error", "what": what}
    for key, value in (("expected", expected), ("got", got), ("id", id)):
        if value is not None:
            message[key] = value[:200]
    channel.send(message)

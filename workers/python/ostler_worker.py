"""The Python worker that Ostler ships: standard library only, CPython 3.9 or newer. One file, and two that are loaded
when they are needed: ostler_state.py, which saves the namespace and brings it back, and ostler_branch.py, which forks
the whole session.

A worker runs code for a host, keeps the namespace between executions, streams what the code prints, and stays
reachable while the code runs. PROTOCOL.md says what host and worker tell each other; this file is one side of it.

There is one thread, and it is the only reader of the channel:

    idle   the main thread waits for a frame
    busy   user code runs on the main thread. A frame that arrives rings the doorbell: the kernel sends SIGURG
           (O_ASYNC on the channel), and the signal handler reads the channel without blocking.

So a cancel interrupts user code wherever Python looks at signals, a ping is answered at once, and no thread of ours
competes for the interpreter. Two rules make that safe, and everything below leans on them:

  * a signal handler raises into user code only if the innermost Python frame is *not* one of this file's.
    Our own code is therefore never interrupted half-way, and needs no masks and no locks against itself.
  * the handler never blocks, and keeps out while the main thread reads the channel (`state.main_reads`).

User output never shares the channel on the socket transport: fd 1 and 2 are pipes that the host reads. On the stdio
transport the channel moves to private descriptors, fd 1 points at fd 2, and prints travel as `output` frames.

Sections: codecs · channel · state · doorbell and cancelling · output · input · surroundings · what code leaves · compiling
and running · values and rich results · exceptions · executing · smaller requests · repair · idle work · start and main
loop.
"""

import builtins
import sys

# Our functions look names up in a copy, which user code cannot reach by assigning to `builtins`.
__builtins__ = dict(builtins.__dict__)

if __name__ == "__main__" and sys.path and sys.path[0] == __file__.rpartition("/")[0]:
    # Started as a script: this file's folder must not shadow modules, neither ours nor the user's.
    del sys.path[0]

# Only modules that are written in C or loaded anyway: every other import would delay `ready` by milliseconds. For
# the same reason `_signal` and not `signal` (which imports enum), and `_collections` and not `collections`.
import _signal
import _socket
import fcntl
import faulthandler
import gc
import io
import os
import select
import time
from _collections import deque
from _functools import partial
from _stat import S_ISREG
from _struct import Struct, pack, unpack_from
from _thread import _count as count_threads
from _thread import allocate_lock, get_ident, interrupt_main
from _weakref import ref

PROTOCOL = 1
FRAME_LIMIT = 64 << 20  # bytes of payload; a longer frame, or an empty one, is a broken channel
DEPTH_LIMIT = 64  # nesting of maps and arrays in one frame
VALUE_LIMIT = 64 << 10  # encoded bytes of a `result`'s value; larger ones are told by their repr only
OUTPUT_CHUNK = 256 << 10  # bytes of one `output` frame (stdio transport)
READ_SIZE = 64 << 10
PRIVATE_FD = 100  # our descriptors live at 100 and above, out of the way of user code

EXIT_PROTOCOL = 64  # the host spoke another protocol, or broke this one
EXIT_INTERNAL = 112  # a bug in this file
EXIT_HOST_GONE = 113

PID = os.getpid()
MAIN_THREAD = get_ident()
SIGINT = _signal.SIGINT
DOORBELL = _signal.SIGURG  # ignored by default: harmless before our handler is set, after exec, and in children
WORKER = globals()  # `frame.f_globals is WORKER` tells our frames from the user's
LINUX = sys.platform.startswith("linux")
F_SETSIG, F_GETSIG = 10, 11  # Linux

# Our own bindings, because user code may replace functions in their modules (clocks are often mocked).
os = type(sys)("os")
os.__dict__.update(sys.modules["os"].__dict__)
monotonic = time.monotonic
process_time = time.process_time
exit_now = os._exit
getpid = os.getpid
DONT_WAIT = int(_socket.MSG_DONTWAIT)
read_length = Struct(">I").unpack_from


# ---------------------------------------------------------------------------------------------------------------
# Codecs: MessagePack (default) and JSON. `encode` and `decode` are module globals that the codec in use provides.
# ---------------------------------------------------------------------------------------------------------------


def encode(value):
    """Returns `value` as MessagePack. Only the protocol's own types: TypeError, OverflowError or ValueError otherwise."""
    parts = []
    _encode(value, parts.append, DEPTH_LIMIT)
    return b"".join(parts)


def _encode(value, write, room):
    kind = type(value)
    if kind is str:
        _encode_text(value, write)
    elif kind is int:
        write(_encode_int(value))
    elif kind is float:
        write(pack_float(0xCB, value))
    elif value is None:
        write(b"\xc0")
    elif kind is bool:
        write(b"\xc3" if value else b"\xc2")
    elif kind is dict:
        if not room:
            raise ValueError(f"nested deeper than {DEPTH_LIMIT} levels")
        write(_container_head(len(value), 0x80, b"\xde", b"\xdf"))
        for key, item in value.items():
            known = KNOWN_KEYS.get(key)
            if known:
                write(known)
            else:
                _encode(key, write, room - 1)
            if type(item) is str and len(item) < 32 and item.isascii():  # the usual kind here, which spares calls
                write(SHORT_TEXT[len(item)])
                write(item.encode())
            else:
                _encode(item, write, room - 1)
    elif kind is list or kind is tuple:
        if not room:
            raise ValueError(f"nested deeper than {DEPTH_LIMIT} levels")
        write(_container_head(len(value), 0x90, b"\xdc", b"\xdd"))
        for item in value:
            _encode(item, write, room - 1)
    elif kind is bytes or kind is bytearray:
        size = len(value)
        if size < 256:
            write(b"\xc4%c" % size)
        elif size < 65536:
            write(b"\xc5" + size.to_bytes(2, "big"))
        else:
            write(b"\xc6" + size.to_bytes(4, "big"))
        write(value)
    else:
        raise TypeError(f"a {kind.__name__} cannot be sent")


def _encode_text(text, write):
    raw = text.encode() if text.isascii() else utf8(text)
    size = len(raw)
    if size < 32:
        write(SHORT_TEXT[size])
    elif size < 256:
        write(b"\xd9%c" % size)
    elif size < 65536:
        write(b"\xda" + size.to_bytes(2, "big"))
    else:
        write(b"\xdb" + size.to_bytes(4, "big"))
    write(raw)


pack_float = Struct(">Bd").pack
SHORT_TEXT = [b"%c" % (0xA0 | size) for size in range(32)]
KNOWN_KEYS = {  # those of frequent messages, encoded once
    key: SHORT_TEXT[len(key)] + key.encode()
    for key in (
        "type id execution_time value repr cpu_time memory_usage namespace_size new_names kind exception frames text "
        "file line name end_line col end_col message module stream seq data cpu_percent running elapsed where"
    ).split()
}


def _encode_int(value):
    if value >= 0:
        if value < 128:
            return b"%c" % value
        if value < 1 << 8:
            return b"\xcc%c" % value
        if value < 1 << 16:
            return b"\xcd" + value.to_bytes(2, "big")
        if value < 1 << 32:
            return b"\xce" + value.to_bytes(4, "big")
        if value < 1 << 64:
            return b"\xcf" + value.to_bytes(8, "big")
    elif value >= -32:
        return b"%c" % (value & 255)
    elif value >= -1 << 7:
        return pack(">Bb", 0xD0, value)
    elif value >= -1 << 15:
        return pack(">Bh", 0xD1, value)
    elif value >= -1 << 31:
        return pack(">Bi", 0xD2, value)
    elif value >= -1 << 63:
        return pack(">Bq", 0xD3, value)
    raise OverflowError("an integer beyond 64 bits cannot be sent")


def _container_head(size, short, head16, head32):
    if size < 16:
        return b"%c" % (short | size)
    if size < 65536:
        return head16 + size.to_bytes(2, "big")
    return head32 + size.to_bytes(4, "big")


def utf8(text):
    """Returns `text` as valid UTF-8: a lone surrogate, which has no encoding, is written as its escape."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def decode(data):
    """Returns the one value that the bytes `data` hold; bytes that are no such value are a ValueError."""
    # Lengths are not checked one by one. Positions only grow, so a length that points past the end either makes a
    # later index fail or leaves `end` beyond the data; both are refused here, and nothing is allocated by a length.
    try:
        if data.startswith(PLAIN_EXECUTE):
            value = _decode_plain_execute(data)
            if value is not None:
                return value
        value, end = _decode(data, 0, DEPTH_LIMIT)
    except IndexError:
        raise ValueError("truncated MessagePack") from None
    if end != len(data):
        raise ValueError(f"MessagePack of {end} bytes in a frame of {len(data)}")
    return value


PLAIN_EXECUTE = b"\x83\xa4type\xa7execute\xa2id", b"\x84\xa4type\xa7execute\xa2id"
PLAIN_HEAD = len(PLAIN_EXECUTE[0])
FRESH = b"\xa5fresh\xc3"


def _decode_plain_execute(data):
    """The most frequent message, without a loop: a short id, code of up to 255 bytes, and perhaps `fresh`. None if it
    is another."""
    head, _, code = data.partition(b"\xa4code")
    if SHORT_TEXT_SPAN[head[PLAIN_HEAD]] != len(head) - PLAIN_HEAD:
        return None
    fresh = data[0] == 0x84
    if fresh:
        if not code.endswith(FRESH):
            return None
        code = code[: -len(FRESH)]
    if code[0] == 0xD9:
        if code[1] != len(code) - 2:
            return None
        code = code[2:]
    elif SHORT_TEXT_SPAN[code[0]] == len(code):
        code = code[1:]
    else:
        return None
    message = {"type": "execute", "id": head[PLAIN_HEAD + 1 :].decode(), "code": code.decode()}
    if fresh:
        message["fresh"] = True
    return message


def _decode(data, at, room):
    head = data[at]
    at += 1
    if 0xA0 <= head < 0xC0:
        end = at + (head & 31)
        return data[at:end].decode(), end
    if head < 0x80:
        return head, at
    if head < 0x90:
        return _decode_map(data, at, head & 15, room)
    if head < 0xA0:
        return _decode_array(data, at, head & 15, room)
    if head >= 0xE0:
        return head - 256, at
    if head == 0xC0:
        return None, at
    if head == 0xC2:
        return False, at
    if head == 0xC3:
        return True, at
    if head == 0xCB:
        if len(data) - at < 8:
            raise IndexError
        return unpack_from(">d", data, at)[0], at + 8
    if head == 0xCA:
        if len(data) - at < 4:
            raise IndexError
        return unpack_from(">f", data, at)[0], at + 4
    if head == 0xC1 or 0xC7 <= head <= 0xC9 or 0xD4 <= head <= 0xD8:
        raise ValueError(f"byte {head:#04x} is not used by the protocol")
    return _decode_sized(data, at, head, room)


def _decode_sized(data, at, head, room):
    """Integers, and everything whose length has bytes of its own."""
    width = _WIDTHS[head]
    number = int.from_bytes(data[at : at + width], "big", signed=0xD0 <= head <= 0xD3)
    at += width
    if head <= 0xC6:
        return data[at : at + number], at + number
    if head <= 0xD3:
        return number, at
    if head <= 0xDB:
        return data[at : at + number].decode(), at + number
    if head <= 0xDD:
        return _decode_array(data, at, number, room)
    return _decode_map(data, at, number, room)


_WIDTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_WIDTHS.update({0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4})


SHORT_TEXT_SPAN = [0] * 256  # what a text of up to 31 bytes takes, by its first byte; 0 for everything else
SHORT_TEXT_SPAN[0xA0:0xC0] = range(1, 33)


def _decode_array(data, at, size, room):
    if not room:
        raise ValueError(f"nested deeper than {DEPTH_LIMIT} levels")
    items = []
    for _ in range(size):
        item, at = _decode(data, at, room - 1)
        items.append(item)
    return items, at


def _decode_map(data, at, size, room):
    if not room:
        raise ValueError(f"nested deeper than {DEPTH_LIMIT} levels")
    items = {}
    for _ in range(size):
        end = at + SHORT_TEXT_SPAN[data[at]]  # as nearly every key and many a value; spares calls
        if end > at:
            key = data[at + 1 : end].decode()
            at = end
        else:
            key, at = _decode(data, at, room - 1)
            if type(key) in (list, dict):
                key = as_key(key)
        end = at + SHORT_TEXT_SPAN[data[at]]
        if end > at:
            items[key] = data[at + 1 : end].decode()
            at = end
        else:
            items[key], at = _decode(data, at, room - 1)
    return items, at


def as_key(value):
    """A list that is a key becomes a tuple; a map cannot be one."""
    if type(value) is list:
        return tuple([as_key(item) for item in value])
    if type(value) is dict:
        raise ValueError("a map cannot be a key")
    return value


def use_fast_codec():
    """Switches to the `msgpack` package if it is installed and proves to speak as we do: a tenth of the CPU time."""
    global encode, decode
    try:
        msgpack = load("msgpack")
        if msgpack is None or msgpack.version < (1, 0):
            return
        fast_encode = msgpack.Packer(use_bin_type=True, autoreset=True, unicode_errors="backslashreplace").pack
        unpack = partial(msgpack.unpackb, raw=False, strict_map_key=False)
        careful_decode = decode

        def fast_decode(data):
            # Where the two differ, in odd keys and in how deep they go, ours decides.
            try:
                value = unpack(data)
            except TypeError:
                return careful_decode(data)
            for item in value.values() if type(value) is dict else ():
                if type(item) in (list, dict):
                    return careful_decode(data)
            return value

        # Its defaults have changed between versions, so it is asked and not trusted.
        sample = {"a": [1, -1, 2.5, None, True, b"x", "y" * 300, {"k": "v"}], "big": "z" * 70000, "\ud800": -(1 << 63)}
        if fast_encode(sample) != encode(sample) or fast_decode(encode(sample)) != decode(encode(sample)):
            return
    except Exception:
        return
    encode, decode = fast_encode, fast_decode


def use_json_codec():
    """Switches to JSON, where marked objects stand for what it lacks: $bytes, $float, and $map for odd keys."""
    global encode, decode
    import binascii
    import json

    def base64(data):
        return binascii.b2a_base64(data, newline=False).decode()

    def bytes_object(value):
        if type(value) in (bytes, bytearray):
            return {"$bytes": base64(value)}
        raise TypeError(f"a {type(value).__name__} cannot be sent")

    def restore(item):
        """An object that does not hold what its mark promises is an ordinary one."""
        if len(item) != 1:
            return item
        ((mark, held),) = item.items()
        try:
            if mark == "$bytes":
                data = binascii.a2b_base64(held + "=" * (-len(held) % 4))
                return data if base64(data).rstrip("=") == held.rstrip("=") else item  # it skips what it does not know
            if mark == "$float":
                return FLOATS.get(held, item)
            if mark == "$map":
                return {as_key(key): value for key, value in held}
        except (TypeError, ValueError):
            pass
        return item

    def refuse_constant(name):
        raise ValueError(f"{name} is no JSON")

    def spell_out(value):
        """The slow path: replaces what the encoder refuses or would write as something else."""
        kind = type(value)
        if kind is float and value - value != 0:
            return {"$float": repr(value)}
        if kind is str:
            return utf8(value).decode()
        if kind is dict:
            if all(type(key) is str and not key.startswith("$") for key in value):
                return {spell_out(key): spell_out(item) for key, item in value.items()}
            return {"$map": [[spell_out(key), spell_out(item)] for key, item in value.items()]}
        return [spell_out(item) for item in value] if kind in (list, tuple) else value

    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=bytes_object)
    decoder = json.JSONDecoder(object_hook=restore, parse_constant=refuse_constant)

    def encode(value):
        if type(value) is dict and ("value" in value or "metadata" in value):
            value = spell_out(value)  # maps of the user's
        try:
            return encoder.encode(value).encode()
        except ValueError:  # not a number, infinite, or a lone surrogate
            return encoder.encode(spell_out(value)).encode()

    def decode(data):
        text = data.decode()
        if text.count("[") + text.count("{") > DEPTH_LIMIT:
            check_json_depth(text)
        try:
            return decoder.decode(text)
        except RecursionError as problem:
            raise ValueError(f"bad JSON: {problem}") from None


FLOATS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def check_json_depth(text):
    """Refuses JSON that nests too deeply, before a recursive parser sees it."""
    depth = 0
    in_string = escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif in_string:
            escaped = character == "\\"
            in_string = character != '"'
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            if depth > DEPTH_LIMIT:
                raise ValueError(f"nested deeper than {DEPTH_LIMIT} levels")
        elif character in "]}":
            depth -= 1


# ---------------------------------------------------------------------------------------------------------------
# Channel: frames in both directions, over a socket or a pair of pipes
# ---------------------------------------------------------------------------------------------------------------


def private(fd):
    """Duplicates `fd` to a high number that children do not inherit."""
    for floor in (PRIVATE_FD, 10, 3):  # a small RLIMIT_NOFILE forbids the first
        try:
            return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, floor)
        except OSError:
            continue
    raise OSError(f"no free descriptor for a copy of fd {fd}")


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


class Channel:
    """Frames to and from the host.

    Reading belongs to the main thread: `wait` while it is idle, `take_available` from the signal handler.
    Sending is open to every thread and to the signal handler: a frame is queued, and whoever gets the lock sends
    the queue. Nobody ever waits for that lock, so a handler cannot deadlock with the frame that it interrupted.
    """

    def __init__(self, link):
        self.link = link
        self.buffer = bytearray()
        self.incoming = deque()  # decoded messages nobody has looked at
        self.parked = deque()  # messages that arrived while code ran and are for later
        self.outgoing = deque()  # frames: as bytes, or as what makes them, see `_send_queue`
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
        data = encode(message)
        self.send_frame(len(data).to_bytes(4, "big") + data)

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
        """Sends a frame that must be with the kernel before something else happens. Returns None if it is, and otherwise what
        `wait_until_sent` waits for: threads of earlier code may have much to send before it."""
        if self.send_frame(frame):
            return None
        sent = allocate_lock()
        sent.acquire()
        self.send_frame((release, sent))  # made when all that was queued before it has been sent
        return sent

    def wait_until_sent(self, sent):
        """Whoever holds the lock sends it, for as long as the host takes anything; if nobody does any more, we do."""
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
            if type(frame) is tuple:  # made only now: the one sender numbers the output in the order of the frames
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
    """A frame of no bytes, that says when its turn has come."""
    lock.release()
    return b""


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


def log(level, text):
    channel.send({"type": "log", "level": level, "message": text[:4096]})


# ---------------------------------------------------------------------------------------------------------------
# State: what the signal handler and the main loop share. Only the main thread changes it.
# ---------------------------------------------------------------------------------------------------------------

FOR_EVER = 1e6  # seconds
POLITE, FORCE = 1, 2  # how urgently a running execution has been asked to stop


DEFAULT_HANDLER = _signal.default_int_handler


class State:
    def __init__(self):
        self.current = None  # the running Execution
        self.user = False  # user code may be on the stack
        self.main_reads = True  # the main thread looks at the channel next: the handler keeps out
        self.waiting = False  # inside input(), at a point where a handler may raise
        self.serving = False  # the handler is at work
        self.pending = False  # the doorbell rang while the handler kept out
        self.rung = False  # CPython 3.9: the next SIGINT is a Bell of ours
        self.forked = False  # this is a child that user code forked
        self.branching = False  # the session is being forked: what comes of that is no child of user code
        self.background = False  # asyncio tasks run between executions
        self.tainted = False  # a forced cancel cut `finally` blocks short
        self.forced = None  # the exception of a forced cancel; see `raise_forced`
        self.known_threads = frozenset()  # those of which was told, or of the warmup
        self.handlers = []  # of `WATCHED_SIGNALS`, as what is not stateless has left them
        self.handler = DEFAULT_HANDLER  # of SIGINT, as the code has set it; see `set_signal`
        self.shutdown = False
        self.patience = FOR_EVER  # seconds that the code has for its end
        self.sequence = 0  # executions so far; names them `<exec:N>`
        self.stop_left = False  # the loop may stop at once when it runs again
        self.abandoned = []  # event loops and tasks that a forced cancel left in an unknown state
        self.loop = None  # the event loop of top-level await; lives on between executions
        self.home = None  # the working folder of the start
        self.folder = None  # the working folder, as long as only executions ran that give it back
        self.module = None  # the user's __main__
        self.namespace = None
        self.baseline = 0  # names that every new module has
        self.future = 0  # `from __future__` flags that later cells inherit
        self.holds = False  # what code has opened may be open yet, though it ran in a namespace of its own
        self.untidy = False  # a namespace was thrown away, and lives on in cycles; collect them when idle
        self.clean_path = list(sys.path)  # sys.path before the host or the user changed it
        self.idle = False  # the idle work is done
        self.framed_output = False  # prints travel as frames (stdio transport)


class Limits:
    """What `init` may change."""

    max_repr = 64 << 10  # characters
    max_frames = 60
    max_display = 16 << 20  # bytes of one display's data
    import_grace = 0.5  # seconds for which an interrupt waits for an import to finish


class Execution:
    """One request that runs user code, from `started` to its `result` or `error`."""

    filename = None
    capture = allow_stdin = True
    fresh = silent = rich = False
    level = 0  # asked to stop: 0, POLITE or FORCE
    raised = 0  # the level that user code has been given: 0 or POLITE, for FORCE is never used up
    insist = False  # force was asked for after the polite exception had been given
    given = None  # the Bell (weakly) of a polite exception; dead if the code has swallowed it
    asked_at = 0.0
    interrupt = False  # a KeyboardInterrupt is due
    interrupted = False  # one was given
    signals = 0  # SIGINT that the host sends along with what it has said, and that were not seen yet
    task = None  # the asyncio task, for top-level await
    context = None  # its context variables when it ended, where they are the session's too
    outputs = 0  # `output` frames so far (stdio transport)
    namespace = newest = None  # where it runs, and the last name in there before
    packed_id = b""  # the id as MessagePack
    sources = None  # the linecache that holds its source
    leaves_nothing = False  # no function or class that could want the source later
    closed = False

    def __init__(self, id):
        self.id = id
        self.started_at = monotonic()
        self.cpu_at_start = process_time()

    def ask(self, level):
        """Asks the code to stop. A repeated polite request interrupts again."""
        if level == FORCE:
            self.insist = self.raised == POLITE
        elif self.level == POLITE:
            self.raised = 0
        self.level = max(self.level, level)
        self.asked_at = self.asked_at or monotonic()

    def due(self):
        """Whether user code is to be given an exception."""
        if self.interrupt or (self.level and not self.raised):
            return True
        return self.level == FORCE and (self.insist or (self.given is not None and self.given() is None))


state = State()
limits = Limits()
channel = streams = health = codec_name = idle_work = None  # set by `start`


# ---------------------------------------------------------------------------------------------------------------
# Doorbell: control frames while user code runs
# ---------------------------------------------------------------------------------------------------------------


class Bell:
    """Rings the doorbell again when it is freed.

    The interpreter frees it from C, so no Python frame of ours stands between the ringing and the next look at
    signals. As the last local variable of a signal handler it means "call me again, a little later".
    """

    __slots__ = ("__weakref__",)

    if sys.version_info >= (3, 10):
        __del__ = staticmethod(partial(interrupt_main, DOORBELL))
    else:
        __del__ = staticmethod(interrupt_main)  # can only simulate SIGINT; `on_sigint` asks `state.rung`


def new_bell():
    state.rung = True
    return Bell()


def on_doorbell(signum, frame):
    """SIGURG: something has arrived, or a Bell was freed."""
    if state.main_reads:  # what arrives while the result is on its way rings too: as cheap as can be
        state.pending = True
        return
    bell = answer_doorbell(frame)  # noqa: F841  freed when this frame is, and not before: rings again, if it must


def answer_doorbell(frame):
    if state.main_reads or state.forked:
        state.pending = True
        return None
    try:
        serve_channel(frame)
    except RecursionError:  # the user's stack has no room for us; try again when it has shrunk
        return new_bell()
    return deliver(frame)


def on_sigint(signum, frame):
    """SIGINT: a terminal, or `os.kill`; or the host, behind a frame that says what it wants. Of those, native code hears
    only the signal; to us it is a doorbell. One that comes late comes before the next execution."""
    if sys.version_info < (3, 10) and (state.rung or (state.current is not None and state.current.level)):
        state.rung = False  # two Bells may be freed behind one look; a cancel that is known covers the second
        bell = answer_doorbell(frame)
    else:
        bell = answer_sigint(frame)  # noqa: F841  as above


def answer_sigint(frame):
    execution = state.current
    if execution is None or state.forked:
        return None
    if state.waiting:
        channel.take_available()
        sort_incoming(frame)
    elif not state.main_reads and not state.serving:
        try:
            serve_channel(frame)  # the frame may be there already
        except RecursionError:
            state.pending = True
    if execution.signals:
        execution.signals -= 1
    elif not execution.level:
        execution.interrupt = True
        execution.asked_at = execution.asked_at or monotonic()
    if state.waiting and execution.due():
        raise_due(execution, frame)
    return deliver(frame)


def set_signal(signum, handler, /):
    """In the place of `signal.signal`: ours stays the handler of SIGINT, and calls that of the code where that may raise."""
    if signum != SIGINT or state.forked:
        return real_signal(signum, handler)
    if not callable(handler) and handler not in (_signal.SIG_IGN, _signal.SIG_DFL):
        return real_signal(signum, handler)  # refuses it
    real_signal(signum, handler if handler == _signal.SIG_IGN else on_sigint)
    before, state.handler = state.handler, handler
    return before


def get_handler(signum, /):
    """In the place of `signal.getsignal`."""
    return state.handler if signum == SIGINT and not state.forked else get_signal(signum)


real_signal = _signal.signal


def serve_channel(frame):
    """Reads the channel without waiting, acts on control messages and parks the others."""
    if state.serving:  # a doorbell within the doorbell: the outer call looks again
        state.pending = True
        return
    collecting = gc.isenabled()
    gc.disable()  # a collection in here would run the user's finalizers where no cancel can reach them
    try:
        state.pending = True
        while state.pending:  # asked after `serving` is unset: a doorbell is either seen here or answered by itself
            state.serving = True
            state.pending = False
            channel.take_available()
            sort_incoming(frame)
            state.serving = False
    finally:
        state.serving = False
        if collecting:
            gc.enable()
    if state.background and channel.parked and state.loop is not None:
        state.loop.call_soon_threadsafe(stop_background)


def stop_background():
    """Ends the background run of the loop. One that has ended meanwhile may leave this to the next execution's run, which
    it must not end."""
    if state.background:
        state.loop.stop()


def sort_incoming(frame):
    incoming = channel.incoming
    # Without an execution there is nothing to control: only pings are answered, the rest keeps its order, so that a
    # cancel stays behind the execute that it is for.
    control = PING_ONLY if state.current is None else CONTROL
    while incoming:
        message = incoming[0]
        kind = message.get("type")
        act = control.get(kind) if type(kind) is str else None
        if act is None:
            channel.parked.append(message)
        else:
            act(message, frame)
        incoming.popleft()  # only now: if the stack had no room for the above, the message is still there


def control_ping(message, frame):
    send_heartbeat(message.get("seq"), frame)
    flush_if_writable()


def control_cancel(message, frame):
    execution = state.current
    id = message.get("id")
    if type(id) is not str:
        complain("a cancel without an id", "id: str", type(id).__name__)
        return
    hit = execution is not None and id == execution.id
    if hit:
        force = message.get("force") is True
        execution.ask(FORCE if force else POLITE)
        execution.signals += not force
    channel.send({"type": "cancel_ack", "id": id, "hit": hit})


def control_interrupt(message, frame):
    execution = state.current
    if execution is not None:
        execution.interrupt = True
        execution.signals += 1
        execution.asked_at = execution.asked_at or monotonic()


def control_input(message, frame):
    request = message.get("request")
    question = questions.get(request) if type(request) is int else None
    if question is None or question.execution.id != message.get("id"):
        return  # too late, or an answer to somebody else
    if question.reply is None:
        question.reply = message
        question.answered.release()


def control_shutdown(message, frame):
    state.shutdown = True
    if type(message.get("timeout")) in (int, float) and message["timeout"] >= 0:
        state.patience = min(float(message["timeout"]), FOR_EVER)
    if state.current is not None:
        state.current.ask(POLITE)


CONTROL = {
    "ping": control_ping,
    "cancel": control_cancel,
    "interrupt": control_interrupt,
    "input_response": control_input,
    "shutdown": control_shutdown,
}
PING_ONLY = {"ping": control_ping}


def complain(what, expected=None, got=None, id=None):
    """Answers a message that makes no sense; the channel itself is sound and goes on."""
    message = {"type": "protocol_error", "what": what}
    for key, value in (("expected", expected), ("got", got), ("id", id)):
        if value is not None:
            message[key] = value[:200]
    channel.send(message)


# -- health, as told by a heartbeat


class Health:
    """Memory and CPU of this process, from where they cost least."""

    def __init__(self):
        self.page = os.sysconf("SC_PAGE_SIZE")
        self.told, self.told_at = 0, 0.0
        self.cpu_at = process_time()
        self.seen_at = monotonic()
        try:
            opened = os.open("/proc/self/statm", os.O_RDONLY)
            self.statm = private(opened)
            os.close(opened)
        except OSError:
            self.statm = None

    def memory(self, now):
        """Resident bytes, as they were within the last millisecond."""
        if now - self.told_at > 0.001:
            self.told, self.told_at = self.read_memory(), now
        return self.told

    def read_memory(self):
        if self.statm is not None:
            try:
                return int(os.pread(self.statm, 64, 0).split()[1]) * self.page
            except (OSError, ValueError, IndexError):  # user code closed the descriptor
                pass
        resource = load("resource")
        if resource is None:
            return 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def cpu_percent(self):
        """CPU use since the last call."""
        cpu, now = process_time(), monotonic()
        percent = 100.0 * (cpu - self.cpu_at) / max(now - self.seen_at, 1e-6)
        self.cpu_at, self.seen_at = cpu, now
        return percent


def send_heartbeat(seq, frame):
    message = {
        "type": "heartbeat",
        "memory_usage": health.memory(monotonic()),
        "cpu_percent": health.cpu_percent(),
        "namespace_size": namespace_size(),
    }
    if type(seq) is int:
        message["seq"] = seq
    execution = state.current
    if execution is not None:
        message["running"] = execution.id
        message["elapsed"] = monotonic() - execution.started_at
        while frame is not None and frame.f_globals is WORKER:
            frame = frame.f_back
        if frame is not None:
            message["where"] = [frame.f_code.co_filename[:1024], frame.f_lineno or 0, frame.f_code.co_name]
    channel.send(message)


# ---------------------------------------------------------------------------------------------------------------
# Cancelling: how the running code is made to stop
# ---------------------------------------------------------------------------------------------------------------


def deliver(frame):
    """Raises into user code what is due there. Returns a Bell if that is impossible just now, to be called again."""
    execution = state.current
    if execution is None or not state.user or not execution.due():
        return None
    if state.main_reads or state.serving:  # whoever reads, or serves further out, delivers when it is done
        return None
    if frame is None or (frame.f_globals is WORKER and frame.f_code is not RUN_LOOP):
        return new_bell()
    raise_due(execution, frame)
    return None


def deliver_here():
    """The same from a place of ours where an exception is welcome, just before user code starts."""
    execution = state.current
    if execution.due():
        raise_due(execution, sys._getframe(1))


def raise_due(execution, frame):
    """Raises KeyboardInterrupt at `frame`, or arranges for it."""
    if not execution.raised and monotonic() - execution.asked_at < limits.import_grace:
        importer = importing_frame(frame)
        if importer is not None:
            raise_after_import(importer)
            return
    if sys.gettrace() is trace_import:
        sys.settrace(None)
    if execution.level == FORCE and execution.raised:
        state.tainted = True
        trace_user_frames(frame)
        raise_forced()
    # The polite exception comes first in any case: it may be all that it takes.
    text = ("cancelled",) if execution.level else ()
    first = not execution.raised and not execution.interrupted
    execution.interrupted = execution.interrupted or execution.interrupt
    execution.interrupt = False
    if execution.level:
        execution.raised = POLITE
    if first and isinstance(sys.exc_info()[1], KeyboardInterrupt):
        return  # native code has had the signal, and this is what it made of it
    if callable(state.handler) and state.handler is not DEFAULT_HANDLER:
        state.handler(SIGINT, frame)
        return
    task = execution.task
    if task is not None and not task.done() and in_event_loop(frame):
        state.loop.call_soon_threadsafe(task.cancel)  # CancelledError at the await, so that clean-up can run
        return
    if execution.level == FORCE:
        raise_watched(execution)
    raise KeyboardInterrupt(*text)


def in_event_loop(frame):
    """Whether the main thread is in the event loop itself: no coroutine and no callback is between it and us; and no frame
    at all, if the loop is written in C."""
    while frame is not None and frame.f_code is not RUN_LOOP:
        name = frame.f_globals.get("__name__")
        if type(name) is not str or name.partition(".")[0] not in ("asyncio", "selectors"):
            return False
        frame = frame.f_back
    return frame is not None


# -- within an import. An interrupted import leaves packages half-made in sys.modules, broken for the rest of the
#    session. So the exception waits, for `limits.import_grace` at most, until the import statement is done.


def importing_frame(frame):
    """The frame that runs the outermost import statement, if the main thread is inside one."""
    importer = None
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            importer = frame.f_back
        frame = frame.f_back
    return importer if importer is not None and importer.f_globals is not WORKER else None


def raise_after_import(importer):
    if importer.f_trace is not trace_importer:
        importer.f_trace = trace_importer
        sys.settrace(trace_import)


def trace_importer(frame, event, argument):
    if event in ("line", "return"):
        sys.settrace(None)
        raise_if_due(frame)
    return trace_importer


def trace_import(frame, event, argument):
    """Called for every function that the import calls: watches the time."""
    execution = state.current
    if execution is None or monotonic() - execution.asked_at >= limits.import_grace:
        sys.settrace(None)
        raise_if_due(frame)
    return None


def raise_if_due(frame):
    execution = state.current
    if execution is not None and state.user and execution.due() and frame.f_globals is not WORKER:
        raise_due(execution, frame)


# -- by force: code that swallows KeyboardInterrupt. Three means together, because each alone fails on some version:
#      1. the exception carries a Bell. Swallowing frees it, which rings again, from C: the next check raises again.
#      2. another Bell is dropped right before the raise, so that every check from then on raises (not on 3.9, where
#         the check would come before the `raise` itself).
#      3. a trace function on the user's frames raises at the next line, which is inside an `except` clause too.
#         It never raises at an `exception` event: CPython unsets tracing there, and nothing would change.


def raise_forced():
    error = KeyboardInterrupt("cancelled by force")
    error.bell = new_bell()
    # Kept here and not in a local: a frame of the exception's own traceback that held it would make a cycle, and a
    # swallowed exception would not be freed.
    state.forced = error
    del error
    if sys.version_info >= (3, 10):
        bell = Bell()
        bell = None  # noqa: F841  rings now; nothing from here to the raise looks at signals
    raise state.forced


def raise_watched(execution):
    """Raises the polite exception so that swallowing it is noticed; for a cancel that insists already."""
    error = KeyboardInterrupt("cancelled")
    error.bell = new_bell()
    execution.given = ref(error.bell)
    holder = [error]
    del error
    raise holder.pop()  # nothing but the raise holds it


def trace_user_frames(frame):
    while frame is not None:
        if frame.f_globals is not WORKER:
            frame.f_trace = trace_forced
        frame = frame.f_back
    sys.settrace(trace_forced)


def trace_forced(frame, event, argument):
    if frame.f_globals is WORKER:
        return None
    if not state.user:
        sys.settrace(None)
        return None
    if event not in ("line", "call"):
        return trace_forced
    raise_forced()


def clean_up_after_cancel():
    """Puts right what an exception at an arbitrary place may have left behind."""
    sys.settrace(None)
    state.forced = None
    drop_orphaned_modules()
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        try:
            if asyncio._get_running_loop() is not None:  # a forced exception skipped the `finally` of run_forever
                asyncio._set_running_loop(None)
                state.loop = None
        except AttributeError:
            pass


def drop_orphaned_modules():
    """Forgets submodules whose parent's import failed: they would never be bound to the parent again."""
    modules = sys.modules
    for name in [name for name in list(modules) if "." in name]:
        parent = name.rpartition(".")[0]
        while parent and parent in modules:
            parent = parent.rpartition(".")[0]
        if parent:
            modules.pop(name, None)


# ---------------------------------------------------------------------------------------------------------------
# Output: sys.stdout and sys.stderr
# ---------------------------------------------------------------------------------------------------------------


class FrameOutput(io.RawIOBase):
    """The stdio transport's raw stream: what is written becomes `output` frames."""

    def __init__(self, name, fd):
        self.name, self.stream, self.fd = f"<{name}>", name, fd

    def writable(self):
        return True

    def fileno(self):
        return self.fd

    def write(self, data):
        execution = state.current
        with memoryview(data) as view:
            chunk = bytes(view[:OUTPUT_CHUNK])
        if execution is None or state.forked:
            return os.write(self.fd, chunk)  # no execution to attribute it to: the worker's log
        channel.send_frame((output_frame, execution, self.stream, chunk))
        return len(chunk)


def output_frame(execution, stream, data):
    """Called by the one sender when the frame's turn comes, so that numbers and frames are in the same order."""
    if execution.closed:  # a thread printed while the result was on its way
        os.write(2, data)
        return b""
    payload = encode({"type": "output", "id": execution.id, "stream": stream, "seq": execution.outputs, "data": data})
    execution.outputs += 1
    return len(payload).to_bytes(4, "big") + payload


def closing_frame(execution, frame):
    execution.closed = True
    return frame


def open_output(name):
    """A new sys.stdout or sys.stderr: line-buffered, and no text is refused."""
    fd = 1 if name == "stdout" else 2
    if state.framed_output:
        raw = FrameOutput(name, fd)
    else:
        raw = io.FileIO(fd, "w", closefd=False)
        raw.name = f"<{name}>"
    stream = io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", "\n", line_buffering=True)
    stream.mode = "w"
    return stream


def flush_output():
    """Sends on what has been printed so far; the host reads it before the frame that follows."""
    try:
        stdout, stderr = streams.stdout, streams.stderr
        stdout.flush()
        stderr.flush()
        if sys.stdout is stdout and sys.stderr is stderr:
            return None
    except Exception:
        pass
    problem = None
    for stream in stdout, stderr:
        try:
            stream.flush()
        except Exception as error:  # closed, or its descriptor is gone: `repair` sees to it
            problem = error
    for stream in getattr(sys, "stdout", None), getattr(sys, "stderr", None):
        if stream is not stdout and stream is not stderr and stream is not None:
            try:
                stream.flush()
            except Exception:  # the user's own object
                pass
    return problem


def flush_if_writable():
    """The same from a signal handler, which must not wait for a host that does not read."""
    if state.framed_output:
        return
    for stream, fd in (streams.stdout, 1), (streams.stderr, 2):
        try:
            ready = select.poll()
            ready.register(fd, select.POLLOUT)
            if ready.poll(0):
                stream.flush()
        except (OSError, RuntimeError, ValueError):  # RuntimeError: we interrupted this very stream
            pass


# ---------------------------------------------------------------------------------------------------------------
# Input: input(), getpass and sys.stdin ask the host
# ---------------------------------------------------------------------------------------------------------------


class Question:
    def __init__(self, execution):
        self.execution = execution
        self.reply = None
        self.answered = allocate_lock()
        self.answered.acquire()


questions = {}  # request number -> Question
request_numbers = iter(range(1, 1 << 62))


def ask_host(prompt, password):
    """Returns one line from whoever sits at the host; EOFError if nobody does."""
    execution = state.current
    if execution is None or state.forked or not execution.allow_stdin:
        raise EOFError("input is not available here")
    flush_output()
    request = next(request_numbers)
    question = questions[request] = Question(execution)
    message = {"type": "input_request", "id": execution.id, "request": request, "prompt": shorten(prompt, 65536)}
    if password:
        message["password"] = True
    try:
        channel.send(message)
        if get_ident() == MAIN_THREAD:
            wait_for_reply(question, execution)
        else:
            question.answered.acquire()  # the signal handler, or the end of the execution, releases it
    finally:
        questions.pop(request, None)
    reply = question.reply
    value = reply.get("value")
    if reply.get("eof") or type(value) is not str:
        raise EOFError("end of input")
    return value


def wait_for_reply(question, execution):
    """The main thread's wait: it reads the channel itself meanwhile."""
    readable = select.poll()
    readable.register(channel.link.input, select.POLLIN)
    state.main_reads = True
    try:
        sort_incoming(sys._getframe())
        while question.reply is None and not execution.due():
            # Nothing is consumed while `waiting` is set, so that on_sigint may raise.
            state.waiting = True
            if execution.interrupt:
                break
            readable.poll()
            state.waiting = False
            channel.take_available()
            sort_incoming(sys._getframe())
    finally:
        state.waiting = False
        state.main_reads = False
        if state.pending:  # the doorbell rang after the last look
            serve_channel(sys._getframe())
    if execution.due():
        raise_due(execution, sys._getframe())
        if question.reply is None and execution.level != FORCE:  # a handler of the code has had it
            return wait_for_reply(question, execution)
    if question.reply is None:
        question.reply = {"eof": True}


def answer_leftover_questions(execution):
    """Threads that still wait for input when their execution ends get the end of file."""
    for question in list(questions.values()):
        if question.execution is execution and question.reply is None:
            question.reply = {"eof": True}
            question.answered.release()


def ask_line(prompt="", /):
    """Reads a line from the host, which is shown the prompt; the newline is stripped."""
    return ask_host(str(prompt), False)


def ask_password(prompt="Password: ", stream=None, **_):
    """Reads a line from the host, which is asked not to show it."""
    return ask_host(str(prompt), True)


class HostInput(io.TextIOBase):
    """sys.stdin: each line is a question to the host."""

    encoding = "utf-8"
    errors = "strict"
    mode = "r"
    name = "<stdin>"

    def __init__(self):
        self.rest = ""  # of a line that was read in part
        self.bytes = None

    def readable(self):
        return True

    def fileno(self):
        return 0  # /dev/null; for subprocesses that are given this object

    def close(self):  # exit() closes stdin
        pass

    def readline(self, size=-1):
        line = self.rest
        if not line:
            try:
                line = ask_host("", False) + "\n"
            except EOFError:
                return ""
        cut = len(line) if size is None or size < 0 else size
        self.rest = line[cut:]
        return line[:cut]

    def read(self, size=-1):
        if size is not None and size >= 0:
            return self.readline(size)
        return "".join(iter(self.readline, ""))

    @property
    def buffer(self):
        if self.bytes is None:
            self.bytes = io.BufferedReader(HostBytes(self))
        return self.bytes


class HostBytes(io.RawIOBase):
    """sys.stdin.buffer: the same lines, for code that reads bytes."""

    def __init__(self, lines):
        self.lines = lines
        self.rest = b""

    def readable(self):
        return True

    def fileno(self):
        return 0

    def readinto(self, into):
        self.rest = self.rest or self.lines.readline().encode("utf-8", "surrogatepass")
        count = min(len(into), len(self.rest))
        into[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count


class GetpassFinder:
    """Makes getpass ask the host. The original opens the terminal, and a read from there would stop this process."""

    def find_spec(self, name, path=None, target=None):
        if name != "getpass":
            return None
        spec = sys.modules["_frozen_importlib_external"].PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute_module = spec.loader.exec_module

            def exec_module(module):
                execute_module(module)
                module.getpass = module.unix_getpass = ask_password

            spec.loader.exec_module = exec_module
        return spec


# ---------------------------------------------------------------------------------------------------------------
# Surroundings: the namespace, and what one execution borrows and gives back
# ---------------------------------------------------------------------------------------------------------------


def load(name):
    """Imports a module for our own use, never from a folder that the user or the host has put on sys.path."""
    module = sys.modules.get(name)
    if module is not None:
        return module
    theirs = sys.path
    sys.path = list(state.clean_path)
    try:
        return __import__(name)
    except Exception:  # it is not there, or user code broke what it needs
        return None
    finally:
        sys.path = theirs


def use_new_module():
    """Gives the session an empty `__main__`. A real module: pickle, dataclasses and `import __main__` need it."""
    module = type(sys)("__main__")
    names = module.__dict__
    names["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        names["__annotations__"] = {}
    sys.modules["__main__"] = module
    state.module, state.namespace, state.baseline, state.future = module, names, len(names), 0


def namespace_size():
    return max(0, len(state.namespace) - state.baseline)


class Borrowed:
    """Surroundings of its own for one execution: a namespace if it is fresh, path and folder if given."""

    FIELDS = frozenset(("fresh", "sys_path", "cwd"))

    def __init__(self, message):
        self.fresh = message.get("fresh") is True
        self.module = (state.module, state.namespace, state.baseline, state.future)
        self.streams = sys.stdin, sys.stdout, sys.stderr
        self.argv = sys.argv
        self.path = sys.path
        self.entries = sys.path[:]
        self.added = message.get("sys_path") or []
        self.moves = self.fresh or message.get("cwd") is not None
        # Asked for at the end anyway; where nothing else ran since the last end, the answer still holds.
        self.folder = current_folder() if state.folder is None else state.folder
        state.folder = None
        self.loop = state.loop
        self.handler = state.handler
        if self.fresh:
            use_new_module()
            state.loop = None
        if self.added:
            sys.path[:0] = self.added
        if message.get("cwd") is not None:
            try:
                os.chdir(message["cwd"])
            except OSError as problem:
                self.give_back()
                raise RequestError(f"cwd: {problem}") from None

    def give_back(self):
        if self.fresh:
            state.handler = self.handler
            put_back_signals()
            sys.argv = self.argv
            sys.path = self.path
            self.path[:] = self.entries
            namespace = state.namespace
            state.module, state.namespace, state.baseline, state.future = self.module
            sys.modules["__main__"] = state.module
            sys.stdin, sys.stdout, sys.stderr = self.streams
            if state.loop is not None and not state.loop.is_closed():
                state.loop.close()
            state.loop = self.loop
            # Nearly always the two of us are the last to hold it, and it is freed with us: no cycle, nothing to collect.
            if sys.getrefcount(namespace) > SOLE_OWNERS:
                state.untidy = state.holds = True
        else:
            for entry in self.added:  # what the code itself added stays, as it would have without ours
                if entry in sys.path:
                    sys.path.remove(entry)
        if not self.moves:  # where the code went is where its session is
            return
        if self.folder is not None and self.folder != current_folder():
            try:
                os.chdir(self.folder)
            except OSError as problem:
                log("warn", f"the working folder could not be restored: {problem}")
                return
        state.folder = self.folder


def put_back_signals():
    """Ends the timers that code has set, and its handlers: they would run in the time of whoever is next."""
    if get_timer(ITIMER_REAL)[0]:
        _signal.setitimer(ITIMER_REAL, 0)
    if [get_signal(signum) for signum in WATCHED_SIGNALS] != state.handlers:
        for timer in _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF:  # without a handler they end the process
            _signal.setitimer(timer, 0)
        for signum, handler in zip(WATCHED_SIGNALS, state.handlers):
            if get_signal(signum) is not handler and handler is not None:
                real_signal(signum, handler)
    if sys.gettrace() is not None:
        sys.settrace(None)
    if sys.getprofile() is not None:
        sys.setprofile(None)


get_signal = _signal.getsignal
get_timer = _signal.getitimer
ITIMER_REAL = _signal.ITIMER_REAL
NAMES = "SIGALRM SIGCHLD SIGHUP SIGIO SIGPIPE SIGPROF SIGTERM SIGUSR1 SIGVTALRM SIGWINCH"
WATCHED_SIGNALS = [getattr(_signal, name) for name in NAMES.split()]


# Who holds the namespace of an execution that is over: the execution, `give_back`, and the call that counts. Newer
# interpreters count differently; there every namespace is collected.
SOLE_OWNERS = 3 if sys.version_info < (3, 14) else 0


def current_folder():
    try:
        return os.getcwd()
    except OSError:
        return None


def finish_tasks():
    """Ends a fresh execution's background tasks, as `asyncio.run` does."""
    loop = state.loop
    asyncio = sys.modules.get("asyncio")
    if loop is None or asyncio is None or loop.is_closed():
        return
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        run_loop(loop, asyncio.gather(*tasks, return_exceptions=True))
    run_loop(loop, loop.create_task(loop.shutdown_asyncgens()))
    run_loop(loop, loop.create_task(loop.shutdown_default_executor()))


# ---------------------------------------------------------------------------------------------------------------
# What code leaves: whatever of it may still run when its end is told
# ---------------------------------------------------------------------------------------------------------------

SETTLING = 0.005  # seconds that what is about to end may take for it
LEFT_MAX = 32  # things that are told


def is_settled(execution):
    """The question that every execution pays for: whether it has left nothing."""
    if count_threads() != len(state.known_threads):
        return False
    if not execution.fresh:
        return True
    if state.loop is not None and not state.loop.is_closed():
        return False
    try:
        wait_id(os.P_ALL, 0, LOOK_AT_CHILDREN)
    except ChildProcessError:  # there are none
        return True
    except Exception:
        pass
    return False


wait_id = getattr(os, "waitid", None)
LOOK_AT_CHILDREN = getattr(os, "WEXITED", 0) | getattr(os, "WNOHANG", 0) | getattr(os, "WNOWAIT", 0)


def leftovers(execution):
    """What `execution` has begun and not ended, in words for a person.

    Of a stateless execution also its children and its tasks: a session goes on with them, and knows them.
    """
    limit = monotonic() + SETTLING
    while True:
        left = new_threads()
        if execution.fresh:
            left += living_children() + pending_tasks()
        if not left or monotonic() > limit:
            break
        time_sleep(0.0005)
    if not execution.fresh:  # whoever comes next need not answer for them
        current_frames = sys._current_frames()
        state.known_threads = frozenset(i for i in current_frames if i != MAIN_THREAD and not is_idle(i, current_frames[i]))
    return left[:LEFT_MAX]


time_sleep = time.sleep


def new_threads():
    threads = getattr(sys.modules.get("threading"), "_active", {})
    names, frames = [], sys._current_frames()
    if count_threads() >= len(frames):  # one that began in C; of the frames, one is ours
        names.append("thread")
    for ident, frame in frames.items():
        if ident != MAIN_THREAD and ident not in state.known_threads and not is_idle(ident, frame):
            names.append(shorten(f"thread {getattr(threads.get(ident), '_name', ident)}", 200))
    return names


def is_idle(ident, frame):
    """Whether it is a thread of an executor that waits for work. Libraries keep them; they run nothing of the code."""
    code = frame.f_code
    if code.co_name != "_worker" or not code.co_filename.endswith("concurrent/futures/thread.py"):
        return False
    for thread, queue in list(getattr(sys.modules.get("concurrent.futures.thread"), "_threads_queues", {}).items()):
        if thread.ident == ident:
            return queue.empty()
    return False


def living_children():
    """The children that have not ended. Those that ended and were not waited for run nothing."""
    names = []
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children", "rb") as file:
                for pid in file.read().split():
                    with open(f"/proc/{pid.decode()}/stat", "rb") as stat:
                        name, _, rest = stat.read().partition(b"(")[2].rpartition(b")")
                    if rest[1:2] not in b"ZX":
                        names.append(f"child process {pid.decode()} ({name.decode(errors='replace')})")
    except OSError:  # it has ended meanwhile, or there is no /proc
        pass
    return names


def pending_tasks():
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or state.loop is None or state.loop.is_closed():
        return []
    return [shorten(f"task {task.get_name()}", 200) for task in asyncio.all_tasks(state.loop) if not task.done()]


# ---------------------------------------------------------------------------------------------------------------
# Compiling and running
# ---------------------------------------------------------------------------------------------------------------

ONLY_AST = 0x400  # PyCF_ONLY_AST
TOP_LEVEL_AWAIT = 0x2000  # PyCF_ALLOW_TOP_LEVEL_AWAIT
FUTURE_FLAGS = 0x1FE0000  # every CO_FUTURE_*
COROUTINE = 0x80  # CO_COROUTINE
CodeType = type(use_new_module.__code__)


def compile_cell(code, filename, silent):
    """Returns two code objects, either of which may be None: the statements, and the last expression."""
    flags = TOP_LEVEL_AWAIT | state.future
    one_line = code.find("\n", 0, -1) < 0
    if one_line and not silent and not is_assignment(code):
        try:
            return None, compile(code, filename, "eval", flags, True)
        except SyntaxError:  # perhaps a statement; if it is an error after all, it shall not have this one as context
            pass
    if silent or (one_line and ";" not in code):  # one statement, and no expression: nothing to split off
        body, tail = compile(code, filename, "exec", flags, True), None
    else:
        body, tail = split_last_expression(code, filename, flags)
    if body is not None:
        state.future |= body.co_flags & FUTURE_FLAGS
    return body, tail


def is_assignment(code):
    """Whether code is plainly `name = …`, which need not be tried as an expression."""
    target, equals, value = code.partition("=")
    return equals and value[:1] != "=" and target.rstrip().isidentifier()


def split_last_expression(code, filename, flags):
    tree = compile(code, filename, "exec", ONLY_AST | flags, True)
    tail = None
    if tree.body:
        import _ast

        if type(tree.body[-1]) is _ast.Expr:
            tail = compile(_ast.Expression(tree.body.pop().value), filename, "eval", flags, True)
    body = compile(tree, filename, "exec", flags, True) if tree.body else None
    return body, tail


def defines_nothing(body, tail):
    """Whether code contains no function, class or comprehension: nothing that could outlive it and want its source."""
    return (body is None or CodeType not in map(type, body.co_consts)) and (
        tail is None or CodeType not in map(type, tail.co_consts)
    )


async def run_parts(body, tail, execution):
    """Both parts in one task: a cell whose only `await` is its last expression runs under the event loop as a whole."""
    try:
        if body is not None:
            result = eval(body, execution.namespace)
            if body.co_flags & COROUTINE:
                await result
        if tail is None:
            return None
        result = eval(tail, execution.namespace)
        return await result if tail.co_flags & COROUTINE else result
    finally:
        if not execution.fresh:
            execution.context = load("contextvars").copy_context()


def keep_context(context):
    """A task sets context variables in a copy of the context; those of a cell are the session's, as without `await`."""
    for variable, value in context.items():
        if variable.get(variable) is not value:
            variable.set(value)


def run_coroutine(coroutine, execution):
    """Runs `coroutine` on the session's event loop, which lives on: background tasks continue afterwards."""
    asyncio = load("asyncio")
    loop = state.loop
    if loop is None or loop.is_closed():
        loop = state.loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    task = execution.task = loop.create_task(coroutine)
    try:
        state.user = True
        if execution.due():
            deliver_here()
        return run_loop(loop, task)
    except asyncio.CancelledError as error:
        if not execution.raised and not execution.interrupted:
            raise
        interrupt = KeyboardInterrupt(*(("cancelled",) if execution.level else ()))
        raise interrupt.with_traceback(error.__traceback__) from None
    finally:
        state.user = False
        execution.task = None
        if execution.context is not None:
            keep_context(execution.context)
        if not task.done():  # an exception came through the loop itself, which is in an unknown state
            sys.settrace(None)
            state.loop = None
            asyncio.set_event_loop(None)
            # Never freed: its coroutine would be closed, which is one more exception for code that swallows them all.
            state.abandoned.append((loop, task))
        elif not task.cancelled():
            task.exception()  # marks it as seen; it is already on its way up


def run_loop(loop, future):
    """`run_until_complete` for a loop that may have been interrupted before."""
    while True:
        try:
            return loop.run_until_complete(future)
        except BaseException as error:
            if future.done():
                # Not its own exception but one between its end and the loop's: the loop is still to be told to stop.
                state.stop_left = type(error) is KeyboardInterrupt and (
                    future.cancelled() or future.exception() is not error
                )
                raise
            if type(error) is not RuntimeError or not state.stop_left:
                raise
            state.stop_left = False  # it has just been told


RUN_PARTS = run_parts.__code__
RUN_LOOP = run_loop.__code__


def forget_warnings(given):
    """Has what a cell warned of told by the next one, too; but once where the user's filter says `once` or `module`."""
    if type(given) is dict:
        for key in [key for key in given if type(key) is tuple and len(key) == 3]:
            del given[key]


def run_cell(execution, message):
    """Runs the code; returns the value of its last expression."""
    namespace, code = execution.namespace, message["code"]
    if message.get("args"):
        namespace.update(message["args"])
    if "__warningregistry__" in namespace:
        forget_warnings(namespace["__warningregistry__"])
    filename = execution.filename = execution.filename or f"<exec:{state.sequence}>"
    if execution.capture:
        linecache = sys.modules.get("linecache") or load("linecache")
        if linecache is not None:
            # For tracebacks and inspect; without a time stamp linecache never looks for a file.
            sources = execution.sources = linecache.cache
            sources[filename] = len(code), None, code.splitlines(True), filename
    body, tail = compile_cell(code, filename, execution.silent)
    execution.leaves_nothing = execution.fresh or defines_nothing(body, tail)
    try:
        if ((body.co_flags if body else 0) | (tail.co_flags if tail else 0)) & COROUTINE:
            return run_coroutine(run_parts(body, tail, execution), execution)
        state.user = True
        if execution.due():
            deliver_here()
        if body is not None:
            eval(body, namespace)
        return None if tail is None else eval(tail, namespace)
    finally:
        if execution.fresh and not (execution.level or execution.interrupted or state.forked):
            state.user = True
            finish_tasks()


# ---------------------------------------------------------------------------------------------------------------
# Values and rich results
# ---------------------------------------------------------------------------------------------------------------


def shorten(text, limit):
    if type(text) is not str:
        text = str.__str__(text)  # a subclass of the user's
    if len(text) <= limit:
        return text
    mark = f"… [{len(text)} characters]"
    return text[: limit - len(mark)] + mark if limit > len(mark) else text[:limit]


def expressible(value):
    """Whether a `result` can carry the value itself: plain types only, no cycles, VALUE_LIMIT bytes at most."""
    if type(value) is int:
        return -(1 << 63) <= value < 1 << 64
    least = most = 0  # bounds of the encoded size
    waiting = [(value, DEPTH_LIMIT - 1)]
    while waiting:
        item, room = waiting.pop()
        kind = type(item)
        if kind is int:
            if not -(1 << 63) <= item < 1 << 64:
                return False
            least += 1
            most += 9
        elif kind is str or kind is bytes:
            least += len(item)
            if kind is bytes or item.isascii():
                most += len(item) + 5
            else:
                most += 4 * len(item) + 5
                if least > VALUE_LIMIT or not has_encoding(item):
                    return False
        elif kind is float or kind is bool or item is None:
            least += 1
            most += 9
        elif kind is list or kind is tuple or kind is dict:
            if not room or len(item) > VALUE_LIMIT:
                return False
            most += 5
            waiting.extend([(child, room - 1) for child in item])
            if kind is dict:
                if not all(type(key) in KEYS for key in item):
                    return False
                waiting.extend([(child, room - 1) for child in item.values()])
        else:
            return False
        if least > VALUE_LIMIT:
            return False
    return most <= VALUE_LIMIT or len(encode(value)) <= VALUE_LIMIT


KEYS = (str, int, float, bool, bytes, type(None))


def has_encoding(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def tell_value(execution, value, reply):
    """Adds to the `result` what can be said about the value. User code runs here (`__repr__` and its like)."""
    if expressible(value):
        reply["value"] = value
    reply["repr"] = shorten(safe_repr(execution, value), limits.max_repr)
    if execution.rich:
        bundle = mime_bundle(value)
        if bundle:
            reply["mime"] = bundle


def safe_repr(execution, value):
    try:
        return repr(value)
    except BaseException as problem:
        if execution.level or execution.interrupted:
            raise
        return f"<{type(value).__name__}: repr() raised {type(problem).__name__}: {safe_str(problem)}>"


def safe_str(value):
    try:
        return str.__str__(str(value))
    except Exception as problem:
        return f"<{type(value).__name__}: str() raised {type(problem).__name__}>"


MIME_METHODS = (
    ("_repr_html_", "text/html"),
    ("_repr_markdown_", "text/markdown"),
    ("_repr_svg_", "image/svg+xml"),
    ("_repr_png_", "image/png"),
    ("_repr_jpeg_", "image/jpeg"),
    ("_repr_latex_", "text/latex"),
    ("_repr_json_", "application/json"),
)


def mime_bundle(value):
    """The representations that `value` offers, by media type, as text or bytes."""
    kind = type(value)  # methods are looked up on the type: a mock or a proxy would answer to any name
    found = {}
    whole = getattr(kind, "_repr_mimebundle_", None)
    if whole is not None:
        try:
            bundle = whole(value)
            found.update(bundle[0] if isinstance(bundle, tuple) else bundle or {})
        except Exception:
            pass
    for method, mime in MIME_METHODS:
        offer = getattr(kind, method, None)
        if offer is None or mime in found:
            continue
        try:
            part = offer(value)
        except Exception:
            continue
        part = part[0] if isinstance(part, tuple) else part
        if part is not None:
            found[mime] = part
    if not found and kind.__name__ == "Figure" and kind.__module__.startswith("matplotlib"):
        picture = io.BytesIO()
        value.savefig(picture, format="png", bbox_inches="tight")
        found["image/png"] = picture.getvalue()
    return sendable_bundle(found)


def sendable_bundle(found):
    """Keeps the parts that fit `limits.max_display` together; what is neither text nor bytes becomes JSON."""
    bundle = {}
    size = 0
    for mime, part in found.items():
        if isinstance(part, (bytes, bytearray)):
            part = bytes(part)
        elif isinstance(part, str):
            part = str.__str__(part)
        else:
            try:
                part = load("json").dumps(part)
            except (TypeError, ValueError):
                part = safe_str(part)
        size += len(part)
        name = safe_str(mime)
        if size > limits.max_display:
            log("warn", f"a representation as {name} was dropped: more than {limits.max_display} bytes")
            size -= len(part)
        elif not name.startswith("$"):  # those are the JSON codec's
            bundle[name] = part
    return bundle


def display(*values, metadata=None, display_id=None, update=False):
    """Shows values as richly as they can be shown."""
    execution = state.current
    for value in values:
        bundle = mime_bundle(value)
        bundle.setdefault("text/plain", shorten(repr(value), limits.max_repr))
        if execution is None or state.forked:
            print(bundle["text/plain"])
            continue
        message = {"type": "display", "id": execution.id, "data": bundle}
        if isinstance(metadata, dict) and expressible(metadata):
            message["metadata"] = metadata
        if display_id is not None:
            message["display_id"] = shorten(str(display_id), 256)
        if update:
            message["update"] = True
        flush_output()
        channel.send(message)


# ---------------------------------------------------------------------------------------------------------------
# Exceptions: a structure, and the text that Python itself would print
# ---------------------------------------------------------------------------------------------------------------

TEXT_LIMIT = 256 << 10  # characters of one traceback's text
CHAIN_LIMIT = 32  # exceptions described for one error: causes, contexts, members of groups


def relatives(error):
    """The exceptions that Python would print along with `error`: its cause or context, and a group's members."""
    if error.__cause__ is not None:
        yield "cause", error.__cause__
    elif error.__context__ is not None and not error.__suppress_context__:
        yield "context", error.__context__
    members = getattr(error, "exceptions", None)
    if isinstance(members, tuple):
        for member in members:
            if isinstance(member, BaseException):
                yield "exceptions", member


def strip_worker_frames(error):
    """Removes this file's frames from the tracebacks of `error` and its relatives: the user has nothing to do there."""
    seen = set()
    waiting = [error]
    while waiting and len(seen) < 1000:
        error = waiting.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        first = without_worker_frames(error.__traceback__)
        if first is not error.__traceback__:
            error.__traceback__ = first
        waiting.extend(relative for _, relative in relatives(error))


def without_worker_frames(traceback):
    entry = traceback
    while entry is not None:
        if entry.tb_frame.f_code is RUN_PARTS:  # top-level await: everything before is the event loop's
            traceback = entry
        entry = entry.tb_next
    while traceback is not None and traceback.tb_frame.f_globals is WORKER:
        traceback = traceback.tb_next
    entry = traceback
    while entry is not None:
        following = entry.tb_next
        while following is not None and following.tb_frame.f_globals is WORKER:
            following = following.tb_next
        if following is not entry.tb_next:
            entry.tb_next = following
        entry = following
    return traceback


def describe(error):
    """Returns the exception as the protocol tells it. User code runs here (`__str__`); the caller contains it."""
    strip_worker_frames(error)
    return describe_one(error, set())


def add_text(description, error, limit=None):
    """Adds what Python would print; of the last `-limit` frames only, if that is given."""
    traceback = load("traceback")
    try:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__, limit))
    except Exception:  # an exception of an odd make, or the module is broken
        return
    if len(text) > TEXT_LIMIT:
        half = TEXT_LIMIT // 2
        text = f"{text[:half]}\n… [{len(text)} characters] …\n{text[-half:]}"
    description["text"] = text


def describe_one(error, seen, depth=0):
    seen.add(id(error))
    description = name_exception(error)
    plain = error.msg if isinstance(error, SyntaxError) else error  # its str() repeats the place
    description["message"] = shorten(safe_str(plain), limits.max_repr)
    description["frames"] = frames_of(error)
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, list) and notes:
        description["notes"] = [shorten(safe_str(note), 4096) for note in notes[:20]]
    for role, relative in relatives(error):
        if id(relative) in seen or len(seen) >= CHAIN_LIMIT or depth >= DEPTH_LIMIT // 4:
            continue
        told = describe_one(relative, seen, depth + 1)
        if role == "exceptions":
            description.setdefault(role, []).append(told)
        else:
            description[role] = told
    return description


def name_exception(error):
    kind = type(error)
    module = kind.__module__ if isinstance(kind.__module__, str) else "?"
    return {"type": shorten(kind.__qualname__, 256), "module": shorten(module, 256), "message": "", "frames": []}


def frames_of(error):
    """The traceback's frames, outermost first; of a very deep one the first and the last."""
    entries = []
    traceback = error.__traceback__
    while traceback is not None:
        entries.append(traceback)
        traceback = traceback.tb_next
    left_out = len(entries) - limits.max_frames
    if left_out > 0:
        half = limits.max_frames // 2
        shown = [frame_of(entry) for entry in entries[:half]]
        shown.append({"file": "", "line": 0, "name": f"[{left_out} frames omitted]"})
        shown.extend(frame_of(entry) for entry in entries[half + left_out :])
    else:
        shown = [frame_of(entry) for entry in entries]
    if isinstance(error, SyntaxError) and is_place(error.lineno):
        shown.append(frame_of_syntax_error(error))
    return shown


def frame_of(entry):
    code = entry.tb_frame.f_code
    line = entry.tb_lineno or 0
    name = getattr(code, "co_qualname", code.co_name)
    frame = {"file": shorten(code.co_filename, 4096), "line": line, "name": shorten(name, 512)}
    linecache = load("linecache")
    source = linecache.getline(code.co_filename, line, entry.tb_frame.f_globals) if linecache is not None else ""
    if source.strip():
        frame["text"] = shorten(source.strip(), 4096)
    if hasattr(code, "co_positions") and entry.tb_lasti >= 0:
        for index, (first, last, start, end) in enumerate(code.co_positions()):
            if index == entry.tb_lasti // 2:
                if None not in (first, last, start, end):
                    frame["end_line"] = last
                    frame["col"] = characters(source, start) if first == line else start
                    frame["end_col"] = characters(source, end) if last == line else end
                break
    return frame


def characters(source, offset):
    """Turns CPython's column, in UTF-8 bytes, into one in characters."""
    return offset if source.isascii() else len(source.encode("utf-8", "replace")[:offset].decode("utf-8", "ignore"))


def frame_of_syntax_error(error):
    frame = {"file": shorten(safe_str(error.filename), 4096), "line": error.lineno, "name": "<module>"}
    if isinstance(error.text, str) and error.text.strip():
        frame["text"] = shorten(error.text.strip(), 4096)
    if is_place(error.offset):
        frame["col"] = error.offset - 1
    last, end = getattr(error, "end_lineno", None), getattr(error, "end_offset", None)
    if is_place(last) and is_place(end) and last >= error.lineno:
        frame["end_line"], frame["end_col"] = last, end - 1
    return frame


def is_place(number):
    return type(number) is int and 0 < number < 1 << 31


# ---------------------------------------------------------------------------------------------------------------
# Executing: from an `execute` frame to its `result` or `error`
# ---------------------------------------------------------------------------------------------------------------

FIELDS = {
    "init": {
        "session": str,
        "cwd": str,
        "env": dict,
        "sys_path": list,
        "limits": dict,
        "seq": int,
    },
    "execute": {
        "code": str,
        "timestamp": float,
        "capture_source": bool,
        "filename": str,
        "silent": bool,
        "allow_stdin": bool,
        "fresh": bool,
        "mime": bool,
        "sys_path": list,
        "cwd": str,
        "args": dict,
    },
    "reset": {"keep": list},
    "vars": {"max": int},
    "complete": {"code": str, "pos": int},
    "checkpoint": {"include": list, "exclude": list, "mode": str, "max_bytes": int, "address": str, "secret": str},
    "restore": {"part": int, "last": bool, "names": list},
    "fork": {"address": str, "tag": str, "folder": str, "secret": str},
}
REQUIRED = {"execute": ("code",), "complete": ("code", "pos"), "fork": ("address", "tag", "folder")}
# lists, and keys of maps
HOLD_TEXT = frozenset(("sys_path", "args", "env", "keep", "include", "exclude", "names"))


class RequestError(Exception):
    """The request itself is at fault; no user code ran."""


def check_fields(message):
    """Raises RequestError if a field is missing or of a wrong type. Unknown fields are ignored, null means absent."""
    fields = FIELDS[message["type"]]
    for name, value in message.items():
        kind = fields.get(name)
        if kind is None or value is None:
            continue
        if type(value) is not kind and (kind is not float or type(value) is not int):
            raise RequestError(f"`{name}` must be {kind.__name__}, not {type(value).__name__}")
        if name in HOLD_TEXT:
            for item in value:
                if type(item) is not str:
                    raise RequestError(f"`{name}` must hold str, not {type(item).__name__}")
    for name in REQUIRED.get(message["type"], ()):
        if message.get(name) is None:
            raise RequestError(f"`{name}` is missing")


def execute(message):
    id = message.get("id")
    if type(id) is str and 0 < len(id) < 32 and id.isascii():  # as nearly all are
        packed = SHORT_TEXT[len(id)] + id.encode()
    elif valid_id(id):
        packed = encode(id)
    else:
        complain("an execute without a valid id", "id: 1 to 64 bytes of text", repr(id))
        return
    unsent = channel.hand_over(started_frame(id, packed))
    execution = begin(id)
    if unsent is not None:  # not a byte of the code runs before; a cancel is heard meanwhile
        channel.wait_until_sent(unsent)
    execution.packed_id = packed
    ending, reply, borrowed = "result", {}, None
    try:
        try:
            if type(message.get("code")) is str and (len(message) == 3 or is_plainly_fresh(message)):
                if len(message) == 4:
                    execution.fresh = True
                    borrowed = Borrowed(message)
                else:
                    state.folder = None
            else:
                check_fields(message)
                configure(execution, message)
                if not Borrowed.FIELDS.isdisjoint(message):
                    borrowed = Borrowed(message)
                else:
                    state.folder = None
            execution.namespace = state.namespace  # and in no local: see SOLE_OWNERS
            execution.newest = next(reversed(execution.namespace), None)
            value = run_cell(execution, message)
            if value is not None and not execution.silent:
                tell_value(execution, value, reply)
                if not execution.fresh:
                    builtins._ = value
            value = None
        finally:
            state.user = False
            execution.ended_at = monotonic()
            execution.cpu_at_end = process_time()
            if execution.level or execution.interrupted:
                clean_up_after_cancel()
    except RequestError as problem:
        ending, reply = "error", refusal(problem)
    except BaseException as error:
        ending, reply = "error", failure(execution, error)
    if state.forked or getpid() != PID:
        leave_child(ending, reply)
    end(execution, ending, reply, borrowed)


def is_plainly_fresh(message):
    """Whether it wants a fresh namespace, and nothing else that is special."""
    return len(message) == 4 and message.get("fresh") is True


def started_frame(id, packed):
    """Put together by hand: every execution waits for it. `packed` is the id as MessagePack."""
    if codec_name == "json":
        payload = encode({"type": "started", "id": id})
        return len(payload).to_bytes(4, "big") + payload
    return STARTED[len(packed)] + packed


STARTED = [b"\0\0\0%c\x82\xa4type\xa7started\xa2id" % (17 + size) for size in range(67)]  # by the size of the id


def valid_id(id):
    return type(id) is str and 0 < len(id) <= 64 and (id.isascii() or len(id.encode("utf-8", "replace")) <= 64)


def begin(id):
    """Makes this the running execution, and catches up with what arrived together with it."""
    execution = Execution(id)
    state.sequence += 1
    state.current = execution
    state.main_reads = False  # from here on the doorbell is answered by the handler
    if channel.parked:
        channel.incoming.extendleft(reversed(channel.parked))
        channel.parked.clear()
    if state.pending or channel.incoming:
        serve_channel(None)
    return execution


def configure(execution, message):
    execution.filename = message.get("filename")
    execution.capture = message.get("capture_source") is not False
    execution.allow_stdin = message.get("allow_stdin") is not False
    execution.silent = message.get("silent") is True
    execution.fresh = message.get("fresh") is True
    execution.rich = message.get("mime") is True


def end(execution, ending, reply, borrowed):
    """Sends what ended the execution, after everything that it printed."""
    now = execution.ended_at
    figures = (
        now - execution.started_at,
        execution.cpu_at_end - execution.cpu_at_start,
        health.told if now - health.told_at <= 0.001 else health.memory(now),
        max(0, len(state.namespace) - state.baseline),
    )
    newest = execution.newest
    if newest is not None and ending == "result" and newest is not next(reversed(execution.namespace), None):
        names = new_names(execution.namespace, newest)
        if names:
            reply["new_names"] = names
    if state.tainted:
        reply["tainted"] = True
    if not is_settled(execution):
        left = leftovers(execution)
        if left:
            reply["left"] = left
    if questions:
        answer_leftover_questions(execution)
    if flush_output() is not None:
        repair()
        flush_output()
    if borrowed is not None:
        borrowed.give_back()
    if not execution.fresh:
        state.holds = True
        state.handlers = [get_signal(signum) for signum in WATCHED_SIGNALS]
    if execution.sources is not None and execution.leaves_nothing and (ending == "result" or execution.fresh):
        execution.sources.pop(execution.filename, None)  # a long session's linecache must not grow without bound
    state.main_reads = True
    state.current = None
    try:
        payload = encode_ending(execution, ending, reply, figures)
    except Exception as problem:  # whatever user code smuggled in must not end the worker
        reply = {**refusal(f"the ending cannot be sent: {problem!r}"), "kind": "exception"}
        payload = encode_ending(execution, "error", reply, figures)
    frame = len(payload).to_bytes(4, "big") + payload
    channel.send_frame((closing_frame, execution, frame) if state.framed_output else frame)


def encode_ending(execution, ending, reply, figures):
    """Returns the payload of a `result` or `error`. The parts that all have in common are put together by hand."""
    if codec_name == "json":
        names = ("execution_time", "cpu_time", "memory_usage", "namespace_size")
        return encode({"type": ending, "id": execution.id, **dict(zip(names, figures)), **reply})
    took, cpu, memory, names = figures
    parts = [b"%c" % (0x86 + len(reply)), ENDINGS[ending], execution.packed_id]  # 15 entries at most
    for key, item in reply.items():
        parts.append(KNOWN_KEYS.get(key) or encode(key))
        pack = PACKERS.get(type(item), encode)
        parts.append(pack(item))
    figures = EXECUTION_TIME, 0xCB, took, CPU_TIME, 0xCB, cpu, MEMORY_USAGE, 0xCF, memory, NAMESPACE_SIZE, 0xCE, names
    parts.append(PACK_FIGURES(*figures))
    return b"".join(parts)


def pack_text(text):
    if len(text) < 32 and text.isascii():
        return SHORT_TEXT[len(text)] + text.encode()
    parts = []
    _encode_text(text, parts.append)
    return b"".join(parts)


PACKERS = {str: pack_text, int: _encode_int}
ENDINGS = {"result": b"\xa4type\xa6result\xa2id", "error": b"\xa4type\xa5error\xa2id"}
EXECUTION_TIME, CPU_TIME = b"\xaeexecution_time", b"\xa8cpu_time"
MEMORY_USAGE, NAMESPACE_SIZE = b"\xacmemory_usage", b"\xaenamespace_size"
PACK_FIGURES = Struct(">15sBd 9sBd 13sBQ 15sBI").pack


def new_names(namespace, newest):
    """The names that were added after `newest`, which was the last one before: dicts keep their order."""
    names = []
    try:
        for name in reversed(namespace):
            if name == newest or len(names) == 1000:
                break
            if type(name) is str and not name.startswith("__"):
                names.append(shorten(name, 256))
    except RuntimeError:  # a thread adds names meanwhile
        pass
    names.reverse()
    return names


def refusal(problem):
    description = {"type": "ProtocolError", "message": shorten(str(problem), 4096), "frames": []}
    return {"kind": "request", "exception": description}


def failure(execution, error):
    """Returns what an `error` frame tells of an execution that ended with `error`."""
    reply = {"kind": "exception"}
    try:
        describe_failure(execution, error, reply)
    except BaseException:  # it runs user code: the exception's own methods, sys.stderr
        reply.setdefault("exception", name_exception(error))
    finally:
        state.user = False
    return reply


def describe_failure(execution, error, reply):
    if was_cancelled(execution, error):
        reply["kind"] = "cancelled"
        # In time, and without user code if the exception is ours: what else it interrupted is of no interest.
        if type(error) is KeyboardInterrupt:
            error.__cause__ = error.__context__ = None
        else:
            state.user = True
        reply["exception"] = describe(error)
        add_text(reply["exception"], error, -limits.max_frames)
        return
    state.user = True
    if isinstance(error, SystemExit):
        reply["kind"] = "exit"
        reply["exit_code"] = exit_code(error)
        reply["exception"] = describe(error)
        if error.code is not None and not isinstance(error.code, int):
            print(reply["exception"]["message"], file=sys.stderr)
        return
    if isinstance(error, SyntaxError) and is_compile_error(error):
        reply["kind"] = "syntax"
    reply["exception"] = describe(error)
    add_text(reply["exception"], error)
    if not execution.fresh:
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
        if sys.version_info >= (3, 12):
            sys.last_exc = error


def was_cancelled(execution, error):
    """Whether `error` is the cancel itself, or was raised while the code was dealing with it."""
    if not execution.level:
        return False
    for _ in range(CHAIN_LIMIT):
        if error is None:
            return False
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_compile_error(error):
    """Whether compiling the request failed, as opposed to code that it ran."""
    return without_worker_frames(error.__traceback__) is None


def exit_code(error):
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        code = int.__int__(code)
        return code if -(1 << 31) <= code < 1 << 32 else -1
    return 1


# -- children that user code forks


def before_fork():
    flush_output()


def in_child():
    """Makes a forked child a stranger to the host: it must never speak on the channel, nor read from it."""
    if state.branching:
        return
    state.forked = True
    real_signal(DOORBELL, _signal.SIG_DFL)
    real_signal(SIGINT, state.handler)
    faulthandler.unregister(_signal.SIGUSR2)
    channel.link.close()


def leave_child(ending, reply):
    """A child that came back out of user code ends here, as a script would."""
    if ending == "result":
        code = 0
    elif reply["kind"] == "exit":
        code = reply["exit_code"] & 255
    else:
        code = 130 if reply["exception"]["type"] == "KeyboardInterrupt" else 1
        if code == 1:
            os.write(2, utf8(reply["exception"].get("text", "")))
    run_exit_handlers()
    write_files(True)
    flush_output()
    exit_now(code)


# ---------------------------------------------------------------------------------------------------------------
# Smaller requests: init, reset, vars, complete, checkpoint, restore, fork
# ---------------------------------------------------------------------------------------------------------------


def init(message):
    spoken = message.get("protocol")
    if spoken != PROTOCOL:
        channel_broken("protocol version", str(PROTOCOL), str(spoken))
    try:
        check_fields(message)
    except RequestError as problem:
        complain(f"init: {problem}")
        return
    for name, value in (message.get("env") or {}).items():
        if value is None:
            os.environ.pop(name, None)
        elif type(value) is str:
            os.environ[name] = value
    sys.path[:0] = message.get("sys_path") or []
    wanted = message.get("limits") or {}
    for name in "max_repr", "max_frames", "max_display":
        if type(wanted.get(name)) is int and wanted[name] > 0:
            setattr(limits, name, min(wanted[name], FRAME_LIMIT // 4))
    if type(wanted.get("import_grace")) in (int, float) and wanted["import_grace"] >= 0:
        limits.import_grace = wanted["import_grace"]
    if message.get("seq") is not None:
        state.sequence = message["seq"]
    if message.get("cwd") is not None:
        try:
            os.chdir(message["cwd"])
        except OSError as problem:
            log("error", f"the working folder could not be entered: {problem}")


def answer(message, produce):
    """Answers a request that runs user code in passing (a repr, a property), so that it can be cancelled."""
    id = message.get("id")
    if not valid_id(id):
        complain(f"a {message['type']} without a valid id", "id: 1 to 64 bytes of text", repr(id))
        return
    execution = begin(id)
    state.sequence -= 1  # it is no cell that would be named by its number
    execution.allow_stdin = False
    try:
        try:
            check_fields(message)
            state.user = True
            deliver_here()
            reply = produce(message)
        finally:
            state.user = False
            if execution.level or execution.interrupted:
                clean_up_after_cancel()
        ending = {}
    except RequestError as problem:
        ending = refusal(problem)
    except BaseException as error:
        ending = failure(execution, error)
    if ending:
        reply = {"type": "error", "id": id, "execution_time": monotonic() - execution.started_at, **ending}
    if state.forked:
        exit_now(0)
    flush_output()
    state.main_reads = True
    state.current = None
    channel.send(reply)


def reset(message):
    keep = message.get("keep") or ()
    kept = {name: state.namespace[name] for name in keep if name in state.namespace}
    use_new_module()
    state.namespace.update(kept)
    for name in "last_type", "last_value", "last_traceback", "last_exc":
        sys.__dict__.pop(name, None)
    builtins.__dict__.pop("_", None)
    state.untidy = True
    return {"type": "reset_result", "id": message["id"]}


def list_variables(message):
    most = message.get("max")
    most = 200 if most is None else min(most, 10000)
    reprlib = load("reprlib")
    short = reprlib.Repr()
    short.maxstring = short.maxother = 200
    told, total = [], 0
    for name, value in list(state.namespace.items()):
        if type(name) is not str or name.startswith("__"):
            continue
        total += 1
        if total > most:
            continue
        try:
            text = short.repr(value)
        except Exception as problem:
            text = f"<repr() raised {type(problem).__name__}>"
        entry = {"name": shorten(name, 256), "type": shorten(type(value).__name__, 256), "repr": shorten(text, 400)}
        try:
            entry["size"] = sys.getsizeof(value)
        except Exception:
            pass
        told.append(entry)
    reply = {"type": "vars_result", "id": message["id"], "vars": told}
    if total > most:
        reply["total"] = total
    return reply


def complete(message):
    code, at = message["code"], message["pos"]
    if not 0 <= at <= len(code):
        raise RequestError(f"`pos` must be a place in the {len(code)} characters of `code`, not {at}")
    start = at
    while start and (code[start - 1].isidentifier() or code[start - 1].isdigit() or code[start - 1] == "."):
        start -= 1
    *owners, prefix = code[start:at].split(".")
    if owners:
        candidates = attributes_of(owners)
    else:
        candidates = [*state.namespace, *dir(builtins), *load("keyword").kwlist]
    hidden_too = prefix.startswith("_")
    matches = sorted(
        {
            name
            for name in candidates
            if type(name) is str and name.startswith(prefix) and (hidden_too or not name.startswith("_"))
        }
    )
    reply = {"type": "complete_result", "id": message["id"], "matches": matches[:1000]}
    reply["start"], reply["end"] = at - len(prefix), at
    return reply


def attributes_of(path):
    first = path[0]
    if first in state.namespace:
        value = state.namespace[first]
    elif hasattr(builtins, first):
        value = getattr(builtins, first)
    else:
        return []
    try:
        for name in path[1:]:
            value = getattr(value, name)
        return dir(value)
    except Exception:
        return []


parts = {}  # the modules of the files beside this one, once they were needed
part_codes = None  # these files by name, from the host: marshalled, or as text; None if this file was started as a script


def load_part(name):
    """A part of the worker that few sessions need, so it does not delay the others' start."""
    module = parts.get(name)
    if module is None:
        theirs = sys.path
        sys.path = list(state.clean_path)  # its imports are ours: see `load`
        try:
            module = type(sys)(f"_ostler_{name}")
            module.__dict__.update(worker=sys.modules["_ostler_worker"], __builtins__=__builtins__)
            exec(code_of_part(name), module.__dict__)
            parts[name] = module
        finally:
            sys.path = theirs
    return module


def load_saving():
    saving = sys.modules["_ostler_state"] = load_part("state")  # pickle looks there, and user code may have removed it
    return saving


def code_of_part(name):
    code = None if part_codes is None else part_codes[name]
    if type(code) is bytes:
        return load("marshal").loads(code)
    if code is None:
        with io.open(file_of_part(name), encoding="utf-8") as file:
            code = file.read()
    return compile(code, f"<ostler_{name}>", "exec", dont_inherit=True, optimize=2)


def file_of_part(name):
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), f"ostler_{name}.py")


def has_part(name):
    return part_codes is not None or os.path.exists(file_of_part(name))


def set_names(namespace, names):
    """Here, where no cancel comes between: either all of it happens, or nothing."""
    namespace.update(names)
    for name in namespace.keys() - names.keys():
        del namespace[name]


def checkpoint(message):
    return load_saving().checkpoint(message)


def restore(message):
    """One part; the last is answered. Only then the id is looked at, and all else that can be wrong."""
    saving = load_saving()
    if saving.take_part(message):
        answer(message, saving.restore)


def fork(message):
    """Answered twice: by this worker, and with its greeting by the one that the copy becomes."""
    return load_part("branch").fork(message)


# ---------------------------------------------------------------------------------------------------------------
# Repair: what user code broke and the next execution needs
# ---------------------------------------------------------------------------------------------------------------


class Streams:
    """The three standard streams as we want them: our objects, and which open files fd 0, 1 and 2 are."""

    def __init__(self):
        self.stdin = HostInput()
        self.stdout = open_output("stdout")
        self.stderr = open_output("stderr")
        mark_files()
        self.copies = {1: private(1), 2: private(2)}
        self.files = {1: open_file(1), 2: open_file(2)}
        self.install()

    def install(self):
        for name in "stdin", "stdout", "stderr":
            setattr(sys, name, getattr(self, name))
            setattr(sys, f"__{name}__", getattr(self, name))


def mark_files():
    """Numbers the open files behind fd 1 and 2, so that one cheap call can tell them from others.

    The number is that of a signal for O_ASYNC, which these files do not use, and it is part of the open file: every
    duplicate has it, and nothing else that is opened.
    """
    global open_file, files_are_sound
    if not LINUX:
        return
    try:
        for fd in 1, 2:
            fcntl.fcntl(fd, F_SETSIG, 60 + fd)
            if fcntl.fcntl(fd, F_GETSIG) != 60 + fd:
                return
    except OSError:
        return
    open_file, files_are_sound = marked_file, marked_files_are_sound


def open_file(fd):
    """Identifies the open file behind `fd`; None if there is none."""
    try:
        return os.fstat(fd)[1:3]
    except OSError:
        return None


def marked_file(fd):
    """The same, by its mark."""
    try:
        return fcntl.fcntl(fd, F_GETSIG)
    except OSError:
        return None


def is_sound():
    """The question that every execution pays for: whether everything is as we left it. Spelled out, for that reason."""
    ours = streams
    try:
        return (
            sys.stdout is ours.stdout
            and sys.stderr is ours.stderr
            and sys.stdin is ours.stdin
            and builtins.print is PRINT
            and builtins.input is ask_line
            and builtins.display is display
            and get_signal(DOORBELL) is on_doorbell
            and get_signal(SIGINT) is on_sigint
            and OUR_SIGNALS.isdisjoint(signal_mask(ADD_TO_MASK, ()))
            and sys.modules["__main__"] is state.module
            and sys.getrecursionlimit() >= 200
            and files_are_sound()
        )
    except Exception:
        return False


PRINT = print
ADD_TO_MASK = _signal.SIG_BLOCK
signal_mask = _signal.pthread_sigmask


def files_are_sound():
    files = streams.files
    return open_file(0) is not None and open_file(1) == files[1] and open_file(2) == files[2]


def marked_files_are_sound():
    """The same, by their marks."""
    is_open(0)
    return get_mark(1, F_GETSIG) == 61 and get_mark(2, F_GETSIG) == 62


get_mark = fcntl.fcntl
is_open = os.get_inheritable  # the cheapest question to a descriptor; an OSError if there is none


def repair():
    """Puts back what user code broke, and says so. What it merely replaced by something that works is left alone."""
    repaired = []
    repair_descriptors(repaired)
    repair_streams(repaired)
    for signum, handler, name in (DOORBELL, on_doorbell, "SIGURG"), (_signal.SIGINT, on_sigint, "SIGINT"):
        if get_signal(signum) is not handler:
            state.handler = DEFAULT_HANDLER
            real_signal(signum, handler)
            repaired.append(f"the handler of {name}")
    blocked = _signal.pthread_sigmask(_signal.SIG_UNBLOCK, OUR_SIGNALS)
    if not blocked.isdisjoint(OUR_SIGNALS):
        repaired.append("the signal mask")
    for name, function in OUR_BUILTINS.items():
        if not callable(builtins.__dict__.get(name)):
            setattr(builtins, name, function)
            repaired.append(f"builtins.{name}")
    if sys.modules.get("__main__") is not state.module:
        sys.modules["__main__"] = state.module
        repaired.append("sys.modules['__main__']")
    if sys.getrecursionlimit() < 200:
        sys.setrecursionlimit(1000)
        repaired.append("the recursion limit")
    if repaired:
        log("warn", f"user code broke {', '.join(repaired)}; repaired")


def repair_descriptors(repaired):
    for fd, file in streams.files.items():
        if open_file(fd) != file and open_file(streams.copies[fd]) == file:
            os.dup2(streams.copies[fd], fd)
            repaired.append(f"fd {fd}")
    if open_file(0) is None:
        open_nothing()
        repaired.append("fd 0")


def repair_streams(repaired):
    for name, method in ("stdin", "readline"), ("stdout", "write"), ("stderr", "write"):
        ours = getattr(streams, name)
        if not usable(ours, method):
            ours = open_output(name)
            setattr(streams, name, ours)
            setattr(sys, f"__{name}__", ours)
        theirs = getattr(sys, name, None)
        if theirs is not ours and not usable(theirs, method):
            setattr(sys, name, ours)
            repaired.append(f"sys.{name}")


def usable(stream, method):
    try:
        return not getattr(stream, "closed", False) and callable(getattr(stream, method, None))
    except Exception:  # detached
        return False


def open_nothing():
    """Points fd 0 at /dev/null."""
    opened = os.open("/dev/null", os.O_RDWR)
    if opened != 0:
        os.dup2(opened, 0)
        os.close(opened)
    else:
        os.set_inheritable(0, True)


# ---------------------------------------------------------------------------------------------------------------
# Idle work: what would delay `ready`, done while the host has nothing for us
# ---------------------------------------------------------------------------------------------------------------


def chores():
    """The idle work, one piece at a time. Each is short: a frame that arrives meanwhile waits for it."""
    load("linecache")  # needed by the first execution
    yield
    load("traceback")  # needed by the first exception
    yield
    if codec_name == "msgpack":
        use_fast_codec()
        yield


QUIET = 0.005  # seconds of silence after which there is time; a host that has more to say says it at once


def do_idle_work():
    """Works off `idle_work` for as long as the channel is quiet."""
    quiet = select.poll()
    quiet.register(channel.link.input, select.POLLIN)
    while not quiet.poll(0):
        if state.untidy:
            state.untidy = False
            gc.collect()
        elif next(idle_work, DONE) is DONE:
            state.idle = True
            return


# ---------------------------------------------------------------------------------------------------------------
# Start and main loop
# ---------------------------------------------------------------------------------------------------------------

OUR_SIGNALS = {_signal.SIGINT, DOORBELL, _signal.SIGUSR2}
DONE = object()
OUR_BUILTINS = {"print": print, "input": ask_line, "display": display}


def next_message():
    """Waits for the next message; asyncio tasks of the session go on meanwhile."""
    state.main_reads = True
    while True:
        # Taken while the handler keeps out, or it could answer the very message that is being taken here.
        if channel.parked:
            return channel.parked.popleft()
        if channel.incoming:
            return channel.incoming.popleft()
        state.pending = False
        if state.loop is not None and has_background_work(state.loop):
            run_background_tasks()
        else:
            restless = state.untidy or not state.idle
            if restless != channel.link.limited:
                channel.link.limit_waits(restless)
            message = channel.wait()
            if message is not None:
                return message


def has_background_work(loop):
    if loop.is_closed():
        return False
    selector = getattr(loop, "_selector", None)
    try:
        watches = len(selector.get_map()) > 1 if selector is not None else False  # one is the loop's own
    except Exception:
        watches = False
    return bool(watches or getattr(loop, "_scheduled", None) or load("asyncio").all_tasks(loop))


def run_background_tasks():
    """Runs the event loop until a message has arrived."""
    loop = state.loop
    loop.add_reader(channel.link.input, loop.stop)
    try:
        state.background = True
        state.main_reads = False  # a task that keeps the loop busy must not keep pings from being answered
        if state.pending:
            serve_channel(None)
        if not channel.parked:
            loop.run_forever()
    except BaseException as error:
        report_background_failure(error)
    finally:
        state.main_reads = True
        state.background = False
        if not loop.is_closed():
            loop.remove_reader(channel.link.input)
    channel.take_available()


def report_background_failure(error):
    """A task ended the loop, with SystemExit for example. There is no execution to tell it, so it is printed."""
    try:
        strip_worker_frames(error)
        load("traceback").print_exception(type(error), error, error.__traceback__)
    except BaseException:
        pass


def say_goodbye():
    """Ends in order, as the interpreter does: what the code left running comes to its end, its exit handlers run, its files
    are written, and what all that printed is sent. First the files: whatever hangs is killed by the host."""
    limit = monotonic() + state.patience * PATIENT
    steps = [run_exit_handlers]
    if not state.patience and (state.holds or count_threads()):
        steps.append(partial(write_files, True))
    if state.patience:
        ends = partial(end_tasks, limit), partial(wait_for_threads, limit)
        steps = write_files, *ends, run_exit_handlers, drop_everything
    for step in steps:
        try:
            step()
        except BaseException as error:
            report_background_failure(error)
    flush_output()
    channel.send({"type": "bye"})
    channel.finish()
    exit_now(0)


PATIENT = 0.75  # the part of the patience that tasks and threads may use up
FILE_BASE = io.IOBase.__base__
# In which order files are written: what wraps another one comes first.
WRITERS = {io.TextIOWrapper: 0, io.BufferedWriter: 2, io.BufferedRandom: 2, io.FileIO: 3}


def end_tasks(limit):
    """Ends the tasks of the session as `asyncio.run` does; their `finally` runs."""
    loop = state.loop
    if loop is None or loop.is_closed():
        return
    asyncio = load("asyncio")
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        run_loop(loop, loop.create_task(asyncio.wait(tasks, timeout=limit - monotonic())))
    run_loop(loop, loop.create_task(loop.shutdown_asyncgens()))


def wait_for_threads(limit):
    """Waits for the threads that are not daemons, and lets executors end theirs, but not past `limit`."""
    threading = sys.modules.get("threading")
    if threading is None or count_threads() == 0:
        return

    def finish():
        threading._SHUTTING_DOWN = True
        for end in reversed(list(getattr(threading, "_threading_atexits", ()))):
            end()
        main = threading.main_thread()
        for thread in iter(lambda: next((it for it in threading.enumerate() if not it.daemon and it is not main), None), None):
            thread.join()

    waiting = threading.Thread(target=finish, daemon=True)
    waiting.start()
    waiting.join(max(0.0, limit - monotonic()))
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            print(f"ostler: thread {thread.name} did not end in time, and ends with the session", file=sys.stderr)


def run_exit_handlers():
    try:
        load("atexit")._run_exitfuncs()
    except BaseException:  # it has been shown
        pass


def drop_everything():
    """Frees what the code holds, which closes files; unless a thread goes on with it, then they are only written."""
    write_files(True)
    if len(sys._current_frames()) > 1:
        return
    builtins._ = None
    names = state.namespace
    kinds = type(sys), type(drop_everything), type
    # What is made of modules, functions and classes goes before them: it may need them for its end.
    for name in sorted(reversed(list(names)), key=lambda name: issubclass(type(names[name]), kinds)):
        names.pop(name, None)
    write_files(True, True)


def write_files(everything=False, close=False):
    """Writes what is held back in memory by files that are open: by those on disk, or by `everything`."""
    compress = load("itertools").compress
    kinds = list(WRITERS)
    if everything:
        kinds = [FILE_BASE]
        for kind in kinds:  # grows meanwhile
            kinds += type.__subclasses__(kind)
    objects = gc.get_objects()  # millions, perhaps: no line of ours looks at each
    found = list(compress(objects, map(set(map(id, kinds)).__contains__, map(id, map(type, objects)))))
    del objects
    for file in sorted(found, key=lambda file: WRITERS.get(type(file), 1)):
        try:
            if file.closed or not file.writable():
                continue
            number = descriptor(file)
            if close and (number is None or number > 2):
                file.close()
            elif everything or (number is not None and S_ISREG(os.fstat(number).st_mode)):
                file.flush()
        except Exception as problem:
            if file not in unwritten:
                print(f"{shorten(repr(getattr(file, 'name', file)), 200)} was not written: {problem}", file=sys.stderr)
                unwritten.append(file)


unwritten = []  # files of which that was told


def descriptor(file):
    try:
        return file.fileno()
    except Exception:  # it is no file of the operating system
        return None


HANDLERS = {
    "execute": execute,
    "init": init,
    "reset": lambda message: answer(message, reset),
    "vars": lambda message: answer(message, list_variables),
    "complete": lambda message: answer(message, complete),
    "checkpoint": lambda message: answer(message, checkpoint),
    "restore": restore,
    "fork": lambda message: answer(message, fork),
    "protocol_error": lambda message: None,  # never answered, or two peers could complain at each other for ever
}


def serve():
    while True:
        message = next_message()
        kind = message.get("type")
        handle = HANDLERS.get(kind) if type(kind) is str else None
        if handle is not None:
            handle(message)
            if kind == "execute" and not is_sound():
                repair()
        elif type(kind) is str and kind in CONTROL:
            CONTROL[kind](message, None)
        else:
            id = message.get("id")
            complain(f"unknown type `{kind}`"[:200], id=id if type(id) is str else None)
        if state.shutdown:
            say_goodbye()


def start():
    """Takes the process over: channel, descriptors, signals, streams, namespace. Nothing slow."""
    state.home = current_folder()
    global channel, streams, health, codec_name, idle_work
    environment = os.environ
    codec_name = environment.get("OSTLER_CODEC", "msgpack")
    transport = environment.get("OSTLER_TRANSPORT", "stdio")
    user_site = environment.get("OSTLER_USER_SITE") == "1"
    for name in [name for name in environment if name.startswith("OSTLER_") and name != "OSTLER_TAG"]:
        del environment[name]
    if codec_name not in ("msgpack", "json") or transport not in ("socket", "stdio"):
        os.write(2, f"ostler worker: unknown codec {codec_name!r} or transport {transport!r}\n".encode())
        exit_now(EXIT_PROTOCOL)
    if codec_name == "json":
        use_json_codec()
    state.framed_output = transport == "stdio"
    if transport == "socket":
        link = SocketLink(private(0))
    else:
        link = PipeLink(private(0), private(1))
        os.dup2(2, 1)
    channel = Channel(link)
    os.close(0)
    open_nothing()
    install_signals()
    doorbell = ring_on_arrival(link.input)
    sys.setswitchinterval(0.0005)  # with CPU-bound threads the main thread, which takes cancels, waits for its turn
    streams = Streams()
    health = Health()
    state.handlers = [get_signal(signum) for signum in WATCHED_SIGNALS]
    for name, function in OUR_BUILTINS.items():
        setattr(builtins, name, function)
    sys.argv = [""]
    add_folders_of_the_user(user_site)
    use_new_module()
    sys.meta_path.insert(0, GetpassFinder())
    os.register_at_fork(before=before_fork, after_in_child=in_child)
    idle_work = chores()
    return doorbell


def take_descriptors(fds):
    """Gives a worker that was started ahead of its time (see ostler_zygote.py) its own descriptors 0, 1 and 2, where
    `start` found others of the same kind. Returns what `start` does."""
    link = channel.link
    os.dup2(fds[0], link.input, False)
    os.dup2(fds[2], 2)
    if link.output == link.input:
        os.dup2(fds[1], 1)
    else:
        os.dup2(fds[1], link.output, False)
        os.dup2(2, 1)
    mark_files()
    for fd, copy in streams.copies.items():
        os.dup2(fd, copy, False)
        streams.files[fd] = open_file(fd)
    return ring_on_arrival(link.input)


def add_folders_of_the_user(user_site):
    """Adds to sys.path what isolation left out: PYTHONPATH, which is there only if the host gave it, and the user's own
    packages, if the host asked for them. Our own imports never look there, see `load`."""
    if sys.flags.ignore_environment:
        entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = dict.fromkeys(os.path.abspath(entry) for entry in entries if entry)
    if not (user_site and sys.flags.no_user_site) or os.environ.get("PYTHONNOUSERSITE") or sys.prefix != sys.base_prefix:
        return
    site = load("site")
    folder = site.getusersitepackages()
    if os.path.isdir(folder):
        # Where Python has them: before the packages of the system.
        places = [at for at, entry in enumerate(sys.path) if entry.endswith(("site-packages", "dist-packages"))]
        rest = sys.path[places[0] :] if places else []
        del sys.path[len(sys.path) - len(rest) :]
        site.addsitedir(folder)
        sys.path.extend(rest)


def renew_private_files():
    """Gives a copy of a worker files of its own where the two would share one."""
    global health
    if stacks is not None:
        opened = open_stacks()
        os.dup2(opened, stacks, False)
        os.close(opened)
    if health.statm is not None:
        os.close(health.statm)
    health = Health()


stacks = None  # the descriptor that faulthandler writes to, if it is a file of ours


def install_signals():
    global stacks
    """Sets our handlers, whatever was inherited: nohup and service managers leave signals ignored or blocked."""
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, OUR_SIGNALS)
    real_signal(DOORBELL, on_doorbell)
    real_signal(SIGINT, on_sigint)
    _signal.signal, _signal.getsignal = set_signal, get_handler
    faulthandler.enable(2)
    # How the host sees what the threads do, also while one of them holds the interpreter.
    stacks = open_stacks()
    faulthandler.register(_signal.SIGUSR2, 2 if stacks is None else stacks, all_threads=True)


def open_stacks():
    """A file in memory that the host finds by its name: what is written there no output of the user can hold up."""
    try:
        opened = os.memfd_create("ostler-stacks", os.MFD_CLOEXEC)
    except (AttributeError, OSError):  # not Linux
        return None
    fcntl.fcntl(opened, fcntl.F_SETFL, os.O_APPEND)
    copy = private(opened)
    os.close(opened)
    return copy


def ring_on_arrival(fd):
    """Makes the kernel send SIGURG to the main thread whenever something arrives; False where that is impossible."""
    if not LINUX:
        return False
    f_setown_ex, owner_is_thread = 15, 0
    try:
        fcntl.fcntl(fd, f_setown_ex, pack("ii", owner_is_thread, PID))
        fcntl.fcntl(fd, F_SETSIG, int(DOORBELL))
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:
        return False
    return True


def greeting(doorbell):
    capabilities = ["input", "cancel", "interrupt", "sigint", "await", "display", "reset", "vars", "complete"]
    if has_part("state"):
        capabilities.append("checkpoint")
    if LINUX and has_part("branch"):
        capabilities += "fork", "secret"
    return {
        "type": "ready",
        "protocol": PROTOCOL,
        "pid": PID,
        "codec": codec_name,
        "language": "python",
        "version": "%d.%d.%d" % sys.version_info[:3],
        "executable": sys.executable or "",
        "capabilities": capabilities + ["doorbell"] if doorbell else capabilities,
        "concurrency": 1,
        "boot_ms": process_time() * 1000.0,
    }


def main():
    """Runs the worker; never returns. Every way out is `_exit`: a normal exit would wait for the user's threads."""
    try:
        hello = greeting(start())
        channel.send(hello)
        serve()
    except BaseException as error:
        try:
            report_internal_error(error)
        finally:
            exit_now(EXIT_INTERNAL)


def report_internal_error(error):
    """By hand: whatever broke this file may have broken the traceback module too."""
    lines = [f"ostler worker: internal error: {type(error).__name__}: {error}"]
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        lines.append(f"  {code.co_filename}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    os.write(2, "\n".join([*lines, ""]).encode("utf-8", "replace"))


if __name__ == "__main__":
    sys.modules["_ostler_worker"] = sys.modules["__main__"]
    main()

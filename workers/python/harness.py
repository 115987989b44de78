"""A small host for the worker's tests: no Rust, no packages, and a time limit on every wait.

It reads the channel and both output pipes in one place, and keeps the fence of the socket transport: before it
delivers a frame that ends or interrupts the output, it reads exactly what the pipes hold at that moment.
"""

import array
import contextlib
import fcntl
import functools
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import time
import types

from parts import compile_module, read_parts

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(HERE, "ostler_worker")
LIMIT = 10.0  # seconds that anything may take
NUDGE_AFTER = 1.0  # seconds of silence
FENCED = ("result", "error", "display", "input_request", "bye")


def load_worker(name):
    """A copy of the worker's module of its own, for its codecs."""
    module = types.ModuleType(name)
    for code in compile_module("worker", read_parts()):
        exec(code, module.__dict__)
    return module


@functools.lru_cache(None)
def codec(name):
    module = load_worker(f"worker_for_{name}")
    if name == "json":
        module.use_json_codec()
    return module


@functools.lru_cache(None)
def read(name):
    with open(os.path.join(HERE, name), "rb") as file:
        return file.read()


@functools.lru_cache(None)
def compiled_worker():
    """What the probe says: the worker, marshalled for this interpreter."""
    command = [sys.executable, "-I", "-c", (read("parts.py") + read("probe.py")).decode()]
    sources = "".join(f"{name}\0{source}\0" for name, source in read_parts())
    told = subprocess.run(command, input=sources.encode(), stdout=subprocess.PIPE, check=True, timeout=LIMIT)
    return told.stdout.partition(b"\n")[2]


class WorkerGone(Exception):
    """The channel has ended."""


class Outcome:
    """How an execution ended (`frame`), and everything that came before (`events`: frames, or (stream, bytes))."""

    def __init__(self, frame, events):
        self.frame, self.events = frame, events
        self.kind = frame.get("kind", "ok")

    def text(self, stream="stdout"):
        return b"".join(event[1] for event in self.events if type(event) is tuple and event[0] == stream).decode()

    def frames(self, kind):
        return [event for event in self.events if type(event) is dict and event["type"] == kind]

    def __repr__(self):
        return f"Outcome({self.frame}, {self.events})"


class Host:
    def __init__(self, transport="socket", codec_name="msgpack", env=None, init=None, prefix=(), read_size=1 << 16):
        self.codec = codec(codec_name)
        self.transport, self.read_size = transport, read_size
        self.buffer = bytearray()
        self.events = []  # read, not delivered
        self.number = 0
        self.nudges = 0
        self.running = None
        environment = dict(os.environ, OSTLER_CODEC=codec_name, OSTLER_TRANSPORT=transport, OSTLER_TAG="test")
        environment.update(env or {})
        options = dict(env=environment, start_new_session=True, stderr=subprocess.PIPE, bufsize=0)
        if transport == "socket":
            self.socket, theirs = socket.socketpair()
            bootstrap = [sys.executable, "-I", "-X", "faulthandler", "-c", read("bootstrap.py").decode()]
            self.process = subprocess.Popen([*prefix, *bootstrap], stdin=theirs, stdout=subprocess.PIPE, **options)
            theirs.close()
            self.output = self.input = self.socket.fileno()
            self.pipes = {self.process.stdout.fileno(): "stdout", self.process.stderr.fileno(): "stderr"}
            payload = compiled_worker()
            self.write(b"M" + len(payload).to_bytes(4, "big") + payload)
        else:
            script = [sys.executable, PROGRAM]
            pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.process = subprocess.Popen([*prefix, *script], **pipes, **options)
            self.output, self.input = self.process.stdin.fileno(), self.process.stdout.fileno()
            self.pipes = {self.process.stderr.fileno(): "stderr"}
        self.meet(init)

    def meet(self, init=None):
        for fd in (self.input, *self.pipes):
            os.set_blocking(fd, False)
        self.ready = self.next_frame()
        if init is not None:
            self.send("init", protocol=1, **init)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(LIMIT)
        for stream in self.process.stdin, self.process.stdout, self.process.stderr:
            if stream is not None:
                stream.close()
        if self.transport == "socket":
            self.socket.close()

    # -- sending

    def write(self, data):
        view = memoryview(data)
        limit = time.monotonic() + LIMIT
        while view:
            try:
                view = view[os.write(self.output, view) :]
            except BlockingIOError:
                ready = select.select([self.input, *self.pipes], [self.output], [], max(0, limit - time.monotonic()))
                assert ready[0] or ready[1], "the worker does not read"
                self.pump(0)

    def wait_until_read(self):
        """Waits until the worker has taken every byte that was written."""
        request = termios.TIOCOUTQ if self.transport == "socket" else termios.FIONREAD

        def taken():
            held = array.array("i", [0])
            fcntl.ioctl(self.output, request, held)
            return held[0] == 0

        eventually(taken, what="the worker's reading")

    def frame(self, kind, **fields):
        payload = self.codec.encode({"type": kind, **fields})
        return len(payload).to_bytes(4, "big") + payload

    def send(self, kind, **fields):
        self.write(self.frame(kind, **fields))

    def interrupt_children(self):
        """SIGINT for what the worker has started, as the host sends along with `cancel` and `interrupt`."""
        found = [self.process.pid]
        for parent in found:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may end meanwhile
                with open(f"/proc/{parent}/task/{parent}/children") as file:
                    found += map(int, file.read().split())
        for pid in found[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)

    # -- receiving

    def pump(self, seconds):
        """Waits for something to read, and reads it once."""
        ready = select.select([self.input, *self.pipes], [], [], max(0, seconds))[0]
        if ready:
            self.read_channel()  # in any case, and first: `started` was sent before the first byte of output
        for fd in ready:
            if fd in self.pipes:
                self.read_pipe(fd, self.read_size)

    def read_channel(self):
        try:
            data = os.read(self.input, self.read_size)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self.fence()
            raise WorkerGone(self.tail())
        self.buffer += data
        while len(self.buffer) >= 4:
            end = 4 + int.from_bytes(self.buffer[:4], "big")
            if len(self.buffer) < end:
                break
            message = self.codec.decode(bytes(self.buffer[4:end]))
            del self.buffer[:end]
            if message["type"] in FENCED:
                self.fence()
            if message["type"] == "output":
                self.events.append((message["stream"], message["data"], message["id"], message["seq"]))
            else:
                self.events.append(message)

    def fence(self):
        for fd in list(self.pipes):
            held = array.array("i", [0])
            fcntl.ioctl(fd, termios.FIONREAD, held)
            while held[0] > 0:
                held[0] -= self.read_pipe(fd, held[0]) or held[0]

    def read_pipe(self, fd, size):
        try:
            data = os.read(fd, size)
        except BlockingIOError:
            return 0
        if data:
            self.events.append((self.pipes[fd], data))
        else:
            del self.pipes[fd]
        return len(data)

    def tail(self):
        return b"".join(event[1] for event in self.events if type(event) is tuple).decode("utf-8", "replace")[-3000:]

    def next_event(self, seconds=LIMIT, nudge=False):
        limit = time.monotonic() + seconds
        while not self.events:
            left = limit - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"nothing from the worker within {seconds} s")
            self.pump(min(left, NUDGE_AFTER) if nudge else left)
            if nudge and not self.events:
                self.nudge()
        return self.events.pop(0)

    def nudge(self):
        """Rings the doorbell by hand, as a host does that waits for a busy worker.

        A signal that comes when Python has looked for signals and is about to block in the kernel goes unnoticed until
        the next one. That is rare, but a loaded machine can stop the worker in just that place.
        """
        os.kill(self.process.pid, signal.SIGURG)
        self.nudges += 1

    def next_frame(self, kind=None, seconds=LIMIT, nudge=False):
        """The next frame (of that kind); what came before it stays for later."""
        limit = time.monotonic() + seconds
        while True:
            for event in self.events:
                if type(event) is dict and kind in (None, event["type"]):
                    self.events.remove(event)
                    return event
            left = limit - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no frame {kind or ''} from the worker within {seconds} s")
            before = len(self.events)
            self.pump(min(left, NUDGE_AFTER) if nudge else left)
            if nudge and len(self.events) == before:
                self.nudge()

    # -- whole executions

    def start(self, code, **fields):
        """Sends code and waits until it counts as started."""
        self.number += 1
        id = f"e{self.number}"
        self.events.clear()
        self.send("execute", id=id, code=code, **fields)
        self.running = id
        self.expect_started(id)
        return id

    def expect_started(self, id):
        frame = self.next_frame("started")
        assert frame["id"] == id, frame

    def finish(self, id, seconds=LIMIT, on_input=None):
        """Collects everything up to the end of an execution; questions are answered by `on_input`."""
        limit = time.monotonic() + seconds
        events = []
        while True:
            try:
                event = self.next_event(limit - time.monotonic(), nudge=True)
            except WorkerGone as gone:
                self.running = None
                raise WorkerGone(Outcome({}, events).text("stderr") + str(gone)) from None
            if type(event) is dict and event["type"] in ("result", "error"):
                assert event["id"] == id, f"{event} instead of {id}"
                self.running = None
                return Outcome(event, events)
            events.append(event)
            if type(event) is dict and event["type"] == "input_request" and on_input is not None:
                self.send("input_response", id=id, request=event["request"], **on_input(event))

    def run(self, code, seconds=LIMIT, on_input=None, **fields):
        return self.finish(self.start(code, **fields), seconds, on_input)

    def value(self, code, **fields):
        outcome = self.run(code, **fields)
        assert outcome.kind == "ok", outcome
        return outcome.frame.get("value")

    def wait_for_output(self, text, stream="stdout", seconds=LIMIT):
        """Waits until the running code has printed `text`: how tests know where the code is."""
        limit = time.monotonic() + seconds
        seen = b""
        while text.encode() not in seen:
            event = self.next_event(limit - time.monotonic())
            if type(event) is tuple and event[0] == stream:
                seen += event[1]
        return seen

    def wait_for_stacks(self, text):
        """Asks for the stacks of all threads, as the host does, and waits until they hold `text`."""
        folder = f"/proc/{self.process.pid}/fd"
        is_stacks = lambda fd: os.readlink(f"{folder}/{fd}") == "/memfd:ostler-stacks (deleted)"
        stacks = next(fd for fd in os.listdir(folder) if is_stacks(fd))
        os.kill(self.process.pid, signal.SIGUSR2)

        def told():
            with open(f"{folder}/{stacks}", "rb") as file:
                return text.encode() in file.read()

        eventually(told, what=f"stacks with {text!r}")

    def arrive(self, code, mark="go", stream="stdout", **fields):
        """Starts code and waits until it is past the line that prints `go`, where it will be cancelled."""
        id = self.start(code, **fields)
        self.wait_for_output(mark, stream)
        lines = code.splitlines()
        while mark == "go":  # another mark comes from a child, while Python may be unable to answer
            self.send("ping", seq=0)
            where = self.next_frame("heartbeat", nudge=True)["where"]
            if not (where[0].startswith("<exec:") and "print('go')" in lines[where[1] - 1]):
                break
        return id

    def wait_for_exit(self, seconds=LIMIT):
        return self.process.wait(seconds)


def is_alive(pid):
    """Whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def eventually(condition, seconds=LIMIT, what="the condition"):
    """Waits for a fact that only polling can see."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"{what} did not come true within {seconds} s")
        time.sleep(0.002)

"""Output: sys.stdout and sys.stderr, and that all of it is sent before what ends an execution."""

import io
import select
import sys

from .bindings import os
from .msgpack_encoder import encode, framed
from .state import channel, state, streams

OUTPUT_CHUNK = 256 << 10  # bytes of one `output` frame (stdio transport)


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
    return framed(payload)


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

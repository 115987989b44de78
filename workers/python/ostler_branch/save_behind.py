"""Saves the state in a copy of this process, while this one goes on."""

import _signal
import binascii
import gc

from .bindings import ForkRefused, os, state
from .host_socket import connect
from .python_threads import pause_threads
from .refusal import reason_against_fork

WORTH_A_FORK = 32 << 20  # bytes of memory of a worker; to save less in the worker itself is as quick


def save_behind(message, gather):
    """Has a copy of this process save the state and send it to the host, while this one goes on. None if it should be
    saved here: it is small, or must not be forked."""
    if message.get("address") is None:
        raise worker.RequestError("`address` is missing, which the mode `fork` needs")
    if worker.health.memory(worker.monotonic()) < WORTH_A_FORK:
        return None
    user, state.user = state.user, False
    problem = reason_against_fork()
    if problem is not None:
        worker.log("info", f"the state is saved in the session itself, which waits for that: {problem}")
        state.user = user
        return None
    try:
        resume = pause_threads()
    except ForkRefused:
        state.user = user
        return None
    pid = os.fork()
    if pid:
        resume(False)
        _, status = os.waitpid(pid, 0)
        state.user = user
        return None if status else {"type": "forked", "id": message["id"]}
    # In the child, from which `after_fork_in_child` has taken the channel.
    try:
        if os.fork():
            worker.exit_now(0)
    except OSError:
        worker.exit_now(1)
    try:
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)  # the host may interrupt code that the worker runs by then
        gc.disable()
        deliver(message, gather)
    finally:
        worker.exit_now(0)


def deliver(message, gather):
    host = connect(message)
    if not host.recv(1):  # the host has given up, and will not end this process
        return
    try:
        told, chunks = gather(message)
        head = {"type": "checkpoint_data", "id": message["id"], "part": 0, "last": True, **told}
    except BaseException as error:
        exception = {**worker.name_exception(error), "message": worker.safe_str(error)[:4096]}
        head = {"type": "error", "id": message["id"], "execution_time": 0.0, "kind": "exception", "exception": exception}
        chunks = []
    head = worker.encode(head)
    host.sendall(len(head).to_bytes(4, "big") + head)
    checksum = 0  # the host ignores it after an error
    for chunk in chunks:
        view = memoryview(chunk).cast("B") if len(chunk) else b""
        checksum = binascii.crc32(view, checksum)
        host.sendall(view)
    host.sendall(checksum.to_bytes(4, "big"))

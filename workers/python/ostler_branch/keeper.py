"""The processes beside the copy, and its name to others.

The copy must not be a child of this worker. Code here may wait for "any child", and whoever collects the copy must tell
the host how it ended, also when this worker is gone. So there are two more processes:

    worker ── fork ──> a moment's process ── fork ──> keeper ── fork ──> copy
                       ends: the keeper is an orphan  │
                                                      becomes a shell that reads from the host, and collects nobody

The copy that dies stays a zombie as long as the keeper lives: the host reads how it ended, and only then lets the keeper
go, with which both are collected.
"""

import _signal

from .bindings import ForkRefused, os, state
from .host_socket import connect, receive, tell

PADDING = b"OSTLER_TAG_ROOM="
TAG = b"OSTLER_TAG"


def fork_copy(message, tag):
    """Makes the copy. Returns None in the worker, and in the copy the descriptors that the host gave it."""
    blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, worker.OUR_SIGNALS)
    state.branching = True
    descriptors = pid = None
    try:
        try:
            pid = os.fork()
            if pid == 0:
                descriptors = fork_keeper_and_copy(message, tag)
        except OSError as error:
            raise ForkRefused(f"the system gives no other process: {error}") from None
        if pid:
            _, status = os.waitpid(pid, 0)
            if status:
                raise ForkRefused("the system gives no second process")
    finally:
        state.branching = False
        _signal.pthread_sigmask(_signal.SIG_SETMASK, blocked)
    return descriptors


def fork_keeper_and_copy(message, tag):
    """In the child of the worker, which ends at once. Returns in the copy only."""
    try:
        pid = os.fork()
    except OSError:
        worker.exit_now(1)
    if pid:
        worker.exit_now(0)
    host = None
    try:
        os.setpgid(0, 0)
        set_visible_tag(tag)  # from now on it is found by the name of the copy
        host = connect(message)
        tell(host, "wants stdio" if state.framed_output else "wants socket")
        descriptors = receive(host)
        copy = os.fork()
        if copy == 0:
            host.close()
            os.setpgid(0, 0)
            return descriptors
        try:
            os.setpgid(copy, copy)  # here too: the host may signal the group as soon as it knows of it
        except OSError:
            pass
        tell(host, f"forked {copy}")
        wait_for_host_to_close(host, tag)
    except BaseException as error:
        if host is not None:
            tell(host, f"refused {type(error).__name__}: {error}")
    worker.exit_now(1)


def wait_for_host_to_close(host, tag):
    """Keeps the copy from being collected, until the host closes its end. It becomes a small program,
    because the memory of this process is a copy too, and would keep pages that the others have freed."""
    os.dup2(host.fileno(), 0)
    nothing = os.open("/dev/null", os.O_RDWR)
    for fd in 1, 2:
        os.dup2(nothing, fd)
    os.closerange(3, 4096)
    try:
        os.execve("/bin/sh", ["ostler-keeper", "-c", "read _"], {TAG: tag})
    except OSError:  # there is no shell
        while os.read(0, 1):
            pass


def set_visible_tag(tag):
    """Changes the tag that others see. Setting a variable does not: the kernel shows the block of the start."""
    with open("/proc/self/stat", "rb") as file:
        start = int(file.read().rpartition(b")")[2].split()[47])
    with open("/proc/self/environ", "rb") as file:
        block = file.read()
    at = (b"\0" + block).index(b"\0" + TAG + b"=") + len(TAG) + 1
    room = block.index(b"\0", at)
    while block[room + 1 : room + 2] == b"\0" or block.startswith(PADDING, room + 1):
        room = block.index(b"\0", room + 1)
    if len(tag) > room - at:
        raise OSError(f"a tag of {len(tag)} bytes, there is room for {room - at}")
    memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    os.pwrite(memory, tag.ljust(room - at, b"\0"), start + at)
    os.close(memory)

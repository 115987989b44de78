"""Forks a session: a copy of this worker, with all that it holds, becomes a worker of its own.

A part of the worker that is loaded when it is first needed, for most sessions never. Only an idle worker is forked, and
only where the copy can live: see `why_not`.

The copy must not be a child of this worker. Code here may wait for "any child", and whoever collects the copy must tell
the host how it ended, also when this worker is gone. So there are two more processes:

    worker ── fork ──> a moment's process ── fork ──> keeper ── fork ──> copy
                       ends: the keeper is an orphan  │
                                                      becomes a shell that reads from the host, and collects nobody

The copy that dies stays a zombie as long as the keeper lives: the host reads how it ended, and only then lets the keeper
go, with which both are collected. src/worker/branch.rs is the other side.
"""

import _signal
import _socket
import gc
import io
import stat
import sys

PADDING = b"OSTLER_TAG_ROOM="
TAG = b"OSTLER_TAG"
PATH_MAX = 1024
GPUS = "/dev/nvidia", "/dev/kfd"
FILES = frozenset((io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper))

os, state = worker.os, worker.state


class ForkRefused(Exception):
    """This session cannot be forked now; it goes on as it was."""


# ---------------------------------------------------------------------------------------------------------------
# Whether it may be
# ---------------------------------------------------------------------------------------------------------------


def why_not():
    """Why this process must not be forked. Threads are not copied, and may hold locks; children are not the copy's."""
    if len(sys._current_frames()) > 1:
        threading = sys.modules.get("threading")
        names = [repr(thread.name) for thread in threading.enumerate()[1:]] if threading else []
        return f"threads run in it ({', '.join(names) or 'unnamed'}); join them first"
    threads, known = os.stat("/proc/self/task").st_nlink - 2, known_threads()
    if threads > known:
        return f"{threads} threads of libraries run in it, {known} are known to stop for a fork"
    if state.loop is not None and worker.has_background_work(state.loop):
        return "asyncio tasks run in it; await or cancel them first"
    if has_children():
        return "it has child processes, which would not be those of the copy; wait for them first"
    interpreters = sys.modules.get("_interpreters") or sys.modules.get("_xxsubinterpreters")
    if interpreters is not None and len(interpreters.list_all()) > 1:
        return "it has subinterpreters, which a fork does not copy; close them first"
    gpu = next((name for name in open_files().values() if name.startswith(GPUS)), None)
    if gpu is not None:
        return f"it uses {gpu}, which a copy could not"
    return None


def known_threads():
    """How many threads there may be. Those of OpenBLAS stop for a fork; others are not known to."""
    with open("/proc/self/maps", "rb") as file:
        libraries = {line.split(None, 5)[5] for line in file if b"openblas" in line and b"/" in line}
    if not libraries:
        return 1
    try:
        pool = int(os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or 0)
    except ValueError:
        pool = 0
    return 1 + len(libraries) * ((pool or len(os.sched_getaffinity(0))) - 1)


def has_children():
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return True
    except ChildProcessError:
        return False


def open_files():
    """What is open, by its number."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # that of the listing itself
            pass
    return found


def flush_files():
    """Writes what open files still keep for later: two processes would write it twice. Looks for them only if a file is
    open for writing, for the look at every object takes its time."""
    for fd, name in open_files().items():
        try:
            ours = name.startswith("/memfd:ostler") or not stat.S_ISREG(os.fstat(fd).st_mode)
            if not ours and worker.fcntl.fcntl(fd, worker.fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
                break
        except OSError:
            pass
    else:
        return
    for value in gc.get_objects():
        if type(value) in FILES:
            try:
                value.flush()
            except Exception:  # closed, or for reading
                pass


# ---------------------------------------------------------------------------------------------------------------
# The fork
# ---------------------------------------------------------------------------------------------------------------


def fork(message):
    """Returns the worker's answer in the worker, and the greeting of the copy in the copy."""
    state.user = False  # from here on nothing interrupts
    address, tag, folder = message["address"], message["tag"], message["folder"]
    problem = why_not()
    if problem is not None:
        raise ForkRefused(problem)
    flush_files()
    random = sys.modules.get("random")
    dice = random._inst.getstate() if random else None  # a fork gives the child other numbers: here it continues these
    descriptors = fork_off(address, tag.encode())
    if descriptors is None:
        return {"type": "forked", "id": message["id"]}
    try:
        if dice is not None:
            random._inst.setstate(dice)
        return take_over(descriptors, tag, folder)
    except BaseException as error:
        worker.report_internal_error(error)
        worker.exit_now(worker.EXIT_INTERNAL)


def fork_off(address, tag):
    """Makes the copy. Returns None in the worker, and in the copy the descriptors that the host gave it."""
    blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, worker.OUR_SIGNALS)
    state.branching = True
    descriptors = pid = None
    try:
        try:
            pid = os.fork()
            if pid == 0:
                descriptors = beside_the_worker(address, tag)
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


def beside_the_worker(address, tag):
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
        mark(tag)  # from now on it is found by the name of the copy
        host = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        host.connect("\0" + address)
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
        keep(host, tag)
    except BaseException as error:
        if host is not None:
            tell(host, f"refused {type(error).__name__}: {error}")
    worker.exit_now(1)


def receive(host):
    """What the host sends with its first bytes: the descriptors 0, 1 and 2 of the copy."""
    data, ancillary, _, _ = host.recvmsg(PATH_MAX, _socket.CMSG_SPACE(12), _socket.MSG_CMSG_CLOEXEC)
    raw = b"".join(part for _, _, part in ancillary)
    if not data or len(raw) != 12:
        raise OSError("the host sent no descriptors")
    return [int.from_bytes(raw[at : at + 4], sys.byteorder) for at in range(0, 12, 4)]


def tell(host, text):
    data = text.encode("utf-8", "backslashreplace")
    try:
        host.sendall(len(data).to_bytes(4, "big") + data)
    except OSError:
        pass


def keep(host, tag):
    """Keeps the copy from being collected, until the host closes its end. In a small program, for this memory is a copy
    too, and would hold on to what both others have replaced by then."""
    os.dup2(host.fileno(), 0)
    nothing = os.open("/dev/null", os.O_RDWR)
    for fd in 1, 2:
        os.dup2(nothing, fd)
    os.closerange(3, 4096)
    try:
        os.execve("/bin/sh", ["ostler-keeper", "-c", "read _"], {TAG: tag})
    except OSError:  # there is none; this does it too
        while os.read(0, 1):
            pass


def mark(tag):
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


def take_over(descriptors, tag, folder):
    """Makes the copy a worker of its own, with its own descriptors. Returns what a worker says first."""
    worker.PID = os.getpid()
    was_at_home = worker.current_folder() == state.home
    os.environ["OSTLER_TAG"] = sys.modules["os"].environ["OSTLER_TAG"] = tag
    if was_at_home:
        os.chdir(folder)
        state.folder = None
    state.home = folder
    channel = worker.channel
    for queue in channel.incoming, channel.parked, channel.outgoing:
        queue.clear()
    channel.buffer.clear()
    channel.link.limited = False
    doorbell = worker.take_descriptors(descriptors)
    for fd in descriptors:
        os.close(fd)
    worker.renew_private_files()
    if state.loop is not None:
        # Its selector is the other one's too: whatever is done to it, closing included, is done to both.
        state.abandoned.append((state.loop, None))
        state.loop = None
        worker.load("asyncio").set_event_loop(None)
    return worker.greeting(doorbell)

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
import binascii
import gc
import io
import stat
import sys

PADDING = b"OSTLER_TAG_ROOM="
TAG = b"OSTLER_TAG"
PATH_MAX = 1024
WORTH_A_FORK = 32 << 20  # bytes of memory of a worker; to save less in the worker itself is as quick
GPUS = "/dev/nvidia", "/dev/kfd"
PATIENCE = 1.0  # seconds for a thread that is told to end
GATE = 2.0  # seconds for a thread without work to come to a gate
LOOKS = 40  # at a thread that may be about to have no work any more
TRIES = 200  # looks at a thread that runs, within a second
STACK = 8192  # bytes of a thread's stack that are looked at
SYSTEM = "libc.", "libc-", "ld-", "libpthread", "libstdc++", "libgcc", "libm.", "libm-"
# What makes do in a copy without its threads: they stop for a fork, their pool begins anew behind it, jemalloc has handlers
# for it, polars has one that clears old files. Tried with forks that go on allocating and computing.
FORK_WELL = "openblas", "libarrow"
FORK_WELL_BY_NAME = "jemalloc_bg_thd", "polars-ooc-clea"
CURES = {
    "polars": "fork before its first query",
    "duckdb": "`SET threads = 1; SET async_threads = 0` ends them, and so does closing its connections",
    "gomp": "start the session with OMP_NUM_THREADS=1, or fork before it computes",
    "omp": "start the session with OMP_NUM_THREADS=1, or fork before it computes",
    "tbb": "fork before it computes",
}
FILES = frozenset((io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper))

os, state = worker.os, worker.state


class ForkRefused(Exception):
    """This session cannot be forked now; it goes on as it was."""


# ---------------------------------------------------------------------------------------------------------------
# Whether it may be
# ---------------------------------------------------------------------------------------------------------------


def why_not():
    """Why this process must not be forked. Threads are not copied, and may hold locks; children are not the copy's."""
    problem = python_threads() or native_threads()
    if problem is not None:
        return problem
    if state.loop is not None and worker.has_background_work(state.loop):
        return "asyncio tasks run in it; await or cancel them first"
    children = children_of_the_code()
    if children:
        return f"it has child processes ({', '.join(children)}), which would not be those of the copy; wait for them first"
    interpreters = sys.modules.get("_interpreters") or sys.modules.get("_xxsubinterpreters")
    if interpreters is not None and len(interpreters.list_all()) > 1:
        return "it has subinterpreters, which a fork does not copy; close them first"
    shared = shared_memory()
    if shared:
        return f"it has shared memory open ({', '.join(shared)}), which would not be the copy's own; close it first"
    gpu = next((name for name in open_files().values() if name.startswith(GPUS)), None)
    if gpu is not None:
        return f"it uses {gpu}, which a copy could not"
    return None


def python_threads():
    """Which threads that run Python would be missed in the copy, and what to do about them."""
    if len(sys._current_frames()) == 1:
        return None
    threading = sys.modules.get("threading")
    others = set(threading.enumerate()[1:]) if threading else set()
    idle = {thread for executor in executors_of(others) if is_idle(executor) for thread in executor._threads}
    missed = others - idle - tqdm_monitors()
    told = sorted(f"{thread.name!r}, which runs `{code_of(thread)}`" for thread in missed if thread.is_alive())
    if not told and len(sys._current_frames()) > 1 + len(others | idle):
        told = ["one that `_thread` started"]
    return f"threads run in it: {'; '.join(told)}; join them, or shut down what has started them, first" if told else None


def code_of(thread):
    """What a thread runs, by its name in its module."""
    runs = getattr(thread, "_target", None) or type(thread)
    name = getattr(runs, "__qualname__", None) or type(runs).__qualname__
    module = getattr(runs, "__module__", None) or getattr(type(getattr(runs, "__self__", None)), "__module__", None)
    return name if module in (None, "__main__") else f"{module}.{name}"


def executors_of(threads):
    """The pools of concurrent.futures, asyncio.to_thread's among them, that these threads work for."""
    pools = sys.modules.get("concurrent.futures.thread")
    own = set() if pools is None else threads & set(pools._threads_queues)
    return {thread._args[0]() for thread in own if getattr(thread, "_args", None)} - {None}


def is_idle(executor):
    """Whether nothing runs in it, and nothing waits: then all its threads come to one gate. They hold nothing of the code's
    but what is one queue's only: the copy gets another, and new threads when it has work for them. This process keeps its own."""
    pools, threading = sys.modules["concurrent.futures.thread"], sys.modules["threading"]
    waits = pools._worker.__code__
    for _ in range(LOOKS):
        frames = sys._current_frames()
        if all(getattr(frames.get(thread.ident), "f_code", None) is waits for thread in executor._threads):
            break
        worker.time.sleep(GATE / LOOKS / 10)  # it may have told its last result a moment ago
    else:
        return False
    gate = threading.Barrier(len(executor._threads))
    arriving = []
    try:
        for _ in range(gate.parties):
            arriving.append(pools.ThreadPoolExecutor.submit(executor, gate.wait))
        for one in arriving:
            one.result(GATE)
        return True
    except Exception:  # something runs, or it is being shut down
        for one in arriving:
            one.cancel()
        gate.abort()
        return False


def tqdm_monitors():
    """The threads with which tqdm refreshes bars that are slow. They are ended for a fork, and begin again behind it."""
    threading = sys.modules.get("threading") if "tqdm" in sys.modules else None
    return {one for one in (threading.enumerate() if threading else ()) if type(one).__module__ == "tqdm._monitor"}


def settle():
    """What ends for a fork. Returns what makes it begin again, in the process that it is called in."""
    threading, monitors = sys.modules.get("threading"), tqdm_monitors()
    executors = executors_of(set(threading.enumerate())) if threading else ()
    for monitor in monitors:
        monitor.was_killed.set()
        monitor.join(PATIENCE)
        if monitor.is_alive():
            raise ForkRefused(f"the thread {monitor.name!r} of `tqdm` does not end")
        monitor.tqdm_cls.monitor = None

    def resume(copied):
        for monitor in monitors:
            bars = monitor.tqdm_cls
            if bars.monitor is None and bars._instances:  # the next bar would begin it anyway
                bars.monitor = type(monitor)(bars, bars.monitor_interval)
        if copied:
            forget_threads(executors)

    return resume


def forget_threads(executors):
    """In the copy: it has none of the threads that waited for work, and its resource tracker is another process's child."""
    threading, queues = sys.modules.get("threading"), sys.modules.get("_queue")
    for executor in executors:
        executor._threads.clear()
        executor._work_queue = queues.SimpleQueue()
        executor._idle_semaphore = threading.Semaphore(0)
        executor._shutdown_lock = threading.Lock()
    tracker = resource_tracker()
    if tracker is not None and tracker._fd is not None:
        os.close(tracker._fd)
        tracker._fd = tracker._pid = None


def native_threads():
    """Which threads of libraries would be missed in the copy, and what to do about them."""
    threading = sys.modules.get("threading")
    ours = {thread.native_id for thread in threading.enumerate()} if threading else set()
    ours.add(worker.PID)
    tasks = [int(task) for task in os.listdir("/proc/self/task") if int(task) not in ours]
    if not tasks:
        return None
    libraries, told = mapped_libraries(), {}
    for task in tasks:
        name, home = name_of(task), home_of_task(task, libraries)
        known = home if home is not None else "openblas" if len(tasks) < known_threads() else ""
        if name not in FORK_WELL_BY_NAME and not any(part in known for part in FORK_WELL):
            told.setdefault((home or "a library that is not known", name), []).append(task)
    if not told:
        return None
    (home, name), these = next(iter(told.items()))
    cure = next((cure for part, cure in CURES.items() if part in home), "fork before it is used")
    if home.startswith(("libpython", "python")):  # `_thread` started it, with a function that is not Python's
        cure = "wait for its end first"
    many = f"{len(these)} threads of {home} run" if len(these) > 1 else f"a thread of {home} runs"
    return f"{many} in it (`{name}`), and a copy would not have what it waits for; {cure}"


def has_threads_of(part):
    """Whether a library with this in its name runs threads."""
    libraries = mapped_libraries()
    if not any(part in name for _, _, name in libraries):
        return False
    return any(part in (home_of_task(task, libraries) or "") for task in os.listdir("/proc/self/task"))


def name_of(task):
    try:
        with open(f"/proc/self/task/{task}/comm") as file:
            return file.read().strip()
    except OSError:  # it has just ended
        return FORK_WELL_BY_NAME[0]


def mapped_libraries():
    """Where in memory which library has its code."""
    found = []
    with open("/proc/self/maps") as file:
        for line in file:
            place, rights, _, _, _, *path = line.split(None, 5)
            if "x" in rights and path and path[0].startswith("/"):
                begin, end = (int(number, 16) for number in place.split("-"))
                found.append((begin, end, path[0].strip().rpartition("/")[2]))
    return found


def home_of_task(task, libraries):
    """The library that a thread waits in, by the return addresses on its stack. None if that is not seen."""
    for _ in range(TRIES):
        try:
            with open(f"/proc/self/task/{task}/syscall") as file:
                fields = file.read().split()
        except OSError:
            return None
        if len(fields) > 2:
            break
        worker.time.sleep(PATIENCE / TRIES)  # it runs: pools do, for a while, after they had work
    else:
        return None
    memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        stack, data = int(fields[-2], 16), b""
        for size in STACK, 4096 - stack % 4096:
            try:
                data = os.pread(memory, size, stack)
                break
            except OSError:
                pass
    finally:
        os.close(memory)
    for at in range(0, len(data) - 7, 8):
        address = int.from_bytes(data[at : at + 8], sys.byteorder)
        for begin, end, name in libraries:
            if begin <= address < end and not name.startswith(SYSTEM):
                return name
    return None


def known_threads():
    """How many threads there may be where nobody tells whose they are. Those of OpenBLAS stop for a fork."""
    with open("/proc/self/maps", "rb") as file:
        libraries = {line.split(None, 5)[5] for line in file if b"openblas" in line and b"/" in line}
    if not libraries:
        return 1
    try:
        pool = int(os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or 0)
    except ValueError:
        pool = 0
    return 1 + len(libraries) * ((pool or len(os.sched_getaffinity(0))) - 1)


def children_of_the_code():
    """What they are called, but for the tracker of shared memory: nobody can wait for that, and a copy begins its own."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []
    tracker, found = getattr(resource_tracker(), "_pid", None), []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children") as file:
                found += [int(pid) for pid in file.read().split()]
        except OSError:
            pass
    names = []
    for pid in found:
        if pid != tracker:
            try:
                with open(f"/proc/{pid}/comm") as file:
                    names.append(f"`{file.read().strip()}`, {pid}")
            except OSError:
                names.append(str(pid))
    return names if found else ["which are not seen"]


def resource_tracker():
    module = sys.modules.get("multiprocessing.resource_tracker")
    return getattr(module, "_resource_tracker", None)


def shared_memory():
    """What is open of it. Semaphores are not: locks of several processes are meant to be shared."""
    with open("/proc/self/maps") as file:
        paths = {line.split(None, 5)[5].strip() for line in file if " /dev/shm/" in line}
    return sorted(path for path in paths if not path.startswith("/dev/shm/sem."))


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
    tag, folder = message["tag"], message["folder"]
    problem = why_not()
    if problem is not None:
        raise ForkRefused(problem)
    flush_files()
    resume = settle()
    random = sys.modules.get("random")
    dice = random._inst.getstate() if random else None  # a fork gives the child other numbers: here it continues these
    try:
        descriptors = fork_off(message, tag.encode())
    except ForkRefused:
        resume(False)
        raise
    if descriptors is None:
        resume(False)
        return {"type": "forked", "id": message["id"]}
    try:
        resume(True)
        if dice is not None:
            random._inst.setstate(dice)
        return take_over(descriptors, tag, folder)
    except BaseException as error:
        worker.report_internal_error(error)
        worker.exit_now(worker.EXIT_INTERNAL)


def save_behind(message, gather):
    """Has a copy of this process save the state and send it to the host, while this one goes on. None if it should be
    saved here: it is small, or must not be forked."""
    if message.get("address") is None:
        raise worker.RequestError("`address` is missing, which the mode `fork` needs")
    if worker.health.memory(worker.monotonic()) < WORTH_A_FORK:
        return None
    user, state.user = state.user, False
    problem = why_not()
    if problem is not None:
        worker.log("info", f"the state is saved in the session itself, which waits for that: {problem}")
        state.user = user
        return None
    try:
        resume = settle()
    except ForkRefused:
        state.user = user
        return None
    pid = os.fork()
    if pid:
        resume(False)
        _, status = os.waitpid(pid, 0)
        state.user = user
        return None if status else {"type": "forked", "id": message["id"]}
    # In the child, which `in_child` has made a stranger to the host.
    try:
        if os.fork():
            worker.exit_now(0)
    except OSError:
        worker.exit_now(1)
    try:
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)  # one that is meant for code that the worker runs by now
        gc.disable()
        deliver(message, gather)
    finally:
        worker.exit_now(0)


def deliver(message, gather):
    host = connect(message)
    if not host.recv(1):  # nobody waits any more, and nobody would end this process
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
    checksum = 0  # of an error nobody reads it
    for chunk in chunks:
        view = memoryview(chunk).cast("B") if len(chunk) else b""
        checksum = binascii.crc32(view, checksum)
        host.sendall(view)
    host.sendall(checksum.to_bytes(4, "big"))


def connect(message):
    """Goes where the host waits. It lets nobody in but who sends the secret first."""
    host = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    host.connect("\0" + message["address"])
    host.sendall((message.get("secret") or "").encode())  # an older host has none
    return host


def fork_off(message, tag):
    """Makes the copy. Returns None in the worker, and in the copy the descriptors that the host gave it."""
    blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, worker.OUR_SIGNALS)
    state.branching = True
    descriptors = pid = None
    try:
        try:
            pid = os.fork()
            if pid == 0:
                descriptors = beside_the_worker(message, tag)
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


def beside_the_worker(message, tag):
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

"""The zygote: an interpreter that has the worker and some modules loaded, and forks workers.

The bootstrap runs this file in the place of the worker's `main`, with the worker's module as `worker`. It returns in
the workers only, which then run that `main`; the zygote itself ends here. One thread; fd 0 is the control socket.
src/worker/zygote.rs is the other side, and says what is told on that socket.
"""

import _socket
import builtins
import gc
import os
import select
import sys

POOLS = "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"
TAG = b"OSTLER_TAG="
PATIENCE = 1  # ms without an order, before a worker is forked ahead: one that was just ordered comes first
EXIT_PROBE_FINE, EXIT_PROBE_UNMARKED = 77, 78

children = set()  # forked and not collected yet
worker_variables = {}  # what a worker's `start` looks for
spare = None  # the worker that was forked ahead, and waits: its id, and the socket to it
culprit = None  # the module whose import started threads that no fork could do without
mask = os.umask(0o077)
os.umask(mask)
control = _socket.socket(fileno=worker.private(0))
os.close(0)
worker.open_nothing()
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
    """Nobody is left who would end the workers, so they end here; and they leave no zombie to whoever comes next."""
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


def preload(names):
    """Imports what every worker shall have. BLAS pools stay small: a thread in the zygote is one thread too many."""
    global culprit
    ours = [name for name in POOLS if name not in os.environ]
    os.environ.update(dict.fromkeys(ours, "1"))
    user_site = os.environ.get("OSTLER_USER_SITE") == "1"
    worker.codec_name = os.environ.get("OSTLER_CODEC")
    for name in [name for name in os.environ if name.startswith("OSTLER_") and name != "OSTLER_TAG"]:
        worker_variables[name] = os.environ.pop(name)
    for _ in worker.chores():  # what a worker would do in its idle time
        pass
    worker.chores = lambda: iter(())
    worker.add_folders_of_the_user(user_site)
    worker.add_folders_of_the_user = lambda user_site: None
    gc.disable()
    for name in names:
        tell("importing", name)
        try:
            __import__(name)
        except BaseException as error:
            tell("failed", f"{name}\0{type(error).__name__}: {error}{place_of(error, name)}")
            os._exit(1)
        if culprit is None and native_threads():
            culprit = name
    for stream in sys.stdout, sys.stderr:
        try:
            stream.flush()
        except Exception:
            pass
    gc.collect()
    gc.freeze()  # the workers' collections leave these pages alone, so they stay shared


def place_of(error, name):
    """Where a module that is there went wrong."""
    if getattr(error, "name", None) == name and isinstance(error, ImportError):
        return ""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f" ({traceback.tb_frame.f_code.co_filename}, line {traceback.tb_lineno})"


def why_not():
    """Why this process must not be forked. Another thread may hold a lock, which would be held for ever in the child."""
    if len(sys._current_frames()) > 1:
        threading = sys.modules.get("threading")
        names = [repr(thread.name) for thread in threading.enumerate()[1:]] if threading else []
        return f"Python threads run in it: {', '.join(names) or 'unnamed'}"
    return native_threads()


def native_threads():
    problem = worker.load_part("branch").native_threads()
    return problem and (f"`{culprit}` was loaded, and {problem}" if culprit else problem)


def find_mark():
    """Where in memory the tag stands that others see in /proc/PID/environ, and its room."""
    with open("/proc/self/stat", "rb") as file:
        start = int(file.read().rpartition(b")")[2].split()[47])
    with open("/proc/self/environ", "rb") as file:
        block = file.read()
    at = (b"\0" + block).index(b"\0" + TAG) + len(TAG)
    return start + at, block.index(b"\0", at) - at


def mark(tag):
    """Changes the tag that others see. Setting a variable does not: the kernel shows the block of the start."""
    at, room = mark_place
    if len(tag) > room:
        raise ValueError(f"a tag of {len(tag)} bytes, there is room for {room}")
    memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    os.pwrite(memory, tag.ljust(room, b"\0"), at)
    os.close(memory)


def probe():
    """A dead child, not collected: the host tries on it whether it can see exits, and whether marks are seen."""
    pid = os.fork()
    if pid == 0:
        code = EXIT_PROBE_UNMARKED
        try:
            mark(b"probe")
            with open("/proc/self/environ", "rb") as file:
                if TAG + b"probe\0" in file.read():
                    code = EXIT_PROBE_FINE
        finally:
            os._exit(code)
    children.add(pid)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def fork():
    """Forks a worker that waits for its order on a socket of its own. None in the worker; what is wrong, if anything."""
    global control, spare
    problem = why_not()
    if problem is not None:
        return problem
    try:
        ours, its = _socket.socketpair()
        pid = os.fork()
    except OSError as error:
        return f"fork: {error}"
    if pid == 0:
        os.setpgid(0, 0)
        children.clear()
        ours.close()
        control.close()
        control = its
        return None
    its.close()
    try:
        os.setpgid(pid, pid)  # here too: the host may signal the group as soon as it knows of it
    except OSError:
        pass
    children.add(pid)
    spare = pid, ours
    return ""


def give(order, fds):
    """Makes the spare a worker by this order. False if it is dead."""
    global spare
    (pid, socket), spare = spare, None
    data = [len(order).to_bytes(4, "big"), order]
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds))]
    try:
        rest = b"".join(data)[socket.sendmsg(data, ancillary) :]
        if rest:  # not for nothing: by now it may have taken the order, and closed its end
            socket.sendall(rest)
    except OSError:
        end(pid)
        return False
    finally:
        socket.close()
    tell("forked", pid)
    return True


def become_worker():
    """Starts the worker ahead of its order, and then makes it the ordered one. After a fork the first touch of each page
    costs microseconds, and a start touches hundreds of them: ahead of the order that costs nobody any time."""
    gc.enable()
    reseed()
    start_ahead()
    order, fds = receive()
    control.close()
    _fork, folder, *variables = order.split(b"\0")
    set_variables(dict(variable.split(b"=", 1) for variable in variables))
    mark(os.environb[TAG[:-1]])
    os.chdir(folder)
    worker.state.home = worker.current_folder()
    os.umask(mask)
    doorbell = worker.take_descriptors(fds)
    for fd in fds:
        os.close(fd)
    worker.start = lambda: doorbell


def start_ahead():
    worker.PID = os.getpid()
    os.environ.update(worker_variables)
    instead, peer = _socket.socketpair()
    for fd in 0, 1:
        os.dup2(instead.fileno(), fd)
    instead.close()
    worker.start()
    # What comes next, once, with nobody to hear of it.
    mark(os.environb[TAG[:-1]])
    set_variables(dict(os.environb))
    worker.ring_on_arrival(worker.channel.link.input)
    worker.execute(worker.decode(worker.encode({"type": "execute", "id": "rehearsal", "code": "None"})))
    worker.is_sound()
    worker.state.sequence = 0
    peer.close()


def set_variables(wanted):
    for name in [name for name in wanted if name.startswith(b"OSTLER_") and name + b"=" != TAG]:
        del wanted[name]  # as `start` does
    for name in [name for name in os.environb if name not in wanted]:
        del os.environb[name]
    for name, value in wanted.items():
        if os.environb.get(name) != value:
            os.environb[name] = value


def reseed():
    """Python reseeds `random` in a child; the global state of numpy stays as it was."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def end(pid):
    """Collects a child. Until now its id was its own, so what is left of its group can be killed by that."""
    if pid in children:
        kill(pid)
        os.waitpid(pid, 0)
        children.discard(pid)


def serve():
    """Takes orders; returns in a worker, and in a script, with its order and its descriptors."""
    global mark_place
    mark_place = find_mark()
    order, _ = receive()
    preload([name.decode() for name in order.split(b"\0")[1:]])
    problem = why_not()
    if problem is not None:
        tell("unfit", problem)
        os._exit(0)
    tell("ready", probe())
    quiet = select.poll()
    quiet.register(control.fileno(), select.POLLIN)
    while True:
        if spare is None and not quiet.poll(PATIENCE) and fork() is None:
            return None
        order, fds = receive()
        kind = order.partition(b"\0")[0]
        if kind == b"end":
            end(int(order.partition(b"\0")[2]))
        elif kind == b"script":
            if fork_script():
                return order, fds
        elif not (spare and give(order, fds)):
            problem = fork()
            if problem is None:
                break
            if problem or not give(order, fds):
                tell("refused", problem or "the child died at once")
        for fd in fds:
            os.close(fd)
    for fd in fds:  # the child will get the order, and these, once more
        os.close(fd)
    return None


def fork_script():
    """Forks a script from this process itself, which has nothing of a worker. True in the script."""
    global spare
    problem = why_not()
    try:
        pid = None if problem else os.fork()
    except OSError as error:
        problem = f"fork: {error}"
    if problem:
        tell("refused", problem)
        return False
    if pid == 0:
        os.setpgid(0, 0)
        children.clear()
        control.close()
        if spare is not None:
            spare[1].close()
        return True
    try:
        os.setpgid(pid, pid)
    except OSError:
        pass
    children.add(pid)
    tell("forked", pid)
    return False


def become_script(order, fds):
    """Makes this process what the interpreter is before it runs a file; returns what it is to run."""
    _script, count, *fields = order.split(b"\0")
    args = [os.fsdecode(field) for field in fields[: int(count)]]
    folder, *variables = fields[int(count) :]
    gc.enable()
    reseed()
    set_variables(dict(variable.split(b"=", 1) for variable in variables))
    mark(os.environb[TAG[:-1]])
    os.chdir(folder)
    os.umask(mask)
    for target, fd in enumerate(fds):
        os.dup2(fd, target)
        os.close(fd)
    for name, fd in ("stdin", 0), ("stdout", 1), ("stderr", 2):
        stream = open_stream(getattr(sys, f"__{name}__"), fd)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys._xoptions.clear()  # the zygote's
    worker.stacks = worker.open_stacks()
    if os.environ.get("PYTHONFAULTHANDLER"):
        worker.faulthandler.enable(2)
    else:
        worker.faulthandler.disable()
        for number in 4, 6, 7, 8, 11:  # its own; Python has noted them as handled by somebody else
            worker._signal.signal(number, worker._signal.SIG_DFL)
    worker.faulthandler.register(worker._signal.SIGUSR2, 2 if worker.stacks is None else worker.stacks)
    del sys.modules["_ostler_worker"]
    worker.main = lambda: None  # what the bootstrap calls next
    return args


def open_stream(before, fd):
    """A standard stream as the interpreter opens it."""
    import io

    unbuffered = fd > 0 and bool(os.environ.get("PYTHONUNBUFFERED"))
    binary = open(fd, "wb" if fd else "rb", buffering=0 if unbuffered else -1, closefd=False)
    (binary if unbuffered else binary.raw).name = before.name
    text = io.TextIOWrapper(
        binary, before.encoding, before.errors, "\n", line_buffering=fd == 2 or os.isatty(fd), write_through=unbuffered
    )
    text.mode = "w" if fd else "r"
    return text


def run_script(args):
    """What `python ARGS` does."""
    # Not the one that the zygote was started with: that is frozen, and what hangs on it would never be collected.
    main = sys.modules["__main__"] = type(sys)("__main__")
    names = main.__dict__
    names["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        names["__annotations__"] = {}
    sys.orig_argv = [sys.executable, *args]
    what = args[0]
    path = os.path.join(os.getcwd(), what) if sys.version_info >= (3, 9) else what
    if what == "-m":
        sys.argv, sys.path[:0] = args[1:], [os.getcwd()]
        __import__("runpy")._run_module_as_main(args[1])
    elif what == "-c":
        sys.argv, sys.path[:0] = ["-c", *args[2:]], [""]
        exec(compile(args[1], "<string>", "exec", dont_inherit=True), names)
    elif what == "-":
        sys.argv, sys.path[:0] = args, [""]
        exec(compile(sys.stdin.buffer.read(), "<stdin>", "exec", dont_inherit=True), names)
    elif os.path.isdir(what) or __import__("zipfile").is_zipfile(what):
        sys.argv, sys.path[:0] = args, [path]
        __import__("runpy")._run_module_as_main("__main__", False)
    else:
        sys.argv, sys.path[:0] = args, [os.path.dirname(os.path.realpath(what))]
        try:
            with open(what, "rb") as file:
                source = file.read()
        except OSError as error:
            print(f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
            sys.exit(2)
        files = sys.modules["_frozen_importlib_external"]
        is_compiled = source[:4] == files.MAGIC_NUMBER
        loader = (files.SourcelessFileLoader if is_compiled else files.SourceFileLoader)("__main__", path)
        names.update(__file__=path, __cached__=None, __loader__=loader)
        exec(loader.get_code("__main__") if is_compiled else compile(source, path, "exec", dont_inherit=True), names)


def report(error):
    """Has an exception shown as the interpreter does it, without our frames."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename == run_script.__code__.co_filename:
        traceback = traceback.tb_next
    error.__traceback__ = traceback  # what the interpreter's own hook shows
    try:
        sys.excepthook(type(error), error, traceback)
    except BaseException as second:
        print("Error in sys.excepthook:", file=sys.stderr)
        sys.__excepthook__(type(second), second, second.__traceback__)
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(error), error, traceback)


script = None
try:
    script = serve()
    if script is None:
        become_worker()
    else:
        script = become_script(*script)
except BaseException as error:
    worker.report_internal_error(error)
    os._exit(worker.EXIT_INTERNAL)
if script is not None:
    try:
        run_script(script)
    except SystemExit:
        raise
    except BaseException as error:
        report(error)
        sys.excepthook = lambda *_: None  # the interpreter ends itself by this exception, and has shown it
        raise

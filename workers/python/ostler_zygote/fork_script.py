"""Forks scripts."""

import gc
import os
import sys

from .control import mask, tell
from .fork_worker import spare
from .preload import fork_child
from .tag import TAG, set_visible_tag
from .variables import reseed, set_variables


def fork_script():
    """Forks a script from this process itself, which has nothing of a worker. True in the script."""
    pid, problem = fork_child()
    if problem:
        tell("refused", problem)
        return False
    if pid == 0:
        if spare is not None:
            spare[1].close()
        return True
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
    set_visible_tag(os.environb[TAG[:-1]])
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
        for number in 4, 6, 7, 8, 11:  # Python believes that these handlers, faulthandler's, are somebody else's
            worker._signal.signal(number, worker._signal.SIG_DFL)
    worker.faulthandler.register(worker._signal.SIGUSR2, 2 if worker.stacks is None else worker.stacks)
    # Ignored where the host ignores them; what asks a script to stop is heard.
    worker._signal.signal(worker._signal.SIGINT, worker._signal.default_int_handler)
    worker._signal.signal(worker._signal.SIGTERM, worker._signal.SIG_DFL)
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

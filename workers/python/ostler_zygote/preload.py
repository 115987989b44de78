"""Imports what every worker shall have, and says whether that can be forked."""

import gc
import os
import sys

from .control import children, control, tell

POOLS = "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"
module_with_threads = None  # the module whose import started threads that no fork could do without
worker_variables = {}  # what a worker's `start` looks for


def preload(names):
    """Imports what every worker shall have. BLAS pools stay small: a thread in the zygote is one thread too many."""
    global module_with_threads
    ours = [name for name in POOLS if name not in os.environ]
    os.environ.update(dict.fromkeys(ours, "1"))
    user_site = os.environ.get("OSTLER_USER_SITE") == "1"
    worker.codec_name = os.environ.get("OSTLER_CODEC")
    for name in [name for name in os.environ if name.startswith("OSTLER_") and name != "OSTLER_TAG"]:
        worker_variables[name] = os.environ.pop(name)
    for _ in worker.idle_steps():  # what a worker would do in its idle time
        pass
    worker.idle_steps = lambda: iter(())
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
        if module_with_threads is None and native_threads():
            module_with_threads = name
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


def reason_against_fork():
    """Why this process must not be forked. Another thread may hold a lock, which would be held for ever in the child."""
    if len(sys._current_frames()) > 1:
        threading = sys.modules.get("threading")
        names = [repr(thread.name) for thread in threading.enumerate()[1:]] if threading else []
        return f"Python threads run in it: {', '.join(names) or 'unnamed'}"
    return native_threads()


def fork_child():
    """Forks a child in a group of its own, without the control socket. Returns its id, which is 0 in the child, or None and
    what is wrong."""
    problem = reason_against_fork()
    if problem is not None:
        return None, problem
    try:
        pid = os.fork()
    except OSError as error:
        return None, f"fork: {error}"
    if pid == 0:
        os.setpgid(0, 0)
        children.clear()
        control.close()
        return 0, None
    try:
        os.setpgid(pid, pid)  # here too: the host may signal the group as soon as it knows of it
    except OSError:
        pass
    children.add(pid)
    return pid, None


def native_threads():
    problem = worker.load_deferred("branch").native_threads()
    return problem and (f"`{module_with_threads}` was loaded, and {problem}" if module_with_threads else problem)

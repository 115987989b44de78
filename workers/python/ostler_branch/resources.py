"""What a copy would share with this process: children, shared memory, open files."""

import gc
import io
import stat
import sys

from .bindings import os

FILES = frozenset((io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper))


def children_of_the_code():
    """Names of the child processes, without the resource tracker: code cannot wait for it, and a copy starts its own."""
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
    """The shared memory that is open, without semaphores, which are meant to be shared."""
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
    """Writes what open files still keep for later: two processes would write it twice. Looks at
    all objects, which takes time, only if a descriptor is open for writing."""
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

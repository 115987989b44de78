"""Threads that libraries have started: which of them a copy would miss."""

import sys

from .bindings import os
from .python_threads import PATIENCE

TRIES = 200  # looks at a thread that runs, within a second
STACK = 8192  # bytes of a thread's stack that are looked at
SYSTEM = "libc.", "libc-", "ld-", "libpthread", "libstdc++", "libgcc", "libm.", "libm-"
# Libraries that work in a copy without their threads: their pools stop for a fork or start again after it, jemalloc has
# fork handlers, and the thread of polars only clears old files. Tested with copies that go on allocating and computing.
FORK_WELL = "openblas", "libarrow"
FORK_WELL_BY_NAME = "jemalloc_bg_thd", "polars-ooc-clea"
CURES = {
    "polars": "fork before its first query",
    "duckdb": "`SET threads = 1; SET async_threads = 0` ends them, and so does closing its connections",
    "gomp": "start the session with OMP_NUM_THREADS=1, or fork before it computes",
    "omp": "start the session with OMP_NUM_THREADS=1, or fork before it computes",
    "tbb": "fork before it computes",
}


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
        name, home = name_of_thread(task), library_of_thread(task, libraries)
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
    return any(part in (library_of_thread(task, libraries) or "") for task in os.listdir("/proc/self/task"))


def name_of_thread(task):
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


def library_of_thread(task, libraries):
    """The library that a thread waits in, by the return addresses on its stack. None if that is not seen."""
    for _ in range(TRIES):
        try:
            with open(f"/proc/self/task/{task}/syscall") as file:
                fields = file.read().split()
        except OSError:
            return None
        if len(fields) > 2:
            break
        worker.time.sleep(PATIENCE / TRIES)  # it still runs, as threads of pools do for a while after work
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
    words = [int.from_bytes(data[at : at + 8], sys.byteorder) for at in range(0, len(data) - 7, 8)]
    for at, address in enumerate(words):
        # The stack begins below glibc's block of the thread, whose first and third word are its own address. What is above may
        # be other memory of the process.
        if address == stack + 8 * at and words[at + 2 : at + 3] == [address]:
            break
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

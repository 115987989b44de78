"""What of an execution still runs at its end: threads, children, tasks."""

import sys
from _thread import _count as count_threads

from .bindings import MAIN_THREAD, monotonic, os, time_sleep
from .event_loop import open_loop
from .state import state
from .text import shorten

SETTLING = 0.005  # seconds that threads and children have to end
LEFT_MAX = 32  # leftovers that are reported


def left_nothing(execution):
    """Whether the execution has left nothing. It runs at each end, so it makes as few calls as possible."""
    if count_threads() != len(state.known_threads):
        return False
    if not execution.fresh:
        return True
    if open_loop() is not None:
        return False
    try:
        wait_id(os.P_ALL, 0, LOOK_AT_CHILDREN)
    except ChildProcessError:  # there are none
        return True
    except Exception:
        pass
    return False


wait_id = getattr(os, "waitid", None)
LOOK_AT_CHILDREN = getattr(os, "WEXITED", 0) | getattr(os, "WNOHANG", 0) | getattr(os, "WNOWAIT", 0)


def find_leftovers(execution):
    """What `execution` has begun and not ended, in words for a person.

    Of a stateless execution also its children and its tasks: a session goes on with them, and knows them.
    """
    limit = monotonic() + SETTLING
    while True:
        left = new_threads()
        if execution.fresh:
            left += living_children() + pending_tasks()
        if not left or monotonic() > limit:
            break
        time_sleep(0.0005)
    if not execution.fresh:  # the next execution does not report them again
        current_frames = sys._current_frames()
        state.known_threads = frozenset(i for i in current_frames if i != MAIN_THREAD and not is_idle(i, current_frames[i]))
    return left[:LEFT_MAX]


def new_threads():
    threads = getattr(sys.modules.get("threading"), "_active", {})
    names, frames = [], sys._current_frames()
    if count_threads() >= len(frames):  # one that began in C; of the frames, one is ours
        names.append("thread")
    for ident, frame in frames.items():
        if ident != MAIN_THREAD and ident not in state.known_threads and not is_idle(ident, frame):
            names.append(shorten(f"thread {getattr(threads.get(ident), '_name', ident)}", 200))
    return names


def is_idle(ident, frame):
    """Whether it is a thread of an executor that waits for work. Libraries keep them; they run nothing of the code."""
    code = frame.f_code
    if code.co_name != "_worker" or not code.co_filename.endswith("concurrent/futures/thread.py"):
        return False
    for thread, queue in list(getattr(sys.modules.get("concurrent.futures.thread"), "_threads_queues", {}).items()):
        if thread.ident == ident:
            return queue.empty()
    return False


def living_children():
    """The children that have not ended. Those that ended and were not waited for run nothing."""
    names = []
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children", "rb") as file:
                for pid in file.read().split():
                    with open(f"/proc/{pid.decode()}/stat", "rb") as stat:
                        name, _, rest = stat.read().partition(b"(")[2].rpartition(b")")
                    if rest[1:2] not in b"ZX":
                        names.append(f"child process {pid.decode()} ({name.decode(errors='replace')})")
    except OSError:  # it has ended meanwhile, or there is no /proc
        pass
    return names


def pending_tasks():
    loop, asyncio = open_loop(), sys.modules.get("asyncio")
    if loop is None or asyncio is None:
        return []
    return [shorten(f"task {task.get_name()}", 200) for task in asyncio.all_tasks(loop) if not task.done()]

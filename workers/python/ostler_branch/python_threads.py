"""Threads that run Python: which of them a copy would miss, and which end for a fork."""

import sys

from .bindings import ForkRefused, os
from .resources import resource_tracker

PATIENCE = 1.0  # seconds for a thread that is told to end
GATE = 2.0  # seconds for an idle thread to reach the barrier
LOOKS = 40  # checks whether threads are idle


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
    """Whether the executor has no work: then all its threads reach one barrier. They hold no locks but those of its queue, so the
    copy gets a new queue, and starts threads when it has work. This process keeps its own."""
    pools, threading = sys.modules["concurrent.futures.thread"], sys.modules["threading"]
    waits = pools._worker.__code__
    for _ in range(LOOKS):
        frames = sys._current_frames()
        if all(getattr(frames.get(thread.ident), "f_code", None) is waits for thread in executor._threads):
            break
        worker.time.sleep(GATE / LOOKS / 10)  # it may still be finishing its last task
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


def pause_threads():
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

"""The end of a session: as the interpreter ends, within what the host gives for that."""

import builtins
import sys
from _functools import partial
from _thread import _count as count_threads

from .bindings import exit_now, monotonic
from .event_loop import cancel_tasks, open_loop, run_loop
from .modules import load
from .open_files import write_files
from .output import flush_output
from .state import channel, state
from .tracebacks import strip_worker_frames


def end_session():
    """Ends in order, as the interpreter does: what the code left running comes to its end, its exit handlers run, its files
    are written, and what all that printed is sent. Files come first, because the host kills what hangs."""
    limit = monotonic() + state.patience * TASKS_SHARE
    steps = [run_exit_handlers]
    if not state.patience and (state.holds or count_threads()):
        steps.append(partial(write_files, True))
    if state.patience:
        ends = partial(end_tasks, limit), partial(wait_for_threads, limit)
        steps = write_files, *ends, run_exit_handlers, drop_everything
    for step in steps:
        try:
            step()
        except BaseException as error:
            report_background_failure(error)
    flush_output()
    channel.send({"type": "bye"})
    channel.finish()
    exit_now(0)


TASKS_SHARE = 0.75  # the share of `state.patience` for tasks and threads


def end_tasks(limit):
    """Ends the tasks of the session as `asyncio.run` does; their `finally` runs."""
    loop = open_loop()
    if loop is None:
        return
    tasks = cancel_tasks(loop)
    if tasks:
        run_loop(loop, loop.create_task(load("asyncio").wait(tasks, timeout=limit - monotonic())))
    run_loop(loop, loop.create_task(loop.shutdown_asyncgens()))


def wait_for_threads(limit):
    """Waits for the threads that are not daemons, and lets executors end theirs, but not past `limit`."""
    threading = sys.modules.get("threading")
    if threading is None or count_threads() == 0:
        return

    def finish():
        threading._SHUTTING_DOWN = True
        for end in reversed(list(getattr(threading, "_threading_atexits", ()))):
            end()
        main = threading.main_thread()
        for thread in iter(lambda: next((it for it in threading.enumerate() if not it.daemon and it is not main), None), None):
            thread.join()

    waiting = threading.Thread(target=finish, daemon=True)
    waiting.start()
    waiting.join(max(0.0, limit - monotonic()))
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            print(f"ostler: thread {thread.name} did not end in time, and ends with the session", file=sys.stderr)


def run_exit_handlers():
    try:
        load("atexit")._run_exitfuncs()
    except BaseException:  # `atexit` has printed it
        pass


def drop_everything():
    """Frees what the code holds, which closes files; unless a thread goes on with it, then they are only written."""
    write_files(True)
    if len(sys._current_frames()) > 1:
        return
    builtins._ = None
    names = state.namespace
    kinds = type(sys), type(drop_everything), type
    # Modules, functions and classes go last: finalizers of other objects may need them.
    for name in sorted(reversed(list(names)), key=lambda name: issubclass(type(names[name]), kinds)):
        names.pop(name, None)
    write_files(True, True)


def report_background_failure(error):
    """Prints an exception that no execution can report, such as one with which a task ended the loop."""
    try:
        strip_worker_frames(error)
        load("traceback").print_exception(type(error), error, error.__traceback__)
    except BaseException:
        pass

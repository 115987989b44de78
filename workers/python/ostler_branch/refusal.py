"""Whether this process may be forked."""

import sys

from .bindings import state
from .native_threads import native_threads
from .python_threads import python_threads
from .resources import children_of_the_code, open_files, shared_memory

GPUS = "/dev/nvidia", "/dev/kfd"


def reason_against_fork():
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

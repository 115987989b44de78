"""The request `fork`: a copy of this worker, with all that it holds, becomes a worker of its own.

Only an idle worker is forked, and only where the copy can live: see `reason_against_fork`. src/worker/branch.rs is the other side.
"""

import sys

from .bindings import ForkRefused, os, state
from .keeper import fork_copy
from .python_threads import pause_threads
from .refusal import reason_against_fork
from .resources import flush_files


def fork(message):
    """Returns the worker's answer in the worker, and the greeting of the copy in the copy."""
    state.user = False  # from here on nothing interrupts
    tag, folder = message["tag"], message["folder"]
    problem = reason_against_fork()
    if problem is not None:
        raise ForkRefused(problem)
    flush_files()
    resume = pause_threads()
    random = sys.modules.get("random")
    random_state = random._inst.getstate() if random else None  # Python reseeds it in a child, and the copy shall continue it
    try:
        descriptors = fork_copy(message, tag.encode())
    except ForkRefused:
        resume(False)
        raise
    if descriptors is None:
        resume(False)
        return {"type": "forked", "id": message["id"]}
    try:
        resume(True)
        if random_state is not None:
            random._inst.setstate(random_state)
        return take_over(descriptors, tag, folder)
    except BaseException as error:
        worker.report_internal_error(error)
        worker.exit_now(worker.EXIT_INTERNAL)


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
        # Its selector is shared with the worker, so even closing it would change the worker's.
        state.abandoned.append((state.loop, None))
        state.loop = None
        worker.load("asyncio").set_event_loop(None)
    return worker.greeting(doorbell)

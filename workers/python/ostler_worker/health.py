"""Memory and processor time of this process, and the heartbeat that tells them."""

import sys

from .bindings import WORKER, monotonic, os, process_time
from .links import private
from .modules import load
from .namespace import namespace_size
from .state import channel, health, state


class Health:
    """Memory and CPU of this process, from where they cost least."""

    def __init__(self):
        self.page = os.sysconf("SC_PAGE_SIZE")
        self.told, self.told_at = 0, 0.0
        self.cpu_at = process_time()
        self.seen_at = monotonic()
        try:
            opened = os.open("/proc/self/statm", os.O_RDONLY)
            self.statm = private(opened)
            os.close(opened)
        except OSError:
            self.statm = None

    def memory(self, now):
        """Resident bytes, as they were within the last millisecond."""
        if now - self.told_at > 0.001:
            self.told, self.told_at = self.read_memory(), now
        return self.told

    def read_memory(self):
        if self.statm is not None:
            try:
                return int(os.pread(self.statm, 64, 0).split()[1]) * self.page
            except (OSError, ValueError, IndexError):  # user code closed the descriptor
                pass
        resource = load("resource")
        if resource is None:
            return 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def cpu_percent(self):
        """CPU use since the last call."""
        cpu, now = process_time(), monotonic()
        percent = 100.0 * (cpu - self.cpu_at) / max(now - self.seen_at, 1e-6)
        self.cpu_at, self.seen_at = cpu, now
        return percent


def send_heartbeat(seq, frame):
    message = {
        "type": "heartbeat",
        "memory_usage": health.memory(monotonic()),
        "cpu_percent": health.cpu_percent(),
        "namespace_size": namespace_size(),
    }
    if type(seq) is int:
        message["seq"] = seq
    execution = state.current
    if execution is not None:
        message["running"] = execution.id
        message["elapsed"] = monotonic() - execution.started_at
        while frame is not None and frame.f_globals is WORKER:
            frame = frame.f_back
        if frame is not None:
            message["where"] = [frame.f_code.co_filename[:1024], frame.f_lineno or 0, frame.f_code.co_name]
    channel.send(message)

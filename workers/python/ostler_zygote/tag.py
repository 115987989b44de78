"""The tag by which others know a process."""

import os

from .control import children

TAG = b"OSTLER_TAG="
tag_place = None  # what `find_visible_tag` has found
EXIT_PROBE_FINE, EXIT_PROBE_UNMARKED = 77, 78


def find_visible_tag():
    """Where in memory the tag stands that others see in /proc/PID/environ, and its room."""
    with open("/proc/self/stat", "rb") as file:
        start = int(file.read().rpartition(b")")[2].split()[47])
    with open("/proc/self/environ", "rb") as file:
        block = file.read()
    at = (b"\0" + block).index(b"\0" + TAG) + len(TAG)
    return start + at, block.index(b"\0", at) - at


def set_visible_tag(tag):
    """Changes the tag that others see. Setting a variable does not: the kernel shows the block of the start."""
    at, room = tag_place
    if len(tag) > room:
        raise ValueError(f"a tag of {len(tag)} bytes, there is room for {room}")
    memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    os.pwrite(memory, tag.ljust(room, b"\0"), at)
    os.close(memory)


def probe():
    """A dead child, not collected: the host tries on it whether it can see exits, and whether marks are seen."""
    pid = os.fork()
    if pid == 0:
        code = EXIT_PROBE_UNMARKED
        try:
            set_visible_tag(b"probe")
            with open("/proc/self/environ", "rb") as file:
                if TAG + b"probe\0" in file.read():
                    code = EXIT_PROBE_FINE
        finally:
            os._exit(code)
    children.add(pid)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid

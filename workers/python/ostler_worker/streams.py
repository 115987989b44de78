"""The worker's three standard streams, and the descriptors below them."""

import fcntl
import sys

from .bindings import F_GETSIG, F_SETSIG, LINUX, os
from .links import private
from .output import open_output
from .state import streams
from .stdin import HostInput


class Streams:
    """The worker's three standard streams, and which open files fd 1 and 2 are."""

    def __init__(self):
        self.stdin = HostInput()
        self.stdout = open_output("stdout")
        self.stderr = open_output("stderr")
        mark_files()
        self.copies = {1: private(1), 2: private(2)}
        self.files = {1: open_file(1), 2: open_file(2)}
        self.install()

    def install(self):
        for name in "stdin", "stdout", "stderr":
            setattr(sys, name, getattr(self, name))
            setattr(sys, f"__{name}__", getattr(self, name))


def mark_files():
    """Numbers the open files behind fd 1 and 2, so that one cheap call can tell them from others.

    The number is that of a signal for O_ASYNC, which these files do not use, and it is part of the open file: every
    duplicate has it, and nothing else that is opened.
    """
    global open_file, files_are_intact
    if not LINUX:
        return
    try:
        for fd in 1, 2:
            fcntl.fcntl(fd, F_SETSIG, 60 + fd)
            if fcntl.fcntl(fd, F_GETSIG) != 60 + fd:
                return
    except OSError:
        return
    open_file, files_are_intact = marked_file, marked_files_are_intact


def open_file(fd):
    """Identifies the open file behind `fd`; None if there is none."""
    try:
        return os.fstat(fd)[1:3]
    except OSError:
        return None


def marked_file(fd):
    """The same, by its mark."""
    try:
        return fcntl.fcntl(fd, F_GETSIG)
    except OSError:
        return None


def files_are_intact():
    files = streams.files
    return open_file(0) is not None and open_file(1) == files[1] and open_file(2) == files[2]


def marked_files_are_intact():
    """The same, by their marks."""
    is_open(0)
    return get_mark(1, F_GETSIG) == 61 and get_mark(2, F_GETSIG) == 62


get_mark = fcntl.fcntl
is_open = os.get_inheritable  # the cheapest call that raises OSError if there is no descriptor


def open_dev_null():
    """Points fd 0 at /dev/null."""
    opened = os.open("/dev/null", os.O_RDWR)
    if opened != 0:
        os.dup2(opened, 0)
        os.close(opened)
    else:
        os.set_inheritable(0, True)

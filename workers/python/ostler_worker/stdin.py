"""sys.stdin, whose lines are questions to the host, and the getpass module."""

import io
import sys

from .input import ask_host, ask_password


class HostInput(io.TextIOBase):
    """sys.stdin: each line is a question to the host."""

    encoding = "utf-8"
    errors = "strict"
    mode = "r"
    name = "<stdin>"

    def __init__(self):
        self.rest = ""  # of a line that was read in part
        self.bytes = None

    def readable(self):
        return True

    def fileno(self):
        return 0  # /dev/null; for subprocesses that are given this object

    def close(self):  # exit() closes stdin
        pass

    def readline(self, size=-1):
        line = self.rest
        if not line:
            try:
                line = ask_host("", False) + "\n"
            except EOFError:
                return ""
        cut = len(line) if size is None or size < 0 else size
        self.rest = line[cut:]
        return line[:cut]

    def read(self, size=-1):
        if size is not None and size >= 0:
            return self.readline(size)
        return "".join(iter(self.readline, ""))

    @property
    def buffer(self):
        if self.bytes is None:
            self.bytes = io.BufferedReader(HostBytes(self))
        return self.bytes


class HostBytes(io.RawIOBase):
    """sys.stdin.buffer: the same lines, for code that reads bytes."""

    def __init__(self, lines):
        self.lines = lines
        self.rest = b""

    def readable(self):
        return True

    def fileno(self):
        return 0

    def readinto(self, into):
        self.rest = self.rest or self.lines.readline().encode("utf-8", "surrogatepass")
        count = min(len(into), len(self.rest))
        into[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count


class GetpassFinder:
    """Makes getpass ask the host. The original opens the terminal, and a read from there would stop this process."""

    def find_spec(self, name, path=None, target=None):
        if name != "getpass":
            return None
        spec = sys.modules["_frozen_importlib_external"].PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute_module = spec.loader.exec_module

            def exec_module(module):
                execute_module(module)
                module.getpass = module.unix_getpass = ask_password

            spec.loader.exec_module = exec_module
        return spec

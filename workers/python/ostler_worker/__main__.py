"""Runs the worker as a program, `python3 workers/python/ostler_worker`, which speaks on its descriptors 0 and 1.

The Python worker that Ostler ships: standard library only, CPython 3.9 or newer. A worker runs code for a host, keeps the
namespace between executions, streams what the code prints, and stays reachable while the code runs. PROTOCOL.md says what
host and worker tell each other; this folder is one side of it. ../parts.txt lists its files, those that need no other first.

There is one thread, and it is the only reader of the channel:

    idle   the main thread waits for a frame
    busy   user code runs on the main thread. A frame that arrives rings the doorbell: the kernel sends SIGURG
           (O_ASYNC on the channel), and the signal handler reads the channel without blocking.

So a cancel interrupts user code wherever Python looks at signals, a ping is answered at once, and no thread of ours
competes for the interpreter. Two rules make that safe, and everything here leans on them:

  * a signal handler raises into user code only if the innermost Python frame is *not* one of these files'.
    Our own code is therefore never interrupted half-way, and needs no masks and no locks against itself.
  * the handler never blocks, and keeps out while the main thread reads the channel (`state.main_reads`).

User output never shares the channel on the socket transport: fd 1 and 2 are pipes that the host reads. On the stdio
transport the channel moves to private descriptors, fd 1 points at fd 2, and prints travel as `output` frames.

Only modules that are written in C or loaded anyway are imported: every other one would delay `ready` by milliseconds. For
the same reason `_signal` and not `signal` (which imports enum), and `_collections` and not `collections`.
"""

import marshal
import os
import sys

# No folder of ours may shadow modules, neither ours nor the user's.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
import parts

del sys.path[0], sys.modules["parts"]


class Deferred(dict):
    """The code of the deferred modules, compiled when it is asked for."""

    def __missing__(self, name):
        return marshal.dumps(parts.compile_module(name, sources))


sources = list(parts.read_parts())
worker = sys.modules["_ostler_worker"] = type(sys)("_ostler_worker")
for code in parts.compile_module("worker", sources):
    exec(code, worker.__dict__)
worker.deferred_code = Deferred()
worker.main()

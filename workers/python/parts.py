"""The parts of the worker: which there are, and how they become code.

Each folder `ostler_…` is one module, cut into files. parts.txt lists them in the order in which they run, all in the one
namespace of their module. At its head a part imports what it uses of the others of its folder; that is for readers and
for test_parts.py, and no import when it runs: the names are there already, and some are bound anew later.

The host gives the interpreter this file together with probe.py, so nothing here may run but definitions.
"""

import os
import re

IMPORTS_OF_PARTS = re.compile(r"^from \.\w+ import (?:\([^)]*\)|.*)$", re.MULTILINE)


def read_parts():
    """Pairs of the name and the source of each part."""
    folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(folder, "parts.txt"), encoding="utf-8") as file:
        names = file.read().split()
    for name in names:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            yield name, file.read()


def compile_part(name, source):
    """Empty lines take the place of the imports of parts, so that the numbers of lines stay true."""
    source = IMPORTS_OF_PARTS.sub(lambda found: "\n" * found[0].count("\n"), source)
    return compile(source, f"<{name}>", "exec", dont_inherit=True, optimize=2)


def compile_module(name, parts):
    """The code objects of the module `name`, which run one after the other."""
    return tuple(compile_part(part, source) for part, source in parts if part.startswith(f"ostler_{name}/"))

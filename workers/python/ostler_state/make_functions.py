"""Makes functions, and what is made of them, as they were saved. Checkpoints name these functions."""

import functools
import marshal
import sys
import types

from .format import MAGIC, RestoreRefused, head
from .kinds import Cell, Function
from .lost import Lost

ONLY_AST, TOP_LEVEL_AWAIT = 0x400, 0x2000


def import_module(name):
    __import__(name)
    return sys.modules[name]


def compiled(code, place):
    """The code of a function: as it was saved or, for another interpreter, compiled from its source."""
    if head["magic"] == MAGIC:
        return marshal.loads(code)
    file, name, line = place
    text = head["sources"].get(file)
    here = "%d.%d.%d" % sys.version_info[:3]
    if text is None:
        raise RestoreRefused(f"`{name}` was compiled by Python {head['python']}, this is {here}, and its source is gone")
    waiting = [compile(text, file, "exec", TOP_LEVEL_AWAIT | head["future"], True)]
    while waiting:
        code = waiting.pop()
        if code.co_name == name and code.co_firstlineno == line:
            return code
        waiting.extend(part for part in code.co_consts if type(part) is types.CodeType)
    raise RestoreRefused(f"`{name}` of Python {head['python']} was not found in its source by Python {here}")


def bind_early(names):
    worker.state.namespace.update(
        {name: value for name, value in names.items() if name in head["wanted"] and type(value) is not Lost}
    )
    return names


def live_namespace():
    return worker.state.namespace


def make_function(code, place, home, closure):
    code = compiled(code, place)
    names = worker.state.namespace if home is None else home if type(home) is dict else import_module(home).__dict__
    closure = tuple(cell if type(cell) is Cell else Cell() for cell in closure)
    return Function(code, names, code.co_name, None, closure)


def fill_function(function, parts):
    state, cells, names = parts
    for name, value in state.items():
        setattr(function, name, value)
    if names is not None:
        function.__dict__ = names
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        if cells.get(name) is not None:
            cell.cell_contents = cells[name][0]


def make_cell():
    return Cell()


def fill_cell(cell, content):
    cell.cell_contents = content[0]


def make_dispatcher(name):
    def placeholder():
        pass

    placeholder.__name__ = name
    return functools.singledispatch(placeholder)


def fill_dispatcher(function, parts):
    registry, state = parts
    for cls, chosen in registry.items():
        function.register(cls, chosen)
    for name, value in state.items():
        setattr(function, name, value)


def make_descriptor(base, kind, *parts):
    made = base.__new__(kind)
    base.__init__(made, *parts)
    return made


def make_cached(function, maxsize, typed):
    return functools.lru_cache(maxsize, typed)(function)


def make_cached_property(function, name):
    made = functools.cached_property(function)
    made.attrname = name
    return made

"""Kinds of types: what Python names, and what was written in it."""

import functools
import sys
import types

Function, Cell = types.FunctionType, types.CellType
NAMED_TYPES = {
    value: name
    for name, value in vars(types).items()
    if isinstance(value, type) and value.__module__ == "builtins" and not hasattr(sys.modules["builtins"], value.__name__)
}
ATOMS = frozenset((int, float, complex, str, bytes, bool, type(None)))
DESCRIPTORS = property, staticmethod, classmethod
SIMPLE_MEMBERS = ATOMS | {Function, *DESCRIPTORS}


def is_python(function):
    return type(function) is Function


def is_found(value):
    """Whether pickle would find it again by its name."""
    try:
        return functools.reduce(getattr, value.__qualname__.split("."), sys.modules[value.__module__]) is value
    except (AttributeError, KeyError):
        return False


def builtin_base(kind):
    """The class among its bases that makes the object itself."""
    return next(cls for cls in kind.__mro__ if type(vars(cls).get("__new__")) is types.BuiltinFunctionType)

"""How what is made of functions is saved."""

import functools
import gc
import types

from .kinds import DESCRIPTORS
from .make_functions import fill_dispatcher, make_descriptor, make_dispatcher


def cell_content(cell):
    try:
        return (cell.cell_contents,)
    except ValueError:  # empty
        return None


DISPATCHER = functools.singledispatch(len).__code__


def reduce_dispatcher(function):
    """What functools.singledispatch returns: made anew, for what it remembers holds only in this process."""
    made_by_it = "register", "dispatch", "registry", "_clear_cache"
    state = {name: value for name, value in vars(function).items() if name not in made_by_it}
    for name in "__name__", "__qualname__", "__module__", "__doc__":
        state[name] = getattr(function, name)
    return make_dispatcher, (function.__name__,), (dict(function.registry), state), None, None, fill_dispatcher


def reduce_descriptor(_saver, value):
    """A property, or the method of a class; also of a type that was derived from these."""
    kind = type(value)
    base = next(base for base in DESCRIPTORS if issubclass(kind, base))
    parts = (value.fget, value.fset, value.fdel, value.__doc__) if base is property else (value.__func__,)
    state = {name: part for name, part in getattr(value, "__dict__", {}).items() if name[:2] != "__"}
    return make_descriptor, (base, kind, *parts), state or None


def reduce_method(_saver, method):
    """By its name, as pickle does it, if that leads back to it; one that was made by hand, by its parts."""
    holder, name = method.__self__, method.__func__.__name__
    own = () if isinstance(holder, type) else getattr(holder, "__dict__", ())
    if name not in own and getattr(holder, name, None) == method:
        return NotImplemented
    return types.MethodType, (method.__func__, holder)


def reduce_proxy(_saver, proxy):
    return types.MappingProxyType, (gc.get_referents(proxy)[0],)  # itself: what changes there, changes here

"""The namespace in which user code runs."""

import builtins
import sys

from .state import state
from .text import shorten


def use_new_module():
    """Gives the session an empty `__main__`. A real module: pickle, dataclasses and `import __main__` need it."""
    module = type(sys)("__main__")
    names = module.__dict__
    names["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        names["__annotations__"] = {}
    sys.modules["__main__"] = module
    state.module, state.namespace, state.baseline, state.future = module, names, len(names), 0


def namespace_size():
    return max(0, len(state.namespace) - state.baseline)


def set_names(namespace, names):
    """Here, where no cancel comes between: either all of it happens, or nothing."""
    namespace.update(names)
    for name in namespace.keys() - names.keys():
        del namespace[name]


def new_names(namespace, newest):
    """The names that were added after `newest`, which was the last one before: dicts keep their order."""
    names = []
    try:
        for name in reversed(namespace):
            if name == newest or len(names) == 1000:
                break
            if type(name) is str and not name.startswith("__"):
                names.append(shorten(name, 256))
    except RuntimeError:  # a thread adds names meanwhile
        pass
    names.reverse()
    return names

"""How instances of classes of the session, exceptions among them, are saved."""

import collections
import copyreg
import sys

from .kinds import builtin_base, is_python
from .make_instances import COLLECTIONS, fill_bare, fill_exception, make_bare, make_exception


def reduce_exception(_saver, error):
    """With what it came from. Its `__init__` has run, and may take other arguments than those that it passed on."""
    kind = type(error)
    make, arguments, *state = BaseException.__reduce__(error) if kind.__reduce__ is BaseException.__reduce__ else error.__reduce__()
    origin = error.__cause__, error.__context__, error.__suppress_context__
    anew = is_python(kind.__init__) or is_python(kind.__new__)
    if not anew and origin == (None, None, False):
        return NotImplemented
    if anew:
        make, arguments = make_exception, (builtin_base(kind), kind, *arguments)
    return make, arguments, (state[0] if state else None, *origin), None, None, fill_exception


FILLING = "__setitem__", "append", "extend"


def instance_reducer(kind):
    """How an instance of a class of the session is saved. None where pickle's own way runs nothing of that class."""
    counter = kind.__reduce__ is collections.Counter.__reduce__
    if kind in copyreg.dispatch_table or is_python(kind.__reduce_ex__) or is_python(kind.__reduce__) and not counter:
        return None  # it says itself how
    if any(is_python(getattr(kind, name, None)) for name in ("__getnewargs__", "__getnewargs_ex__")) and not hasattr(kind, "_fields"):
        return None  # these are for its `__new__`; a named tuple has them anyway
    base = builtin_base(kind)
    number, taken = next(((at, entry) for at, entry in enumerate(COLLECTIONS) if issubclass(kind, entry[0])), (None, None))
    describes_itself = kind.__reduce__ is not object.__reduce__  # and then forgets what else an instance has
    sets_its_state = hasattr(kind, "__setstate__")
    always = (
        is_python(kind.__new__)
        or is_python(kind.__init__) and describes_itself
        or is_python(getattr(kind, "__getattr__", None)) and not sets_its_state
        or taken is not None and any(is_python(getattr(kind, name, None)) for name in FILLING)
    )
    own_names = not sets_its_state and not is_python(getattr(kind, "__getstate__", None))
    plain = not always and not describes_itself

    def reduce(_saver, value):
        names = getattr(value, "__dict__", None)
        if plain and sys.getrefcount(names) <= 3:
            return NotImplemented
        # Others refer to its names too; or it looks like an instance and is its own `__dict__`.
        shared = own_names and names is not None and (type(names) is not dict or sys.getrefcount(names) > 3)
        if not (always or shared or describes_itself and own_names and names):
            return NotImplemented
        make, arguments, *rest = value.__reduce_ex__(4)
        if make is copyreg.__newobj__:
            arguments = arguments[1:]
        elif make is not kind:
            return NotImplemented
        if base is tuple:
            arguments = (tuple(value),)
        elif taken is not None:
            arguments = ()
        state = rest[0] if rest else None
        if state is None and own_names and names:
            state = names
        content = None if taken is None else taken[1](value)
        filled = number, content, state, shared and type(state) is not tuple
        return make_bare, (base, kind, *arguments), filled, None, None, fill_bare

    return reduce

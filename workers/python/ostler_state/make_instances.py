"""Makes instances as they were saved, without running their code once more. Checkpoints name these functions."""

import collections

# How collections are emptied into a value, and filled from that, without asking what a class made of them.
COLLECTIONS = (
    (collections.OrderedDict, lambda v: list(collections.OrderedDict.items(v)), lambda v, items: fill_ordered(v, items)),
    (collections.defaultdict, lambda v: (v.default_factory, list(dict.items(v))), lambda v, c: collections.defaultdict.__init__(v, *c)),
    (dict, lambda v: list(dict.items(v)), dict.update),
    (list, lambda v: list(list.__iter__(v)), list.extend),
    (set, lambda v: list(set.__iter__(v)), set.update),
    (collections.deque, lambda v: (list(collections.deque.__iter__(v)), v.maxlen), lambda v, c: collections.deque.__init__(v, *c)),
    (bytearray, bytes, bytearray.__init__),
)


def fill_ordered(value, items):
    for key, item in items:
        collections.OrderedDict.__setitem__(value, key, item)


def make_bare(base, kind, *arguments):
    return base.__new__(kind, *arguments)


def fill_bare(value, parts):
    number, content, state, replaces = parts
    if number is not None:
        COLLECTIONS[number][2](value, content)
    set_state = getattr(type(value), "__setstate__", None)
    if set_state is not None:
        if state is not None:
            set_state(value, state)
        return
    names, slots = state if type(state) is tuple else (state, None)
    if replaces:
        object.__setattr__(value, "__dict__", names)
    elif names:
        value.__dict__.update(names)
    for name, part in (slots or {}).items():
        object.__setattr__(value, name, part)


def make_exception(base, kind, *arguments):
    made = base.__new__(kind, *arguments)
    base.__init__(made, *arguments)
    return made


def fill_exception(error, parts):
    state, error.__cause__, error.__context__, error.__suppress_context__ = parts
    if state is not None:
        error.__setstate__(state)


def make_view(base, shape, dtype, offset, strides, writeable):
    view = type(base)(shape, dtype, base, offset, strides)
    view.flags.writeable = writeable
    return view

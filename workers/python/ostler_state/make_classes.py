"""Makes classes as they were saved, without running their code once more. Checkpoints name these functions."""

import collections
import sys
import types
import weakref

from .kinds import builtin_base
from .make_functions import import_module

# Where the metaclass of a class needs no second run: all that it did is among the names of the class.
LEAVE_ALL_IN_THE_CLASS = frozenset(("builtins", "abc", "typing", "typing_extensions", "pydantic"))
made_here = weakref.WeakSet()  # the classes that were brought back


def make_class(kind, name, bases, qualname, early, module="__main__"):
    body = {"__module__": module, "__qualname__": qualname, **early}
    with no_hooks_of_the_session(bases):
        if any(part not in made_here and part.__module__.partition(".")[0] not in LEAVE_ALL_IN_THE_CLASS for part in kind.__mro__):
            cls = types.new_class(name, bases, {"metaclass": kind}, lambda names: names.update(body))
        else:
            cls = type.__new__(kind, name, bases, body)
            abc = sys.modules.get("abc")
            if abc is not None and issubclass(kind, abc.ABCMeta):
                import_module("_abc")._abc_init(cls)
    made_here.add(cls)
    return cls


class no_hooks_of_the_session:
    """Skips `__init_subclass__` of the session's classes; those of libraries are called, for they may keep lists."""

    def __init__(self, bases):
        self.bases = bases

    def __enter__(self):
        self.hooks = {}
        for cls in {cls for base in self.bases for cls in base.__mro__ if cls in made_here}:
            if "__init_subclass__" in vars(cls):
                self.hooks[cls] = vars(cls)["__init_subclass__"]
                type.__setattr__(cls, "__init_subclass__", classmethod(skipping(cls)))

    def __exit__(self, *_):
        for cls, hook in self.hooks.items():
            type.__setattr__(cls, "__init_subclass__", hook)


def skipping(owner):
    return lambda cls, **named: super(owner, cls).__init_subclass__(**named)


def fill_class(cls, names):
    for name, value in names.items():
        type.__setattr__(cls, name, value)


def finish_class(cls, state):
    _, names, own, with_libraries = state
    fill_class(cls, names)
    for each in own:
        cls.register(each)
    for base in with_libraries:
        base.register(cls)


def make_enum(kind, name, bases, qualname, members, raw=False):
    def body(names):
        names["__module__"], names["__qualname__"] = "__main__", qualname
        member_of = getattr(sys.modules["enum"], "member", None)
        for member, value in members.items():
            names[member] = member_of(value) if member_of and hasattr(value, "__get__") else value
        if raw:
            names["__new__"] = make_member

    def make_member(cls, arguments, value):
        member = builtin_base(cls).__new__(cls, *arguments)
        member._value_ = value
        return member

    return types.new_class(name, bases, {"metaclass": kind}, body)


def fill_enum(cls, parts):
    others, extra = parts
    for name, value in others.items():
        type.__setattr__(cls, name, value)
    for name, names in extra.items():
        vars(cls[name]).update(names)


def finish_enum(cls, state):
    *state, extra = state
    finish_class(cls, state)
    fill_enum(cls, ({}, extra))


def make_named_tuple(name, fields, defaults, module="__main__", bases=(tuple,), written=None):
    made = collections.namedtuple(name, fields, defaults=defaults, module=module)
    if bases != (tuple,):
        typing = import_module("typing")
        made.__bases__ = bases
        made.__orig_bases__ = written
        indexed = getattr(typing, "_generic_class_getitem", None) or typing.Generic.__class_getitem__.__func__
        made.__class_getitem__ = classmethod(indexed)
    return made


def make_type_variable(kind, name, constraints, options):
    made = kind(name, *constraints, **options)
    made.__module__ = "__main__"
    return made

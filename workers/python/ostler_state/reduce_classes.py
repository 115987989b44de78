"""How classes of the session are saved."""

import sys
import types

from .kinds import Function, SIMPLE_MEMBERS
from .make_classes import finish_class, finish_enum, make_enum, make_named_tuple, make_type_variable

DESCRIPTORS_OF_TYPE = (types.MemberDescriptorType, types.GetSetDescriptorType)
MADE_BY_TYPE = frozenset(("__dict__", "__weakref__", "_abc_impl", "__slots__", "__orig_bases__"))


class First:
    """What a class is given before the rest, which may ask for it: a bound method of the class, say."""

    def __init__(self, *made):
        self.made = made


def class_state(cls, names):
    """What a class is filled with. In the order of its names, so that they keep it."""
    first, rest = {}, {}
    for name, value in names.items():
        if type(value) in SIMPLE_MEMBERS or name == "__abstractmethods__":
            first[name] = value
        else:
            rest[name] = value
            if name[:2] != "__":
                first[name] = None
    return First(cls, first), rest, *registered(cls)


def registered(cls):
    """What was registered with an abstract base class, and the classes of libraries that it was registered with itself."""
    own = registry(cls) - {None} if "_abc_impl" in vars(cls) else ()
    return tuple(own), tuple(with_libraries().get(cls, ()))


def registry(cls):
    return {found() for found in sys.modules["_abc"]._get_dump(cls)[0]}


registrations = None, {}  # for what state of all registries, and by what was registered: the classes of libraries


def with_libraries():
    global registrations
    abc = sys.modules.get("abc")
    token = abc and abc.get_cache_token()
    if registrations[0] != token:
        found, waiting, seen = {}, [object], set()
        while waiting:
            for base in type.__subclasses__(waiting.pop()):
                if base not in seen:
                    seen.add(base)
                    waiting.append(base)
                    if "_abc_impl" in vars(base) and base.__module__ != "__main__":
                        for each in registry(base) - {None}:
                            found.setdefault(each, []).append(base)
        registrations = token, found
    return registrations[1]


def own_names(cls):
    """What a class itself defines, and its successor must be given after it was made."""
    return {
        name: value
        for name, value in vars(cls).items()
        if name not in MADE_BY_TYPE and type(value) not in DESCRIPTORS_OF_TYPE
    }


def reduce_enum(saver, cls):
    """Members first, by their values; then what else was defined, which may name the class."""
    names = vars(cls)
    members = {name: member._value_ for name, member in cls.__members__.items()}
    others = {
        name: value
        for name, value in names.items()
        if name not in members
        and name not in ("__new__", "__new_member__")
        and (is_of_the_user(saver, value) or name == "_boundary_" or name[:1] != "_")
    }
    if is_of_the_user(saver, names.get("__new_member__")):
        others["__new_member__"] = names["__new_member__"]
        # It gave them more than a value: what they hold as a number, text …, and what they are looked up by.
        members = {name: (object.__reduce_ex__(member, 2)[1][1:], member._value_) for name, member in cls.__members__.items()}
    extra = {name: {k: v for k, v in vars(m).items() if not k.startswith("_")} for name, m in cls.__members__.items()}
    extra = {name: names for name, names in extra.items() if names}
    made = type(cls), cls.__name__, cls.__bases__, cls.__qualname__, members, "__new_member__" in others
    return make_enum, made, (*class_state(cls, others), extra), None, None, finish_enum


def is_of_the_user(saver, value):
    value = getattr(value, "fget", None) or getattr(value, "__func__", value)
    return type(value) is Function and value.__globals__ is saver.namespace


def reduce_named_tuple(cls):
    plain = sys.modules["collections"].namedtuple("Plain", cls._fields)  # held: a class that is collected forgets its names
    others = {name: value for name, value in own_names(cls).items() if name not in vars(plain)}
    state = {"__doc__": cls.__doc__, "__qualname__": cls.__qualname__, **others}
    made = [cls.__name__, cls._fields, tuple(cls._field_defaults.values()), cls.__module__]
    if cls.__bases__ != (tuple,):  # a generic one
        state.pop("__class_getitem__", None)
        made += cls.__bases__, vars(cls).get("__orig_bases__")
    return make_named_tuple, tuple(made), class_state(cls, state), None, None, finish_class


def reduce_type_variable(_saver, variable):
    if variable.__module__ != "__main__":
        return NotImplemented
    options = {"bound": variable.__bound__, "covariant": variable.__covariant__, "contravariant": variable.__contravariant__}
    constraints = getattr(variable, "__constraints__", ())
    return make_type_variable, (type(variable), variable.__name__, constraints, options)


def reduce_variable_tuple(_saver, variable):
    return (make_type_variable, (type(variable), variable.__name__, (), {})) if variable.__module__ == "__main__" else NotImplemented


def reduce_new_type(_saver, made):
    return (type(made), (made.__name__, made.__supertype__), vars(made)) if made.__module__ == "__main__" else NotImplemented


VARIABLES = {
    "TypeVar": reduce_type_variable,
    "ParamSpec": reduce_type_variable,
    "TypeVarTuple": reduce_variable_tuple,
    "NewType": reduce_new_type,
}

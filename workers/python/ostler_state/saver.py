"""The pickler: saves by value what pickle saves by name and would not find in another process."""

import collections
import functools
import marshal
import operator
import pickle
import sys
import types
import weakref

from .kinds import ATOMS, Cell, DESCRIPTORS, Function, NAMED_TYPES, is_found, is_python
from .lost import Lost, LostValue
from .make_classes import fill_class, finish_class, make_class
from .make_functions import (
    bind_early, compiled, fill_cell, fill_function, import_module, live_namespace, make_cached,
    make_cached_property, make_cell, make_function,
)
from .make_instances import make_view
from .reduce_classes import First, VARIABLES, class_state, own_names, reduce_enum, reduce_named_tuple
from .reduce_functions import (
    DISPATCHER, cell_content, reduce_descriptor, reduce_dispatcher, reduce_method, reduce_proxy,
)
from .reduce_mapped import REDUCERS_OF_SQLALCHEMY, belongs_to_a_registry, declarative_parts
from .reduce_instances import instance_reducer, reduce_exception

PYTHON_CLASS = 1 << 9  # of `__flags__`: made while the program ran

# What would come back as something else, and why it is lost.
TIED_TO_THE_PROCESS = {
    ("weakref", "finalize"): "what it watches ends with the worker",
    ("tempfile", "TemporaryDirectory"): "its folder ends with the worker",
    ("numpy", "memmap"): "it is a view of a file",
}


class Early:
    """Names that are bound before the others are read: a `__hash__` or a `__setstate__` may need them."""

    def __init__(self, names):
        self.names = names


def is_early(value):
    kind = type(value)
    return kind in ATOMS or kind is types.ModuleType or kind is Function or issubclass(kind, type)


class Live:
    """Stands for the namespace itself, which values may refer to: `globals()`."""


class Nowhere:
    def write(self, data):
        return 0


class Saver(pickle.Pickler):
    """Adds to pickle what it would save by name, and does not find in another process.

    With `reducer_override` and not `persistent_id`: that is asked for every number and every text.
    """

    def __init__(self, file, namespace, half_built=()):
        super().__init__(file, 5)
        self.namespace = namespace
        self.half_built = half_built
        self.files, self.modules = set(), set()
        self.kinds = {}  # type -> how its instances are saved, None for pickle's own way
        self.cells = set()  # ids of those that a function is about to fill
        self.arrays = None
        live = Live()
        self.dump(live)
        memo = self.memo.copy()
        memo[id(namespace)] = memo.pop(id(live))[0], namespace
        self.memo = memo

    def reducer_override(self, value):
        kind = type(value)
        if self.half_built and id(value) in self.half_built:
            raise LostValue(self.half_built[id(value)])
        reduce = REDUCERS.get(kind)
        if reduce is not None:
            return reduce(self, value)
        if issubclass(kind, type):
            return self.reduce_type(value)
        if kind not in self.kinds:
            self.kinds[kind] = self.reducer_of(kind)
        reduce = self.kinds[kind]
        return NotImplemented if reduce is None else reduce(self, value)

    def reducer_of(self, kind):
        module = kind.__module__
        if module == "dataclasses":
            return Saver.reduce_mark
        if module == "typing":
            return VARIABLES.get(kind.__name__)
        if module.startswith("sqlalchemy.orm.") and kind.__name__ in REDUCERS_OF_SQLALCHEMY:
            return REDUCERS_OF_SQLALCHEMY[kind.__name__]
        for cls in kind.__mro__:
            why = TIED_TO_THE_PROCESS.get((cls.__module__.partition(".")[0], cls.__name__)) if cls is not object else None
            if why is not None:
                return functools.partial(refuse, f"cannot save a {cls.__name__}: {why}")
        if module == "numpy" and kind.__name__ == "ndarray":
            return Saver.reduce_array
        if issubclass(kind, BaseException):
            return None if is_python(kind.__reduce__) or is_python(kind.__reduce_ex__) else reduce_exception
        ours = self.is_ours(kind)
        if ours and issubclass(kind, DESCRIPTORS):
            return reduce_descriptor
        # One of a library whose `__getattr__` would be asked for `__setstate__`, before it has anything to answer with.
        if ours or is_python(getattr(kind, "__getattr__", None)) and not is_python(kind.__new__):
            return instance_reducer(kind)
        return None

    def is_ours(self, cls):
        """Whether a class is saved by value: it belongs to the session, or a library made it and gave it no name."""
        module = cls.__module__
        if module == "__main__":
            return True
        origin = getattr(getattr(sys.modules.get(module), "__spec__", None), "origin", None)
        written_in_python = cls.__flags__ & PYTHON_CLASS and (module == "types" or str(origin).endswith(".py"))
        return bool(written_in_python) and not is_found(cls)

    def reduce_function(self, function):
        names = function.__globals__
        live = names is self.namespace or names is getattr(sys.modules.get("__main__"), "__dict__", None)
        if not live and function.__module__ != "__main__" and is_found(function):
            self.modules.add(function.__module__)
            return NotImplemented
        if function.__code__ is DISPATCHER:
            return reduce_dispatcher(function)
        code = function.__code__
        self.files.add(code.co_filename)
        place = code.co_filename, code.co_name, code.co_firstlineno
        closure = function.__closure__ or ()
        self.cells.update(map(id, closure))
        cells = {name: cell_content(cell) for name, cell in zip(code.co_freevars, closure)}
        state = {
            "__defaults__": function.__defaults__,
            "__kwdefaults__": function.__kwdefaults__,
            "__name__": function.__name__,
            "__qualname__": function.__qualname__,
            "__module__": function.__module__,
            "__doc__": function.__doc__,
        }
        if sys.version_info < (3, 14) and function.__annotations__:
            state["__annotations__"] = function.__annotations__
        if getattr(function, "__type_params__", ()):
            state["__type_params__"] = function.__type_params__
        home = None if live else names.get("__name__")
        if not live and vars(sys.modules.get(home, types)) is not names:
            home = names  # of `exec`: the function comes back with them
        made = marshal.dumps(code), place, home, closure
        return make_function, made, (state, cells, function.__dict__ or None), None, None, fill_function

    def reduce_code(self, code):
        self.files.add(code.co_filename)
        return compiled, (marshal.dumps(code), (code.co_filename, code.co_name, code.co_firstlineno))

    def reduce_cell(self, cell):
        content = None if id(cell) in self.cells else cell_content(cell)
        return make_cell, (), content, None, None, fill_cell

    def reduce_type(self, value):
        if value in NAMED_TYPES:
            return getattr, (types, NAMED_TYPES[value])
        generic = vars(value).get("__pydantic_generic_metadata__")
        if generic and generic["origin"] is not None:  # `Model[int]`, of which pydantic keeps one: in its own module, too
            return operator.getitem, (generic["origin"], generic["args"])
        if not self.is_ours(value):
            self.modules.add(value.__module__)
            return NotImplemented
        enum = sys.modules.get("enum")
        if enum is not None and isinstance(value, enum.EnumMeta):
            return reduce_enum(self, value)
        if issubclass(value, tuple) and "_fields" in vars(value) and "_field_defaults" in vars(value):
            return reduce_named_tuple(value)
        names = vars(value)
        early = {name: names[name] for name in ("__slots__", "__orig_bases__") if name in names}
        state, finish = own_names(value), finish_class
        if belongs_to_a_registry(value):
            early, state, finish = declarative_parts(value, early, state)
        else:
            state = class_state(value, state)
        made = type(value), value.__name__, value.__bases__, value.__qualname__, early, value.__module__
        return make_class, made, state, None, None, finish

    def reduce_array(self, array):
        """A view is one afterwards if what it is a view of is saved too. Others are saved as what they show."""
        base = owner_of(array)
        if type(base).__name__ in ("mmap", "memmap"):
            refuse("cannot save an array that is a view of a file", self, array)
        if base is array or type(base) is not type(array) or array.dtype.hasobject:
            return NotImplemented
        if self.arrays is None:
            owners = [id(owner_of(value)) for value in list(self.namespace.values()) if type(value) is type(array)]
            self.arrays = {owner for owner, views in collections.Counter(owners).items() if views > 1}
        if id(base) not in self.arrays or not base.flags.forc:
            return NotImplemented
        offset = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        return make_view, (base, array.shape, array.dtype, offset, array.strides, bool(array.flags.writeable))

    def reduce_module(self, module):
        if sys.modules.get(module.__name__) is not module:
            raise TypeError(f"cannot save the module '{module.__name__}', which was made here and not imported")
        self.modules.add(module.__name__)
        return import_module, (module.__name__,)

    def reduce_cached(self, wrapper):
        if wrapper.__module__ != "__main__":
            return NotImplemented
        limits = wrapper.cache_parameters()
        state = {name: value for name, value in vars(wrapper).items() if name != "cache_parameters"}
        return make_cached, (wrapper.__wrapped__, limits["maxsize"], limits["typed"]), state

    def reduce_mark(self, value):
        """Marks of dataclasses, which are told apart by identity."""
        dataclasses, name = sys.modules["dataclasses"], type(value).__name__
        if name == "_FIELD_BASE":
            return getattr, (dataclasses, value.name)
        name = {"_MISSING_TYPE": "MISSING", "_KW_ONLY_TYPE": "KW_ONLY"}.get(name)
        if type(value).__name__ == "_HAS_DEFAULT_FACTORY_CLASS":
            name = "_HAS_DEFAULT_FACTORY"
        return NotImplemented if name is None else (getattr, (dataclasses, name))

    def reduce_lost(self, value):
        raise LostValue(value.reason)


def refuse(text, _saver, _value):
    raise TypeError(text)


def owner_of(array):
    """Whose memory it shows."""
    owner = array
    while type(owner) is type(array) and owner.base is not None:
        owner = owner.base
    return owner


REDUCERS = {
    Function: Saver.reduce_function,
    types.ModuleType: Saver.reduce_module,
    Cell: Saver.reduce_cell,
    types.CodeType: Saver.reduce_code,
    **dict.fromkeys(DESCRIPTORS, reduce_descriptor),
    types.MethodType: reduce_method,
    types.MappingProxyType: reduce_proxy,
    weakref.ProxyType: functools.partial(refuse, "cannot save a weakref.proxy: it would come back as the object itself"),
    weakref.CallableProxyType: functools.partial(refuse, "cannot save a weakref.proxy: it would come back as the object itself"),
    functools._lru_cache_wrapper: Saver.reduce_cached,
    functools.singledispatchmethod: lambda saver, m: (functools.singledispatchmethod, (m.func,), {"dispatcher": m.dispatcher}),
    functools.cached_property: lambda saver, p: (make_cached_property, (p.func, p.attrname)),
    Lost: Saver.reduce_lost,
    Early: lambda saver, early: (bind_early, (early.names,)),
    Live: lambda saver, live: (live_namespace, ()),
    First: lambda saver, first: (fill_class, first.made),
}

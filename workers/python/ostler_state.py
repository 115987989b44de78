"""Saves the namespace of a session and brings it back: `checkpoint` and `restore`.

A part of the worker that is loaded when it is first needed, for most sessions never. The names are saved as one pickle,
so that two names of one object are still two names of one object afterwards. What pickle saves by name only, and would
not find in another process, is saved by value: functions, classes and enums of `__main__`. They are bound to the live
namespace of the session that they come back to, so `x = 2` is seen by a restored function that reads `x`.

Relations are saved with them: a variable that two closures share is one variable afterwards. And nothing that the session's
code would do runs once more: a class comes back without its metaclass and `__init_subclass__`, an instance without its
`__new__` and `__init__`, a collection without its own `append` or `__setitem__`. They have run, and what they left is saved.

What cannot be saved is found by trying the names one by one, is told with its reason, and costs the others nothing. The
same holds for what cannot be brought back: see `Patient`.

The bytes: STREAM, the version of this format and the length of the head (4 bytes each), the head (marshalled), the
pickle. Nothing here may run outside `answer` of the worker: whatever a value's own methods do, a cancel reaches it.
"""

import binascii
import collections
import copyreg
import functools
import gc
import io
import linecache
import marshal
import operator
import pickle
import sys
import types
import weakref

STREAM = b"OSTLERNS"
FORMAT = 2
READABLE = 1, 2  # 1 had no cells: each closure came back with variables of its own
PART = 4 << 20  # bytes of one `checkpoint_data`
REASON = 300  # characters of a reason that is told
NAMES_OF_PYTHON = frozenset(
    ("__builtins__", "__name__", "__doc__", "__package__", "__loader__", "__spec__", "__annotations__", "__annotate__")
    + ("__warningregistry__",)
)
ONLY_AST, TOP_LEVEL_AWAIT = 0x400, 0x2000
MAGIC = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
Function, Cell = types.FunctionType, types.CellType
NAMED_TYPES = {
    value: name
    for name, value in vars(types).items()
    if isinstance(value, type) and value.__module__ == "builtins" and not hasattr(sys.modules["builtins"], value.__name__)
}
DESCRIPTORS_OF_TYPE = (types.MemberDescriptorType, types.GetSetDescriptorType)
MADE_BY_TYPE = frozenset(("__dict__", "__weakref__", "_abc_impl", "__slots__", "__orig_bases__"))
PYTHON_CLASS = 1 << 9  # of `__flags__`: made while the program ran
# Where the metaclass of a class needs no second run: all that it did is among the names of the class.
LEAVE_ALL_IN_THE_CLASS = frozenset(("builtins", "abc", "typing", "typing_extensions", "pydantic"))
# What would come back as something else, and why it is lost.
TIED_TO_THE_PROCESS = {
    ("weakref", "finalize"): "what it watches ends with the worker",
    ("tempfile", "TemporaryDirectory"): "its folder ends with the worker",
    ("numpy", "memmap"): "it is a view of a file",
}
TABLES_IN_MEMORY = """
select name from (
  select database_name, table_name as name from duckdb_tables() where not internal
  union select database_name, view_name from duckdb_views() where not internal
) join duckdb_databases() using (database_name) where path is null order by name
"""


class CheckpointTooLarge(Exception):
    """The host named a limit, and the namespace does not fit."""


class RestoreRefused(Exception):
    """These bytes cannot be restored here; the namespace is as it was."""


class LostValue(Exception):
    """A value was met that could not be brought back."""


class Lost:
    """Stands where a value could not be brought back, and accepts whatever would be done with that."""

    def __init__(self, reason):
        self.reason = reason

    def accept(self, *_):
        pass

    append = extend = add = update = __setitem__ = accept


def reason(error):
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= REASON else text[:REASON] + "…"


# ---------------------------------------------------------------------------------------------------------------
# Saving
# ---------------------------------------------------------------------------------------------------------------


class Chunks:
    """What a pickler writes to. Large buffers are kept as they are, and copied when they are sent."""

    def __init__(self, limit):
        self.size, self.limit, self.list = 0, limit, []

    def write(self, data):
        if type(data) is not bytes:
            data = data.raw() if type(data) is pickle.PickleBuffer else memoryview(data)
        size = len(data) if type(data) is bytes else data.nbytes
        self.size += size
        if self.limit is not None and self.size > self.limit:
            raise CheckpointTooLarge(f"the namespace is larger than `max_bytes`, {self.limit} bytes")
        self.list.append(data)
        return size


class Early:
    """Names that are bound before the others are read: a `__hash__` or a `__setstate__` may need them."""

    def __init__(self, names):
        self.names = names


ATOMS = frozenset((int, float, complex, str, bytes, bool, type(None)))
DESCRIPTORS = property, staticmethod, classmethod
SIMPLE_MEMBERS = ATOMS | {Function, *DESCRIPTORS}


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
        made = type(value), value.__name__, value.__bases__, value.__qualname__, early, value.__module__
        return make_class, made, class_state(value, own_names(value)), None, None, finish_class

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


def cell_content(cell):
    try:
        return (cell.cell_contents,)
    except ValueError:  # empty
        return None


class First:
    """What a class is given before the rest, which may ask for it: a bound method of the class, say."""

    def __init__(self, *made):
        self.made = made


def refuse(text, _saver, _value):
    raise TypeError(text)


def is_found(value):
    """Whether pickle would find it again by its name."""
    try:
        return functools.reduce(getattr, value.__qualname__.split("."), sys.modules[value.__module__]) is value
    except (AttributeError, KeyError):
        return False


def is_python(function):
    return type(function) is Function


def owner_of(array):
    """Whose memory it shows."""
    owner = array
    while type(owner) is type(array) and owner.base is not None:
        owner = owner.base
    return owner


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


def builtin_base(kind):
    """The class among its bases that makes the object itself."""
    return next(cls for cls in kind.__mro__ if type(vars(cls).get("__new__")) is types.BuiltinFunctionType)


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


def save(namespace, limit, skipped):
    """Pickles the names that can be. Returns the chunks, the names, and the saver that made them. `skipped` is told of
    the others. Usually the first attempt is the only one."""
    global registrations
    names, again, registrations = dict(namespace), True, (None, {})
    while True:
        chunks = Chunks(limit)
        saver = Saver(chunks, worker.state.namespace)
        try:
            early = {name: value for name, value in names.items() if is_early(value)}
            saver.dump((Early(early), {name: value for name, value in names.items() if name not in early}))
            return chunks, names, saver
        except (CheckpointTooLarge, MemoryError):
            raise
        except Exception as error:
            problems = problems_of(names)
            if not (problems or again):
                raise error
            again = bool(problems)  # what fails only once is no problem
        for name, problem in problems.items():
            value = names.pop(name)
            skipped.append({"name": name, "type": type(value).__name__, "reason": problem})


def problems_of(names):
    found = {}
    for name, value in names.items():
        try:
            Saver(Nowhere(), worker.state.namespace).dump(value)
        except MemoryError:
            raise
        except Exception as error:
            found[name] = reason(error)
    return found


def checkpoint(message):
    """Sends the parts but the last, and returns that. Or has a copy of the worker send it all, see ostler_branch.py."""
    mode = message.get("mode")
    if mode == "fork":
        reply = worker.load_part("branch").save_behind(message, gather)
        if reply is not None:
            return reply
    elif mode not in (None, "inline"):
        raise worker.RequestError("`mode` must be `inline` or `fork`")
    last, chunks = gather(message)
    return {**send_parts(message["id"], chunks), **last}


def gather(message):
    """What the last part tells of the whole, and the whole in chunks."""
    include, exclude = message.get("include"), frozenset(message.get("exclude") or ())
    skipped, namespace = [], {}
    for name, value in list(worker.state.namespace.items()):
        if type(name) is not str:
            what = {"name": worker.safe_str(name)[:256], "type": type(value).__name__, "reason": "its name is not a text"}
            skipped.append(what)
        elif name not in NAMES_OF_PYTHON and name not in exclude and (include is None or name in include):
            namespace[name] = value
    for name in include or ():
        if name not in worker.state.namespace:
            skipped.append({"name": name, "type": "", "reason": "the session has no such name"})
    skipped += kept_by_libraries()
    chunks, names, saver = save(namespace, message.get("max_bytes"), skipped)
    head = {
        "python": "%d.%d.%d" % sys.version_info[:3],
        "magic": MAGIC,
        "names": list(names),
        "sources": sources_of(saver.files),
        "sequence": worker.state.sequence,
        "future": worker.state.future,
    }
    head = marshal.dumps(head, 2)
    chunks.write(STREAM + FORMAT.to_bytes(4, "big") + len(head).to_bytes(4, "big") + head)
    chunks.list.insert(0, chunks.list.pop())
    functions, classes = definitions(names)
    last = {"names": list(names), "skipped": skipped, "function_sources": functions, "class_sources": classes}
    last["bytes"] = chunks.size
    saver.modules -= {"builtins", "__main__", __name__}
    last["imports"] = sorted(module for module in saver.modules if type(module) is str)
    return last, chunks.list


def kept_by_libraries():
    """What no name of the session holds, and is lost all the same: the tables of DuckDB's default database."""
    duckdb = sys.modules.get("duckdb")
    # To ask for the default connection makes one; it has threads.
    if duckdb is None or not worker.load_part("branch").has_threads_of("duckdb"):
        return []
    try:
        default = duckdb.default_connection
        asked = (default() if callable(default) else default).cursor()  # its own result stays as it is
        tables = [name for (name,) in asked.execute(TABLES_IN_MEMORY).fetchall()]
    except Exception as error:
        worker.log("info", f"DuckDB's default database was not looked at: {reason(error)}")
        return []
    what = f"it is in memory, with {', '.join(map(repr, tables))}"
    return [{"name": "duckdb.default_connection()", "type": "DuckDBPyConnection", "reason": what[:REASON]}] if tables else []


def send_parts(id, chunks):
    """Sends full parts; returns the last one, which may be full too."""
    part, number, total, checksum = bytearray(), 0, 0, 0
    for chunk in chunks:
        view = memoryview(chunk).cast("B") if len(chunk) else b""
        while len(view):
            if len(part) == PART:
                worker.channel.send({"type": "checkpoint_data", "id": id, "part": number, "last": False, "data": bytes(part)})
                number += 1
                part.clear()
            taken = bytes(view[: PART - len(part)])
            checksum = binascii.crc32(taken, checksum)
            total += len(taken)
            part += taken
            view = view[len(taken) :]
    last = {"type": "checkpoint_data", "id": id, "part": number, "last": True, "data": bytes(part)}
    last.update(bytes=total, checksum=f"crc32:{checksum:08x}")
    return last


# ---------------------------------------------------------------------------------------------------------------
# Sources
# ---------------------------------------------------------------------------------------------------------------


def sources_of(files):
    found = {}
    for file in files:
        entry = linecache.cache.get(file)
        # Code that a host sent and not a file; Python 3.13 keeps that of `-c` too.
        if entry and len(entry) == 4 and entry[1] is None and file != "<string>":
            found[file] = "".join(entry[2])
    return found


def parse(text, file):
    return compile(text, file, "exec", ONLY_AST | TOP_LEVEL_AWAIT | worker.state.future, True)


def definitions(names):
    """The source of each function and class among `names`, as far as it is known."""
    functions, classes, trees = {}, {}, {}
    for name, value in names.items():
        if type(value) is Function and value.__globals__ is worker.state.namespace:
            code = value.__code__
            text = definition(code.co_filename, code.co_firstlineno, None, trees)
            if text:
                functions[name] = text
        elif isinstance(value, type) and value.__module__ == "__main__":
            text = class_definition(value, trees)
            if text:
                classes[name] = text
    return functions, classes


def class_definition(cls, trees):
    """By the place of a method; for a class that has none, by its name in what ran last."""
    methods = (getattr(member, "__func__", member) for member in vars(cls).values())
    files = [method.__code__.co_filename for method in methods if type(method) is Function]
    files = files or [file for file in reversed(list(linecache.cache)) if file.startswith("<exec:")]
    return next(filter(None, (definition(file, None, cls.__name__, trees) for file in files)), None)


def definition(file, line, name, trees):
    """The statement of `file` that begins at or spans `line`, or the class `name`."""
    if file not in trees:
        text = sources_of([file]).get(file, "")
        try:
            trees[file] = text.splitlines(True), parse(text, file)
        except (SyntaxError, ValueError):
            trees[file] = [], None
    lines, tree = trees[file]
    found, waiting = None, list(tree.body) if tree else []
    while waiting:
        node = waiting.pop()
        waiting.extend(part for field in ("body", "orelse", "finalbody") for part in listed(node, field))
        kind, first = type(node).__name__, getattr(node, "lineno", 0)
        decorators = getattr(node, "decorator_list", None)
        if decorators:
            first = decorators[0].lineno
        if (name is not None and kind == "ClassDef" and node.name == name) or (
            name is None and first <= line <= (getattr(node, "end_lineno", 0) or 0) and (found is None or first >= found[0])
        ):
            found = first, node.end_lineno
    return "".join(lines[found[0] - 1 : found[1]]) if found else None


def listed(node, field):
    part = getattr(node, field, ())
    return part if type(part) is list else ()


# ---------------------------------------------------------------------------------------------------------------
# Bringing back
# ---------------------------------------------------------------------------------------------------------------

incoming = None  # the id of a restore that comes in parts, the parts, and what was wrong with them
head = {}  # of what is being restored
made_here = weakref.WeakSet()  # the classes that were brought back


def take_part(message):
    """Keeps a part. Returns whether it was the last."""
    global incoming
    number, data = message.get("part") or 0, message.get("data")
    if incoming is None or incoming[0] != message.get("id"):
        incoming = message.get("id"), [], []
    _, parts, problems = incoming
    if type(data) is str:
        data = data.encode("utf-8", "surrogatepass")
    if data is not None and type(data) is not bytes:
        problems.append(f"`data` must be bytes, not {type(data).__name__}")
    elif number != len(parts):
        problems.append(f"part {number} came where part {len(parts)} was expected")
    parts.append(data or b"")
    return message.get("last") is not False


def restore(message):
    global incoming, head
    _, parts, problems = incoming
    incoming = None
    if problems:
        raise worker.RequestError(problems[0])
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    parts.clear()
    head, at = read_head(data)
    for file, text in head["sources"].items():
        linecache.cache[file] = len(text), None, text.splitlines(True), file
    failed, wanted, state = {}, message.get("names"), worker.state
    before = dict(state.namespace)
    try:
        head["wanted"] = frozenset(head["names"] if wanted is None else wanted)
        values = bring_back(data, at, failed)
        names = [name for name in (head["names"] if wanted is None else wanted) if name not in failed]
        for name in [name for name in names if name not in values]:
            failed[name] = "it is not in the checkpoint"
            names.remove(name)
    except BaseException:
        worker.set_names(state.namespace, before)
        raise
    worker.set_names(state.namespace, {**before, **{name: values[name] for name in names}})
    state.sequence = max(state.sequence, head["sequence"])  # two texts must never have one file name
    state.future |= head["future"]
    told = [{"name": name, "reason": why} for name, why in failed.items() if wanted is None or name in wanted]
    return {"type": "restored", "id": message["id"], "names": names, "failed": told}


def read_head(data):
    if data[:8] != STREAM:
        raise RestoreRefused("these bytes are no checkpoint of a Python session")
    version = int.from_bytes(data[8:12], "big")
    if version not in READABLE:
        raise RestoreRefused(f"the namespace was saved in format {version}, and this worker reads format {FORMAT}")
    at = 16 + int.from_bytes(data[12:16], "big")
    try:
        return {**marshal.loads(data[16:at]), "format": version}, at
    except (ValueError, EOFError, TypeError) as error:
        raise RestoreRefused(f"its head cannot be read: {error}") from None


def read(unpickler):
    if head["format"] > 1:
        unpickler.load()  # `Live`
    return unpickler.load()


def bring_back(data, at, failed):
    """The values by their names. What of them cannot be brought back is in `failed`."""
    file = io.BytesIO(data)
    file.seek(at)
    try:
        early, others = read(Loader(file))
        return {**early, **others}
    except MemoryError:
        raise
    except Exception:
        file.seek(at)
    patient = Patient(file)
    try:
        early, others = read(patient)
        patient.settle()
        values = {**early, **others}
    except MemoryError:
        raise
    except Exception as error:
        raise RestoreRefused(f"it cannot be read: {reason(error)}") from None
    for name, value in values.items():
        try:
            Saver(Nowhere(), worker.state.namespace, patient.half_built).dump(value)
        except LostValue as lost:
            failed[name] = str(lost)
        except MemoryError:
            raise
        except Exception:
            pass  # it is there, and could not be saved again
    return values


def find(module, name, find_elsewhere):
    if module == __name__:
        return globals()[name]
    if module != "__main__":
        return find_elsewhere(module, name)
    first, *rest = name.split(".")
    return functools.reduce(getattr, rest, worker.state.namespace[first])


class Loader(pickle.Unpickler):
    def find_class(self, module, name):
        return find(module, name, super().find_class)


class Patient(pickle._Unpickler):
    """Reads on behind what cannot be brought back. Slow; only used when `Loader` has given up."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file):
        super().__init__(file)
        self.half_built = {}
        self.waiting = []  # what failed while something in it was not whole yet: the value, how to go on with it, and why
        self.incomplete = {}  # ids of the collections among them, and why: what is made of one now would miss items
        self.kept = []  # so that no other value gets the id of one that is half built

    def find_class(self, module, name):
        try:
            return find(module, name, super().find_class)
        except Exception as error:
            return Lost(reason(error))

    def attempt(self, make, *parts):
        for part in parts:
            for inner in part if type(part) is tuple else (part,):
                if type(inner) is Lost:
                    return inner
                if id(inner) in self.incomplete:
                    return Lost(self.incomplete[id(inner)])
        try:
            return make(*parts)
        except MemoryError:
            raise
        except Exception as error:
            return Lost(reason(error))

    def load_reduce(self):
        arguments = self.stack.pop()
        make = self.stack[-1]
        made = make if type(make) is Lost else self.attempt(make, *arguments)
        self.stack[-1] = made
        if type(made) is Lost and make in FILLERS and type(arguments[0]) is not Lost:
            self.waiting.append((arguments[0], lambda: make(*arguments), made.reason))

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_newobj(self):
        arguments = self.stack.pop()
        self.stack[-1] = self.attempt(copyreg.__newobj__, self.stack[-1], *arguments)

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_newobj_ex(self):
        named = self.stack.pop()
        arguments = self.stack.pop()
        make = lambda cls, *arguments: cls.__new__(cls, *arguments, **named)
        self.stack[-1] = self.attempt(make, self.stack[-1], *arguments)

    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex

    def load_build(self):
        if type(self.stack[-2]) is Lost:
            self.stack.pop()
            return
        value, state = self.stack[-2:]
        if id(state) in self.incomplete:
            self.waiting.append((value, lambda: self.build(value, state), self.incomplete[id(state)]))
            self.stack.pop()
            return
        try:
            super().load_build()
        except MemoryError:
            raise
        except Exception as error:
            self.waiting.append((value, lambda: self.build(value, state), reason(error)))

    dispatch[pickle.BUILD[0]] = load_build

    def build(self, value, state):
        self.stack = [value, state]
        super().load_build()

    def load_frozenset(self):
        items = self.pop_mark()
        self.append(self.attempt(frozenset, items))

    dispatch[pickle.FROZENSET[0]] = load_frozenset

    def fill(load, taken=None):
        """What a collection's own methods refuse spoils that collection, and nothing else. A dict or a set refuses a key
        whose `__hash__` needs what comes later, so it is filled later."""

        def guarded(self):
            value = self.metastack[-1][-1] if taken is None else self.stack[-1 - taken]
            items = self.stack if taken is None else self.stack[-taken:]
            try:
                load(self)
            except MemoryError:
                raise
            except Exception as error:
                if isinstance(value, (dict, set)) and not is_python(getattr(type(value), "__setitem__", None)):
                    self.incomplete[id(value)] = reason(error)
                    self.waiting.append((value, lambda: fill_plain(value, items), reason(error)))
                else:
                    self.spoil(value, reason(error))

        return guarded

    for opcode in pickle.APPENDS, pickle.SETITEMS, pickle.ADDITEMS:
        dispatch[opcode[0]] = fill(dispatch[opcode[0]])
    dispatch[pickle.APPEND[0]] = fill(dispatch[pickle.APPEND[0]], 1)
    dispatch[pickle.SETITEM[0]] = fill(dispatch[pickle.SETITEM[0]], 2)
    del fill, opcode

    def settle(self):
        """Goes on with what failed, now that all is there, as long as any of it succeeds."""
        tried = None
        while self.waiting and len(self.waiting) != tried:
            waiting, self.waiting, tried = self.waiting, [], len(self.waiting)
            for value, go_on, _ in waiting:
                try:
                    go_on()
                except MemoryError:
                    raise
                except Exception as error:
                    self.waiting.append((value, go_on, reason(error)))
        for value, _, why in self.waiting:
            self.spoil(value, why)

    def spoil(self, value, why):
        if type(value) in (dict, set):  # pickle asks nobody about these
            value.update({Lost(why): None})
        self.half_built[id(value)] = why
        self.kept.append(value)


def fill_plain(value, items):
    if isinstance(value, set):
        return value.update(items)
    for key, item in zip(items[::2], items[1::2]):
        value[key] = item


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


def import_module(name):
    __import__(name)
    return sys.modules[name]


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


def make_exception(base, kind, *arguments):
    made = base.__new__(kind, *arguments)
    base.__init__(made, *arguments)
    return made


def fill_exception(error, parts):
    state, error.__cause__, error.__context__, error.__suppress_context__ = parts
    if state is not None:
        error.__setstate__(state)


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


def fill_ordered(value, items):
    for key, item in items:
        collections.OrderedDict.__setitem__(value, key, item)


def make_view(base, shape, dtype, offset, strides, writeable):
    view = type(base)(shape, dtype, base, offset, strides)
    view.flags.writeable = writeable
    return view


def make_cached(function, maxsize, typed):
    return functools.lru_cache(maxsize, typed)(function)


def make_cached_property(function, name):
    made = functools.cached_property(function)
    made.attrname = name
    return made


FILLERS = frozenset(
    (
        fill_function,
        fill_cell,
        fill_class,
        finish_class,
        fill_enum,
        finish_enum,
        fill_dispatcher,
        fill_exception,
        fill_bare,
    )
)

"""Saves the namespace of a session and brings it back: `checkpoint` and `restore`.

A part of the worker that is loaded when it is first needed, for most sessions never. The names are saved as one pickle,
so that two names of one object are still two names of one object afterwards. What pickle saves by name only, and would
not find in another process, is saved by value: functions, classes and enums of `__main__`. They are bound to the live
namespace of the session that they come back to, so `x = 2` is seen by a restored function that reads `x`.

What cannot be saved is found by trying the names one by one, is told with its reason, and costs the others nothing. The
same holds for what cannot be brought back: see `Patient`.

The bytes: STREAM, the version of this format and the length of the head (4 bytes each), the head (marshalled), the
pickle. Nothing here may run outside `answer` of the worker: whatever a value's own methods do, a cancel reaches it.
"""

import binascii
import copyreg
import functools
import io
import linecache
import marshal
import pickle
import sys
import types

STREAM = b"OSTLERNS"
FORMAT = 1
PART = 4 << 20  # bytes of one `checkpoint_data`
REASON = 300  # characters of a reason that is told
NAMES_OF_PYTHON = frozenset(
    ("__builtins__", "__name__", "__doc__", "__package__", "__loader__", "__spec__", "__annotations__", "__annotate__")
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


def is_early(value):
    kind = type(value)
    return kind in ATOMS or kind is types.ModuleType or kind is Function or issubclass(kind, type)


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

    def reducer_override(self, value):
        kind = type(value)
        if self.half_built and id(value) in self.half_built:
            raise LostValue(self.half_built[id(value)])
        reduce = REDUCERS.get(kind)
        if reduce is not None:
            return reduce(self, value)
        if issubclass(kind, type):
            return self.reduce_type(value)
        module = kind.__module__
        if module == "typing" and kind.__name__ in ("TypeVar", "ParamSpec") and value.__module__ == "__main__":
            return reduce_type_variable(value)
        if module == "dataclasses":
            return self.reduce_mark(value)
        return NotImplemented

    def reduce_function(self, function):
        names = function.__globals__
        live = names is self.namespace or names.get("__name__") == "__main__"
        if not live and function.__module__ != "__main__" and "<" not in function.__qualname__:
            self.modules.add(function.__module__)
            return NotImplemented
        code = function.__code__
        self.files.add(code.co_filename)
        place = code.co_filename, code.co_name, code.co_firstlineno
        cells = {name: cell_content(cell) for name, cell in zip(code.co_freevars, function.__closure__ or ())}
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
        home = None if live else names["__name__"]
        made = marshal.dumps(code), place, home, tuple(cells)
        return make_function, made, (state, cells, function.__dict__ or None), None, None, fill_function

    def reduce_type(self, value):
        if value in NAMED_TYPES:
            return getattr, (types, NAMED_TYPES[value])
        if value.__module__ != "__main__":
            self.modules.add(value.__module__)
            return NotImplemented
        enum = sys.modules.get("enum")
        if enum is not None and isinstance(value, enum.EnumMeta):
            return reduce_enum(self, value)
        if value.__bases__ == (tuple,) and hasattr(value, "_field_defaults"):
            return reduce_named_tuple(value)
        names = vars(value)
        early = {name: names[name] for name in ("__slots__", "__orig_bases__") if name in names}
        made = type(value), value.__name__, value.__bases__, value.__qualname__, early
        return make_class, made, own_names(value), None, None, fill_class

    def reduce_module(self, module):
        self.modules.add(module.__name__)
        return import_module, (module.__name__,)

    def reduce_cached(self, wrapper):
        if wrapper.__module__ != "__main__":
            return NotImplemented
        limits = wrapper.cache_parameters()
        return make_cached, (wrapper.__wrapped__, limits["maxsize"], limits["typed"])

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


def own_names(cls):
    """What a class itself defines, and its successor must be given after it was made."""
    return {
        name: value
        for name, value in vars(cls).items()
        if name not in MADE_BY_TYPE and type(value) not in DESCRIPTORS_OF_TYPE
    }


def reduce_enum(saver, cls):
    """Members first, by their values; then what else was defined, which may name the class."""
    base = next(base for base in cls.__mro__[1:] if isinstance(base, type(cls)))
    members = {name: member._value_ for name, member in cls.__members__.items()}
    others = {
        name: value
        for name, value in vars(cls).items()
        if name not in members and is_of_the_user(saver, value) and name not in ("__new__", "__new_member__")
    }
    extra = {name: {k: v for k, v in vars(m).items() if not k.startswith("_")} for name, m in cls.__members__.items()}
    made = type(cls), cls.__name__, cls.__bases__, cls.__qualname__, members
    return make_enum, made, (others, {name: names for name, names in extra.items() if names}), None, None, fill_enum


def is_of_the_user(saver, value):
    value = getattr(value, "fget", None) or getattr(value, "__func__", value)
    return type(value) is Function and value.__globals__ is saver.namespace


def reduce_named_tuple(cls):
    plain = sys.modules["collections"].namedtuple("Plain", cls._fields)  # held: a class that is collected forgets its names
    others = {name: value for name, value in own_names(cls).items() if name not in vars(plain)}
    state = {"__doc__": cls.__doc__, "__qualname__": cls.__qualname__, **others}
    made = cls.__name__, cls._fields, tuple(cls._field_defaults.values())
    return make_named_tuple, made, state, None, None, fill_class


def reduce_type_variable(variable):
    options = {"bound": variable.__bound__, "covariant": variable.__covariant__, "contravariant": variable.__contravariant__}
    constraints = getattr(variable, "__constraints__", ())
    return make_type_variable, (type(variable), variable.__name__, constraints, options)


REDUCERS = {
    Function: Saver.reduce_function,
    types.ModuleType: Saver.reduce_module,
    property: lambda saver, p: (property, (p.fget, p.fset, p.fdel, p.__doc__)),
    staticmethod: lambda saver, method: (staticmethod, (method.__func__,)),
    classmethod: lambda saver, method: (classmethod, (method.__func__,)),
    types.MappingProxyType: lambda saver, proxy: (types.MappingProxyType, (dict(proxy),)),
    functools._lru_cache_wrapper: Saver.reduce_cached,
    functools.cached_property: lambda saver, p: (make_cached_property, (p.func, p.attrname)),
    Lost: Saver.reduce_lost,
    Early: lambda saver, early: (bind_early, (early.names,)),
}


def save(namespace, limit, skipped):
    """Pickles the names that can be. Returns the chunks, the names, and the saver that made them. `skipped` is told of
    the others. Usually the first attempt is the only one."""
    names, again = dict(namespace), True
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
    if version != FORMAT:
        raise RestoreRefused(f"the namespace was saved in format {version}, and this worker reads format {FORMAT}")
    at = 16 + int.from_bytes(data[12:16], "big")
    try:
        return marshal.loads(data[16:at]), at
    except (ValueError, EOFError, TypeError) as error:
        raise RestoreRefused(f"its head cannot be read: {error}") from None


def bring_back(data, at, failed):
    """The values by their names. What of them cannot be brought back is in `failed`."""
    file = io.BytesIO(data)
    file.seek(at)
    try:
        early, others = Loader(file).load()
        return {**early, **others}
    except MemoryError:
        raise
    except Exception:
        file.seek(at)
    patient = Patient(file)
    try:
        early, others = patient.load()
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
            self.spoil(arguments[0], made.reason)

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
        value = self.stack[-2]
        try:
            super().load_build()
        except MemoryError:
            raise
        except Exception as error:
            self.spoil(value, reason(error))

    dispatch[pickle.BUILD[0]] = load_build

    def spoil(self, value, why):
        self.half_built[id(value)] = why
        self.kept.append(value)


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


def make_function(code, place, home, free):
    code = compiled(code, place)
    names = worker.state.namespace if home is None else import_module(home).__dict__
    return Function(code, names, code.co_name, None, tuple(Cell() for _ in code.co_freevars))


def fill_function(function, parts):
    state, cells, names = parts
    for name, value in state.items():
        setattr(function, name, value)
    function.__dict__.update(names or {})
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        if cells.get(name) is not None:
            cell.cell_contents = cells[name][0]


def make_class(kind, name, bases, qualname, early):
    body = {"__module__": "__main__", "__qualname__": qualname, **early}
    return types.new_class(name, bases, {"metaclass": kind}, lambda names: names.update(body))


def fill_class(cls, names):
    for name, value in names.items():
        type.__setattr__(cls, name, value)


def make_enum(kind, name, bases, qualname, members):
    def body(names):
        names["__module__"], names["__qualname__"] = "__main__", qualname
        for member, value in members.items():
            names[member] = value

    return types.new_class(name, bases, {"metaclass": kind}, body)


def fill_enum(cls, parts):
    others, extra = parts
    for name, value in others.items():
        type.__setattr__(cls, name, value)
    for name, names in extra.items():
        vars(cls[name]).update(names)


def make_named_tuple(name, fields, defaults):
    return import_module("collections").namedtuple(name, fields, defaults=defaults, module="__main__")


def make_type_variable(kind, name, constraints, options):
    made = kind(name, *constraints, **options)
    made.__module__ = "__main__"
    return made


def make_cached(function, maxsize, typed):
    return functools.lru_cache(maxsize, typed)(function)


def make_cached_property(function, name):
    made = functools.cached_property(function)
    made.attrname = name
    return made


FILLERS = fill_function, fill_class, fill_enum

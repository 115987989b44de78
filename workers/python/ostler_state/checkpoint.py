"""The request `checkpoint`: saves the namespace of a session.

The names are saved as one pickle, so that two names of one object are still two names of one object afterwards. What pickle
saves by name only, and would not find in another process, is saved by value: functions, classes and enums of `__main__`. They
are bound to the live namespace of the session that they come back to, so `x = 2` is seen by a restored function that reads `x`.

Relations are saved with them: a variable that two closures share is one variable afterwards. And nothing that the session's
code would do runs once more: a class comes back without its metaclass and `__init_subclass__`, an instance without its
`__new__` and `__init__`, a collection without its own `append` or `__setitem__`. They have run, and what they left is saved.

What cannot be saved is found by trying the names one by one, is told with its reason, and costs the others nothing. Nothing
in this folder may run outside `answer` of the worker: whatever a value's own methods do, a cancel reaches it.
"""

import binascii
import marshal
import pickle
import sys

from .format import FORMAT, MAGIC, STREAM
from .lost import REASON, reason
from .reduce_classes import registrations
from .saver import Early, Nowhere, Saver, is_early
from .sources import definitions, sources_of

PART = 4 << 20  # bytes of one `checkpoint_data`

NAMES_OF_PYTHON = frozenset(
    ("__builtins__", "__name__", "__doc__", "__package__", "__loader__", "__spec__", "__annotations__", "__annotate__")
    + ("__warningregistry__",)
)

TABLES_IN_MEMORY = """
select name from (
  select database_name, table_name as name from duckdb_tables() where not internal
  union select database_name, view_name from duckdb_views() where not internal
) join duckdb_databases() using (database_name) where path is null order by name
"""


class CheckpointTooLarge(Exception):
    """The host named a limit, and the namespace does not fit."""


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


def checkpoint(message):
    """Sends the parts but the last, and returns that. Or has a copy of the worker send it all, see `save_behind`."""
    mode = message.get("mode")
    if mode == "fork":
        reply = worker.load_deferred("branch").save_behind(message, gather)
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


def kept_by_libraries():
    """What no name of the session holds, and is lost all the same: the tables of DuckDB's default database."""
    duckdb = sys.modules.get("duckdb")
    # To ask for the default connection makes one; it has threads.
    if duckdb is None or not worker.load_deferred("branch").has_threads_of("duckdb"):
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

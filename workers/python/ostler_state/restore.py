"""The request `restore`: brings a namespace back. What cannot be brought back is told with its reason, and costs the others
nothing: see `TolerantLoader`."""

import io
import linecache

from .format import RestoreRefused, head, read_head
from .loader import Loader, TolerantLoader
from .lost import LostValue, reason
from .saver import Nowhere, Saver

incoming = None  # the id of a restore that comes in parts, the parts, and what was wrong with them


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
    patient = TolerantLoader(file)
    try:
        early, others = read(patient)
        patient.retry_waiting()
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

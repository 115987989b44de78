# Given to `python -I -c` behind parts.py, once for each interpreter, with the parts of the worker on stdin: name and source
# in turns, a zero behind each. Prints one line of JSON about this interpreter, then what the bootstrap accepts as kind M: the
# magic number, and marshalled the code of the worker and that of its deferred modules, which stays bytes until one is needed.
import json, marshal, os, sys
fields = sys.stdin.buffer.read().decode().split("\0")
parts = list(zip(fields[::2], fields[1::2]))
deferred = {name: marshal.dumps(compile_module(name, parts)) for name in ("state", "branch", "zygote")}
payload = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER + marshal.dumps((compile_module("worker", parts), deferred))
facts = {
    # Not resolved any further: the real file behind a virtual environment's link would not find its packages.
    "executable": os.path.abspath(sys.executable),
    "version": "%d.%d.%d" % sys.version_info[:3],
    "hexversion": sys.hexversion,
    "implementation": sys.implementation.name,
    "cache_tag": sys.implementation.cache_tag,
    "marshal_len": len(payload),
}
sys.stdout.buffer.write(json.dumps(facts).encode() + b"\n" + payload)
sys.stdout.flush()

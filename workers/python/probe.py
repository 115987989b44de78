# Given to `python -I -c`, once for each interpreter, with the worker's source on stdin and, behind a zero each, those
# of ostler_state.py and ostler_branch.py. Prints one line of JSON about this interpreter, then what the bootstrap accepts as kind M: the magic
# number and the marshalled code of all, the others beside the first as bytes, which cost nothing until they are needed.
import json, marshal, os, sys
def compiled(source, name):
    return compile(source, f"<ostler_{name}>", "exec", dont_inherit=True, optimize=2)
worker, state, branch = sys.stdin.buffer.read().split(b"\0")
parts = (state, "state"), (branch, "branch")
code = (compiled(worker, "worker"), *(marshal.dumps(compiled(*part)) for part in parts))
payload = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER + marshal.dumps(code)
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

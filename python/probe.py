# Given to `python -I -c`, once for each interpreter, with the worker's source on stdin. Prints one line of JSON about
# this interpreter, then what the bootstrap accepts as kind M: the magic number and the worker's marshalled code.
import json, marshal, os, sys
code = compile(sys.stdin.buffer.read(), "<ostler_worker>", "exec", dont_inherit=True, optimize=2)
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

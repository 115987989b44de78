# Given to `python -I -c`: takes the worker from fd 0 and runs it. One byte says how it comes (M: marshalled code, after
# the magic number of the interpreter that compiled it; S: source; both with
# the parts that are loaded when they are needed behind), four bytes its length. Frames follow on the same fd.
# Before it may come what is run first (Z: source): the zygote, which returns in the workers that it forks.
import marshal, os, sys
os.closerange(3, 4096)  # what the host itself inherited is not for user code
def take(size):
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part: os._exit(113)
        data += part
    return data
def refuse(why):
    os.write(2, b"ostler bootstrap: " + why + b"\n")
    os._exit(65)
def part():
    return take(1), take(int.from_bytes(take(4), "big"))
first = None
kind, payload = part()
if kind == b"Z":
    first = payload
    kind, payload = part()
if kind == b"M":
    if payload[:4] != sys.modules["_frozen_importlib_external"].MAGIC_NUMBER: refuse(b"the worker was compiled for another interpreter")
    code, *parts = marshal.loads(memoryview(payload)[4:])
elif kind == b"S":
    source, *parts = payload.decode().split("\0")
    code = compile(source, "<ostler_worker>", "exec", dont_inherit=True, optimize=2)
else: refuse(b"unknown payload")
worker = sys.modules["_ostler_worker"] = type(sys)("_ostler_worker")
exec(code, worker.__dict__)
worker.part_codes = dict(zip(("state", "branch"), parts))
if first: exec(compile(first, "<ostler_zygote>", "exec", dont_inherit=True, optimize=2), {"worker": worker})
worker.main()

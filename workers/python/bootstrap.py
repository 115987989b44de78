# Given to `python -I -c`: takes the worker from fd 0 and runs it. One byte says what comes (M: marshalled code, after the
# magic number of the interpreter that compiled it), four bytes its length. Frames follow on the same fd.
# Before it may come a Z, of no bytes: then this process is to be a zygote, which returns in the workers that it forks.
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
kind, payload = part()
is_zygote = kind == b"Z"
if is_zygote: kind, payload = part()
if kind != b"M": refuse(b"unknown payload")
if payload[:4] != sys.modules["_frozen_importlib_external"].MAGIC_NUMBER: refuse(b"the worker was compiled for another interpreter")
codes, deferred = marshal.loads(memoryview(payload)[4:])
worker = sys.modules["_ostler_worker"] = type(sys)("_ostler_worker")
for code in codes: exec(code, worker.__dict__)
worker.deferred_code = deferred
if is_zygote:
    zygote = {"worker": worker}
    for code in marshal.loads(deferred["zygote"]): exec(code, zygote)
worker.main()

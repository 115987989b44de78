"""What the other parts take from the interpreter, bound before any user code runs."""

import _signal
import builtins
import sys
import time
from _thread import get_ident

# Our functions look names up in a copy, which user code cannot reach by assigning to `builtins`.
__builtins__ = dict(builtins.__dict__)

# Our own bindings, because user code may replace functions in their modules (clocks are often mocked).
os = type(sys)("os")
os.__dict__.update(sys.modules["os"].__dict__)
monotonic = time.monotonic
process_time = time.process_time
time_sleep = time.sleep
exit_now = os._exit
getpid = os.getpid
PID = os.getpid()
MAIN_THREAD = get_ident()
WORKER = globals()  # `frame.f_globals is WORKER` tells our frames from the user's
LINUX = sys.platform.startswith("linux")
F_SETSIG, F_GETSIG = 10, 11  # Linux
SIGINT = _signal.SIGINT
DOORBELL = _signal.SIGURG  # ignored by default: harmless before our handler is set, after exec, and in children
DEFAULT_HANDLER = _signal.default_int_handler
real_signal = _signal.signal
get_signal = _signal.getsignal
EXIT_PROTOCOL = 64  # the host spoke another protocol, or broke this one
EXIT_INTERNAL = 112  # a bug of the worker's
EXIT_HOST_GONE = 113

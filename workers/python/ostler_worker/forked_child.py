"""Children that user code forks. They have no connection to the host."""

import _signal
import faulthandler

from .bindings import DOORBELL, SIGINT, exit_now, os, real_signal
from .msgpack_encoder import utf8
from .open_files import write_files
from .output import flush_output
from .session_end import run_exit_handlers
from .state import channel, state


def before_fork():
    flush_output()


def after_fork_in_child():
    """Takes the channel away from a forked child, which must neither read nor write it."""
    if state.branching:
        return
    state.forked = True
    real_signal(DOORBELL, _signal.SIG_DFL)
    real_signal(SIGINT, state.handler)
    faulthandler.unregister(_signal.SIGUSR2)
    channel.link.close()


def end_child(ending, reply):
    """Ends a forked child whose user code has returned, as a script would end."""
    if ending == "result":
        code = 0
    elif reply["kind"] == "exit":
        code = reply["exit_code"] & 255
    else:
        code = 130 if reply["exception"]["type"] == "KeyboardInterrupt" else 1
        if code == 1:
            os.write(2, utf8(reply["exception"].get("text", "")))
    run_exit_handlers()
    write_files(True)
    flush_output()
    exit_now(code)

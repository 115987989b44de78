"""The main loop: takes one message after the other, and runs the session's tasks meanwhile."""

from .channel import send_protocol_error
from .completion import complete
from .control import CONTROL
from .doorbell import serve_channel
from .execute import execute
from .init import init
from .modules import load
from .repair import is_intact, repair
from .requests import answer, checkpoint, fork, list_variables, reset, restore
from .session_end import end_session, report_background_failure
from .state import channel, state


def next_message():
    """Waits for the next message; asyncio tasks of the session go on meanwhile."""
    state.main_reads = True
    while True:
        # Taken while the handler keeps out, or it could answer the very message that is being taken here.
        if channel.parked:
            return channel.parked.popleft()
        if channel.incoming:
            return channel.incoming.popleft()
        state.pending = False
        if state.loop is not None and has_background_work(state.loop):
            run_background_tasks()
        else:
            restless = state.untidy or not state.idle
            if restless != channel.link.limited:
                channel.link.limit_waits(restless)
            message = channel.wait()
            if message is not None:
                return message


def has_background_work(loop):
    if loop.is_closed():
        return False
    selector = getattr(loop, "_selector", None)
    try:
        watches = len(selector.get_map()) > 1 if selector is not None else False  # one is the loop's own
    except Exception:
        watches = False
    return bool(watches or getattr(loop, "_scheduled", None) or load("asyncio").all_tasks(loop))


def run_background_tasks():
    """Runs the event loop until a message has arrived."""
    loop = state.loop
    loop.add_reader(channel.link.input, loop.stop)
    try:
        state.background = True
        state.main_reads = False  # a task that keeps the loop busy must not keep pings from being answered
        if state.pending:
            serve_channel(None)
        if not channel.parked:
            loop.run_forever()
    except BaseException as error:
        report_background_failure(error)
    finally:
        state.main_reads = True
        state.background = False
        if not loop.is_closed():
            loop.remove_reader(channel.link.input)
    channel.take_available()


HANDLERS = {
    "execute": execute,
    "init": init,
    "reset": lambda message: answer(message, reset),
    "vars": lambda message: answer(message, list_variables),
    "complete": lambda message: answer(message, complete),
    "checkpoint": lambda message: answer(message, checkpoint),
    "restore": restore,
    "fork": lambda message: answer(message, fork),
    "protocol_error": lambda message: None,  # never answered, or two peers could complain at each other for ever
}


def serve():
    while True:
        message = next_message()
        kind = message.get("type")
        handle = HANDLERS.get(kind) if type(kind) is str else None
        if handle is not None:
            handle(message)
            if kind == "execute" and not is_intact():
                repair()
        elif type(kind) is str and kind in CONTROL:
            CONTROL[kind](message, None)
        else:
            id = message.get("id")
            send_protocol_error(f"unknown type `{kind}`"[:200], id=id if type(id) is str else None)
        if state.shutdown:
            end_session()

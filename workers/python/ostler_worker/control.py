"""Control messages: those that take effect while user code runs."""

from .channel import send_protocol_error
from .execution import FORCE, POLITE
from .health import send_heartbeat
from .output import flush_if_writable
from .questions import questions
from .state import FOR_EVER, channel, state


def sort_incoming(frame):
    incoming = channel.incoming
    # Without an execution there is nothing to control: only pings are answered, the rest keeps its order, so that a
    # cancel stays behind the execute that it is for.
    control = PING_ONLY if state.current is None else CONTROL
    while incoming:
        message = incoming[0]
        kind = message.get("type")
        act = control.get(kind) if type(kind) is str else None
        if act is None:
            channel.parked.append(message)
        else:
            act(message, frame)
        incoming.popleft()  # last, so that a RecursionError above loses no message


def control_ping(message, frame):
    send_heartbeat(message.get("seq"), frame)
    flush_if_writable()


def control_cancel(message, frame):
    execution = state.current
    id = message.get("id")
    if type(id) is not str:
        send_protocol_error("a cancel without an id", "id: str", type(id).__name__)
        return
    hit = execution is not None and id == execution.id
    if hit:
        force = message.get("force") is True
        execution.ask_to_stop(FORCE if force else POLITE)
        execution.signals += not force
    channel.send({"type": "cancel_ack", "id": id, "hit": hit})


def control_interrupt(message, frame):
    execution = state.current
    if execution is not None:
        execution.ask_interrupt()
        execution.signals += 1


def control_input(message, frame):
    request = message.get("request")
    question = questions.get(request) if type(request) is int else None
    if question is None or question.execution.id != message.get("id"):
        return  # answered or ended meanwhile
    if question.reply is None:
        question.reply = message
        question.answered.release()


def control_shutdown(message, frame):
    state.shutdown = True
    if type(message.get("timeout")) in (int, float) and message["timeout"] >= 0:
        state.patience = min(float(message["timeout"]), FOR_EVER)
    if state.current is not None:
        state.current.ask_to_stop(POLITE)


CONTROL = {
    "ping": control_ping,
    "cancel": control_cancel,
    "interrupt": control_interrupt,
    "input_response": control_input,
    "shutdown": control_shutdown,
}
PING_ONLY = {"ping": control_ping}

"""Input: input() and getpass ask the host."""

import select
import sys
from _thread import get_ident

from .bindings import MAIN_THREAD
from .cancel import raise_due
from .control import sort_incoming
from .doorbell import serve_channel
from .execution import FORCE
from .output import flush_output
from .questions import Question, questions, request_numbers
from .state import channel, state
from .text import shorten


def ask_host(prompt, password):
    """Returns one line of input from the host; EOFError if there is none."""
    execution = state.current
    if execution is None or state.forked or not execution.allow_stdin:
        raise EOFError("input is not available here")
    flush_output()
    request = next(request_numbers)
    question = questions[request] = Question(execution)
    message = {"type": "input_request", "id": execution.id, "request": request, "prompt": shorten(prompt, 65536)}
    if password:
        message["password"] = True
    try:
        channel.send(message)
        if get_ident() == MAIN_THREAD:
            wait_for_reply(question, execution)
        else:
            question.answered.acquire()  # the signal handler, or the end of the execution, releases it
    finally:
        questions.pop(request, None)
    reply = question.reply
    value = reply.get("value")
    if reply.get("eof") or type(value) is not str:
        raise EOFError("end of input")
    return value


def wait_for_reply(question, execution):
    """The main thread's wait: it reads the channel itself meanwhile."""
    readable = select.poll()
    readable.register(channel.link.input, select.POLLIN)
    state.main_reads = True
    try:
        sort_incoming(sys._getframe())
        while question.reply is None and not execution.due():
            # Nothing is consumed while `waiting` is set, so that on_sigint may raise.
            state.waiting = True
            if execution.interrupt:
                break
            readable.poll()
            state.waiting = False
            channel.take_available()
            sort_incoming(sys._getframe())
    finally:
        state.waiting = False
        state.main_reads = False
        if state.pending:  # the doorbell rang after the last look
            serve_channel(sys._getframe())
    if execution.due():
        raise_due(execution, sys._getframe())
        if question.reply is None and execution.level != FORCE:  # the code's own handler took the interrupt
            return wait_for_reply(question, execution)
    if question.reply is None:
        question.reply = {"eof": True}


def ask_line(prompt="", /):
    """Reads a line from the host, which is shown the prompt; the newline is stripped."""
    return ask_host(str(prompt), False)


def ask_password(prompt="Password: ", stream=None, **_):
    """Reads a line from the host, which is asked not to show it."""
    return ask_host(str(prompt), True)

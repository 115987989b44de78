"""Runs a compiled cell, under the event loop if it awaits."""

import sys

from .cancel import deliver_here
from .compiling import COROUTINE, compile_cell, defines_nothing
from .event_loop import cancel_tasks, open_loop, run_loop
from .modules import load
from .state import state


def run_cell(execution, message):
    """Runs the code; returns the value of its last expression."""
    namespace, code = execution.namespace, message["code"]
    if message.get("args"):
        namespace.update(message["args"])
    if "__warningregistry__" in namespace:
        forget_warnings(namespace["__warningregistry__"])
    filename = execution.filename = execution.filename or f"<exec:{state.sequence}>"
    if execution.capture:
        linecache = sys.modules.get("linecache") or load("linecache")
        if linecache is not None:
            # For tracebacks and inspect; without a time stamp linecache never looks for a file.
            sources = execution.sources = linecache.cache
            sources[filename] = len(code), None, code.splitlines(True), filename
    body, tail = compile_cell(code, filename, execution.silent)
    execution.leaves_nothing = execution.fresh or defines_nothing(body, tail)
    try:
        if ((body.co_flags if body else 0) | (tail.co_flags if tail else 0)) & COROUTINE:
            return run_coroutine(run_parts(body, tail, execution), execution)
        state.user = True
        if execution.due():
            deliver_here()
        if body is not None:
            eval(body, namespace)
        return None if tail is None else eval(tail, namespace)
    finally:
        if execution.fresh and not (execution.level or execution.interrupted or state.forked):
            state.user = True
            finish_tasks()


def forget_warnings(given):
    """Lets the next cell show the same warnings again; not those that the user's filter shows `once` or once per `module`."""
    if type(given) is dict:
        for key in [key for key in given if type(key) is tuple and len(key) == 3]:
            del given[key]


async def run_parts(body, tail, execution):
    """Runs statements and last expression in one task, so that the whole cell runs under the event loop."""
    try:
        if body is not None:
            result = eval(body, execution.namespace)
            if body.co_flags & COROUTINE:
                await result
        if tail is None:
            return None
        result = eval(tail, execution.namespace)
        return await result if tail.co_flags & COROUTINE else result
    finally:
        if not execution.fresh:
            execution.context = load("contextvars").copy_context()


RUN_PARTS = run_parts.__code__


def run_coroutine(coroutine, execution):
    """Runs `coroutine` on the session's event loop, which lives on: background tasks continue afterwards."""
    asyncio = load("asyncio")
    loop = open_loop()
    if loop is None:
        loop = state.loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    task = execution.task = loop.create_task(coroutine)
    try:
        state.user = True
        if execution.due():
            deliver_here()
        return run_loop(loop, task)
    except asyncio.CancelledError as error:
        if not execution.raised and not execution.interrupted:
            raise
        interrupt = KeyboardInterrupt(*(("cancelled",) if execution.level else ()))
        raise interrupt.with_traceback(error.__traceback__) from None
    finally:
        state.user = False
        execution.task = None
        if execution.context is not None:
            keep_context(execution.context)
        if not task.done():  # an exception came through the loop itself, which is in an unknown state
            sys.settrace(None)
            state.loop = None
            asyncio.set_event_loop(None)
            # Never freed, for closing its coroutine raises one more exception into code that swallows exceptions.
            state.abandoned.append((loop, task))
        elif not task.cancelled():
            task.exception()  # marks it as retrieved; it is being raised already


def keep_context(context):
    """Copies the context variables that a task has set into the session, as a cell without `await` sets them."""
    for variable, value in context.items():
        if variable.get(variable) is not value:
            variable.set(value)


def finish_tasks():
    """Ends a fresh execution's background tasks, as `asyncio.run` does."""
    loop = open_loop()
    if loop is None:
        return
    tasks = cancel_tasks(loop)
    if tasks:
        run_loop(loop, load("asyncio").gather(*tasks, return_exceptions=True))
    run_loop(loop, loop.create_task(loop.shutdown_asyncgens()))
    run_loop(loop, loop.create_task(loop.shutdown_default_executor()))

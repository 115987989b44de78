"""Compiles a cell: its statements, and its last expression."""

from .namespace import use_new_module
from .state import state

ONLY_AST = 0x400  # PyCF_ONLY_AST
TOP_LEVEL_AWAIT = 0x2000  # PyCF_ALLOW_TOP_LEVEL_AWAIT
FUTURE_FLAGS = 0x1FE0000  # every CO_FUTURE_*
COROUTINE = 0x80  # CO_COROUTINE
CodeType = type(use_new_module.__code__)


def compile_cell(code, filename, silent):
    """Returns two code objects, either of which may be None: the statements, and the last expression."""
    flags = TOP_LEVEL_AWAIT | state.future
    one_line = code.find("\n", 0, -1) < 0
    if one_line and not silent and not is_assignment(code):
        try:
            return None, compile(code, filename, "eval", flags, True)
        except SyntaxError:  # perhaps a statement. It is compiled outside this clause, so that its error has no context
            pass
    if silent or (one_line and ";" not in code):  # one statement, and no expression: nothing to split off
        body, tail = compile(code, filename, "exec", flags, True), None
    else:
        body, tail = split_last_expression(code, filename, flags)
    if body is not None:
        state.future |= body.co_flags & FUTURE_FLAGS
    return body, tail


def is_assignment(code):
    """Whether code is plainly `name = …`, which need not be tried as an expression."""
    target, equals, value = code.partition("=")
    return equals and value[:1] != "=" and target.rstrip().isidentifier()


def split_last_expression(code, filename, flags):
    tree = compile(code, filename, "exec", ONLY_AST | flags, True)
    tail = None
    if tree.body:
        import _ast

        if type(tree.body[-1]) is _ast.Expr:
            tail = compile(_ast.Expression(tree.body.pop().value), filename, "eval", flags, True)
    body = compile(tree, filename, "exec", flags, True) if tree.body else None
    return body, tail


def defines_nothing(body, tail):
    """Whether code contains no function, class or comprehension: nothing that could outlive it and want its source."""
    return (body is None or CodeType not in map(type, body.co_consts)) and (
        tail is None or CodeType not in map(type, tail.co_consts)
    )

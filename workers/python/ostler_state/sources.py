"""The sources of what a session has defined."""

import linecache

from .kinds import Function
from .make_functions import ONLY_AST, TOP_LEVEL_AWAIT


def sources_of(files):
    found = {}
    for file in files:
        entry = linecache.cache.get(file)
        # Code that a host sent and not a file; Python 3.13 keeps that of `-c` too.
        if entry and len(entry) == 4 and entry[1] is None and file != "<string>":
            found[file] = "".join(entry[2])
    return found


def parse(text, file):
    return compile(text, file, "exec", ONLY_AST | TOP_LEVEL_AWAIT | worker.state.future, True)


def definitions(names):
    """The source of each function and class among `names`, as far as it is known."""
    functions, classes, trees = {}, {}, {}
    for name, value in names.items():
        if type(value) is Function and value.__globals__ is worker.state.namespace:
            code = value.__code__
            text = definition(code.co_filename, code.co_firstlineno, None, trees)
            if text:
                functions[name] = text
        elif isinstance(value, type) and value.__module__ == "__main__":
            text = class_definition(value, trees)
            if text:
                classes[name] = text
    return functions, classes


def class_definition(cls, trees):
    """By the place of a method; for a class that has none, by its name in what ran last."""
    methods = (getattr(member, "__func__", member) for member in vars(cls).values())
    files = [method.__code__.co_filename for method in methods if type(method) is Function]
    files = files or [file for file in reversed(list(linecache.cache)) if file.startswith("<exec:")]
    return next(filter(None, (definition(file, None, cls.__name__, trees) for file in files)), None)


def definition(file, line, name, trees):
    """The statement of `file` that begins at or spans `line`, or the class `name`."""
    if file not in trees:
        text = sources_of([file]).get(file, "")
        try:
            trees[file] = text.splitlines(True), parse(text, file)
        except (SyntaxError, ValueError):
            trees[file] = [], None
    lines, tree = trees[file]
    found, waiting = None, list(tree.body) if tree else []
    while waiting:
        node = waiting.pop()
        waiting.extend(part for field in ("body", "orelse", "finalbody") for part in listed(node, field))
        kind, first = type(node).__name__, getattr(node, "lineno", 0)
        decorators = getattr(node, "decorator_list", None)
        if decorators:
            first = decorators[0].lineno
        if (name is not None and kind == "ClassDef" and node.name == name) or (
            name is None and first <= line <= (getattr(node, "end_lineno", 0) or 0) and (found is None or first >= found[0])
        ):
            found = first, node.end_lineno
    return "".join(lines[found[0] - 1 : found[1]]) if found else None


def listed(node, field):
    part = getattr(node, field, ())
    return part if type(part) is list else ()

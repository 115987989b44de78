"""Runs a script as the interpreter does."""

import builtins
import os
import sys


def run_script(args):
    """What `python ARGS` does."""
    # Not the one that the zygote was started with: that is frozen, and what hangs on it would never be collected.
    main = sys.modules["__main__"] = type(sys)("__main__")
    names = main.__dict__
    names["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        names["__annotations__"] = {}
    sys.orig_argv = [sys.executable, *args]
    what = args[0]
    path = os.path.join(os.getcwd(), what) if sys.version_info >= (3, 9) else what
    if what == "-m":
        sys.argv, sys.path[:0] = args[1:], [os.getcwd()]
        __import__("runpy")._run_module_as_main(args[1])
    elif what == "-c":
        sys.argv, sys.path[:0] = ["-c", *args[2:]], [""]
        exec(compile(args[1], "<string>", "exec", dont_inherit=True), names)
    elif what == "-":
        sys.argv, sys.path[:0] = args, [""]
        exec(compile(sys.stdin.buffer.read(), "<stdin>", "exec", dont_inherit=True), names)
    elif os.path.isdir(what) or __import__("zipfile").is_zipfile(what):
        sys.argv, sys.path[:0] = args, [path]
        __import__("runpy")._run_module_as_main("__main__", False)
    else:
        sys.argv, sys.path[:0] = args, [os.path.dirname(os.path.realpath(what))]
        try:
            with open(what, "rb") as file:
                source = file.read()
        except OSError as error:
            print(f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
            sys.exit(2)
        files = sys.modules["_frozen_importlib_external"]
        is_compiled = source[:4] == files.MAGIC_NUMBER
        loader = (files.SourcelessFileLoader if is_compiled else files.SourceFileLoader)("__main__", path)
        names.update(__file__=path, __cached__=None, __loader__=loader)
        exec(loader.get_code("__main__") if is_compiled else compile(source, path, "exec", dont_inherit=True), names)


def report(error):
    """Has an exception shown as the interpreter does it, without our frames."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_globals is run_script.__globals__:
        traceback = traceback.tb_next
    error.__traceback__ = traceback  # what the interpreter's own hook shows
    try:
        sys.excepthook(type(error), error, traceback)
    except BaseException as second:
        print("Error in sys.excepthook:", file=sys.stderr)
        sys.__excepthook__(type(second), second, second.__traceback__)
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(error), error, traceback)

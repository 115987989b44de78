"""Imports for our own use, and the deferred modules of the worker, which few sessions need."""

import sys

from .bindings import __builtins__
from .state import state


def load(name):
    """Imports a module for our own use, never from a folder that the user or the host has put on sys.path."""
    module = sys.modules.get(name)
    if module is not None:
        return module
    theirs = sys.path
    sys.path = list(state.clean_path)
    try:
        return __import__(name)
    except Exception:  # it is not there, or user code broke what it needs
        return None
    finally:
        sys.path = theirs


deferred = {}  # the modules that were needed, by name
deferred_code = {}  # what runs when one is needed, by name: code objects, marshalled. Set by what has loaded the worker


def load_deferred(name):
    """A module of the worker that few sessions need, so it does not delay the others' start."""
    module = deferred.get(name)
    if module is None:
        theirs = sys.path
        sys.path = list(state.clean_path)  # its imports are ours: see `load`
        try:
            module = type(sys)(f"_ostler_{name}")
            module.__dict__.update(worker=sys.modules["_ostler_worker"], __builtins__=__builtins__)
            for code in load("marshal").loads(deferred_code[name]):
                exec(code, module.__dict__)
            deferred[name] = module
        finally:
            sys.path = theirs
    return module


def load_saving():
    saving = sys.modules["_ostler_state"] = load_deferred("state")  # pickle looks there, and user code may have removed it
    return saving

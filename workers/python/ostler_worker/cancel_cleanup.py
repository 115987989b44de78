"""Restores what a cancelled execution may have left half done."""

import sys

from .state import state


def clean_up_after_cancel():
    """Restores what an exception at an arbitrary place may have left inconsistent."""
    sys.settrace(None)
    state.forced = None
    drop_orphaned_modules()
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        try:
            if asyncio._get_running_loop() is not None:  # a forced exception skipped the `finally` of run_forever
                asyncio._set_running_loop(None)
                state.loop = None
        except AttributeError:
            pass


def drop_orphaned_modules():
    """Forgets submodules whose parent's import failed: they would never be bound to the parent again."""
    modules = sys.modules
    for name in [name for name in list(modules) if "." in name]:
        parent = name.rpartition(".")[0]
        while parent and parent in modules:
            parent = parent.rpartition(".")[0]
        if parent:
            modules.pop(name, None)

"""What a forked process takes over: its variables, and random numbers of its own."""

import os
import sys

from .tag import TAG


def set_variables(wanted):
    for name in [name for name in wanted if name.startswith(b"OSTLER_") and name + b"=" != TAG]:
        del wanted[name]  # as `start` does
    for name in [name for name in os.environb if name not in wanted]:
        del os.environb[name]
    for name, value in wanted.items():
        if os.environb.get(name) != value:
            os.environb[name] = value


def reseed():
    """Python reseeds `random` in a child; the global state of numpy stays as it was."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()

"""Writes what open files hold back in memory."""

import gc
import io
import sys
from _stat import S_ISREG

from .bindings import os
from .modules import load
from .text import shorten

FILE_BASE = io.IOBase.__base__
# In which order files are written: what wraps another one comes first.
WRITERS = {io.TextIOWrapper: 0, io.BufferedWriter: 2, io.BufferedRandom: 2, io.FileIO: 3}


def write_files(everything=False, close=False):
    """Writes what is held back in memory by files that are open: by those on disk, or by `everything`."""
    compress = load("itertools").compress
    kinds = list(WRITERS)
    if everything:
        kinds = [FILE_BASE]
        for kind in kinds:  # grows meanwhile
            kinds += type.__subclasses__(kind)
    objects = gc.get_objects()  # millions, perhaps: no line of ours looks at each
    found = list(compress(objects, map(set(map(id, kinds)).__contains__, map(id, map(type, objects)))))
    del objects
    for file in sorted(found, key=lambda file: WRITERS.get(type(file), 1)):
        try:
            if file.closed or not file.writable():
                continue
            number = descriptor(file)
            if close and (number is None or number > 2):
                file.close()
            elif everything or (number is not None and S_ISREG(os.fstat(number).st_mode)):
                file.flush()
        except Exception as problem:
            if file not in unwritten:
                print(f"{shorten(repr(getattr(file, 'name', file)), 200)} was not written: {problem}", file=sys.stderr)
                unwritten.append(file)


unwritten = []  # files of which that was told


def descriptor(file):
    try:
        return file.fileno()
    except Exception:  # it is no file of the operating system
        return None

"""The head of a checkpoint. The bytes: STREAM, the version of this format and the length of the head (4 bytes each), the
head (marshalled), the pickle."""

import marshal
import sys

STREAM = b"OSTLERNS"
FORMAT = 2
READABLE = 1, 2  # 1 had no cells: each closure came back with variables of its own
MAGIC = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
head = {}  # of what is being restored


class RestoreRefused(Exception):
    """These bytes cannot be restored here; the namespace is as it was."""


def read_head(data):
    if data[:8] != STREAM:
        raise RestoreRefused("these bytes are no checkpoint of a Python session")
    version = int.from_bytes(data[8:12], "big")
    if version not in READABLE:
        raise RestoreRefused(f"the namespace was saved in format {version}, and this worker reads format {FORMAT}")
    at = 16 + int.from_bytes(data[12:16], "big")
    try:
        return {**marshal.loads(data[16:at]), "format": version}, at
    except (ValueError, EOFError, TypeError) as error:
        raise RestoreRefused(f"its head cannot be read: {error}") from None

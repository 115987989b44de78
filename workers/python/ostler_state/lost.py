"""Values that cannot be brought back, and why."""

REASON = 300  # characters of a reason that is told


def reason(error):
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= REASON else text[:REASON] + "…"


class Lost:
    """Stands where a value could not be brought back, and accepts whatever would be done with that."""

    def __init__(self, reason):
        self.reason = reason

    def accept(self, *_):
        pass

    append = extend = add = update = __setitem__ = accept


class LostValue(Exception):
    """A value was met that could not be brought back."""

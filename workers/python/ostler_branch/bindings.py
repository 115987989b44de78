"""What the other parts take from the worker."""

os, state = worker.os, worker.state


class ForkRefused(Exception):
    """This session cannot be forked now; it goes on as it was."""

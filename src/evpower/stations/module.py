"""What the stations give to a process: nothing runs and nothing is served here yet."""

from evpower.foundation.module import Module


def module() -> Module:
    """Returns the slice."""
    return Module("stations")

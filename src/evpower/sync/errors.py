"""Failures of calls to Supabase.

SyncError
├── TargetUnavailable   down, slow, 5xx, a lost connection: try again later
│   ├── SyncResponseTooLarge  the response is larger than we read: ask for less
│   └── TargetBusy        this call met a lock or a statement time-out: other calls go on
├── TooLarge            the gateway refuses the size of the body: send less
└── TargetRefuses       a key, a right or a function is missing: an operator must act
"""

from typing import Final

# SQLSTATE and words of a statement or request that took too long, or exceeded a PostgreSQL limit.
_TOO_MUCH: Final = ("57014", "Timeout", "HTTP 500 54")


class SyncError(Exception):
    """A call to Supabase returned no usable result."""


class TargetUnavailable(SyncError):
    """Supabase is down, slow or failing; the call may or may not have been applied."""


class SyncResponseTooLarge(TargetUnavailable):
    """The response was not read to its end, because it exceeds the allowed size."""


class TargetBusy(TargetUnavailable):
    """Supabase is up, but this call waited for a lock or exceeded the statement time-out."""


class TooLarge(SyncError):
    """The gateway refused the body for its size."""


class TargetRefuses(SyncError):
    """Supabase refuses us: a wrong key, a missing function. Retrying does not help.

    `hint`: what the refusing function says to do; "" where it says nothing.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def is_too_much(error: SyncError) -> bool:
    """Returns whether a smaller call may succeed: this one was too large or took too long."""
    return isinstance(error, TooLarge | SyncResponseTooLarge) or any(
        sign in str(error) for sign in _TOO_MUCH
    )

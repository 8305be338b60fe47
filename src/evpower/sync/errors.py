"""What may go wrong between EvPower and Supabase.

SyncError
├── TargetUnavailable   down, slow, 5xx, a connection lost: try again later
│   ├── ResponseTooLarge  the response is larger than we read: ask for less
│   └── TargetBusy        this call met a lock or a statement time-out: others go on
├── TooLarge            the gateway refuses the size: send less
└── TargetRefuses       a key, a right or a function is missing: a person must act
"""

from typing import Final

# A statement or a request took too long; something PostgreSQL has a limit for was beyond it.
_TOO_MUCH: Final = ("57014", "Timeout", "HTTP 500 54")


class SyncError(Exception):
    """A call of Supabase that brought no usable answer."""


class TargetUnavailable(SyncError):
    """Supabase is down, slow or broken just now; the call may or may not have been applied."""


class SyncResponseTooLarge(TargetUnavailable):
    """The response was not read to its end: it is larger than a call may bring."""


class TargetBusy(TargetUnavailable):
    """Supabase is up: this one call waited for a lock, or took longer than a statement may."""


class TooLarge(SyncError):
    """The body was larger than the gateway takes."""


class TargetRefuses(SyncError):
    """Supabase answers, but not to us: a wrong key, a missing function. Retrying does not help."""


def is_too_much(error: SyncError) -> bool:
    """Whether it may go well with less: it was too large, or took too long."""
    return isinstance(error, TooLarge | SyncResponseTooLarge) or any(
        one in str(error) for one in _TOO_MUCH
    )

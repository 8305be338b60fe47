"""What may go wrong between EvPower and Supabase.

SyncError
├── TargetUnavailable   down, slow, 5xx, a connection lost: try again later
├── TooLarge            the gateway refuses the size: send less
└── TargetRefuses       a key, a right or a function is missing: a person must act
"""


class SyncError(Exception):
    """A call of Supabase that brought no usable answer."""


class TargetUnavailable(SyncError):
    """Supabase is down, slow or broken just now; the call may or may not have been applied."""


class TooLarge(SyncError):
    """The body was larger than the gateway takes."""


class TargetRefuses(SyncError):
    """Supabase answers, but not to us: a wrong key, a missing function. Retrying does not help."""

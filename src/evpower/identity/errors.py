"""What can go wrong between us and Supabase Auth; the kinds themselves are the foundation's."""

from evpower.foundation.errors import Unavailable


class AuthRefused(Exception):
    """Supabase Auth understood and said no; `code` is its error_code."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(f"{status} {code}")
        self.code = code
        self.status = status


class AuthUnanswered(Unavailable):
    """The request may have been carried out, nobody knows: read before deciding."""

    pause_s: float | None = None  # what its Retry-After says


class AuthBusy(Unavailable):
    """Supabase Auth has had enough calls for now."""

    pause_s: float | None = None  # what its Retry-After says


class AuthDenied(Unavailable):
    """Supabase Auth does not take our key: no other call will go better."""

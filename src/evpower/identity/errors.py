"""Errors of calls to Supabase Auth; the kinds are those of foundation.errors."""

from evpower.foundation.errors import Unavailable


class AuthRefused(Exception):
    """Supabase Auth refused the request; `code` is its error_code."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(f"{status} {code}")
        self.code = code
        self.status = status


class AuthOutcomeUnknown(Unavailable):
    """The request may have taken effect: read the user before deciding."""

    pause_s: float | None = None  # from Retry-After


class AuthBusy(Unavailable):
    """Supabase Auth accepts no more calls for now (its rate limit, or a timeout)."""

    pause_s: float | None = None  # from Retry-After


class AuthDenied(Unavailable):
    """Supabase Auth does not accept our key: every other call will fail too."""

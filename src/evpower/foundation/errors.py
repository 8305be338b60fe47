"""The six kinds of errors. Every edge renders the kinds once; code raises them with a stable code.

EvPowerError
├── Invalid          422  the request is invalid
├── Unauthenticated  401  the caller is unknown
├── Forbidden        403  the caller is known, and may not do this
├── NotFound         404  the object does not exist
├── Conflict         409  the present state does not allow it
└── Unavailable      503  a part EvPower needs does not answer; retry
"""

from collections.abc import Mapping
from typing import ClassVar


class EvPowerError(Exception):
    """An expected error: `code` is stable snake_case, `params` fill the message for a client.

    `detail` is sent to callers; `cause` is for operators only: logs, commands, doctor.
    """

    status: ClassVar[int] = 500
    is_expected: ClassVar[bool] = False  # a 5xx that is no sign of a fault: no alarm

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        params: Mapping[str, str | int] | None = None,
        retry_after_s: int | None = None,
        status: int | None = None,
        cause: str = "",
    ) -> None:
        super().__init__(detail or code)
        self.code = code
        self.detail = detail or code.replace("_", " ")
        self.params: Mapping[str, str | int] = params or {}
        self.retry_after_s = retry_after_s
        self.cause = cause
        self.http_status = status or self.status

    @property
    def for_operators(self) -> str:
        """The detail, and the cause where one is known."""
        return f"{self.detail}: {self.cause}" if self.cause else self.detail


class Invalid(EvPowerError):
    """The request is invalid."""

    status = 422


class Unauthenticated(EvPowerError):
    """The caller is unknown."""

    status = 401


class Forbidden(EvPowerError):
    """The caller is known, and may not do this."""

    status = 403


class NotFound(EvPowerError):
    """The object does not exist."""

    status = 404


class Conflict(EvPowerError):
    """The present state does not allow it."""

    status = 409


class Unavailable(EvPowerError):
    """A part EvPower needs does not answer; a later retry may succeed."""

    status = 503

"""The six kinds of errors. Every edge renders the kinds once; code raises them with a stable code.

EvPowerError
├── Invalid          422  the request makes no sense
├── Unauthenticated  401  nobody knows who asks
├── Forbidden        403  known, but not allowed
├── NotFound         404  there is no such thing
├── Conflict         409  true once, but the state says otherwise now
└── Unavailable      503  a part we need does not answer; try again
"""

from collections.abc import Mapping
from typing import ClassVar


class EvPowerError(Exception):
    """An error of the world: `code` is stable snake_case, `params` fill the text for a person.

    `detail` is sent to callers; `cause` is for operators only: logs, commands, doctor.
    """

    status: ClassVar[int] = 500
    is_expected: ClassVar[bool] = False  # a 5xx that says nothing about our health: no alarm

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
    """The request makes no sense."""

    status = 422


class Unauthenticated(EvPowerError):
    """Nobody knows who asks."""

    status = 401


class Forbidden(EvPowerError):
    """Known, but not allowed."""

    status = 403


class NotFound(EvPowerError):
    """There is no such thing."""

    status = 404


class Conflict(EvPowerError):
    """True once, but the state says otherwise now."""

    status = 409


class Unavailable(EvPowerError):
    """A part we need does not answer; trying again later may help."""

    status = 503

"""Types of the alerts."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

if TYPE_CHECKING:
    from starlette.requests import Request

ChannelName = Literal["webhook", "email"]
AlertEvent = Literal["opened", "repeated", "closed", "test"]


@dataclass(frozen=True, slots=True)
class Alert:
    """A fact that needs an operator, about one station, session or other subject."""

    id: int
    kind: str  # a snake_case code
    subject: str
    detail: Mapping[str, Any]  # as it was last seen
    count: int  # how often its cause was seen while it was open
    opened_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class AlertMessage:
    """What is sent of an alert by one channel, with the alert as it is now."""

    number: int
    id: UUID  # the same in each attempt
    event: AlertEvent
    created_at: datetime
    attempts: int
    alert_id: int
    kind: str
    subject: str
    detail: Mapping[str, Any]
    count: int
    opened_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt to send a message ended; `error` None: it was accepted."""

    message: AlertMessage
    error: str | None
    pause_s: float | None = None  # what the receiver asked for


@dataclass(frozen=True, slots=True)
class ChannelState:
    """Messages of one channel: how many wait, and the last one that failed."""

    channel: ChannelName
    waiting: int
    oldest_at: datetime | None
    error: str | None  # of the newest attempt that failed and is to be repeated
    given_up: int  # in the last day


@dataclass(frozen=True, slots=True)
class CallGuard:
    """Who may call: `check` returns the operator of a request or raises; identity is above."""

    check: "Callable[[Request], Awaitable[Any]]"
    document: dict[str, Any]  # what the OpenAPI document says of it

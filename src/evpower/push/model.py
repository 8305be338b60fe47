"""Types of the push messages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol
from uuid import UUID

from evpower.charging import SessionState

DeviceKind = Literal["fcm", "web"]
Platform = Literal["android", "ios", "web"]
PushLanguage = Literal["ru", "ky", "en"]
PushEvent = Literal["started", "start_failed", "limit_near", "hold_near", "stopped", "station_lost"]


class SubscriptionKeys(NamedTuple):
    """What a browser makes for each subscription (RFC 8291)."""

    p256dh: bytes  # a point of P-256, uncompressed
    auth: bytes  # 16 bytes


@dataclass(frozen=True, slots=True)
class NewDevice:
    """A device as an app registers it."""

    client_id: UUID
    kind: DeviceKind
    address: str  # FCM's token, or a subscription's endpoint
    host: str  # of the push service
    platform: Platform
    app_version: str | None
    language: PushLanguage
    keys: SubscriptionKeys | None = None  # of a subscription
    vapid_key: str | None = None  # ours that the subscription was made for


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """A session as far as messages follow from it; energy and cost are the newest known."""

    session_id: UUID
    client_id: UUID
    station_id: str
    connector_id: int
    location: str | None  # its name
    state: SessionState
    start_failure: str | None
    end_reason: str | None
    is_quarantined: bool
    is_station_lost: bool
    energy_wh: int
    cost_minor: int
    limit_energy_wh: int | None
    limit_amount_minor: int | None
    held_minor: int | None  # on hold for it
    updated_at: datetime
    events: Sequence[str] = ()  # of which messages were written


@dataclass(frozen=True, slots=True)
class NewMessage:
    """An event of a session, for every device of its client."""

    session_id: UUID
    client_id: UUID
    event: PushEvent
    facts: Mapping[str, Any]
    lives: timedelta


@dataclass(frozen=True, slots=True)
class PushMessage:
    """A message to one device, as it is leased."""

    number: int
    session_id: UUID
    event: PushEvent
    facts: Mapping[str, Any]
    expires_at: datetime
    attempts: int  # with this one
    device_id: int
    address: str
    host: str
    p256dh: bytes | None
    auth: bytes | None
    language: PushLanguage


@dataclass(frozen=True, slots=True)
class PushOutcome:
    """How an attempt ended.

    sent: accepted. unsubscribed: the device is no more. failed: not accepted, and may be tried
    again. refused: it never will be accepted. unknown: it may have been accepted.
    """

    word: Literal["sent", "unsubscribed", "failed", "refused", "unknown"]
    error: str | None = None
    retry_after_s: float | None = None


class PushSender(Protocol):
    """A way to the devices of one kind."""

    @property
    def kind(self) -> DeviceKind:
        """The kind of devices that it reaches."""
        ...

    async def send(self, message: PushMessage) -> PushOutcome:
        """Sends a message, within 15 s. Never raises for what the push service does."""
        ...


@dataclass(frozen=True, slots=True)
class PushState:
    """Devices and messages of one kind."""

    kind: DeviceKind
    devices: int
    waiting: int
    oldest_at: datetime | None  # of those that wait
    given_up: int  # since the time asked for
    error: str | None  # of the newest that failed

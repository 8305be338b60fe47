"""Types of the station sockets: frames, replies, what a handler returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, Final, Literal, NamedTuple

from evpower.charging import Changes, Rules
from evpower.foundation.bus import Topic
from evpower.stations import USUAL_PROFILE, VendorProfile

CALL: Final = 2
CALL_RESULT: Final = 3
CALL_ERROR: Final = 4
VERSION: Final = "ocpp1.6"
# The node with the station's socket pings it, and stores its sign of life.
STATION_PING: Final = Topic("station_ping", b"p")
OcppPayload = dict[str, Any]
MessageId = str | int
Direction = Literal["in", "out"]


class SocketClosed(Exception):
    """The socket ended before the station replied."""


class Reply(NamedTuple):
    """A station's reply to a call: its payload, or the members of its CALLERROR."""

    payload: OcppPayload | None
    error: Mapping[str, Any] | None


@dataclass(slots=True)
class Frame:
    """A request of a station, read; `notes` collects the kinds of its deviations."""

    station_id: str
    message_id: MessageId
    action: str
    payload: OcppPayload
    received_at: datetime
    since: datetime  # earlier times of the station are unusable
    rules: Rules
    notes: set[str] = field(default_factory=set[str])
    is_triggered: bool = False  # a BootNotification that we asked for
    profile: VendorProfile = USUAL_PROFILE
    zone: tzinfo = UTC  # of its times without a zone
    must_close: bool = False  # the socket ends after the answer


class Handled(NamedTuple):
    """What a handler did: the answer's payload, and what changed."""

    response: OcppPayload
    changes: Changes


class FrameRow(NamedTuple):
    """A raw frame for the log; `frame` is its text with secrets blanked."""

    station_id: str
    at: datetime
    direction: Direction
    message_type: int | None  # None: unreadable
    message_id: str | None
    action: str | None
    frame: str

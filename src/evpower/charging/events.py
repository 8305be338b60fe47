"""What a station reports, in no protocol's words, and what charging answers and announces."""

from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec

from evpower.charging.model import SESSION_CHANGED
from evpower.foundation import failpoints
from evpower.foundation.bus import Bus
from evpower.foundation.failpoints import Failpoint
from evpower.foundation.value import Value
from evpower.identity import CLIENT_CHANGED
from evpower.stations import STATION_CHANGED, station_key

# What a station does off the protocol, or so that little is known of its charges.
BehaviourKind = Literal[
    "available_before_stop", "energy_after_stop", "interval_ignored", "limit_ignored",
    "register_above_power", "register_absent", "register_from_zero", "register_jumped",
    "register_restarted", "start_after_stop", "start_repeated", "start_unauthorized",
    "stop_before_start", "stop_below_start", "stop_ignored", "stop_missing", "stop_repeated",
    "stop_unmatched", "values_after_stop",
]  # fmt: skip
# The status of an id tag in an answer to a station.
TagStatus = Literal["accepted", "blocked", "expired", "invalid", "concurrent_tx"]


class StationTime(NamedTuple):
    """A time stamp of a station."""

    at: datetime | None  # as read, UTC; None: unusable or absent
    raw: str | None  # as it was sent


class Reading(Value, frozen=True):
    """One entry of meter values, after the tolerant reader."""

    time: StationTime
    context: str  # "Sample.Periodic", ...; "" if none
    energy_wh: Decimal | None
    resolution_wh: Decimal  # the register's step
    power_w: int | None
    current_ma: int | None  # of the highest phase
    voltage_mv: int | None
    ev_current_ma: int | None
    ev_voltage_mv: int | None
    soc_percent: int | None
    temperatures: tuple[int | None, int | None, int | None]  # body, outlet, inlet


def register_read(context: str, time: StationTime, energy_wh: Decimal | None) -> Reading:
    """Returns a register, or the moment of a status (None), as an entry of meter values."""
    return Reading(
        time, context, energy_wh, Decimal(1), None, None, None, None, None, None,
        (None, None, None),
    )  # fmt: skip


class StationStart(NamedTuple):
    """A station began a transaction."""

    station_id: str
    connector: int
    id_tag: str
    meter_wh: Decimal | None
    text_id: str | None  # the station's own id, where its protocol has one
    time: StationTime
    received_at: datetime
    is_connector_guessed: bool = False  # the station named none of several


class StationReadings(Value, frozen=True):
    """Meter values that a station sent in one frame."""

    station_id: str
    connector: int
    transaction_id: int | None
    text_id: str | None
    readings: tuple[Reading, ...]
    signed: tuple[str, ...]  # untouched
    received_at: datetime


class StationStop(NamedTuple):
    """A station ended a transaction."""

    station_id: str
    transaction_id: int | None
    text_id: str | None
    id_tag: str | None
    meter_wh: Decimal | None
    time: StationTime
    reason: str | None
    readings: tuple[Reading, ...]
    signed: tuple[str, ...]
    received_at: datetime


class StationStatus(NamedTuple):
    """The status of a connector."""

    station_id: str
    connector: int  # 0: the station as a whole
    status: str  # snake_case of stations.connectors, or the raw word
    error: str | None
    time: StationTime
    received_at: datetime
    is_history: bool  # older than the newest one stored


class Changes(msgspec.Struct):
    """What a transaction changed, to be announced after its commit.

    `notes` are counted by who called: with the frame that showed them, if there is one.
    """

    clients: set[UUID] = set()
    sessions: set[UUID] = set()
    stations: set[str] = set()
    notes: set[BehaviourKind] = set()  # deviations of the station

    def merge(self, other: "Changes") -> None:
        """Adds the changes of another part of the transaction."""
        self.clients |= other.clients
        self.sessions |= other.sessions
        self.stations |= other.stations
        self.notes |= other.notes

    def publish(self, bus: Bus) -> None:
        """Announces every change; called after the commit."""
        failpoints.hit(Failpoint.CHANGES_COMMITTED)
        for station_id in self.stations:
            bus.publish(STATION_CHANGED, station_key(station_id))
        for session_id in self.sessions:
            bus.publish(SESSION_CHANGED, session_id)
        for client_id in self.clients:
            bus.publish(CLIENT_CHANGED, client_id)


class StartAnswer(NamedTuple):
    """What a station is answered to the start of a transaction."""

    transaction_id: int
    tag: TagStatus
    changes: Changes


class StopAnswer(NamedTuple):
    """What a station is answered to the end of a transaction."""

    tag: TagStatus
    changes: Changes

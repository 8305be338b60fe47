"""Types of charging. Energy in Wh, money in minor units (tyiyn), times in aware UTC."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, NamedTuple
from uuid import UUID

from evpower.foundation.bus import Topic

# The key is the session's id.
SESSION_CHANGED: Final = Topic("session", b"s")
SessionStatus = Literal["started", "stopped", "error"]  # as in Supabase and the apps
Order = Literal["created_at", "start_time"]  # the time that orders a history, newest first
SessionState = Literal[
    "requested", "starting", "charging", "stopping", "finished", "settled",
    "expired", "refused", "cancelled", "failed",
]  # fmt: skip
SessionSource = Literal["evpower", "import"]
StartedBy = Literal["app", "card"]
# driver: a session of a client. unattributed: of no client, not billed. technician: maintenance.
Purpose = Literal["driver", "unattributed", "technician"]
EndKind = Literal["stop", "estimated"]
# Why a stop is asked for; the end reason of a session that the station stops because of it.
StopReason = Literal[
    "stopped_by_driver", "stopped_by_operator", "client_blocked", "client_deleted", "late_start",
    "start_not_allowed", "energy_limit", "amount_limit", "soc_limit", "balance_limit", "no_energy",
]  # fmt: skip
# What is done, one after another, about a charge that goes on although it was to stop.
StopStep = Literal["remote_stop", "remote_stop_again", "zero_limit", "unlock", "reset", "give_up"]
# What became of a step. stopped: the station stopped. closed: EvPower ended the session without it.
# went_on, no_values: what the meter said. not_ended: no stop came within 30 s. refused, unanswered,
# not_delivered: of its command. skipped: not allowed there.
StepOutcome = Literal[
    "stopped", "closed", "went_on", "not_ended", "no_values", "refused", "unanswered",
    "not_delivered", "skipped",
]  # fmt: skip

STATE_OF: Final[dict[SessionStatus, SessionState]] = {
    "started": "charging",
    "stopped": "finished",
    "error": "failed",
}
STATUS_OF: Final[dict[SessionState, SessionStatus]] = {
    "requested": "started", "starting": "started", "charging": "started", "stopping": "started",
    "finished": "stopped", "settled": "stopped",
    "expired": "error", "refused": "error", "cancelled": "error", "failed": "error",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReportedSession:
    """A session as another system reported it, validated."""

    id: UUID
    client_id: UUID
    station_id: str
    connector_id: int
    started_at: datetime | None
    ended_at: datetime | None
    energy_wh: int
    cost_minor: int
    status: SessionStatus
    billed: bool  # paid somewhere else: never charged here
    vehicle_plate: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A stored session."""

    id: UUID
    client_id: UUID
    station_id: str
    connector_id: int
    state: SessionState
    source: SessionSource
    started_at: datetime | None
    ended_at: datetime | None
    energy_wh: int
    cost_minor: int
    billed_elsewhere: bool
    vehicle_plate: str | None

    def as_report(self) -> ReportedSession:
        """Returns what the latest report must have said."""
        return ReportedSession(
            id=self.id,
            client_id=self.client_id,
            station_id=self.station_id,
            connector_id=self.connector_id,
            started_at=self.started_at,
            ended_at=self.ended_at,
            energy_wh=self.energy_wh,
            cost_minor=self.cost_minor,
            status=STATUS_OF[self.state],
            billed=self.billed_elsewhere,
            vehicle_plate=self.vehicle_plate,
        )


@dataclass(frozen=True, slots=True)
class Bill:
    """The first bill of a session: its amount, and the part the wallet could pay at once."""

    id: int
    due_minor: int
    debited_minor: int


@dataclass(frozen=True, slots=True)
class Correction:
    """The corrected facts of a settled session."""

    session_id: UUID
    ended_at: datetime
    energy_wh: int
    cost_minor: int
    actor: str  # an operator, or the component that found the corrected figure
    reason: str


@dataclass(frozen=True, slots=True)
class CorrectionResult:
    """The result of a correction."""

    session_id: UUID
    client_id: UUID
    bill_id: int  # of the session's newest bill
    changed: bool  # False: the session had these facts already
    moved_minor: int  # signed, as in the wallet: charged -, refunded +
    balance_minor: int
    debt_minor: int  # the client's total debt afterwards


@dataclass(frozen=True, slots=True)
class RecordResult:
    """The result of recording a report."""

    session_id: UUID
    created: bool  # by this call
    charged: bool  # the session has a bill, from this call or an earlier one
    debt_minor: int  # the part of the bill that the balance could not pay at once
    changed: bool  # this call changed the session


@dataclass(frozen=True, slots=True)
class ChargingSession:
    """A session that EvPower runs, as its start and its stop need it."""

    id: UUID
    client_id: UUID
    station_id: str
    connector_id: int
    state: SessionState
    started_by: StartedBy | None
    id_tag: str | None  # one-time, of a start by app
    limit_energy_wh: int | None
    limit_amount_minor: int | None
    limit_soc_percent: int | None
    vehicle_plate: str | None
    without_token: bool  # an app of before began it, which sends none
    start_command_id: int | None
    start_window_ends_at: datetime | None
    start_failure: str | None
    started_at: datetime | None
    stop_requested_at: datetime | None
    end_reason: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StationTransaction:
    """What a station calls a transaction, with our number for it."""

    id: int
    station_id: str
    connector: int
    text_id: str | None
    id_tag: str  # as sent
    purpose: Purpose
    session_id: UUID | None
    meter_start_wh: Decimal | None
    started_at: datetime
    start_station_time: str | None  # raw
    start_station_at: datetime | None  # the same as read; None: unusable
    received_at: datetime  # its start
    start_shift_s: int | None  # its times less right ones, where that is hours; None: not known
    meter_stop_wh: Decimal | None
    ended_at: datetime | None
    end_kind: EndKind | None
    is_end_timed: bool  # False: when it ended is unknown
    start_number: int  # of several that began with the same facts
    limit_energy_wh: int | None  # what a technician's card may still take; None: no technician's
    is_connector_guessed: bool = False  # the station named none of several


@dataclass(frozen=True, slots=True)
class Technician:
    """A card of the operator's own; `tag` in the form in which tags are compared."""

    tag: str
    name: str
    daily_limit_wh: int  # in any 24 hours
    created_at: datetime


class TechnicianAllowance(NamedTuple):
    """A technician's card at a start."""

    tag: str
    name: str
    left_wh: int  # what it may still take; 0: nothing
    others_w: int = 0  # what its other charges may take meanwhile that run without a register

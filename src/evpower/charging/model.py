"""What charging knows: energy in Wh, money in minor units (tyiyn), times in aware UTC."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from evpower.foundation.bus import Topic

# The key is the session's id.
SESSION_CHANGED: Final = Topic("session", b"s")
SessionStatus = Literal["started", "stopped", "error"]  # the words of Supabase and the apps
Order = Literal["created_at", "start_time"]  # by which time a history is newest first
SessionState = Literal[
    "requested", "starting", "charging", "stopping", "finished", "settled",
    "expired", "refused", "cancelled", "failed",
]  # fmt: skip
SessionSource = Literal["evpower", "import"]

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
    """What another system says of a session, checked."""

    id: UUID
    client_id: UUID
    station_id: str
    connector_id: int
    status: SessionStatus
    started_at: datetime
    ended_at: datetime | None
    energy_wh: int
    cost_minor: int
    billed: bool  # paid somewhere else: never charged here


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it is stored."""

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


@dataclass(frozen=True, slots=True)
class Bill:
    """The first bill of a session: what it cost and what the wallet could pay at once."""

    id: int
    due_minor: int
    debited_minor: int


@dataclass(frozen=True, slots=True)
class Correction:
    """What a settled session turned out to be."""

    session_id: UUID
    ended_at: datetime
    energy_wh: int
    cost_minor: int
    actor: str  # an operator, or what found the better figure
    reason: str


@dataclass(frozen=True, slots=True)
class Corrected:
    """What a correction changed."""

    session_id: UUID
    client_id: UUID
    bill_id: int  # of the newest bill, which has these facts
    changed: bool  # False: the session had these facts already
    moved_minor: int  # signed, as the wallet saw it: charged -, given back +
    balance_minor: int
    debt_minor: int  # what the client owes after it


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a report."""

    session_id: UUID
    created: bool  # by this very call
    charged: bool  # the session's cost went through the wallet, now or before
    debt_minor: int  # the part the balance could not pay when it was charged
    changed: bool  # this very call changed something

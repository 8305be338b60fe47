"""Types of the reports. Money is minor units (tyiyn), energy Wh, times seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime


@dataclass(slots=True)
class Figures:
    """What is summed up; docs/reports.md defines each."""

    energy_wh: int = 0
    sessions: int = 0  # whose first bill was made that day
    free_sessions: int = 0
    quarantined_sessions: int = 0
    charged_minor: int = 0
    debts_collected_minor: int = 0  # of what was charged
    refunded_minor: int = 0
    available_s: float = 0.0  # of all connectors
    observed_s: float = 0.0
    unbilled_tail_wh: int = 0
    outside_charges: int = 0
    outside_wh: int = 0

    @property
    def revenue_minor(self) -> int:
        """What was charged less what was given back."""
        return self.charged_minor - self.refunded_minor

    @property
    def uptime(self) -> float | None:
        """Returns 0 to 1; None: no connector was observed."""
        return self.available_s / self.observed_s if self.observed_s > 0 else None

    def add(self, other: "Figures") -> None:
        """Adds the figures of another one."""
        self.energy_wh += other.energy_wh
        self.sessions += other.sessions
        self.free_sessions += other.free_sessions
        self.quarantined_sessions += other.quarantined_sessions
        self.charged_minor += other.charged_minor
        self.debts_collected_minor += other.debts_collected_minor
        self.refunded_minor += other.refunded_minor
        self.available_s += other.available_s
        self.observed_s += other.observed_s
        self.unbilled_tail_wh += other.unbilled_tail_wh
        self.outside_charges += other.outside_charges
        self.outside_wh += other.outside_wh


@dataclass(frozen=True, slots=True)
class ReportRow:
    """The figures of a station, a location or an owner. `location_id` "": of no station we know."""

    id: str
    name: str  # of a location; else the id
    location_id: str
    owner: str  # "": the operator itself
    figures: Figures


@dataclass(frozen=True, slots=True)
class DailyReport:
    """A day by the clocks of `time_zone`. Not complete: it is not over."""

    day: date
    time_zone: str
    begins_at: datetime
    ends_at: datetime
    is_complete: bool
    total: Figures
    stations: Sequence[ReportRow]
    locations: Sequence[ReportRow]
    owners: Sequence[ReportRow]


@dataclass(frozen=True, slots=True)
class ReportedStation:
    """A station as it is now."""

    id: str
    location_id: str
    location_name: str
    owner: str
    connectors: Sequence[int]
    created_at: datetime
    retired_at: datetime | None


@dataclass(frozen=True, slots=True)
class MoneyRow:
    """What a day's transactions moved for sessions of a station, by the owner on their bills."""

    station_id: str
    owner: str
    charged_minor: int
    debts_collected_minor: int
    refunded_minor: int


@dataclass(frozen=True, slots=True)
class BillsRow:
    """What a day's bills say of the sessions of a station."""

    station_id: str
    owner: str
    energy_wh: int
    sessions: int
    free_sessions: int


@dataclass(frozen=True, slots=True)
class OnlineRow:
    """A connection of a station, cut to the day."""

    station_id: str
    begins_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class StatusRow:
    """A status from then on; of connector 0: of the whole station."""

    station_id: str
    connector: int
    is_down: bool
    at: datetime

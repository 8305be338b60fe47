"""Types of a station's set-up."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class SetupKey:
    """One configuration key of a station, as its set-up found and left it."""

    key: str
    wanted: str | None  # None: it is only shown
    actual: str | None  # as it was read; None: it has none
    is_readonly: bool
    outcome: str  # as_wanted, to_write, written, written_after_reboot, read_only, refused, absent,
    # shown, autostart: by it the station may start without any authorisation


@dataclass(frozen=True, slots=True)
class StationSetup:
    """The set-up of a station for one firmware."""

    id: int
    station_id: str
    vendor: str
    model: str
    firmware: str
    actor: str
    command_id: int  # the one that it waits for, or waited for last
    keys: tuple[SetupKey, ...]
    failure: str | None  # refused, no_answer, not_delivered
    started_at: datetime
    ended_at: datetime | None

    @property
    def state(self) -> str:
        """Running, done or failed."""
        if self.ended_at is None:
            return "running"
        return "done" if self.failure is None else "failed"

"""What operators look for: which stations, which commands; and whose stations there are."""

from dataclasses import dataclass
from uuid import UUID

from evpower.stations.model import Availability, CommandAction, CommandState


@dataclass(frozen=True, slots=True)
class StationFilter:
    """Which stations are meant; None: whatever it is."""

    text: str | None = None  # part of a name: OCPP id, old id, serial number, post code
    location: str | None = None  # its id
    owner: str | None = None
    vendor: str | None = None
    online: bool | None = None
    availability: Availability | None = None  # as the operator wants it
    connector_status: str | None = None  # of at least one connector, as reported
    simulated: bool | None = None
    retired: bool | None = False


@dataclass(frozen=True, slots=True)
class CommandFilter:
    """Which commands are meant; None: whatever it is."""

    station_id: str | None = None
    state: CommandState | None = None
    action: CommandAction | None = None
    bulk_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class BulkRefusal:
    """A station that a bulk command named, and that was not asked."""

    station: str  # its id, or as it was named
    action: CommandAction
    error: str


@dataclass(frozen=True, slots=True)
class OwnerCount:
    """An owner of stations; None: those that have none."""

    owner: str | None
    stations: int
    connectors: int

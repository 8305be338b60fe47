"""Which sessions an operator looks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from evpower.charging.model import SessionState
from evpower.foundation.paging import PlaceTime


class SessionPlace(NamedTuple):
    """Where a page of sessions ended: they are listed by when they were made, the newest first."""

    created_at: PlaceTime
    id: UUID


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """All that is given must hold; None: whatever it is."""

    states: Sequence[SessionState] = ()  # empty: every state
    end_reason: str | None = None
    start_failure: str | None = None
    client_id: UUID | None = None
    station_id: str | None = None
    in_quarantine: bool = False
    made_from: datetime | None = None  # made at this time or later,
    made_before: datetime | None = None  # and before this one

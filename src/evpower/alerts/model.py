"""Types of the alerts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


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

"""Charging sessions: those that other systems report, their corrections, and the history."""

from evpower.charging.events import (
    Changes,
    Reading,
    StartAnswer,
    StationReadings,
    StationStart,
    StationStatus,
    StationStop,
    StationTime,
    StopAnswer,
    TagStatus,
)
from evpower.charging.model import SESSION_CHANGED, SessionStatus
from evpower.charging.module import module

# What slices above may read of the tables.
PUBLIC_VIEWS = ("charging.sessions_public", "charging.settlements_public")

__all__ = [
    "PUBLIC_VIEWS",
    "SESSION_CHANGED",
    "Changes",
    "Reading",
    "SessionStatus",
    "StartAnswer",
    "StationReadings",
    "StationStart",
    "StationStatus",
    "StationStop",
    "StationTime",
    "StopAnswer",
    "TagStatus",
    "module",
]

"""Charging sessions: those that other systems report, their corrections, and the history."""

from evpower.charging.correct import correct
from evpower.charging.endpoints import fast_paths, router
from evpower.charging.history import SessionPage, history
from evpower.charging.model import (
    SESSION_CHANGED,
    Correction,
    CorrectionResult,
    RecordResult,
    ReportedSession,
    SessionState,
    SessionStatus,
)
from evpower.charging.module import module
from evpower.charging.record import record

# What slices above may read of the tables.
PUBLIC_VIEWS = ("charging.sessions_public", "charging.settlements_public")

__all__ = [
    "PUBLIC_VIEWS",
    "SESSION_CHANGED",
    "Correction",
    "CorrectionResult",
    "RecordResult",
    "ReportedSession",
    "SessionPage",
    "SessionState",
    "SessionStatus",
    "correct",
    "fast_paths",
    "history",
    "module",
    "record",
    "router",
]

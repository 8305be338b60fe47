"""The life of a charging session. Here: sessions that ran elsewhere, and their history."""

from evpower.charging.correct import correct
from evpower.charging.endpoints import fast_paths, router
from evpower.charging.history import SessionPage, history
from evpower.charging.model import (
    SESSION_CHANGED,
    STATUS_OF,
    Corrected,
    Correction,
    Recorded,
    ReportedSession,
    SessionState,
    SessionStatus,
)
from evpower.charging.module import module
from evpower.charging.record import record

__all__ = [
    "SESSION_CHANGED",
    "STATUS_OF",
    "Corrected",
    "Correction",
    "Recorded",
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

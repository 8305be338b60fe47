"""The life of a charging session. Here: sessions that ran elsewhere, and their history."""

from evpower.charging.correct import correct
from evpower.charging.endpoints import fast_paths, router
from evpower.charging.history import Page, history
from evpower.charging.model import (
    SESSION_CHANGED,
    STATUS_OF,
    Corrected,
    Correction,
    Recorded,
    Report,
    State,
    Status,
)
from evpower.charging.module import module
from evpower.charging.record import record

__all__ = [
    "SESSION_CHANGED",
    "STATUS_OF",
    "Corrected",
    "Correction",
    "Page",
    "Recorded",
    "Report",
    "State",
    "Status",
    "correct",
    "fast_paths",
    "history",
    "module",
    "record",
    "router",
]

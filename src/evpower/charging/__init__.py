"""The life of a charging session. Here: sessions that ran elsewhere, and their history."""

from evpower.charging.endpoints import hot_paths, router
from evpower.charging.history import Page, history
from evpower.charging.model import STATUS_OF, Recorded, Report, State, Status
from evpower.charging.record import record

__all__ = [
    "STATUS_OF",
    "Page",
    "Recorded",
    "Report",
    "State",
    "Status",
    "history",
    "hot_paths",
    "record",
    "router",
]

"""Charging sessions: those that EvPower runs, those that other systems report, and the history."""

from evpower.charging.authorize import authorize
from evpower.charging.booted import station_booted
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
from evpower.charging.facts import normalized_plate
from evpower.charging.model import SESSION_CHANGED, SessionState
from evpower.charging.module import module
from evpower.charging.request_stop import StopRequest, StopRequested, request_stop
from evpower.charging.rules import Rules, configured_rules
from evpower.charging.session_view import SessionView, flat_status
from evpower.charging.start import StartedSession, StartRequest, start
from evpower.charging.start_transaction import start_transaction
from evpower.charging.status import (
    active_session,
    newest_sessions,
    session_status,
    session_statuses,
)
from evpower.charging.unstarted import command_ended

# What slices above may read of the tables.
PUBLIC_VIEWS = (
    "charging.sessions_public",
    "charging.progress_public",
    "charging.settlements_public",
)

__all__ = [
    "PUBLIC_VIEWS",
    "SESSION_CHANGED",
    "Changes",
    "Reading",
    "Rules",
    "SessionState",
    "SessionView",
    "StartAnswer",
    "StartRequest",
    "StartedSession",
    "StationReadings",
    "StationStart",
    "StationStatus",
    "StationStop",
    "StationTime",
    "StopAnswer",
    "StopRequest",
    "StopRequested",
    "TagStatus",
    "active_session",
    "authorize",
    "command_ended",
    "configured_rules",
    "flat_status",
    "module",
    "newest_sessions",
    "normalized_plate",
    "request_stop",
    "session_status",
    "session_statuses",
    "start",
    "start_transaction",
    "station_booted",
]

"""Charging sessions: those that EvPower runs, those that other systems report, and the history."""

from evpower.charging.authorize import authorize
from evpower.charging.booted import station_booted
from evpower.charging.cards import ImportedCards, add_card, import_cards, remove_card
from evpower.charging.cost_schemas import CostPartRow
from evpower.charging.events import (
    Changes,
    Reading,
    StationReadings,
    StationStart,
    StationStatus,
    StationStop,
    StationTime,
    TagStatus,
)
from evpower.charging.facts import normalized_plate
from evpower.charging.force_stop import OperatorStop, stop_by_operator
from evpower.charging.free_period import (
    end_free,
    free_station,
    list_free_periods,
    list_free_stations,
)
from evpower.charging.learn_meter import list_meters
from evpower.charging.meter_values import meter_values
from evpower.charging.model import SESSION_CHANGED, SessionState, Technician
from evpower.charging.module import module
from evpower.charging.operate import (
    OperatorBill,
    correct_session,
    get_session,
    list_sessions,
    list_stop_steps,
    list_unattributed,
    list_unmatched_stops,
)
from evpower.charging.preview import (
    MAX_PREVIEWED,
    PreviewedBill,
    preview_session,
    preview_station,
)
from evpower.charging.reconnected import station_reconnected
from evpower.charging.request_command import refuse_while_in_use, request_command
from evpower.charging.request_stop import StopRequest, StopRequested, request_stop
from evpower.charging.retire_station import retire_station
from evpower.charging.rules import Rules, configured_rules
from evpower.charging.search import search_sessions
from evpower.charging.session_filter import SessionFilter
from evpower.charging.session_view import SessionView, flat_status
from evpower.charging.shared_values import SharedValues
from evpower.charging.start import StartedSession, StartRequest, start
from evpower.charging.start_transaction import start_transaction
from evpower.charging.status import (
    SessionStatuses,
    active_session,
    newest_sessions,
    session_status,
    session_statuses,
)
from evpower.charging.status_reported import status_reported
from evpower.charging.stop_transaction import stop_transaction
from evpower.charging.store_free import FreePeriod
from evpower.charging.store_meters import (
    LearnedMeter,
    StationFacts,
    unpaid_energy,
)
from evpower.charging.store_operator import BillRow, SessionRow, UnattributedRow, UnmatchedStop
from evpower.charging.store_search import client_totals, count_sessions
from evpower.charging.store_steps import StepRow
from evpower.charging.store_technicians import TechnicianCharge
from evpower.charging.store_transactions import insert_unhandled_start
from evpower.charging.technicians import (
    add_technician,
    limit_technician,
    list_technician_charges,
    list_technicians,
    remove_technician,
)
from evpower.charging.unstarted import command_ended

# What slices above may read of the tables.
PUBLIC_VIEWS = (
    "charging.sessions_public",
    "charging.progress_public",
    "charging.settlements_public",
    "charging.cdrs_public",
)

__all__ = [
    "MAX_PREVIEWED",
    "PUBLIC_VIEWS",
    "SESSION_CHANGED",
    "BillRow",
    "Changes",
    "CostPartRow",
    "FreePeriod",
    "ImportedCards",
    "LearnedMeter",
    "OperatorBill",
    "OperatorStop",
    "PreviewedBill",
    "Reading",
    "Rules",
    "SessionFilter",
    "SessionRow",
    "SessionState",
    "SessionStatuses",
    "SessionView",
    "SharedValues",
    "StartRequest",
    "StartedSession",
    "StationFacts",
    "StationReadings",
    "StationStart",
    "StationStatus",
    "StationStop",
    "StationTime",
    "StepRow",
    "StopRequest",
    "StopRequested",
    "TagStatus",
    "Technician",
    "TechnicianCharge",
    "UnattributedRow",
    "UnmatchedStop",
    "active_session",
    "add_card",
    "add_technician",
    "authorize",
    "client_totals",
    "command_ended",
    "configured_rules",
    "correct_session",
    "count_sessions",
    "end_free",
    "flat_status",
    "free_station",
    "get_session",
    "import_cards",
    "insert_unhandled_start",
    "limit_technician",
    "list_free_periods",
    "list_free_stations",
    "list_meters",
    "list_sessions",
    "list_stop_steps",
    "list_technician_charges",
    "list_technicians",
    "list_unattributed",
    "list_unmatched_stops",
    "meter_values",
    "module",
    "newest_sessions",
    "normalized_plate",
    "preview_session",
    "preview_station",
    "refuse_while_in_use",
    "remove_card",
    "remove_technician",
    "request_command",
    "request_stop",
    "retire_station",
    "search_sessions",
    "session_status",
    "session_statuses",
    "start",
    "start_transaction",
    "station_booted",
    "station_reconnected",
    "status_reported",
    "stop_by_operator",
    "stop_transaction",
    "unpaid_energy",
]

"""Reads what operators look for: sessions page by page, and everything about one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from evpower import alerts, identity
from evpower.charging import store_evidence, store_search
from evpower.charging.operate import get_session
from evpower.charging.session_filter import SessionFilter, SessionPlace
from evpower.charging.store_evidence import MeterValueRow, StopRow
from evpower.charging.store_operator import BillRow, SessionRow, UnknownCard, unknown_cards
from evpower.foundation.db import Connection
from evpower.foundation.money import to_som

_ACTS: Final = 100


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """Something that happened to a session."""

    at: datetime
    kind: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SessionDossier:
    """A session with its bills, the stops its station sent, and what happened, the oldest first."""

    session: SessionRow
    bills: Sequence[BillRow]
    stops: Sequence[StopRow]
    events: Sequence[SessionEvent]


async def search_sessions(
    connection: Connection, wanted: SessionFilter, *, before: SessionPlace | None, limit: int
) -> list[SessionRow]:
    """Returns at most `limit` sessions that EvPower ran, the newest first, before a place."""
    place = before or store_search.FIRST
    return await store_search.sessions_before(connection, wanted, place, limit)


async def read_dossier(connection: Connection, session_id: UUID) -> SessionDossier:
    """Returns everything about a session. Raises NotFound("session_not_found")."""
    session, bills = await get_session(connection, session_id)
    stops = await store_evidence.stops_of(connection, session.transaction_id)
    events = [*_own_events(session), *map(_bill_event, bills)]
    for stop in stops:
        detail = {"meter_wh": _number(stop.meter_stop_wh), "reason": stop.reason}
        events.append(SessionEvent(stop.received_at, "station_stopped", detail))
    for alert in await alerts.list_alerts(connection, subject=str(session_id), with_closed=True):
        events.append(SessionEvent(alert.opened_at, "alert_opened", {"kind": alert.kind}))
        if alert.closed_at is not None:
            events.append(SessionEvent(alert.closed_at, "alert_closed", {"kind": alert.kind}))
    for act in await identity.list_acts(connection, subject=str(session_id), limit=_ACTS):
        detail = {"action": act.action, "actor": act.actor, "reason": act.reason}
        events.append(SessionEvent(act.at, "act", detail))
    return SessionDossier(session, bills, stops, sorted(events, key=lambda event: event.at))


async def list_meter_values(
    connection: Connection, session_id: UUID, *, after: datetime | None, limit: int
) -> list[MeterValueRow]:
    """Returns the values of a session in the order in which they came, after a time.

    More than `limit` where the last frame had several. Raises NotFound("session_not_found").
    """
    session, _ = await get_session(connection, session_id)
    return await store_evidence.values_after(connection, session.transaction_id, after, limit)


async def list_unknown_cards(connection: Connection, *, limit: int) -> list[UnknownCard]:
    """Returns the cards that no client has and that charged, the one that did last first."""
    return await unknown_cards(connection, limit)


def _own_events(session: SessionRow) -> list[SessionEvent]:
    times: list[tuple[datetime | None, str, dict[str, Any]]] = [
        (session.created_at, "requested", {"started_by": session.started_by}),
        (session.started_at, "started", {"meter_wh": _number(session.meter_start_wh)}),
        (
            session.stop_requested_at,
            "stop_requested",
            {"by": session.stop_requested_by, "reason": session.stop_reason},
        ),
        (
            session.ended_at,
            "ended",
            {"reason": session.end_reason, "is_estimated": session.is_estimated},
        ),
        (session.quarantined_at, "quarantined", {"reason": session.quarantine_reason}),
    ]
    return [SessionEvent(at, kind, detail) for at, kind, detail in times if at is not None]


def _bill_event(bill: BillRow) -> SessionEvent:
    detail = {
        "number": bill.bill_number,
        "total": to_som(bill.total_minor),
        "actor": bill.actor,
        "reason": bill.reason,
    }
    return SessionEvent(bill.created_at, "billed", detail)


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))

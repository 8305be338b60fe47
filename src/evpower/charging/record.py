"""Records a session that another system ran, and charges it once when it is finished."""

from typing import Final

import asyncpg

from evpower import wallet
from evpower.charging import metrics, store
from evpower.charging.model import STATUS_OF, RecordResult, ReportedSession, Session
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, NotFound

# Facts that never change; the others may be reported when the session ends.
_IDENTITY: Final = frozenset({"client_id", "station_id", "connector_id", "start_time"})


async def record(connection: Connection, report: ReportedSession) -> RecordResult:
    """Stores the session, and charges it if it is stopped and not billed elsewhere.

    The same report again changes nothing. A session reported as started may end by a later report;
    a `started` that arrives after the end is ignored. Raises NotFound("client_not_found"),
    Conflict("session_conflict").
    """
    created = await _insert(connection, report)
    ended = False
    if not created:
        stored = await store.lock_session(connection, report.id)
        differences = _differences(report, stored)
        if _is_end_of(report, stored, differences):
            await store.end_imported(connection, report)
            ended = True
        elif differences and not _is_late_start(report, stored, differences):
            metrics.RECORDED.labels("conflict").inc()
            raise Conflict(
                "session_conflict",
                f"this session is recorded with another {', '.join(differences)}",
            )
    changed = created or ended
    if changed and report.status == "stopped" and not report.billed:
        await wallet.charge(connection, report.id)
    if changed and report.status == "stopped":
        metrics.ENERGY.inc(report.energy_wh)
    metrics.RECORDED.labels("created" if created else "ended" if ended else "repeated").inc()
    bill = await store.find_bill(connection, report.id)
    debt_minor = 0 if bill is None else bill.due_minor - bill.debited_minor
    return RecordResult(report.id, created, bill is not None, debt_minor, changed)


async def _insert(connection: Connection, report: ReportedSession) -> bool:
    try:
        return await store.insert_imported(connection, report)
    except asyncpg.ForeignKeyViolationError as error:
        raise NotFound("client_not_found", "there is no such client") from error


def _is_end_of(report: ReportedSession, stored: Session, differences: list[str]) -> bool:
    return (
        stored.source == "import"
        and stored.state == "charging"
        and report.status != "started"
        and _IDENTITY.isdisjoint(differences)
    )


def _is_late_start(report: ReportedSession, stored: Session, differences: list[str]) -> bool:
    return (
        report.status == "started"
        and STATUS_OF[stored.state] != "started"
        and _IDENTITY.isdisjoint(differences)
    )


def _differences(report: ReportedSession, stored: Session) -> list[str]:
    """Returns the names of the facts that differ, as in the caller's JSON."""
    facts = (
        ("client_id", report.client_id, stored.client_id),
        ("station_id", report.station_id, stored.station_id),
        ("connector_id", report.connector_id, stored.connector_id),
        ("start_time", report.started_at, stored.started_at),
        ("end_time", report.ended_at, stored.ended_at),
        ("energy_consumed", report.energy_wh, stored.energy_wh),
        ("total_cost", report.cost_minor, stored.cost_minor),
        ("status", report.status, STATUS_OF[stored.state]),
        ("billed", report.billed, stored.billed_elsewhere),
    )
    return [name for name, reported, recorded in facts if reported != recorded]

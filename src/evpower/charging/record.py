"""Records a session that another system ran, and charges it once when it is finished."""

from dataclasses import fields
from typing import Final

import asyncpg

from evpower import wallet
from evpower.charging import metrics, store
from evpower.charging.model import STATUS_OF, RecordResult, ReportedSession, Session
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, NotFound

# Facts that never change; the others may be reported when the session ends.
_IDENTITY: Final = frozenset({"client_id", "station_id", "connector_id", "start_time"})
# The caller's name for a fact, where it is another one.
_REPORTED_AS: Final = {
    "started_at": "start_time",
    "ended_at": "end_time",
    "energy_wh": "energy_consumed",
    "cost_minor": "total_cost",
}


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
    """Returns the facts in which a report differs, by the caller's names for them.

    An optional fact that the report leaves out is no difference.
    """
    known = stored.as_report()
    return [
        _REPORTED_AS.get(fact.name, fact.name)
        for fact in fields(ReportedSession)
        if getattr(report, fact.name) not in {getattr(known, fact.name), fact.default}
    ]

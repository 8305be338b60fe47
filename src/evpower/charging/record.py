"""Record a session that another system ran, and charge it once when it is finished."""

import asyncpg

from evpower import wallet
from evpower.charging import metrics, store
from evpower.charging.model import STATUS_OF, Recorded, Report, Session
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, NotFound


async def record(connection: Connection, report: Report) -> Recorded:
    """Keep the session and, when it is stopped and not billed elsewhere, charge it with it.

    The same report again changes nothing. One reported as started may end later; a late `started`
    of an ended one is old news. Raises NotFound("client_not_found"), Conflict("session_conflict").
    """
    created = await _insert(connection, report)
    ended = False
    if not created:
        stored = await store.lock_session(connection, report.id)
        if _is_end_of(report, stored):
            await store.end_imported(connection, report)
            ended = True
        elif not _is_known(report, stored):
            metrics.RECORDED.labels("conflict").inc()
            raise Conflict("session_conflict", "this session is recorded with other facts")
    changed = created or ended
    if changed and report.status == "stopped" and not report.billed:
        await wallet.charge(connection, report.id)
    if changed and report.status == "stopped":
        metrics.ENERGY.inc(report.energy_wh)
    metrics.RECORDED.labels("created" if created else "ended" if ended else "repeated").inc()
    bill = await store.find_bill(connection, report.id)
    debt_minor = 0 if bill is None else bill.due_minor - bill.debited_minor
    return Recorded(report.id, created, bill is not None, debt_minor, changed)


async def _insert(connection: Connection, report: Report) -> bool:
    try:
        return await store.insert_imported(connection, report)
    except asyncpg.ForeignKeyViolationError as error:
        raise NotFound("client_not_found", "there is no such client") from error


def _is_end_of(report: Report, stored: Session) -> bool:
    return (
        stored.source == "import"
        and stored.state == "charging"
        and report.status != "started"
        and _is_same_session(report, stored)
    )


def _is_known(report: Report, stored: Session) -> bool:
    if not _is_same_session(report, stored):
        return False
    if report.status == "started" and STATUS_OF[stored.state] != "started":
        return True
    return (
        report.status == STATUS_OF[stored.state]
        and report.ended_at == stored.ended_at
        and report.energy_wh == stored.energy_wh
        and report.cost_minor == stored.cost_minor
        and report.billed == stored.billed_elsewhere
    )


def _is_same_session(report: Report, stored: Session) -> bool:
    return (
        report.client_id == stored.client_id
        and report.station_id == stored.station_id
        and report.connector_id == stored.connector_id
        and report.started_at == stored.started_at
    )

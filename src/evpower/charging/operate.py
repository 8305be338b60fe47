"""What an operator decides: a better figure for a session, the end of its quarantine."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from evpower import alerts, stations, tariffs
from evpower.charging import (
    store_ends,
    store_operator,
    store_sessions,
    store_steps,
    store_transactions,
)
from evpower.charging import store_running as store
from evpower.charging.events import Changes
from evpower.charging.facts import MAX_ENERGY_KWH
from evpower.charging.frozen_tariff import frozen_tariff
from evpower.charging.register import MeterPoint, most_wh
from evpower.charging.running import RunningSession, RunningTransaction
from evpower.charging.settle import SYSTEM_ACTOR, End, bill_again
from evpower.charging.store_operator import BillRow, SessionRow, UnattributedRow, UnmatchedStop
from evpower.charging.store_steps import StepRow
from evpower.foundation.clock import to_z
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid, NotFound
from evpower.stations import Station

LIST_LIMIT: Final = 100
_MAX_ACTOR: Final = 200
_MAX_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class OperatorBill:
    """What a session should cost by an operator's figures: priced by the tariff it began with."""

    session_id: UUID
    energy_wh: int | None  # None: as it was billed
    ended_at: datetime | None  # None: as it was billed
    actor: str
    reason: str
    is_decision: bool = False  # of a quarantine; a session that is in none is refused
    is_forced: bool = False  # beyond what the connector can deliver, or after the newest bill


async def correct_session(connection: Connection, bill: OperatorBill, *, now: datetime) -> Changes:
    """Writes the next bill of a settled session; equal figures change nothing.

    A quarantined session is decided by it; without a figure its bill stays as it is. One that began
    without a tariff is priced by the tariff that its connector has now, for ever.
    Raises NotFound("session_not_found"), Conflict("session_not_settled" |
    "session_not_quarantined" | "tariff_missing"), Invalid("invalid_energy" | "implausible_energy" |
    "invalid_time" | "end_before_start" | "end_too_late" | "reason_missing").
    """
    _check(bill)
    transaction = await store_transactions.transaction_of_session(connection, bill.session_id)
    if transaction is None:
        raise NotFound("session_not_found", "EvPower ran no such session")
    station = await stations.lock_station(connection, transaction.station_id)
    running = await store.load(connection, transaction.id)
    session = running.session
    assert session is not None, "the transaction was found by its session"  # noqa: S101
    if session.state != "settled" or session.ended_at is None:
        raise Conflict("session_not_settled", "the session has no bill yet")
    ended_at = bill.ended_at or session.ended_at
    if ended_at > max(now, session.ended_at):
        raise Invalid("invalid_time", "the end is in the future")
    if ended_at < session.started_at:
        raise Invalid("end_before_start", "the end is before the start")
    await _check_end(connection, bill)
    if bill.is_decision and session.quarantined_at is None:
        raise Conflict("session_not_quarantined", "the session is not in quarantine")
    energy_wh = session.energy_wh if bill.energy_wh is None else bill.energy_wh
    _check_plausible(bill, running, session.started_at, ended_at)
    changes = Changes(clients={session.client_id}, sessions={session.id})
    if bill.energy_wh is not None or bill.ended_at is not None:
        is_estimated = session.is_estimated and bill.energy_wh is None
        is_timed = None if bill.ended_at is None else True
        end = End(energy_wh, ended_at, "", is_estimated=is_estimated, is_timed=is_timed)
        if session.snapshot is None:
            running = await _with_tariff(connection, station, running, session, now)
        changes = await bill_again(
            connection, running, end, actor=bill.actor, why=bill.reason, now=now
        )
    if session.quarantined_at is not None:
        await store_ends.end_quarantine(connection, session.id)
        await alerts.close_alert(connection, "session_quarantined", str(session.id), now)
    await alerts.close_alert(connection, "figure_after_decision", str(session.id), now)
    return changes


async def _with_tariff(
    connection: Connection,
    station: Station,
    running: RunningTransaction,
    session: RunningSession,
    now: datetime,
) -> RunningTransaction:
    """Stores the tariff that a session lacks, the one in force now."""
    connector = running.transaction.connector or 1
    snapshot = await frozen_tariff(connection, station, connector, session.client_id, now)
    if snapshot is None:
        raise Conflict("tariff_missing", "no tariff applies to this connector: assign one first")
    document = tariffs.write_snapshot(snapshot)
    await store_sessions.insert_tariff(
        connection, session.id, snapshot.plan, snapshot.version, document
    )
    return await store.load(connection, running.transaction.id)


async def _check_end(connection: Connection, bill: OperatorBill) -> None:
    """Refuses an end after the newest bill that no operator made, which mostly is a slip.

    Nothing that the station had said when it was billed lies after that bill.
    """
    if bill.ended_at is None:
        return
    bills = await store_operator.list_bills(connection, bill.session_id)
    billed_at = max(each.created_at for each in bills if each.actor in {None, SYSTEM_ACTOR})
    if bill.ended_at > billed_at and not bill.is_forced:
        raise Invalid("end_too_late", f"the session was billed at {to_z(billed_at)}, before that")


def _check_plausible(
    bill: OperatorBill, running: RunningTransaction, started_at: datetime, ended_at: datetime
) -> None:
    """Refuses more energy than the connector can deliver, which mostly is a slip of the hand."""
    if bill.energy_wh is None or bill.is_forced:
        return
    zero = MeterPoint(Decimal(0), started_at, None)
    most = int(most_wh(zero, zero.replace(at=ended_at), running.rated_power_w))
    if bill.energy_wh > most:
        limit_kwh = f"{Decimal(most) / 1000:.1f}"
        detail = f"the connector can deliver {limit_kwh} kWh at most in that time"
        raise Invalid("implausible_energy", detail, params={"limit_kwh": limit_kwh})


def _check(bill: OperatorBill) -> None:
    if bill.energy_wh is not None and bill.energy_wh < 0:
        raise Invalid("invalid_energy", "the energy is negative")
    if bill.energy_wh is not None and bill.energy_wh > MAX_ENERGY_KWH * 1000:
        raise Invalid(
            "implausible_energy",
            f"more than {MAX_ENERGY_KWH} kWh",
            params={"limit_kwh": MAX_ENERGY_KWH},
        )
    for name, text, max_length in (
        ("actor", bill.actor, _MAX_ACTOR),
        ("reason", bill.reason, _MAX_REASON),
    ):
        if not text.strip() or not text.isprintable() or len(text) > max_length:
            raise Invalid("reason_missing", f"{name} must be 1 to {max_length} characters")


async def list_sessions(
    connection: Connection,
    *,
    is_open: bool = False,
    in_quarantine: bool = False,
    station_id: str | None = None,
    client_id: UUID | None = None,
    limit: int = LIST_LIMIT,
) -> list[SessionRow]:
    """Returns sessions that EvPower ran or runs, the newest first."""
    return await store_operator.list_sessions(
        connection,
        states=store_operator.OPEN if is_open else None,
        station_id=station_id,
        client_id=client_id,
        in_quarantine=in_quarantine,
        limit=limit,
    )


async def get_session(connection: Connection, session_id: UUID) -> tuple[SessionRow, list[BillRow]]:
    """Returns a session with its bills. Raises NotFound("session_not_found")."""
    row = await store_operator.find_session(connection, session_id)
    if row is None:
        raise NotFound("session_not_found", "EvPower ran no such session")
    return row, await store_operator.list_bills(connection, session_id)


async def list_stop_steps(connection: Connection, session_id: UUID) -> list[StepRow]:
    """Returns what was done to end a session, step by step, and what the meter said of it."""
    return await store_steps.list_steps(connection, session_id)


async def list_unattributed(
    connection: Connection, *, limit: int = LIST_LIMIT
) -> list[UnattributedRow]:
    """Returns the transactions of no client, the newest first: delivered and not billed."""
    return await store_operator.list_unattributed(connection, limit)


async def list_unmatched_stops(
    connection: Connection, *, limit: int = LIST_LIMIT, before: int | None = None
) -> list[UnmatchedStop]:
    """Returns the stops that fitted no transaction, the newest first, after one of them."""
    return await store_operator.list_unmatched_stops(connection, limit, before)

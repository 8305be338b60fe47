"""Ends a session and bills it, in one place; a later and better figure is its next bill."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from evpower import alerts, tariffs, wallet
from evpower.charging import store_ends, store_sessions
from evpower.charging.course import metered_course, price_course
from evpower.charging.events import Changes
from evpower.charging.limits import parts_as_billed
from evpower.charging.running import RunningSession, RunningTransaction, snapshot_of
from evpower.charging.station_fault import is_free
from evpower.foundation.db import Connection
from evpower.foundation.failpoints import Failpoint, hit

STATION_FAULT: Final = "station_fault"
SYSTEM_ACTOR: Final = "evpower"


@dataclass(frozen=True, slots=True)
class End:
    """How a transaction ended, and with what energy."""

    energy_wh: int
    ended_at: datetime
    reason: str  # "" in a later bill: as it was
    is_estimated: bool
    flaw: str | None = None  # why an operator should look at it
    is_timed: bool | None = None  # False: when it was is unknown; None: as the transaction's end


class _Priced(NamedTuple):
    cost_minor: int
    free_reason: str | None
    snapshot: Mapping[str, Any] | None
    periods: list[dict[str, Any]]
    parts: list[dict[str, Any]]
    tariff_owner: str | None


async def settle(
    connection: Connection, running: RunningTransaction, end: End, *, now: datetime
) -> Changes:
    """Finishes a session that runs and writes its first bill; 0 included.

    What can't be right is quarantined: the plausible part is billed and the hold resolved, and the
    operator's decision is the next bill.
    """
    session = running.session
    if session is None or session.state not in {"charging", "stopping"}:
        return Changes()
    priced = await _price(connection, running, session, end, now)
    flaw = end.flaw or (None if session.snapshot is not None else "tariff_missing")
    await store_ends.finish_session(
        connection,
        session.id,
        ended_at=end.ended_at,
        energy_wh=end.energy_wh,
        cost_minor=priced.cost_minor,
        end_reason=end.reason,
        is_estimated=end.is_estimated,
        free_reason=priced.free_reason,
    )
    posting = await wallet.charge(connection, session.id)
    assert posting.cause_id is not None, "a session that was charged has a bill"  # noqa: S101
    hit(Failpoint.SETTLE_UNCOMMITTED)
    await _record(connection, session, end, priced, posting.cause_id)
    if flaw is not None:
        await _quarantine(connection, running, session, flaw, now)
    return Changes(clients={session.client_id}, sessions={session.id})


async def bill_again(
    connection: Connection,
    running: RunningTransaction,
    end: End,
    *,
    actor: str = SYSTEM_ACTOR,
    why: str,
    now: datetime,
) -> Changes:
    """Writes the next bill of a settled session by a better figure; an equal one changes nothing.

    A higher cost is charged; of a lower one the difference is forgiven or refunded. What an
    operator has decided stays: a figure of the station that comes later is an alert.
    """
    session = running.session
    if session is None or session.state != "settled":
        return Changes()
    decided_by = await store_ends.last_actor(connection, session.id)
    if actor == SYSTEM_ACTOR and decided_by not in {None, SYSTEM_ACTOR}:
        detail = {"station": running.transaction.station_id, "energy_wh": end.energy_wh}
        await alerts.open_alert(connection, "figure_after_decision", str(session.id), detail, now)
        return Changes()
    priced = await _price(connection, running, session, end, now)
    await store_ends.set_flags(
        connection,
        session.id,
        is_estimated=end.is_estimated,
        free_reason=priced.free_reason,
        end_reason=end.reason or None,
    )
    posting = await wallet.correct(
        connection,
        session.id,
        cost_minor=priced.cost_minor,
        energy_wh=end.energy_wh,
        ended_at=end.ended_at,
        actor=actor,
        reason=why,
    )
    if posting.new:
        assert posting.cause_id is not None, "a correction has a bill"  # noqa: S101
        await _record(connection, session, end, priced, posting.cause_id)
    hit(Failpoint.CORRECT_UNCOMMITTED)
    return Changes(clients={session.client_id}, sessions={session.id})


async def quarantine(
    connection: Connection, running: RunningTransaction, flaw: str, *, now: datetime
) -> None:
    """Flags a settled session for the operator's decision."""
    if running.session is not None:
        await _quarantine(connection, running, running.session, flaw, now)


async def _quarantine(
    connection: Connection,
    running: RunningTransaction,
    session: RunningSession,
    flaw: str,
    now: datetime,
) -> None:
    await store_sessions.quarantine(connection, session.id, flaw, now)
    transaction = running.transaction
    detail = {
        "station": transaction.station_id,
        "connector": transaction.connector,
        "reason": flaw,
    }
    await alerts.open_alert(connection, "session_quarantined", str(session.id), detail, now)


async def _price(
    connection: Connection,
    running: RunningTransaction,
    session: RunningSession,
    end: End,
    now: datetime,
) -> _Priced:
    """Prices the whole session by the tariff it began with."""
    if session.snapshot is None:
        return _Priced(0, None, None, [], [], None)
    snapshot = snapshot_of(session.snapshot)
    course = await metered_course(
        connection, running, session,
        energy_wh=end.energy_wh, ended_at=end.ended_at, is_timed=end.is_timed,
    )  # fmt: skip
    priced = price_course(snapshot.tariff, course, limit_amount_minor=session.limit_amount_minor)
    cost, cost_minor = priced.session.cost, priced.cost_minor
    free_reason = None
    if end.flaw == "no_register":
        cost_minor = 0
    elif await is_free(connection, running, session, end, now=now):
        cost_minor, free_reason = 0, STATION_FAULT
    return _Priced(
        cost_minor,
        free_reason,
        tariffs.write_snapshot(snapshot),
        tariffs.cost_document(snapshot.tariff, priced.session)["periods"],
        parts_as_billed(
            tariffs.cost_parts(snapshot.tariff, cost),
            cost.total_minor - cost_minor,
            "not_billed" if free_reason is None else "free",
        ),
        snapshot.tariff.owner,
    )


async def _record(
    connection: Connection, session: RunningSession, end: End, priced: _Priced, bill_id: int
) -> None:
    await store_ends.insert_cdr(
        connection,
        bill_id,
        session.id,
        is_estimated=end.is_estimated,
        snapshot=priced.snapshot,
        periods=priced.periods,
        parts=priced.parts,
        tariff_owner=priced.tariff_owner,
    )

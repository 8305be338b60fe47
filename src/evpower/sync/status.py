"""How the sync does right now, from the database alone: any process may ask."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from evpower.foundation import loop_rounds
from evpower.foundation.db import Connection
from evpower.foundation.loop_rounds import LoopRounds
from evpower.sync import metrics, store_status
from evpower.sync.model import OutboxTopic
from evpower.sync.reconciliation import store_runs
from evpower.sync.reconciliation.store_runs import CheckRow

_WINDOW_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Parked:
    """A key Supabase refused, and why."""

    topic: OutboxTopic
    key: str
    why: str
    parked_at: datetime


@dataclass(frozen=True, slots=True)
class Lag:
    """How long changes were under way, of the calls of the last minutes; None: there were none."""

    p50_ms: int | None
    p99_ms: int | None
    keys: int
    transactions: int


@dataclass(frozen=True, slots=True)
class Unaccepted:
    """Somebody in Supabase whose change can't be applied, and why."""

    client_id: str
    why: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Incoming:
    """The way in. `age_s`: since the changes were last read to their end; None: never.

    `walked` people were looked at by the walk that runs (`walking`) or ran last; `contacts` wait
    until another client lets go of them; `source` is up, down, misconfigured, unknown.
    """

    source: str
    source_error: str | None
    age_s: float | None
    walking: bool
    walked: int
    walked_at: datetime | None
    resets: int
    failed: int
    failed_people: tuple[Unaccepted, ...]
    contacts: int


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """`oldest_s` is the age of the oldest change; `target` is up, down, misconfigured, unknown.

    `notices` are found by the check though nobody is wrong; `checks` are those under way, then the
    last of each kind that ended. `loops` are the background loops of every node.
    """

    pending: int
    pending_clients: int
    pending_sessions: int
    oldest_s: float | None
    parked: int
    parked_keys: tuple[Parked, ...]
    lag: Lag
    target: str
    target_error: str | None
    target_since: datetime | None
    drift: int
    last_error: str | None
    incoming: Incoming
    notices: int = 0
    checks: tuple[CheckRow, ...] = ()
    loops: tuple[LoopRounds, ...] = ()


async def status(
    connection: Connection, *, parked_limit: int = 20, window_s: float = _WINDOW_S
) -> SyncStatus:
    """Answer what waits, what is parked, and the lag of the last `window_s` seconds."""
    row = await store_status.outbound(connection)
    parked = await store_status.parked(connection, parked_limit)
    target = await store_status.target(connection)
    drift, notices = await store_runs.open_drift(connection)
    answer = SyncStatus(
        pending=row["pending"],
        pending_clients=row["clients"],
        pending_sessions=row["sessions"],
        oldest_s=row["oldest_s"],
        parked=row["parked"],
        parked_keys=tuple(Parked(*one) for one in parked),
        lag=await _lag(connection, window_s),
        target=target["state"] if target is not None else "unknown",
        target_error=target["error"] if target is not None else None,
        target_since=target["since"] if target is not None else None,
        drift=drift,
        last_error=row["last_error"],
        incoming=await _incoming(connection, parked_limit),
        notices=notices,
        checks=tuple(await store_runs.last_checks(connection)),
        loops=tuple(await loop_rounds.stored(connection)),
    )
    metrics.PENDING.set(answer.pending)
    metrics.PARKED.set(answer.parked)
    metrics.OLDEST_SECONDS.set(answer.oldest_s or 0)
    metrics.DRIFT.set(answer.drift)
    metrics.NOTICES.set(answer.notices)
    for one in answer.checks:
        if one.finished_at is not None:
            metrics.CHECK_SUCCESS.labels(one.kind).set(one.finished_at.timestamp())
    metrics.TARGET_UP.set(answer.target == "up")
    return answer


async def _incoming(connection: Connection, limit: int) -> Incoming:
    row = await store_status.inbound(connection)
    failed = await store_status.failed_users(connection, limit)
    answer = Incoming(
        source=row["state"] or "unknown",
        source_error=row["error"],
        age_s=row["age_s"],
        walking=row["walking"],
        walked=row["walked"],
        walked_at=row["walked_at"],
        resets=row["resets"],
        failed=row["failed"],
        failed_people=tuple(Unaccepted(*one) for one in failed),
        contacts=row["contacts"],
    )
    metrics.PEOPLE_FAILED.set(answer.failed)
    metrics.CONTACT_CONFLICTS.set(answer.contacts)
    metrics.PULLER_UP.set(answer.source == "up")
    if answer.age_s is not None:
        metrics.CURSOR_AGE_SECONDS.set(answer.age_s)
    return answer


async def _lag(connection: Connection, window_s: float) -> Lag:
    rows = await store_status.calls(connection, window_s)
    # Each number stands for as many keys as its call had per number.
    drawn = sorted((ms, row["keys"] / len(row["lags_ms"])) for row in rows for ms in row["lags_ms"])
    return Lag(
        p50_ms=_percentile(drawn, 0.50),
        p99_ms=_percentile(drawn, 0.99),
        keys=sum(row["keys"] for row in rows),
        transactions=sum(row["transactions"] for row in rows),
    )


def _percentile(drawn: list[tuple[int, float]], share: float) -> int | None:
    wanted = share * sum(weight for _, weight in drawn)
    reached = 0.0
    for ms, weight in drawn:
        reached += weight
        if reached >= wanted:
            return ms
    return drawn[-1][0] if drawn else None

"""The state of the sync, read from the database alone, so that any process may report it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from evpower.foundation import loop_rounds
from evpower.foundation.db import Connection
from evpower.foundation.loop_rounds import LoopRounds
from evpower.foundation.rows import read_row
from evpower.sync import metrics, store_status
from evpower.sync.model import OutboxTopic
from evpower.sync.reconciliation import store_runs
from evpower.sync.reconciliation.store_runs import RunRow

_WINDOW_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class ParkedEntry:
    """An outbox entry Supabase refused, and why."""

    topic: OutboxTopic
    key: str
    reason: str
    parked_at: datetime


@dataclass(frozen=True, slots=True)
class Lag:
    """How long changes took to reach Supabase, over the last minutes; None: there were none."""

    p50_ms: int | None
    p99_ms: int | None
    keys: int
    transactions: int


@dataclass(frozen=True, slots=True)
class UserFailure:
    """A user of Supabase whose change can't be applied, and why."""

    client_id: str
    reason: str
    attempts: int


@dataclass(frozen=True, slots=True)
class InboundStatus:
    """The inbound sync. `age_s`: since the change log was last read to its end; None: never.

    `scanned` users were read by the full scan that runs (`scanning`) or ran last; `contacts` wait
    until another client releases them; `source` is up, down, misconfigured, unknown.
    """

    source: str
    source_error: str | None
    age_s: float | None
    scanning: bool
    scanned: int
    scanned_at: datetime | None
    resets: int
    failed: int
    failed_users: tuple[UserFailure, ...]
    contacts: int


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """`oldest_s`: how long an entry is due already; `target`: up, down, misconfigured, unknown.

    `notices` were found by a reconciliation run though neither side is wrong; `runs` are those
    under way, then the last of each kind that ended. `loops` are the background loops of every
    node.
    """

    pending: int
    pending_clients: int
    pending_sessions: int
    oldest_s: float | None
    parked: int
    parked_keys: tuple[ParkedEntry, ...]
    lag: Lag
    target: str
    target_error: str | None
    target_since: datetime | None
    drift: int
    last_error: str | None
    inbound: InboundStatus
    notices: int = 0
    runs: tuple[RunRow, ...] = ()
    loops: tuple[LoopRounds, ...] = ()


async def status(
    connection: Connection, *, parked_limit: int = 20, window_s: float = _WINDOW_S
) -> SyncStatus:
    """Returns what is pending, what is parked, and the lag of the last `window_s` seconds."""
    row = await store_status.outbound(connection)
    parked = await store_status.parked(connection, parked_limit)
    target = await store_status.target(connection)
    drift, notices = await store_runs.open_drift(connection)
    now = SyncStatus(
        pending=row["pending"],
        pending_clients=row["clients"],
        pending_sessions=row["sessions"],
        oldest_s=row["oldest_s"],
        parked=row["parked"],
        parked_keys=tuple(read_row(ParkedEntry, entry) for entry in parked),
        lag=await _lag(connection, window_s),
        target=target["state"] if target is not None else "unknown",
        target_error=target["error"] if target is not None else None,
        target_since=target["since"] if target is not None else None,
        drift=drift,
        last_error=row["last_error"],
        inbound=await _inbound_status(connection, parked_limit),
        notices=notices,
        runs=tuple(await store_runs.last_runs(connection)),
        loops=tuple(await loop_rounds.stored(connection)),
    )
    metrics.PENDING.set(now.pending)
    metrics.PARKED.set(now.parked)
    metrics.OLDEST_SECONDS.set(now.oldest_s or 0)
    metrics.DRIFT.set(now.drift)
    metrics.NOTICES.set(now.notices)
    for run in now.runs:
        if run.finished_at is not None:
            metrics.CHECK_SUCCESS.labels(run.kind).set(run.finished_at.timestamp())
    metrics.TARGET_UP.set(now.target == "up")
    return now


async def _inbound_status(connection: Connection, limit: int) -> InboundStatus:
    row = await store_status.inbound(connection)
    failed = await store_status.failed_users(connection, limit)
    inbound = InboundStatus(
        source=row["state"] or "unknown",
        source_error=row["error"],
        age_s=row["age_s"],
        scanning=row["scanning"],
        scanned=row["scanned"],
        scanned_at=row["scanned_at"],
        resets=row["resets"],
        failed=row["failed"],
        failed_users=tuple(read_row(UserFailure, user) for user in failed),
        contacts=row["contacts"],
    )
    metrics.USERS_FAILED.set(inbound.failed)
    metrics.CONTACT_CONFLICTS.set(inbound.contacts)
    metrics.PULLER_UP.set(inbound.source == "up")
    if inbound.age_s is not None:
        metrics.CURSOR_AGE_SECONDS.set(inbound.age_s)
    return inbound


async def _lag(connection: Connection, window_s: float) -> Lag:
    rows = await store_status.calls(connection, window_s)
    # Each stored lag stands for (keys of its call / lags stored of it) keys.
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

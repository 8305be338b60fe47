"""One reconciliation run: compares profiles, clients and sessions of both sides, and repairs.

Drift is stored and repaired page by page, so that a Supabase that lost everything takes no more
memory than one that is equal. Some differences are money or the only record of it, and a repair
leaves them unchanged: drift.REPAIRS says which.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Final
from uuid import UUID

import orjson

from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Connection, Database
from evpower.sync import metrics
from evpower.sync.errors import SyncError, is_too_much
from evpower.sync.model import ClientDigest, OutboxTopic, Side
from evpower.sync.outbound import store, store_rows
from evpower.sync.reconciliation import profiles, store_runs
from evpower.sync.reconciliation.compare_page import (
    STAGES,
    ComparedPage,
    Comparison,
    Stage,
    WaitBetweenPages,
)
from evpower.sync.reconciliation.digests import Part
from evpower.sync.reconciliation.drift import REPAIRS, Drift
from evpower.sync.reconciliation.store_runs import RepairedDrift, RunRow
from evpower.sync.supabase_rpc import Rpc

SAMPLE: Final = 100
_VERIFY: Final = len(STAGES)  # the stage after the last page: compares the repaired keys again
_DONE: Final = _VERIFY + 1
_LEAST_BATCH: Final = 50


@dataclass(frozen=True, slots=True)
class RunProgress:
    """`done` of about `total` keys of one topic; `side` is the side they are listed from."""

    topic: Part
    side: Side
    done: int
    total: int


@dataclass(slots=True)
class RunCounts:
    """The counts of a run so far; stored with its position, so that a stopped run continues."""

    profile: int = 0
    client: int = 0
    session: int = 0
    row: int = 0
    transactions: int = 0
    in_flight: int = 0
    foreign_sessions: int = 0
    foreign_transactions: int = 0
    drift: int = 0
    notices: int = 0
    repaired: int = 0
    closed: int = 0


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run; `drift` are the first of `differ` differences, all are in sync.drift.

    `closed` of them are equal after a repair. `in_flight` keys were not decided; `foreign_...` are
    Supabase's own, from before EvPower; `notices`: neither side is wrong, `notice_sample` are the
    first; `run_id` is the run's in sync.drift.
    """

    clients: int
    sessions: int
    transactions: int
    in_flight: int
    foreign_sessions: int
    foreign_transactions: int
    drift: tuple[Drift, ...]
    closed: int
    users: int = 0
    differ: int = 0
    notices: int = 0
    notice_sample: tuple[Drift, ...] = ()
    run_id: int = 0

    @property
    def equal(self) -> bool:
        """Whether no difference is left."""
        return self.differ == self.closed


@dataclass(slots=True)
class _Sample:
    """The first differences and notices, for operators."""

    drift: list[Drift] = field(default_factory=list[Drift])
    notices: list[Drift] = field(default_factory=list[Drift])

    def add(self, drift: Sequence[Drift]) -> None:
        for difference in drift:
            sample = self.notices if difference.notice else self.drift
            if len(sample) < SAMPLE:
                sample.append(difference)


class ReconciliationRun:
    """A run under way: each step compares one page, and is stored with the drift of that page."""

    def __init__(
        self,
        comparison: Comparison,
        row: RunRow,
        *,
        clock: Clock,
        overwrite_ahead: bool = False,
        deliver: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.row = row
        self.counts = RunCounts(
            **{column.name: row.counts.get(column.name, 0) for column in fields(RunCounts)}
        )
        self.stage = row.stage
        self.sample = _Sample()
        self._comparison = comparison
        self._clock = clock
        self._after = row.after
        self._overwrite_ahead = overwrite_ahead
        self._deliver = deliver
        self._compared = 0

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return self.stage >= _DONE

    async def step(
        self, in_transaction: Callable[[Connection], Awaitable[None]] | None = None
    ) -> RunProgress | None:
        """Compares one page. `in_transaction` runs in the transaction that stores it; may raise.

        Raises SyncError when Supabase does not respond; the page is then compared again.
        """
        if self.stage == _VERIFY:
            await self._verify(in_transaction)
            return None
        stage = STAGES[self.stage]
        page = await self._page(stage)
        drift = await self._repair(page.drift) if self.row.repair else list(page.drift)
        self._count(stage, page, drift)
        done = self._compared
        self._move(page)
        async with self._comparison.db.transaction() as connection:
            if in_transaction is not None:
                await in_transaction(connection)
            if self.row.repair:
                await _send_again(connection, drift)
            await store_runs.record(connection, self.row.id, drift)
            await store_runs.close_agreed(connection, stage.topic, page.agreed)
            await store_runs.record_undecided(connection, page.in_flight)
            await self._keep(connection)
            if not drift:  # after a crash the page is compared again
                await store_runs.use_async_commit(connection)
        metrics.CHECKED.labels(stage.topic, stage.side).inc(page.compared)
        self.sample.add(drift)
        if self._deliver is not None and any(difference.repaired for difference in drift):
            await self._deliver()
        return RunProgress(stage.topic, stage.side, done, done)

    async def _page(self, stage: Stage) -> ComparedPage:
        """Reads the page; one that Supabase can't return is read again with fewer keys."""
        while True:
            try:
                return await self._comparison.page(stage, self._after)
            except SyncError as error:
                if not is_too_much(error) or self._comparison.batch <= _LEAST_BATCH:
                    raise
                self._comparison.batch = max(_LEAST_BATCH, self._comparison.batch // 4)

    def _count(self, stage: Stage, page: ComparedPage, drift: Sequence[Drift]) -> None:
        counts = self.counts
        self._compared += page.compared
        if stage.side == "evpower":
            setattr(counts, stage.topic, getattr(counts, stage.topic) + page.compared)
        counts.transactions += page.transactions
        counts.in_flight += len(page.in_flight)
        counts.foreign_sessions += page.foreign_sessions
        counts.foreign_transactions += page.foreign_transactions
        counts.notices += sum(difference.notice for difference in drift)
        counts.drift += sum(not difference.notice for difference in drift)
        counts.repaired += sum(difference.repaired for difference in drift)

    def _move(self, page: ComparedPage) -> None:
        self._after = page.next
        if page.next is not None:
            return
        self._compared = 0
        self.stage = self._comparison.stage_after(self.stage)

    async def _repair(self, drift: Sequence[Drift]) -> list[Drift]:
        """Repairs a page's drift; outbox entries are made in the transaction that stores it."""
        overwritten = [difference for difference in drift if self._is_overwritten(difference)]
        if overwritten:
            await _archive(self._comparison.rpc, overwritten)
        applied: set[UUID] = set()
        if users := [
            UUID(difference.key) for difference in drift if REPAIRS[difference.kind] == "apply"
        ]:
            applied = await profiles.apply_current(self._comparison.db, self._comparison.rpc, users)
        return [self._done(difference, applied) for difference in drift]

    def _done(self, difference: Drift, applied: set[UUID]) -> Drift:
        match REPAIRS[difference.kind]:
            case "send":
                return difference.with_done("sent again")
            case "overwrite" if self._is_overwritten(difference):
                return difference.with_done("archived there, sent again")
            case "apply" if UUID(difference.key) in applied:
                return difference.with_done("applied")
            case _:
                return difference

    def _is_overwritten(self, drift: Drift) -> bool:
        return self._overwrite_ahead and REPAIRS[drift.kind] == "overwrite"

    async def _verify(self, in_transaction: Callable[[Connection], Awaitable[None]] | None) -> None:
        """Compares a page of repaired keys again; after the last page the run finishes."""
        db, batch = self._comparison.db, self._comparison.batch
        async with db.connection() as connection:
            repaired = await store_runs.repaired_drift(
                connection, self.row.id, int(self._after or 0), batch
            )
        closed: list[RepairedDrift] = []
        for topic in ("profile", "client", "session", "row"):
            of_topic = [drift for drift in repaired if drift.topic == topic]
            differing = await self._comparison.still_differing(
                topic, [drift.key for drift in of_topic]
            )
            closed += [drift for drift in of_topic if drift.key not in differing]
        self.counts.closed += len(closed)
        if len(repaired) == batch:
            self._after = str(repaired[-1].id)
        else:
            self._after, self.stage = None, _DONE
        async with db.transaction() as connection:
            if in_transaction is not None:
                await in_transaction(connection)
            await store_runs.close_drift(connection, [drift.id for drift in closed])
            await (self._end(connection) if self.done else self._keep(connection))
        for drift in closed:
            metrics.DRIFT_CLOSED.labels(drift.kind, self.row.kind).inc()

    async def _end(self, connection: Connection) -> None:
        await store_runs.close_unseen(connection, self.row.id, self.row.kind)
        await store_runs.finish(connection, self.row.id, asdict(self.counts), self._clock())
        drift, notices = await store_runs.open_drift(connection)
        metrics.DRIFT.set(drift)
        metrics.NOTICES.set(notices)

    async def _keep(self, connection: Connection) -> None:
        await store_runs.store_position(
            connection, self.row.id, self.stage, self._after, asdict(self.counts)
        )


async def check(
    db: Database,
    rpc: Rpc,
    *,
    repair: bool = False,
    overwrite_ahead: bool = False,
    deliver: Callable[[], Awaitable[object]] | None = None,
    on_progress: Callable[[RunProgress], None] = lambda _: None,
    batch: int = 2000,
    pause: WaitBetweenPages = asyncio.sleep,
) -> RunResult:
    """Compares both sides; with `repair` repairs what one side is right about without doubt.

    Where Supabase is ahead, or the histories diverge, EvPower's rows are written only with
    `overwrite_ahead`, after Supabase's were archived. `deliver` (the relay's `drain`) sends the
    repair at once; without it a running relay does. Raises SyncError when Supabase does not
    respond.
    """
    async with db.transaction() as connection:
        row = await store_runs.begin(
            connection, "on_demand", repair=repair, since=None, now=utc_now()
        )
    comparison = Comparison(db, rpc, row.kind, batch=batch, pause=pause)
    work = ReconciliationRun(
        comparison, row, clock=utc_now, overwrite_ahead=overwrite_ahead, deliver=deliver
    )
    totals: dict[Stage, int | None] = {}
    while not work.done:
        stage = STAGES[work.stage] if work.stage < _VERIFY else None
        if stage is not None and stage not in totals:
            totals[stage] = await comparison.total(stage)
        at = await work.step()
        if at is not None and stage is not None:
            on_progress(RunProgress(at.topic, at.side, at.done, max(at.done, totals[stage] or 0)))
    return summary(work)


def summary(work: ReconciliationRun) -> RunResult:
    """Returns the result of a run."""
    counts = work.counts
    return RunResult(
        clients=counts.client,
        sessions=counts.session,
        transactions=counts.transactions,
        in_flight=counts.in_flight,
        foreign_sessions=counts.foreign_sessions,
        foreign_transactions=counts.foreign_transactions,
        drift=tuple(work.sample.drift),
        closed=counts.closed,
        users=counts.profile,
        differ=counts.drift,
        notices=counts.notices,
        notice_sample=tuple(work.sample.notices),
        run_id=work.row.id,
    )


def _is_sent(drift: Drift) -> bool:
    return drift.repaired and REPAIRS[drift.kind] != "apply"


async def _send_again(connection: Connection, drift: Sequence[Drift]) -> None:
    """Enqueues what is to be sent; only what differs itself is stored whatever Supabase has.

    A closed client's contacts are emptied by a usual send: money that differs is another drift.
    """
    parts: Sequence[tuple[Part, OutboxTopic]] = (
        ("client", "client"),
        ("session", "session"),
        ("profile", "client"),
    )
    for part, topic in parts:
        keys = [UUID(d.key) for d in drift if d.topic == part and _is_sent(d)]
        if keys:
            await store.enqueue(connection, topic, keys, force=part != "profile")
    rows = [UUID(drift.key) for drift in drift if drift.topic == "row" and _is_sent(drift)]
    for key, (topic, _) in (await store_rows.ids_of(connection, rows) if rows else {}).items():
        await store.enqueue(connection, topic, [key], force=True)


async def _archive(rpc: Rpc, drift: Sequence[Drift]) -> None:
    """Archives Supabase's rows; called before the keys are enqueued, so that all are sent again."""
    clients = [
        [
            difference.key,
            min(difference.ours.version, (difference.diverged or difference.ours.version + 1) - 1),
        ]
        for difference in drift
        if isinstance(difference.ours, ClientDigest)
    ]
    sessions = [difference.key for difference in drift if difference.topic == "session"]
    payload = {"clients": clients, "sessions": sessions}
    await rpc.call("evpower_archive", orjson.dumps({"payload": payload}))

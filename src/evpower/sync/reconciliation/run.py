"""`sync check`: every person, client and session of both sides compared, and healed by authority.

What is found is written down and repaired page by page, so that a Supabase that lost everything
takes no more memory than one that is equal. Some differences are somebody's money or the only
record of it, and a repair leaves them alone: drift.CURES says which.
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
from evpower.sync.model import ClientDigest, Side
from evpower.sync.outbound import store
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
from evpower.sync.reconciliation.store_runs import CheckRow, Kept
from evpower.sync.supabase_rpc import Rpc

SAMPLE: Final = 100
_VERIFY: Final = len(STAGES)  # the stage after the last page: was what was repaired healed
_DONE: Final = _VERIFY + 1
_LEAST_BATCH: Final = 50


@dataclass(frozen=True, slots=True)
class RunProgress:
    """`done` of about `total` keys of one topic; `side` says whose keys are walked."""

    topic: Part
    side: Side
    done: int
    total: int


@dataclass(slots=True)
class RunCounts:
    """What a comparison counted so far; kept with its place, so that it carries on."""

    profile: int = 0
    client: int = 0
    session: int = 0
    transactions: int = 0
    in_flight: int = 0
    foreign_sessions: int = 0
    foreign_transactions: int = 0
    drift: int = 0
    notices: int = 0
    repaired: int = 0
    healed: int = 0


@dataclass(frozen=True, slots=True)
class Checked:
    """What a comparison found; `drift` are the first of `differ`, the rest is in sync.drift.

    `in_flight` were under way; `foreign_...` are Supabase's own, from before EvPower; `notices` are
    worth knowing though nobody is wrong; `check_id` names the comparison in sync.drift.
    """

    clients: int
    sessions: int
    transactions: int
    in_flight: int
    foreign_sessions: int
    foreign_transactions: int
    drift: tuple[Drift, ...]
    healed: int
    people: int = 0
    differ: int = 0
    notices: int = 0
    told: tuple[Drift, ...] = ()
    check_id: int = 0

    @property
    def equal(self) -> bool:
        """Whether nothing is left that differs."""
        return self.differ == self.healed


@dataclass(slots=True)
class _Sample:
    """The first of what was found, for people to look at."""

    drift: list[Drift] = field(default_factory=list[Drift])
    notices: list[Drift] = field(default_factory=list[Drift])

    def add(self, found: Sequence[Drift]) -> None:
        for one in found:
            kept = self.notices if one.notice else self.drift
            if len(kept) < SAMPLE:
                kept.append(one)


class Check:
    """One comparison under way: steps of a page, each kept with what it found when it ends."""

    def __init__(
        self,
        comparison: Comparison,
        row: CheckRow,
        *,
        clock: Clock,
        overwrite_ahead: bool = False,
        deliver: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.row = row
        self.counts = RunCounts(
            **{one.name: row.counts.get(one.name, 0) for one in fields(RunCounts)}
        )
        self.stage = row.stage
        self.sample = _Sample()
        self._comparison = comparison
        self._clock = clock
        self._after = row.after
        self._overwrite_ahead = overwrite_ahead
        self._deliver = deliver
        self._walked = 0

    @property
    def done(self) -> bool:
        """Whether there is nothing left to compare."""
        return self.stage >= _DONE

    async def step(
        self, with_it: Callable[[Connection], Awaitable[None]] | None = None
    ) -> RunProgress | None:
        """Do one page. `with_it` runs in the transaction that keeps it, and may refuse by raising.

        Raises the SyncErrors of a Supabase that does not answer; the page is then done again.
        """
        if self.stage == _VERIFY:
            await self._verify(with_it)
            return None
        stage = STAGES[self.stage]
        page = await self._page(stage)
        found = await self._repair(page.drift) if self.row.repair else list(page.drift)
        self._count(stage, page, found)
        done = self._walked
        self._move(page)
        async with self._comparison.db.transaction() as connection:
            if with_it is not None:
                await with_it(connection)
            if self.row.repair:
                await _send_again(connection, found)
            await store_runs.record(connection, self.row.id, found)
            await store_runs.close_agreed(connection, stage.topic, page.agreed)
            await self._keep(connection)
            if not found:  # lost in a crash, the page is compared again: no flush is waited for
                await store_runs.do_not_wait(connection)
        metrics.CHECKED.labels(stage.topic, stage.side).inc(page.walked)
        self.sample.add(found)
        if self._deliver is not None and any(one.repaired for one in found):
            await self._deliver()
        return RunProgress(stage.topic, stage.side, done, done)

    async def _page(self, stage: Stage) -> ComparedPage:
        """A page that is too much for Supabase is asked for again, smaller."""
        while True:
            try:
                return await self._comparison.page(stage, self._after)
            except SyncError as error:
                if not is_too_much(error) or self._comparison.batch <= _LEAST_BATCH:
                    raise
                self._comparison.batch = max(_LEAST_BATCH, self._comparison.batch // 4)

    def _count(self, stage: Stage, page: ComparedPage, found: Sequence[Drift]) -> None:
        counts = self.counts
        self._walked += page.walked
        if stage.side == "evpower":
            setattr(counts, stage.topic, getattr(counts, stage.topic) + page.walked)
        counts.transactions += page.transactions
        counts.in_flight += page.in_flight
        counts.foreign_sessions += page.foreign_sessions
        counts.foreign_transactions += page.foreign_transactions
        counts.notices += sum(one.notice for one in found)
        counts.drift += sum(not one.notice for one in found)
        counts.repaired += sum(one.repaired for one in found)

    def _move(self, page: ComparedPage) -> None:
        self._after = page.next
        if page.next is not None:
            return
        self._walked = 0
        self.stage += 1
        hot = self.row.kind == "hot"  # of what changed lately only EvPower keeps the time
        while hot and self.stage < _VERIFY and STAGES[self.stage].side == "supabase":
            self.stage += 1

    async def _repair(self, drift: Sequence[Drift]) -> list[Drift]:
        """Do what may be done about a page's drift; marks are made with its record."""
        overwritten = [one for one in drift if self._is_overwritten(one)]
        if overwritten:
            await _archive(self._comparison.rpc, overwritten)
        taken: set[UUID] = set()
        if people := [UUID(one.key) for one in drift if REPAIRS[one.kind] == "take"]:
            taken = await profiles.take(self._comparison.db, self._comparison.rpc, people)
        return [self._done(one, taken) for one in drift]

    def _done(self, one: Drift, taken: set[UUID]) -> Drift:
        match REPAIRS[one.kind]:
            case "send":
                return one.with_done("sent again")
            case "overwrite" if self._is_overwritten(one):
                return one.with_done("put aside there, sent again")
            case "take" if UUID(one.key) in taken:
                return one.with_done("taken")
            case _:
                return one

    def _is_overwritten(self, one: Drift) -> bool:
        return self._overwrite_ahead and REPAIRS[one.kind] == "overwrite"

    async def _verify(self, with_it: Callable[[Connection], Awaitable[None]] | None) -> None:
        """Look again at a page of what was repaired; after the last one the comparison ends."""
        db, batch = self._comparison.db, self._comparison.batch
        async with db.connection() as connection:
            kept = await store_runs.repaired(connection, self.row.id, int(self._after or 0), batch)
        healed: list[Kept] = []
        for topic in ("profile", "client", "session"):
            part = [one for one in kept if one.topic == topic]
            wrong = await self._comparison.still_wrong(topic, [one.key for one in part])
            healed += [one for one in part if one.key not in wrong]
        self.counts.healed += len(healed)
        if len(kept) == batch:
            self._after = str(kept[-1].id)
        else:
            self._after, self.stage = None, _DONE
        async with db.transaction() as connection:
            if with_it is not None:
                await with_it(connection)
            await store_runs.heal(connection, [one.id for one in healed])
            await (self._end(connection) if self.done else self._keep(connection))
        for one in healed:
            metrics.HEALED.labels(one.kind, self.row.kind).inc()

    async def _end(self, connection: Connection) -> None:
        if self.row.kind != "hot":
            await store_runs.close_unseen(connection, self.row.id)
        await store_runs.finish(connection, self.row.id, asdict(self.counts), self._clock())
        drift, notices = await store_runs.open_drift(connection)
        metrics.DRIFT.set(drift)
        metrics.NOTICES.set(notices)

    async def _keep(self, connection: Connection) -> None:
        await store_runs.move(connection, self.row.id, self.stage, self._after, asdict(self.counts))


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
) -> Checked:
    """Compare both sides; with `repair` heal what one side is right about without doubt.

    Where Supabase is ahead, or the histories part, EvPower's word is written only with
    `overwrite_ahead`, after what is there was put aside. `deliver` (the relay's `drain`) carries
    the repair at once; without it a running relay does. Raises the SyncErrors of a Supabase that
    does not answer.
    """
    async with db.transaction() as connection:
        row = await store_runs.begin(connection, "hand", repair=repair, since=None, now=utc_now())
    comparison = Comparison(db, rpc, batch=batch, pause=pause)
    work = Check(comparison, row, clock=utc_now, overwrite_ahead=overwrite_ahead, deliver=deliver)
    totals: dict[Stage, int | None] = {}
    while not work.done:
        stage = STAGES[work.stage] if work.stage < _VERIFY else None
        if stage is not None and stage not in totals:
            totals[stage] = await comparison.total(stage)
        at = await work.step()
        if at is not None and stage is not None:
            on_progress(RunProgress(at.topic, at.side, at.done, max(at.done, totals[stage] or 0)))
    return summary(work)


def summary(work: Check) -> Checked:
    """What a comparison found."""
    counts = work.counts
    return Checked(
        clients=counts.client,
        sessions=counts.session,
        transactions=counts.transactions,
        in_flight=counts.in_flight,
        foreign_sessions=counts.foreign_sessions,
        foreign_transactions=counts.foreign_transactions,
        drift=tuple(work.sample.drift),
        healed=counts.healed,
        people=counts.profile,
        differ=counts.drift,
        notices=counts.notices,
        told=tuple(work.sample.notices),
        check_id=work.row.id,
    )


def _is_sent(one: Drift) -> bool:
    return one.repaired and one.topic != "profile"


async def _send_again(connection: Connection, found: Sequence[Drift]) -> None:
    for topic in ("client", "session"):
        keys = [UUID(one.key) for one in found if one.topic == topic and _is_sent(one)]
        if keys:
            await store.mark(connection, topic, keys, force=True)


async def _archive(rpc: Rpc, drift: Sequence[Drift]) -> None:
    """Before the marks: what is taken away too much is sent again with the rest."""
    clients = [
        [one.key, min(one.ours.version, (one.diverged or one.ours.version + 1) - 1)]
        for one in drift
        if isinstance(one.ours, ClientDigest)
    ]
    sessions = [one.key for one in drift if one.topic == "session"]
    payload = {"clients": clients, "sessions": sessions}
    await rpc.call("evpower_archive", orjson.dumps({"payload": payload}))

"""Compares one page: keys of one side are looked up on the other, and differences classified.

Changes still in flight get a short wait, and are then left to the next run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, cast
from uuid import UUID

from evpower.foundation.db import Database
from evpower.sync.inbound.remote_users import parse_id
from evpower.sync.model import ClientDigest, Side
from evpower.sync.reconciliation import profiles, rows, store_runs
from evpower.sync.reconciliation.digests import Digest, Digests, Part
from evpower.sync.reconciliation.drift import Drift, agree, has_money, judge
from evpower.sync.reconciliation.store_runs import RunKind
from evpower.sync.supabase_rpc import Rpc

ROUNDS: Final = 4
PAUSE_S: Final = 0.25
WaitBetweenPages = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Stage:
    """Which keys are listed, and from which side."""

    topic: Part
    side: Side


# Profiles first: a client EvPower did not know of is created before its money is compared.
STAGES: Final = (
    Stage("profile", "evpower"),
    Stage("profile", "supabase"),
    Stage("client", "evpower"),
    Stage("client", "supabase"),
    Stage("session", "evpower"),
    Stage("session", "supabase"),
    Stage("row", "evpower"),
)


@dataclass(frozen=True, slots=True)
class ComparedPage:
    """The result of one page. `agreed`: keys that are equal; `next` None: the last page.

    `in_flight`: topic and key of what could not be decided, because a change of it is under way.
    """

    next: str | None
    compared: int = 0
    drift: tuple[Drift, ...] = ()
    agreed: tuple[str, ...] = ()
    transactions: int = 0
    in_flight: tuple[tuple[Part, str], ...] = ()
    foreign_sessions: int = 0
    foreign_transactions: int = 0


@dataclass(slots=True)
class _Settled:
    """The settled differences of a page's suspects, and the keys still in flight."""

    drift: list[Drift] = field(default_factory=list[Drift])
    in_flight_keys: set[str] = field(default_factory=set[str])

    def in_flight(self, topic: Part) -> tuple[tuple[Part, str], ...]:
        return tuple((topic, key) for key in sorted(self.in_flight_keys))


class Comparison:
    """Compares page by page, and holds nothing of a page afterwards."""

    def __init__(
        self,
        db: Database,
        rpc: Rpc,
        kind: RunKind,
        *,
        batch: int = 1000,
        since: datetime | None = None,
        pause: WaitBetweenPages = asyncio.sleep,
    ) -> None:
        self.db = db
        self.rpc = rpc
        self.batch = batch
        self._kind: RunKind = kind
        self._since = since  # of a run of recent changes: only what changed after it
        self._pause = pause
        self._digests = Digests(db, rpc)

    def stage_after(self, stage: int) -> int:
        """Returns the index of the next stage; of recent changes only those with EvPower's keys.

        Only EvPower stores times of change.
        """
        stage += 1
        while self._kind == "recent" and stage < len(STAGES) and STAGES[stage].side == "supabase":
            stage += 1
        return stage

    async def page(self, stage: Stage, after: str | None) -> ComparedPage:
        """Compares the next keys. Raises SyncError when Supabase fails."""
        if stage.side == "evpower":
            return await self._ours(stage.topic, after)
        if stage.topic == "client":
            return await self._rows(after)
        if stage.topic == "session":
            return await self._sessions(after)
        return await self._users(after)

    async def total(self, stage: Stage) -> int | None:
        """Returns about how many keys a stage has; None: not known beforehand."""
        if stage.side == "supabase" or self._kind == "recent":
            return None
        async with self.db.connection() as connection:
            return await store_runs.count(connection, stage.topic)

    async def still_differing(self, topic: Part, keys: Sequence[str]) -> set[str]:
        """Returns those of the keys that differ, after changes in flight had time to arrive."""
        differing = set(keys)
        for _ in range(ROUNDS * 5):
            differences = await self._differing_now(topic, differing)
            in_flight_keys = await self._in_flight(topic, differences)
            differing = {key for key, drift in differences.items() if not drift.notice}
            if not in_flight_keys:
                break
            await self._pause(PAUSE_S)
        return differing

    async def _ours(self, topic: Part, after: str | None) -> ComparedPage:
        async with self.db.connection() as connection:
            keys = await store_runs.page_of_ours(
                connection, topic, parse_id(after), self.batch, self._since
            )
            transactions = 0
            if topic == "client" and keys:
                transactions = await store_runs.transactions(connection, [k.id for k in keys])
        suspects = [key.id for key in keys]
        if topic != "row":
            suspects = await self._digests.differing(topic, [k for k in keys if not k.closed])
            suspects += [key.id for key in keys if key.closed]
        settled = (
            await self._settle(topic, [str(key) for key in suspects]) if suspects else _Settled()
        )
        undecided = {drift.key for drift in settled.drift} | settled.in_flight_keys
        return ComparedPage(
            next=str(keys[-1].id) if len(keys) == self.batch else None,
            compared=len(keys),
            drift=tuple(settled.drift),
            agreed=tuple(str(key.id) for key in keys if str(key.id) not in undecided),
            transactions=transactions,
            in_flight=settled.in_flight(topic),
        )

    async def _settle(self, topic: Part, keys: Sequence[str]) -> _Settled:
        """Returns the keys that keep differing though none of their changes is in flight."""
        differing = await self._differing_now(topic, keys)
        in_flight_keys: set[str] = set()
        for nr in range(ROUNDS):
            if not differing:
                return _Settled()
            before = await self._in_flight(topic, differing)
            if nr > 0 and not before:
                break
            await self._pause(PAUSE_S)
            differing = await self._differing_now(topic, differing)
            in_flight_keys = await self._in_flight(topic, differing)
            if not (before | in_flight_keys) & differing.keys():
                break
        else:
            in_flight_keys = await self._in_flight(topic, differing)
        still = [drift for key, drift in differing.items() if key not in in_flight_keys]
        return _Settled(await self._classified(still), in_flight_keys & differing.keys())

    async def _differing_now(self, topic: Part, keys: Iterable[str]) -> dict[str, Drift]:
        ids = [UUID(key) for key in keys]
        if not ids:
            return {}
        if topic == "profile":
            return await profiles.differing(self.db, self.rpc, ids)
        if topic == "row":
            return await rows.differing(self.db, self.rpc, ids)
        # Theirs first: what the relay sends in between then never makes Supabase look ahead.
        there = await self._digests.theirs(topic, [str(key) for key in ids])
        here = await self._digests.ours(topic, ids)
        return {
            key: judge(topic, key, here.get(key), there.get(key), None)
            for key in map(str, ids)
            if not agree(here.get(key), there.get(key))
        }

    async def _in_flight(self, topic: Part, differing: Mapping[str, Drift]) -> set[str]:
        keys = set(differing)
        if not keys:
            return keys
        if topic == "profile":
            closed = [key for key, drift in differing.items() if drift.kind == "closed_contact"]
            async with self.db.connection() as connection:
                to_empty = await store_runs.pending(connection, "client", closed)
            return to_empty | keys & await profiles.unapplied(self.db, self.rpc)
        if topic == "row":
            return await rows.in_flight(self.db, list(keys))
        async with self.db.connection() as connection:
            return await store_runs.pending(connection, topic, list(keys))

    async def _classified(self, differing: Sequence[Drift]) -> list[Drift]:
        """Finds where histories diverge: Supabase may then have the only record of money."""
        uncertain = [drift.key for drift in differing if _both_have_other_transactions(drift)]
        if not uncertain:
            return list(differing)
        divergences = await self._digests.divergences(uncertain)
        return [
            judge(
                drift.topic,
                drift.key,
                _digest(drift.ours),
                _digest(drift.theirs),
                divergences[drift.key],
            )
            if drift.key in divergences
            else drift
            for drift in differing
        ]

    async def _users(self, after: str | None) -> ComparedPage:
        """Compares users of Supabase Auth that EvPower does not know."""
        page = await self._digests.page_of_theirs("users", after, self.batch)
        unknown = await self._unknown("profile", page.ids)
        settled = await self._settle("profile", unknown) if unknown else _Settled()
        return ComparedPage(
            page.next, len(page.ids), tuple(settled.drift), in_flight=settled.in_flight("profile")
        )

    async def _rows(self, after: str | None) -> ComparedPage:
        """Compares rows of unknown clients; money in them is reported, never deleted."""
        page = await self._digests.page_of_theirs("clients", after, self.batch)
        unknown = await self._unknown("client", page.ids)
        rows = await self._digests.theirs("client", unknown) if unknown else {}
        drift = [
            judge("client", key, None, row, None) for key, row in rows.items() if has_money(row)
        ]
        unknown_rows = [key for key, row in rows.items() if not has_money(row) and parse_id(key)]
        settled = await self._settle("profile", unknown_rows) if unknown_rows else _Settled()
        # Those with a user were compared in the stage of the users.
        drift += [
            difference
            for difference in settled.drift
            if not getattr(difference.theirs, "user", False)
        ]
        return ComparedPage(
            page.next,
            len(page.ids),
            tuple(drift),
            in_flight=settled.in_flight("profile"),
            foreign_transactions=page.foreign,
        )

    async def _sessions(self, after: str | None) -> ComparedPage:
        """Compares sessions that EvPower wrote and does not know any more."""
        page = await self._digests.page_of_theirs("sessions", after, self.batch)
        unknown = await self._unknown("session", page.ids)
        rows = await self._digests.theirs("session", unknown) if unknown else {}
        drift = tuple(judge("session", key, None, row, None) for key, row in rows.items())
        return ComparedPage(page.next, len(page.ids), drift, foreign_sessions=page.foreign)

    async def _unknown(self, topic: Part, ids: Sequence[str]) -> list[str]:
        async with self.db.connection() as connection:
            known = await store_runs.known(
                connection,
                topic,
                [known_id for known_id in map(parse_id, ids) if known_id is not None],
            )
        return [key for key in ids if key not in known]


def _both_have_other_transactions(drift: Drift) -> bool:
    return (
        isinstance(drift.ours, ClientDigest)
        and isinstance(drift.theirs, ClientDigest)
        and drift.ours.count > 0
        and drift.theirs.count > 0
        and drift.ours.history != drift.theirs.history
    )


def _digest(side: object | None) -> Digest | None:
    return cast("Digest | None", side)

"""One page of the comparison: keys of one side looked up on the other, what differs told apart.

What is still under way is waited for a little and then left to the next comparison.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, cast
from uuid import UUID

from evpower.foundation.db import Database
from evpower.sync.inbound.remote_users import parse_id
from evpower.sync.model import ClientDigest, Side
from evpower.sync.reconciliation import profiles, store_runs
from evpower.sync.reconciliation.digests import Digest, Digests, Part
from evpower.sync.reconciliation.drift import Drift, agree, has_money, judge
from evpower.sync.supabase_rpc import Rpc

ROUNDS: Final = 4
PAUSE_S: Final = 0.25
WaitBetweenPages = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Stage:
    """Whose keys of what are walked."""

    topic: Part
    side: Side


# People first: a client EvPower did not know of is created before its money is compared.
STAGES: Final = (
    Stage("profile", "evpower"),
    Stage("profile", "supabase"),
    Stage("client", "evpower"),
    Stage("client", "supabase"),
    Stage("session", "evpower"),
    Stage("session", "supabase"),
)


@dataclass(frozen=True, slots=True)
class ComparedPage:
    """What one page brought. `agreed` are keys compared and equal; `next` None: the last page."""

    next: str | None
    walked: int = 0
    drift: tuple[Drift, ...] = ()
    agreed: tuple[str, ...] = ()
    transactions: int = 0
    in_flight: int = 0
    foreign_sessions: int = 0
    foreign_transactions: int = 0


@dataclass(slots=True)
class _Found:
    """What settled of a page's suspects, and what is still under way."""

    drift: list[Drift] = field(default_factory=list[Drift])
    moving: set[str] = field(default_factory=set[str])


class Comparison:
    """Compares page by page; keeps nothing of a page when it is done."""

    def __init__(
        self,
        db: Database,
        rpc: Rpc,
        *,
        batch: int = 1000,
        since: datetime | None = None,
        pause: WaitBetweenPages = asyncio.sleep,
    ) -> None:
        self.db = db
        self.rpc = rpc
        self.batch = batch
        self._since = since  # only what changed after it
        self._pause = pause
        self._digests = Digests(db, rpc)

    async def page(self, stage: Stage, after: str | None) -> ComparedPage:
        """Compare the keys that come next. Raises the SyncErrors of a Supabase that fails."""
        if stage.side == "evpower":
            return await self._ours(stage.topic, after)
        if stage.topic == "client":
            return await self._rows(after)
        if stage.topic == "session":
            return await self._sessions(after)
        return await self._users(after)

    async def total(self, stage: Stage) -> int | None:
        """About how many keys a stage has; None: not known beforehand."""
        if stage.side == "supabase" or self._since is not None:
            return None
        async with self.db.connection() as connection:
            return await store_runs.count(connection, stage.topic)

    async def still_wrong(self, topic: Part, keys: Sequence[str]) -> set[str]:
        """Which of these differ now, after what is under way had a moment to arrive."""
        wrong = set(keys)
        for _ in range(ROUNDS * 5):
            found = await self._wrong_now(topic, wrong)
            moving = await self._moving(topic, found)
            wrong = {key for key, one in found.items() if not one.notice}
            if not moving:
                break
            await self._pause(PAUSE_S)
        return wrong

    async def _ours(self, topic: Part, after: str | None) -> ComparedPage:
        async with self.db.connection() as connection:
            keys = await store_runs.page_of_ours(
                connection, topic, parse_id(after), self.batch, self._since
            )
            transactions = 0
            if topic == "client" and keys:
                transactions = await store_runs.transactions(connection, [k.id for k in keys])
        suspects = await self._digests.differing(topic, keys)
        found = await self._settle(topic, [str(one) for one in suspects]) if suspects else _Found()
        unsure = {one.key for one in found.drift} | found.moving
        return ComparedPage(
            next=str(keys[-1].id) if len(keys) == self.batch else None,
            walked=len(keys),
            drift=tuple(found.drift),
            agreed=tuple(str(key.id) for key in keys if str(key.id) not in unsure),
            transactions=transactions,
            in_flight=len(found.moving),
        )

    async def _settle(self, topic: Part, keys: Sequence[str]) -> _Found:
        """Keys that go on differing though nothing of them is under way."""
        wrong = await self._wrong_now(topic, keys)
        moving: set[str] = set()
        for nr in range(ROUNDS):
            if not wrong:
                return _Found()
            before = await self._moving(topic, wrong)
            if nr > 0 and not before:
                break
            await self._pause(PAUSE_S)
            wrong = await self._wrong_now(topic, wrong)
            moving = await self._moving(topic, wrong)
            if not (before | moving) & wrong.keys():
                break
        else:
            moving = await self._moving(topic, wrong)
        still = [one for key, one in wrong.items() if key not in moving]
        return _Found(await self._told_apart(still), moving & wrong.keys())

    async def _wrong_now(self, topic: Part, keys: Iterable[str]) -> dict[str, Drift]:
        ids = [UUID(key) for key in keys]
        if not ids:
            return {}
        if topic == "profile":
            return await profiles.differing(self.db, self.rpc, ids)
        # Theirs first: what the relay brings in between never makes Supabase look ahead.
        there = await self._digests.theirs(topic, [str(one) for one in ids])
        here = await self._digests.ours(topic, ids)
        return {
            key: judge(topic, key, here.get(key), there.get(key), None)
            for key in map(str, ids)
            if not agree(here.get(key), there.get(key))
        }

    async def _moving(self, topic: Part, wrong: Iterable[str]) -> set[str]:
        keys = set(wrong)
        if not keys:
            return keys
        if topic == "profile":
            return keys & await profiles.on_the_way(self.db, self.rpc)
        async with self.db.connection() as connection:
            return await store_runs.pending(connection, topic, list(keys))

    async def _told_apart(self, wrong: Sequence[Drift]) -> list[Drift]:
        """Find where histories part: what Supabase has then may be the only record."""
        doubtful = [one.key for one in wrong if _both_have_other_transactions(one)]
        if not doubtful:
            return list(wrong)
        partings = await self._digests.partings(doubtful)
        return [
            judge(one.topic, one.key, _digest(one.ours), _digest(one.theirs), partings[one.key])
            if one.key in partings
            else one
            for one in wrong
        ]

    async def _users(self, after: str | None) -> ComparedPage:
        """Users of Supabase Auth nobody here knows of."""
        page = await self._digests.page_of_theirs("users", after, self.batch)
        unknown = await self._unknown("profile", page.ids)
        found = await self._settle("profile", unknown) if unknown else _Found()
        return ComparedPage(
            page.next, len(page.ids), tuple(found.drift), in_flight=len(found.moving)
        )

    async def _rows(self, after: str | None) -> ComparedPage:
        """Rows of clients nobody here knows of: money in them is reported, never deleted."""
        page = await self._digests.page_of_theirs("clients", after, self.batch)
        unknown = await self._unknown("client", page.ids)
        rows = await self._digests.theirs("client", unknown) if unknown else {}
        drift = [
            judge("client", key, None, row, None) for key, row in rows.items() if has_money(row)
        ]
        people = [key for key, row in rows.items() if not has_money(row) and parse_id(key)]
        found = await self._settle("profile", people) if people else _Found()
        # Those with a user were met on the walk through the users.
        drift += [one for one in found.drift if not getattr(one.theirs, "user", False)]
        return ComparedPage(
            page.next,
            len(page.ids),
            tuple(drift),
            in_flight=len(found.moving),
            foreign_transactions=page.foreign,
        )

    async def _sessions(self, after: str | None) -> ComparedPage:
        """Sessions EvPower wrote once and does not know any more; the others are not its own."""
        page = await self._digests.page_of_theirs("sessions", after, self.batch)
        unknown = await self._unknown("session", page.ids)
        rows = await self._digests.theirs("session", unknown) if unknown else {}
        drift = tuple(judge("session", key, None, row, None) for key, row in rows.items())
        return ComparedPage(page.next, len(page.ids), drift, foreign_sessions=page.foreign)

    async def _unknown(self, topic: Part, ids: Sequence[str]) -> list[str]:
        async with self.db.connection() as connection:
            known = await store_runs.known(
                connection, topic, [one for one in map(parse_id, ids) if one is not None]
            )
        return [one for one in ids if one not in known]


def _both_have_other_transactions(one: Drift) -> bool:
    return (
        isinstance(one.ours, ClientDigest)
        and isinstance(one.theirs, ClientDigest)
        and one.ours.count > 0
        and one.theirs.count > 0
        and one.ours.history != one.theirs.history
    )


def _digest(side: object | None) -> Digest | None:
    return cast("Digest | None", side)

"""`sync check`: every client and session of both sides compared, and healed by authority.

Two differences are somebody's money or the only record of it, and a repair leaves them alone: a
balance from before EvPower, and a Supabase that knows more than EvPower does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final
from uuid import UUID

import orjson

from evpower.foundation.db import Database, Record
from evpower.sync import digests, metrics, store
from evpower.sync.digests import Digest
from evpower.sync.model import ON_THE_WAY_OUT, TOPICS, ClientDigest, SessionDigest, Side, Topic
from evpower.sync.supabase_rpc import Rpc

_ROUNDS: Final = 4
_PAUSE_S: Final = 0.25
_OPENING: Final = "reported: opening balance, see evpower sync adopt"
_AHEAD: Final = "reported: Supabase is ahead, restore or decide by hand"


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference: what each side has, who is right, what was done about it."""

    topic: Topic
    key: str
    ours: Digest | None
    theirs: Digest | None
    right_side: Side
    action: str


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of about `total` rows of one topic; `side` says whose rows are walked."""

    topic: Topic
    side: Side
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Checked:
    """`in_flight` were not sent yet; `foreign_...` are Supabase's own, from before EvPower."""

    clients: int
    sessions: int
    transactions: int
    in_flight: int
    foreign_sessions: int
    foreign_transactions: int
    drift: tuple[Drift, ...]
    healed: int

    @property
    def equal(self) -> bool:
        """Whether nothing is left that differs."""
        return len(self.drift) == self.healed


class _Walk:
    """The state of one comparison."""

    def __init__(
        self, db: Database, rpc: Rpc, batch: int, pause: Callable[[float], Awaitable[None]]
    ) -> None:
        self.db = db
        self.rpc = rpc
        self.batch = batch
        self.pause = pause
        self.compared: dict[Topic, int] = {"client": 0, "session": 0}
        self.transactions = 0
        self.in_flight = 0
        self.foreign_sessions = 0
        self.foreign_transactions = 0

    async def mismatches(
        self, topic: Topic, keys: Sequence[UUID]
    ) -> dict[str, tuple[Digest | None, Digest | None]]:
        """Keys that differ now."""
        async with self.db.connection() as connection:
            here = await digests.ours(connection, topic, keys)
        there = await digests.theirs(self.rpc, topic, keys)
        return {
            key: (here.get(key), there.get(key))
            for key in (str(one) for one in keys)
            if not agree(here.get(key), there.get(key))
        }

    async def settled(
        self, topic: Topic, keys: Sequence[UUID]
    ) -> dict[str, tuple[Digest | None, Digest | None]]:
        """Keys that go on differing though nothing of them is under way."""
        wrong = await self.mismatches(topic, keys)
        for _ in range(_ROUNDS):
            if not wrong:
                return {}
            before = await self.pending(topic, wrong)
            await self.pause(_PAUSE_S)
            wrong = await self.mismatches(topic, [UUID(key) for key in wrong])
            moving = before | await self.pending(topic, wrong)
            if not moving & wrong.keys():
                return wrong
        moving = await self.pending(topic, wrong)
        self.in_flight += len(moving)
        return {key: pair for key, pair in wrong.items() if key not in moving}

    async def pending(self, topic: Topic, keys: Iterable[str]) -> set[str]:
        async with self.db.connection() as connection:
            rows: list[Record] = await connection.fetch(
                "select key::text as key from sync.pending"
                " where topic = $1 and key = any ($2::uuid[]) and parked_at is null",
                topic,
                list(keys),
            )
        return {row["key"] for row in rows}


async def check(
    db: Database,
    rpc: Rpc,
    *,
    repair: bool = False,
    overwrite_ahead: bool = False,
    deliver: Callable[[], Awaitable[object]] | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    batch: int = 1000,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Checked:
    """Compare both sides; with `repair` send again what EvPower is right about.

    Where Supabase is ahead that happens only with `overwrite_ahead`, after its rows were put aside.
    `deliver` (the relay's `drain`) carries the repair at once; without it a running relay does.
    Raises the SyncErrors of a Supabase that does not answer.
    """
    walk = _Walk(db, rpc, batch, pause)
    found: list[Drift] = []
    for topic in TOPICS:
        found += await _ours_to_theirs(walk, topic, on_progress)
        found += await _theirs_to_ours(walk, topic, on_progress)
    healed: set[tuple[Topic, str]] = set()
    if repair:
        found = await _repair(walk, found, overwrite_ahead=overwrite_ahead)
    await _record(db, found)
    if repair and found:
        if deliver is not None:
            await deliver()
        healed = await _healed(walk, found)
    await _close(db, found, healed)
    metrics.DRIFT.set(len(found) - len(healed))
    return Checked(
        clients=walk.compared["client"],
        sessions=walk.compared["session"],
        transactions=walk.transactions,
        in_flight=walk.in_flight,
        foreign_sessions=walk.foreign_sessions,
        foreign_transactions=walk.foreign_transactions,
        drift=tuple(found),
        healed=len(healed),
    )


def agree(ours: Digest | None, theirs: Digest | None) -> bool:
    """Whether the two say the same, each about what it is right about."""
    if ours is None or theirs is None:
        return ours is theirs
    if isinstance(ours, ClientDigest) and isinstance(theirs, ClientDigest):
        same_status = ours.status == theirs.status or (
            ours.status == "active" and theirs.status in ON_THE_WAY_OUT
        )
        return (
            same_status
            and (ours.balance_minor, ours.held_minor, ours.version, ours.count, ours.sum_minor)
            == (
                theirs.balance_minor,
                theirs.held_minor,
                theirs.version,
                theirs.count,
                theirs.sum_minor,
            )
            and (ours.last, ours.moment) == (theirs.last, theirs.moment)
        )
    return ours == theirs


async def _ours_to_theirs(
    walk: _Walk, topic: Topic, on_progress: Callable[[Progress], None]
) -> list[Drift]:
    found: list[Drift] = []
    after: UUID | None = None
    table = "identity.clients" if topic == "client" else "charging.sessions"
    async with walk.db.connection() as connection:
        total: int = await connection.fetchval(f"select count(*) from {table}")
    while True:
        async with walk.db.connection() as connection:
            keys = await digests.page_of_ours(connection, topic, after, walk.batch)
            if topic == "client" and keys:
                walk.transactions += await connection.fetchval(
                    "select coalesce(sum(version), 0)::bigint from wallet.wallets"
                    " where client_id = any ($1::uuid[])",
                    keys,
                )
        if not keys:
            return found
        for key, (here, there) in (await walk.settled(topic, keys)).items():
            found.append(Drift(topic, key, here, there, "evpower", _describe(here, there)))
        after = keys[-1]
        walk.compared[topic] += len(keys)
        on_progress(Progress(topic, "evpower", walk.compared[topic], total))


async def _theirs_to_ours(
    walk: _Walk, topic: Topic, on_progress: Callable[[Progress], None]
) -> list[Drift]:
    """Rows only Supabase has: money nobody here knows of is reported, never deleted."""
    found: list[Drift] = []
    after: str | None = None
    done = 0
    while True:
        rows, after = await digests.page_of_theirs(walk.rpc, topic, after, walk.batch)
        done += len(rows)
        walk.foreign_transactions += sum(
            row.foreign for row in rows if isinstance(row, ClientDigest)
        )
        known = await _known(walk.db, topic, [row.id for row in rows])
        for row in rows:
            if row.id in known:
                continue
            if isinstance(row, SessionDigest) and row.revision is None:
                walk.foreign_sessions += 1
            elif isinstance(row, SessionDigest) or row.balance_minor or row.count:
                action = _OPENING if _unadopted(row) else "reported: only in Supabase"
                found.append(Drift(topic, row.id, None, row, "evpower", action))
        on_progress(Progress(topic, "supabase", done, done))
        if after is None:
            return found


async def _known(db: Database, topic: Topic, keys: Sequence[str]) -> set[str]:
    table = "identity.clients" if topic == "client" else "charging.sessions"
    async with db.connection() as connection:
        rows: list[Record] = await connection.fetch(
            f"select id::text as id from {table} where id = any ($1::uuid[])",
            [key for key in keys if _is_uuid(key)],
        )
    return {row["id"] for row in rows}


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _describe(here: Digest | None, there: Digest | None) -> str:
    if there is None:
        return "missing in Supabase"
    if _unadopted(there):
        return _OPENING
    if _ahead(here, there):
        return _AHEAD
    if isinstance(here, ClientDigest) and isinstance(there, ClientDigest):
        if (here.count, here.sum_minor, here.moment) != (
            there.count,
            there.sum_minor,
            there.moment,
        ):
            return "transactions differ"
        if here.balance_minor != there.balance_minor:
            return "balance differs"
    return "differs"


def _unadopted(there: Digest) -> bool:
    """Whether the balance is from before EvPower."""
    return isinstance(there, ClientDigest) and not there.written and there.balance_minor != 0


def _ahead(here: Digest | None, there: Digest) -> bool:
    """Whether Supabase knows versions EvPower does not, as after EvPower's restore."""
    if isinstance(here, ClientDigest) and isinstance(there, ClientDigest):
        return max(there.last, there.version) > here.version
    if isinstance(here, SessionDigest) and isinstance(there, SessionDigest):
        return (there.revision or 0) > (here.revision or 0)
    return False


async def _repair(walk: _Walk, found: Sequence[Drift], *, overwrite_ahead: bool) -> list[Drift]:
    """Mark what EvPower is right about; answers the drift with what was done."""
    ahead = [one for one in found if one.action == _AHEAD] if overwrite_ahead else []
    for start in range(0, len(ahead), walk.batch):
        await _set_aside(walk.rpc, ahead[start : start + walk.batch])
    told: list[Drift] = []
    for drift in found:
        kept = drift.action == _OPENING or (drift.action == _AHEAD and not overwrite_ahead)
        if drift.ours is None or kept:
            told.append(drift)
            continue
        async with walk.db.transaction() as connection:
            await store.mark(connection, drift.topic, [UUID(drift.key)], force=True)
        action = "Supabase was ahead, put aside" if drift.action == _AHEAD else drift.action
        told.append(replace(drift, action=f"{action}; sent again"))
    return told


async def _set_aside(rpc: Rpc, ahead: Sequence[Drift]) -> None:
    """Before the marks: what is taken away too much is sent again with the rest."""
    clients = [[one.key, one.ours.version] for one in ahead if isinstance(one.ours, ClientDigest)]
    sessions = [one.key for one in ahead if one.topic == "session"]
    payload = {"clients": clients, "sessions": sessions}
    await rpc.call("evpower_set_aside", orjson.dumps({"payload": payload}))


async def _healed(walk: _Walk, found: Sequence[Drift]) -> set[tuple[Topic, str]]:
    healed: set[tuple[Topic, str]] = set()
    for topic in TOPICS:
        keys = [UUID(one.key) for one in found if one.topic == topic and one.ours is not None]
        for start in range(0, len(keys), walk.batch):
            part = keys[start : start + walk.batch]
            wrong = await walk.mismatches(topic, part)
            for _ in range(_ROUNDS * 5):  # a relay elsewhere may be carrying it
                if not await walk.pending(topic, wrong):
                    break
                await walk.pause(_PAUSE_S)
                wrong = await walk.mismatches(topic, [UUID(key) for key in wrong])
            healed.update((topic, key) for key in map(str, part) if key not in wrong)
    return healed


async def _record(db: Database, found: Sequence[Drift]) -> None:
    async with db.transaction() as connection:
        await connection.executemany(
            "insert into sync.drift as d (topic, key, ours, theirs, right_side, action)"
            " values ($1, $2, $3, $4, $5, $6)"
            " on conflict (topic, key) where healed_at is null do update set ours = excluded.ours,"
            " theirs = excluded.theirs, action = excluded.action",
            [
                (
                    one.topic,
                    one.key,
                    asdict(one.ours) if one.ours is not None else None,
                    asdict(one.theirs) if one.theirs is not None else None,
                    one.right_side,
                    one.action,
                )
                for one in found
            ],
        )


async def _close(db: Database, found: Sequence[Drift], healed: set[tuple[Topic, str]]) -> None:
    """Drift that is no more, healed now or since the last check, is closed."""
    left = [(one.topic, one.key) for one in found if (one.topic, one.key) not in healed]
    async with db.transaction() as connection:
        await connection.execute(
            "update sync.drift d set healed_at = now() where healed_at is null and not exists ("
            " select from unnest($1::text[], $2::text[]) as l (topic, key)"
            " where l.topic = d.topic and l.key = d.key)",
            [topic for topic, _ in left],
            [key for _, key in left],
        )

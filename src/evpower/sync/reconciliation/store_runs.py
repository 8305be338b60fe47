"""All SQL of the comparison's own: pages of keys, what was found, runs and whose turn it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from evpower.foundation.db import Connection, Record, fetch_one
from evpower.sync.model import OutboxTopic
from evpower.sync.reconciliation.digests import DigestKey, Part
from evpower.sync.reconciliation.drift import Drift, as_facts

CheckKind = Literal["hand", "hot", "all"]
Turn = Literal["hot", "all"]

_NIL: Final = UUID(int=0)
_CHECK: Final = "id, kind, since, repair, stage, after, counts, error, started_at, finished_at"
_TABLES: Final[Mapping[Part, str]] = {
    "profile": "identity.clients",
    "client": "identity.clients",
    "session": "charging.sessions",
}
_LEAVING: Final = "c.status = 'active' and c.deletion_requested_at is not null"
_OPEN: Final = " and c.status <> 'closed'"  # a closed client has no profile to keep


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One comparison as it is kept; `counts` are those of Counts."""

    id: int
    kind: CheckKind
    since: datetime | None
    repair: bool
    stage: int
    after: str | None
    counts: Mapping[str, int]
    error: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A difference a running comparison did something about, to be looked at again."""

    id: int
    topic: Part
    key: str
    kind: str


async def count(connection: Connection, topic: Part) -> int:
    """How many keys EvPower has."""
    number: int = await connection.fetchval(f"select count(*) from {_TABLES[topic]}")
    return number


# What changed lately is found by where it lies in its table, before anything is put in order: in
# the order of the keys all clients there are would be read for the few of this hour. A wallet has
# no index of its time, so that its updates stay cheap: whatever changes one is a transaction or a
# session's.
_LATELY: Final[Mapping[Part, str]] = {
    "client": """with lately as materialized (
  select c.id from identity.clients c where c.updated_at > $3
  union select t.client_id from wallet.transactions t where t.created_at > $3
  union select s.client_id from charging.sessions s where s.updated_at > $3
) """,
    "session": """with lately as materialized (
  select s.id from charging.sessions s where s.updated_at > $3
) """,
}


def page_sql(topic: Part, *, lately: bool) -> str:
    """The next keys: after `$1`, at most `$2`; with `lately` those that changed after `$3`."""
    if topic == "session":
        known = _LATELY[topic] if lately else ""
        source = "lately" if lately else "charging.sessions"
        return f"""
        {known}select s.id, false as leaving from {source} s
        where s.id > $1 order by s.id limit $2
        """
    known = _LATELY["client"] if lately else ""
    same = " and c.id = any (array(select l.id from lately l))" if lately else ""
    opened = _OPEN if topic == "profile" else ""
    return f"""
    {known}select c.id, {_LEAVING} as leaving from identity.clients c
    where c.id > $1{same}{opened} order by c.id limit $2
    """


async def page_of_ours(
    connection: Connection, topic: Part, after: UUID | None, limit: int, since: datetime | None
) -> list[DigestKey]:
    """The next keys after one, in their order; with `since` those that changed after it."""
    sql = page_sql(topic, lately=since is not None)
    more = () if since is None else (since,)
    rows: list[Record] = await connection.fetch(sql, after or _NIL, limit, *more)
    return [DigestKey(row["id"], row["leaving"]) for row in rows]


async def transactions(connection: Connection, clients: Sequence[UUID]) -> int:
    """How many transactions these clients have."""
    number: int = await connection.fetchval(
        """
        select coalesce(sum(version), 0)::bigint from wallet.wallets
        where client_id = any ($1::uuid[])
        """,
        clients,
    )
    return number


async def known(connection: Connection, topic: Part, ids: Sequence[UUID]) -> set[str]:
    """Which of these EvPower has."""
    rows: list[Record] = await connection.fetch(
        f"select id::text as id from {_TABLES[topic]} where id = any ($1::uuid[])", ids
    )
    return {row["id"] for row in rows}


async def pending(connection: Connection, topic: OutboxTopic, keys: Sequence[str]) -> set[str]:
    """Which of these the relay is about to send."""
    rows: list[Record] = await connection.fetch(
        """
        select key::text as key from sync.pending
        where topic = $1 and key = any ($2::uuid[]) and parked_at is null
        """,
        topic,
        keys,
    )
    return {row["key"] for row in rows}


async def begin(
    connection: Connection,
    kind: CheckKind,
    *,
    repair: bool,
    since: datetime | None,
    now: datetime,
) -> CheckRow:
    """Note a comparison that starts."""
    row = await fetch_one(
        connection,
        f"""
        insert into sync.checks (kind, since, repair, started_at) values ($1, $2, $3, $4)
        returning {_CHECK}
        """,
        kind,
        since,
        repair,
        now,
    )
    return CheckRow(**dict(row))


async def check_row(connection: Connection, check_id: int) -> CheckRow | None:
    """Read a comparison."""
    row = await connection.fetchrow(f"select {_CHECK} from sync.checks where id = $1", check_id)
    return CheckRow(**dict(row)) if row is not None else None


_LAST_CHECKS: Final = f"""
select {_CHECK} from sync.checks where id in (select check_id from sync.check_turns)
union all
select c.* from unnest(array['all', 'hot', 'hand']) k (kind)
 cross join lateral (select {_CHECK} from sync.checks
                      where kind = k.kind and finished_at is not null
                      order by id desc limit 1) c
"""


async def last_checks(connection: Connection) -> list[CheckRow]:
    """Those under way or waiting, then the last of each kind that ended."""
    rows: list[Record] = await connection.fetch(_LAST_CHECKS)
    return [CheckRow(**dict(row)) for row in rows]


async def move(
    connection: Connection, check_id: int, stage: int, after: str | None, counts: Mapping[str, int]
) -> None:
    """Note how far a comparison came."""
    await connection.execute(
        "update sync.checks set stage = $2, after = $3, counts = $4, error = null where id = $1",
        check_id,
        stage,
        after,
        dict(counts),
    )


async def do_not_wait(connection: Connection) -> None:
    """This transaction's commit waits for no flush."""
    await connection.execute("select set_config('synchronous_commit', 'off', true)")


async def finish(
    connection: Connection, check_id: int, counts: Mapping[str, int], now: datetime
) -> None:
    """A comparison came to its end."""
    await connection.execute(
        "update sync.checks set counts = $2, finished_at = $3, error = null where id = $1",
        check_id,
        dict(counts),
        now,
    )


async def note_error(connection: Connection, check_id: int, error: str) -> None:
    """A comparison waits, and for what."""
    await connection.execute(
        "update sync.checks set error = $2 where id = $1", check_id, error[:300]
    )


async def record(connection: Connection, check_id: int, found: Sequence[Drift]) -> None:
    """Keep what was found; found again it is the same drift."""
    await connection.executemany(
        """
        insert into sync.drift as d (topic, key, kind, fields, ours, theirs, right_side, action,
          notice, repaired, check_id)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        on conflict (topic, key) where healed_at is null do update set kind = excluded.kind,
          fields = excluded.fields, ours = excluded.ours, theirs = excluded.theirs,
          right_side = excluded.right_side, action = excluded.action, notice = excluded.notice,
          repaired = excluded.repaired, check_id = excluded.check_id, seen_at = clock_timestamp()
        """,
        [
            (
                one.topic,
                one.key,
                one.kind,
                list(one.fields),
                as_facts(one.ours),
                as_facts(one.theirs),
                one.right_side,
                one.action,
                one.notice,
                one.repaired,
                check_id,
            )
            for one in found
        ],
    )


async def close_agreed(connection: Connection, topic: Part, keys: Sequence[str]) -> None:
    """What was found before and agrees now is drift no more."""
    await connection.execute(
        """
        update sync.drift set healed_at = now()
        where healed_at is null and topic = $1 and key = any ($2::text[])
        """,
        topic,
        keys,
    )


async def close_unseen(connection: Connection, check_id: int) -> None:
    """After everything was compared: drift that nobody saw since it began is no more."""
    await connection.execute(
        """
        update sync.drift d set healed_at = now() from sync.checks c where c.id = $1
          and d.healed_at is null and d.seen_at < c.noted_at
        """,
        check_id,
    )


async def repaired(connection: Connection, check_id: int, after: int, limit: int) -> list[Kept]:
    """What a comparison did something about and did not see healed yet."""
    rows: list[Record] = await connection.fetch(
        """
        select id, topic, key, kind from sync.drift where check_id = $1 and id > $2
          and healed_at is null and repaired order by id limit $3
        """,
        check_id,
        after,
        limit,
    )
    return [Kept(**dict(row)) for row in rows]


async def heal(connection: Connection, ids: Sequence[int]) -> None:
    """Both sides were seen equal."""
    await connection.execute(
        "update sync.drift set healed_at = now() where id = any ($1::bigint[])", ids
    )


async def open_drift(connection: Connection) -> tuple[int, int]:
    """How many differences are not healed, and how many notices there are."""
    row = await fetch_one(
        connection,
        """
        select count(*) filter (where not notice) as drift, count(*) filter (where notice)
          as notices from sync.drift where healed_at is null
        """,
    )
    return row["drift"], row["notices"]


async def forget_old(connection: Connection, now: datetime, days: int, limit: int) -> None:
    """Runs and healed drift of long ago."""
    await connection.execute(
        "delete from sync.checks where started_at < $1::timestamptz - make_interval(days => $2)",
        now,
        days,
    )
    await connection.execute(
        """
        delete from sync.drift where id in (select id from sync.drift where healed_at
          < $1::timestamptz - make_interval(days => $2) order by id limit $3)
        """,
        now,
        days,
        limit,
    )

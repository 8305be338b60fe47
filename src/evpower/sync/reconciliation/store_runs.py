"""All SQL of reconciliation runs: pages of keys, runs, drift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from evpower.foundation.db import Connection, Record, fetch_one
from evpower.sync.model import OutboxTopic
from evpower.sync.reconciliation.digests import DigestKey, Part
from evpower.sync.reconciliation.drift import Drift, as_facts
from evpower.sync.store_sessions import MAY_BE_UNLINKED

RunKind = Literal["on_demand", "recent", "full"]
ScheduledKind = Literal["recent", "full"]

_NIL: Final = UUID(int=0)
_RUN_COLUMNS: Final = (
    "id, kind, since, repair, stage, after, counts, error, started_at, finished_at"
)
_TABLES: Final[Mapping[Part, str]] = {
    "profile": "identity.clients_public",
    "client": "identity.clients_public",
    "session": "charging.sessions_public",
    "row": "sync.row_keys",
}
_DELETION_REQUESTED: Final = "c.status = 'active' and c.deletion_requested_at is not null"


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run as it is stored; `counts` are the fields of RunCounts."""

    id: int
    kind: RunKind
    since: datetime | None
    repair: bool
    stage: int
    after: str | None
    counts: Mapping[str, int]
    error: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class RepairedDrift:
    """Drift that the current run repaired, to be compared again."""

    id: int
    topic: Part
    key: str
    kind: str


async def count(connection: Connection, topic: Part) -> int:
    """Returns how many keys EvPower has."""
    number: int = await connection.fetchval(f"select count(*) from {_TABLES[topic]}")
    return number


# Recent changes are found by their position in the table before they are sorted: in the order of
# the keys, all clients would be read for the few of the last hour. A wallet has no index on its
# time, so that its updates stay cheap: each change of one comes with a transaction or a session.
_RECENT: Final[Mapping[Part, str]] = {
    "client": """with recent as materialized (
  select c.id from identity.clients_public c where c.updated_at > $3
  union select t.client_id from wallet.transactions_public t where t.created_at > $3
  union select s.client_id from charging.sessions_public s where s.updated_at > $3
) """,
    "session": """with recent as materialized (
  select s.id, s.client_id from charging.sessions_public s where s.updated_at > $3
) """,
}
# A subquery, so that the clients are looked up one by one, however many there are.
_UNLINKABLE: Final = f"""
(select c.id from identity.clients_public c where c.id = s.client_id and {MAY_BE_UNLINKED})"""


def page_sql(topic: Part, *, recent: bool) -> str:
    """Returns the SQL of the next keys: after `$1`, at most `$2`; `recent`: changed after `$3`."""
    if topic == "session":
        source_sql = _RECENT[topic] if recent else ""
        source = "recent" if recent else "charging.sessions_public"
        return f"""
        {source_sql}select s.id, false as deletion_requested, {_UNLINKABLE} as client,
               false as closed
        from {source} s
        where s.id > $1 order by s.id limit $2
        """
    if topic == "row":  # few, and all of them each time; payments are many
        return """
        select r.key as id, false as deletion_requested, null::uuid as client, false as closed
        from sync.row_keys r
        where r.key > $1
          and (r.topic not in ('payment', 'transaction')
               or r.added_at > coalesce($3, now() - interval '40 days'))
        order by r.key limit $2
        """
    source_sql = _RECENT["client"] if recent else ""
    recent_only = " and c.id = any (array(select l.id from recent l))" if recent else ""
    is_closed = "c.status = 'closed'" if topic == "profile" else "false"
    return f"""
    {source_sql}select c.id, {_DELETION_REQUESTED} as deletion_requested, null::uuid as client,
           {is_closed} as closed
    from identity.clients_public c where c.id > $1{recent_only} order by c.id limit $2
    """


async def page_of_ours(
    connection: Connection, topic: Part, after: UUID | None, limit: int, since: datetime | None
) -> list[DigestKey]:
    """Returns the next keys after `after`; with `since` only those that changed after it."""
    sql = page_sql(topic, recent=since is not None)
    more = () if since is None and topic != "row" else (since,)
    rows: list[Record] = await connection.fetch(sql, after or _NIL, limit, *more)
    return [
        DigestKey(row["id"], row["deletion_requested"], row["client"], row["closed"])
        for row in rows
    ]


async def transactions(connection: Connection, clients: Sequence[UUID]) -> int:
    """Returns how many transactions these clients have."""
    number: int = await connection.fetchval(
        """
        select coalesce(sum(version), 0)::bigint from wallet.balances
        where client_id = any ($1::uuid[])
        """,
        clients,
    )
    return number


async def known(connection: Connection, topic: Part, ids: Sequence[UUID]) -> set[str]:
    """Returns those of the ids that EvPower has."""
    rows: list[Record] = await connection.fetch(
        f"select id::text as id from {_TABLES[topic]} where id = any ($1::uuid[])", ids
    )
    return {row["id"] for row in rows}


async def pending(connection: Connection, topic: OutboxTopic, keys: Sequence[str]) -> set[str]:
    """Returns those of the keys that wait in the outbox."""
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
    kind: RunKind,
    *,
    repair: bool,
    since: datetime | None,
    now: datetime,
) -> RunRow:
    """Stores a new run."""
    row = await fetch_one(
        connection,
        f"""
        insert into sync.runs (kind, since, repair, started_at) values ($1, $2, $3, $4)
        returning {_RUN_COLUMNS}
        """,
        kind,
        since,
        repair,
        now,
    )
    return RunRow(**dict(row))


async def run_row(connection: Connection, run_id: int) -> RunRow | None:
    """Returns a run."""
    row = await connection.fetchrow(f"select {_RUN_COLUMNS} from sync.runs where id = $1", run_id)
    return RunRow(**dict(row)) if row is not None else None


_LAST_RUNS: Final = f"""
select {_RUN_COLUMNS} from sync.runs where id in (select run_id from sync.run_leases)
union all
select c.* from unnest(array['full', 'recent', 'on_demand']) k (kind)
 cross join lateral (select {_RUN_COLUMNS} from sync.runs
                      where kind = k.kind and finished_at is not null
                      order by id desc limit 1) c
"""


async def last_runs(connection: Connection) -> list[RunRow]:
    """Returns the runs under way or waiting, then the last finished run of each kind."""
    rows: list[Record] = await connection.fetch(_LAST_RUNS)
    return [RunRow(**dict(row)) for row in rows]


async def store_position(
    connection: Connection, run_id: int, stage: int, after: str | None, counts: Mapping[str, int]
) -> None:
    """Stores the position of a run."""
    await connection.execute(
        "update sync.runs set stage = $2, after = $3, counts = $4, error = null where id = $1",
        run_id,
        stage,
        after,
        dict(counts),
    )


async def use_async_commit(connection: Connection) -> None:
    """Sets synchronous_commit off for this transaction: a crash may lose it, and it is redone."""
    await connection.execute("select set_config('synchronous_commit', 'off', true)")


async def finish(
    connection: Connection, run_id: int, counts: Mapping[str, int], now: datetime
) -> None:
    """Stores that a run finished."""
    await connection.execute(
        "update sync.runs set counts = $2, finished_at = $3, error = null where id = $1",
        run_id,
        dict(counts),
        now,
    )


async def store_error(connection: Connection, run_id: int, error: str) -> None:
    """Stores what a run waits for."""
    await connection.execute("update sync.runs set error = $2 where id = $1", run_id, error[:300])


async def record(connection: Connection, run_id: int, drift: Sequence[Drift]) -> None:
    """Stores the drift a page has; a key that has open drift already keeps that entry."""
    await connection.executemany(
        """
        insert into sync.drift as d (topic, key, kind, fields, ours, theirs, right_side, action,
          notice, repaired, run_id)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        on conflict (topic, key) where closed_at is null do update set kind = excluded.kind,
          fields = excluded.fields, ours = excluded.ours, theirs = excluded.theirs,
          right_side = excluded.right_side, action = excluded.action, notice = excluded.notice,
          repaired = excluded.repaired, run_id = excluded.run_id, seen_at = clock_timestamp()
        """,
        [
            (
                difference.topic,
                difference.key,
                difference.kind,
                list(difference.fields),
                as_facts(difference.ours),
                as_facts(difference.theirs),
                difference.right_side,
                difference.action,
                difference.notice,
                difference.repaired,
                run_id,
            )
            for difference in drift
        ],
    )


async def close_agreed(connection: Connection, topic: Part, keys: Sequence[str]) -> None:
    """Closes the open drift of keys that are equal now."""
    await connection.execute(
        """
        update sync.drift set closed_at = now()
        where closed_at is null and topic = $1 and key = any ($2::text[])
        """,
        topic,
        keys,
    )


async def record_undecided(connection: Connection, keys: Sequence[tuple[Part, str]]) -> None:
    """Stores that a run saw the open drift of keys in flight, which it could not decide."""
    if not keys:
        return
    await connection.execute(
        """
        update sync.drift d set seen_at = clock_timestamp()
          from unnest($1::text[], $2::text[]) as k (topic, key)
         where d.closed_at is null and d.topic = k.topic and d.key = k.key
        """,
        [topic for topic, _ in keys],
        [key for _, key in keys],
    )


async def close_unseen(connection: Connection, run_id: int, kind: RunKind) -> None:
    """Closes the open drift that a run has neither seen nor left undecided.

    A run of recent changes closes none, because it did not compare every key.
    """
    if kind == "recent":
        return
    await connection.execute(
        """
        update sync.drift d set closed_at = now() from sync.runs c where c.id = $1
          and d.closed_at is null and d.seen_at < c.recorded_at
        """,
        run_id,
    )


async def repaired_drift(
    connection: Connection, run_id: int, after: int, limit: int
) -> list[RepairedDrift]:
    """Returns the next open drift that this run repaired."""
    rows: list[Record] = await connection.fetch(
        """
        select id, topic, key, kind from sync.drift where run_id = $1 and id > $2
          and closed_at is null and repaired order by id limit $3
        """,
        run_id,
        after,
        limit,
    )
    return [RepairedDrift(**dict(row)) for row in rows]


async def close_drift(connection: Connection, ids: Sequence[int]) -> None:
    """Closes drift whose sides are equal now."""
    await connection.execute(
        "update sync.drift set closed_at = now() where id = any ($1::bigint[])", ids
    )


async def open_drift(connection: Connection) -> tuple[int, int]:
    """Returns the number of open differences, and of open notices."""
    row = await fetch_one(
        connection,
        """
        select count(*) filter (where not notice) as drift, count(*) filter (where notice)
          as notices from sync.drift where closed_at is null
        """,
    )
    return row["drift"], row["notices"]


async def delete_old(connection: Connection, now: datetime, days: int, limit: int) -> None:
    """Deletes runs and closed drift older than `days`; at most `limit` of the drift."""
    await connection.execute(
        "delete from sync.runs where started_at < $1::timestamptz - make_interval(days => $2)",
        now,
        days,
    )
    await connection.execute(
        """
        delete from sync.drift where id in (select id from sync.drift where closed_at
          < $1::timestamptz - make_interval(days => $2) order by id limit $3)
        """,
        now,
        days,
        limit,
    )

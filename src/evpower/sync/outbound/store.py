"""All SQL of the relay: claim, read, finish. It skips locked rows, so it never deadlocks."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import orjson

from evpower.foundation.db import Connection, Record, fetch_one
from evpower.foundation.rows import read_row
from evpower.payments import OPENING
from evpower.sync.model import (
    CLIENT_STATUS,
    Claim,
    ClientPart,
    Finish,
    OutboxTopic,
    Outgoing,
)
from evpower.sync.outbound.claimed_rows import read_claimed
from evpower.sync.store_sessions import MAY_BE_UNLINKED, SHOWN_SESSIONS

# Supabase is right about a client's request for deletion; a row that is created again must state
# it.
_REQUESTED: Final = "c.status = 'active' and c.deletion_requested_at is not null"
_DELETION_STATUS: Final = CLIENT_STATUS["closed"]
# The contacts and name of a new row. A contact that another client has here stays as Supabase has
# it. A closed client gets none: others may use its contacts, and Supabase may have deleted the
# user.
_CONTACTS: Final = """
case when c.status <> 'closed' then coalesce(c.email, (select k.value from sync.contact_conflicts k
  where k.client_id = c.id and k.contact = 'email')) end as email,
case when c.status <> 'closed' then coalesce(c.phone, (select k.value from sync.contact_conflicts k
  where k.client_id = c.id and k.contact = 'phone')) end as phone,
case when c.status <> 'closed' then c.name end as name
"""

# synchronous_commit off: a crash may lose a lease or a finished entry, and then a call is repeated,
# which is harmless.
_ASYNC_COMMIT: Final = (
    "async_commit as materialized (select set_config('synchronous_commit', 'off', true))"
)

# Keys that made Supabase wait are sent in calls of their own; so many are claimed at once.
_ALONE: Final = 4

# A statement of its own, so that what is read afterwards is at least as new as the leased entries.
# The number that orders claims is the time: it grows across crashes and restored backups too. The
# wait that was planned (of a session's progress) is no lag: an entry waits from when it was due.
_CLAIM: Final = f"""
with {_ASYNC_COMMIT}, together as materialized (
  select p.topic, p.key, p.next_at from sync.pending p
   where p.parked_at is null and not p.alone and p.next_at <= now()
     and (p.leased_until is null or p.leased_until < now())
   order by p.next_at limit $1 for update skip locked
), alone as materialized (
  select p.topic, p.key, p.next_at from sync.pending p
   where p.parked_at is null and p.alone and p.next_at <= now()
     and (p.leased_until is null or p.leased_until < now())
   order by p.next_at limit {_ALONE} for update skip locked
), due as (
  select * from together union all select * from alone
), sized as (
  select d.topic, d.key,
         sum(least(greatest(w.version - coalesce(a.version, 0), 0), $2)) over before
           - least(greatest(w.version - coalesce(a.version, 0), 0), $2) as earlier
    from due d
    left join wallet.balances w on d.topic = 'client' and w.client_id = d.key
    left join sync.acknowledged a on d.topic = 'client' and a.client_id = d.key
  window before as (order by d.next_at, d.key rows unbounded preceding)
)
update sync.pending p set leased_until = now() + make_interval(secs => $3)
  from sized z, async_commit
 where p.topic = z.topic and p.key = z.key and coalesce(z.earlier, 0) < $2
returning p.topic, p.key, p.generation, p.attempts, p.force,
          case when p.attempts = 0 then greatest(p.since, p.next_at) else p.since end as since,
          (extract(epoch from clock_timestamp()) * 1000000)::bigint as number,
          clock_timestamp() as claimed_at, p.alone
"""


async def claim(
    connection: Connection, *, keys: int, transactions: int, lease_s: float
) -> list[Claim]:
    """Leases the keys due longest: at most `keys`, with about `transactions` transactions."""
    rows: list[Record] = await connection.fetch(_CLAIM, keys, transactions, lease_s)
    return [read_row(Claim, row) for row in rows]


# Money is text with two decimals. A client with too many new transactions is sent in part: its
# balance is then the one after the last transaction sent. The opening balance is sent along while
# Supabase is not known to have anything of ours.
_READ_CLIENTS: Final = f"""
with requested as (
  select * from unnest($1::uuid[], $2::bigint[], $3::boolean[]) as a (key, number, force)
), state as materialized (
  select c.id, {_CONTACTS},
         case when {_REQUESTED} then '{_DELETION_STATUS}' else c.public_status end as status,
         {_REQUESTED} as deletion_requested,
         (select b.word from sync.status_before b where b.client_id = c.id) as status_before,
         c.created_at, greatest(c.updated_at, w.updated_at) as updated_at, w.currency,
         w.balance_minor, w.held_minor, w.version, w.revision, a.force,
         c.status = 'closed' as closed,
         greatest(a.number, coalesce(k.number, 0) + 1) as number,
         coalesce(k.version, 0) as from_version,
         least(w.version, coalesce(k.version, 0) + $4) as to_version
    from requested a
    join identity.clients_public c on c.id = a.key
    join wallet.balances w on w.client_id = a.key
    left join sync.acknowledged k on k.client_id = a.key
), lines as (
  select t.id, t.client_id, t.version, t.kind as type,
         t.amount_som::text as amount, t.balance_before_som::text as balance_before,
         t.balance_after_som::text as balance_after,
         p.invoice_id, s.session_id, t.event_at, t.created_at
    from state x
    join wallet.transactions_public t
      on t.client_id = x.id and t.version > x.from_version and t.version <= x.to_version
    left join payments.payments_public p on p.id = t.payment_id
    left join charging.settlements_public s on s.id = t.settlement_id
), client_rows as (
  select x.id, x.email, x.phone, x.name, x.status, x.deletion_requested, x.closed,
         x.status_before, x.created_at, x.updated_at,
         x.currency,
         round(coalesce(t.balance_after_minor, x.balance_minor) * 0.01, 2)::text as balance,
         round(least(x.held_minor, coalesce(t.balance_after_minor, x.balance_minor)) * 0.01,
               2)::text as held,
         x.to_version as balance_version,
         case when x.to_version < x.version then 0 else x.revision end as wallet_revision,
         x.number as revision, x.from_version,
         x.force and x.to_version = x.version as force, x.to_version < x.version as partial,
         case when x.from_version = 0 then
           (select o.amount_som::text from payments.payments_public o
             where o.provider = 'manual' and o.provider_ref = '{OPENING}' || x.id) end as adopted
    from state x
    left join wallet.transactions_public t
      on x.to_version < x.version and t.client_id = x.id and t.version = x.to_version
)
select (select coalesce(json_agg(h), '[]')::text from client_rows h) as clients,
       (select coalesce(json_agg(l), '[]')::text from lines l) as transactions,
       (select array_agg(x.id) from state x) as ids,
       (select array_agg(x.from_version) from state x) as from_versions,
       (select array_agg(x.to_version) from state x) as to_versions,
       (select array_agg(x.to_version = x.version) from state x) as complete,
       (select array_agg(x.number) from state x) as numbers
"""

_READ_SESSIONS: Final = f"""
with requested as (
  select * from unnest($1::uuid[], $2::boolean[]) as a (key, force)
), lines as (
  select s.id, s.client_id as user_id, s.client_id, s.station_id, s.connector_id,
         s.start_time, s.ended_at as stop_time, s.ended_at as end_time,
         s.energy_kwh::text as energy, s.energy_kwh::text as energy_consumed,
         s.cost_som::text as amount, s.cost_som::text as total_cost,
         s.status, s.revision, s.created_at, s.updated_at, s.details, a.force,
         s.limit_type, s.limit_value::text as limit_value, {MAY_BE_UNLINKED} as unlinkable
    from requested a join {SHOWN_SESSIONS} s on s.id = a.key
    join identity.clients_public c on c.id = s.client_id
)
select coalesce(json_agg(l), '[]')::text from lines l
"""


async def read(
    connection: Connection, claims: Sequence[Claim], *, chunk: int, now: datetime
) -> Outgoing:
    """Returns what Supabase lacks of these keys; at most `chunk` transactions of one client."""
    clients = [claim for claim in claims if claim.topic == "client"]
    sessions = [claim for claim in claims if claim.topic == "session"]
    client_json = transaction_json = session_json = "[]"
    parts: dict[UUID, ClientPart] = {}
    if clients:
        row = await fetch_one(
            connection,
            _READ_CLIENTS,
            [claim.key for claim in clients],
            [claim.number for claim in clients],
            [claim.force for claim in clients],
            chunk,
        )
        client_json, transaction_json = row["clients"], row["transactions"]
        parts = {
            key: ClientPart(key, from_version, to_version, complete, number)
            for key, from_version, to_version, complete, number in zip(
                row["ids"] or (),
                row["from_versions"] or (),
                row["to_versions"] or (),
                row["complete"] or (),
                row["numbers"] or (),
                strict=True,
            )
        }
    if sessions:
        session_json = await connection.fetchval(
            _READ_SESSIONS, [claim.key for claim in sessions], [claim.force for claim in sessions]
        )
    count = sum(max(0, part.to_version - part.from_version) for part in parts.values())
    rows, payments = await read_claimed(connection, claims, now)
    return Outgoing(
        client_json,
        transaction_json,
        session_json,
        parts,
        count,
        orjson.dumps(rows).decode(),
        orjson.dumps(payments).decode(),
    )


# The version moves only from the one the call started at, so that a reset in the meantime (a
# repair) stays. The number is the last one sent: the next is above it, even if the clock was turned
# back.
_ACKNOWLEDGE: Final = """
insert into sync.acknowledged as k (client_id, version, number)
select a.key, a.version, a.number
  from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[]) as a (key, was, version, number)
 where a.was = 0 or exists (select from sync.acknowledged o where o.client_id = a.key)
 order by a.key
on conflict (client_id) do update
  set version = case when k.version = (
        select a.was from unnest($1::uuid[], $2::bigint[]) as a (key, was)
         where a.key = k.client_id) then excluded.version else k.version end,
      number = greatest(k.number, excluded.number), at = now()
where k.version <> excluded.version or k.number < excluded.number
"""

# An entry is deleted or parked only if its generation is still the claimed one, else it is due
# again at once: the newer change was never sent.
# Locked rows are skipped, not waited for: the statement returns the keys it ended.
_FINISH: Final = f"""
with {_ASYNC_COMMIT}, ended as materialized (
  select p.topic, p.key, e.verdict, e.delay_s,
         case when e.verdict <> 'park' or e.generation = p.generation then e.error end as error,
         e.verdict = 'sent' and e.generation = p.generation as is_sent,
         e.verdict = 'park' and e.generation = p.generation as is_parked,
         case when e.verdict = 'sent' then greatest(p.since, e.claimed_at) else p.since end as since
    from unnest($1::text[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::float8[],
                $7::timestamptz[])
           as e (topic, key, generation, verdict, error, delay_s, claimed_at)
    join sync.pending p on p.topic = e.topic and p.key = e.key
   order by p.topic, p.key for update of p skip locked
), deleted as (
  delete from sync.pending p using ended e where e.is_sent and p.topic = e.topic and p.key = e.key
), remaining as (
  update sync.pending p
     set leased_until = null, since = e.since, last_error = e.error, alone = e.verdict = 'alone',
         force = p.force or e.verdict = 'force',
         attempts = case when e.verdict in ('retry', 'alone') then p.attempts + 1 else 0 end,
         next_at = case when e.verdict in ('retry', 'alone')
                        then now() + make_interval(secs => e.delay_s) else p.next_at end,
         parked_at = case when e.is_parked then now() end
    from ended e where not e.is_sent and p.topic = e.topic and p.key = e.key
)
select e.topic, e.key from ended e, async_commit
"""
_PRESENT: Final = """
select p.topic, p.key from sync.pending p
  join unnest($1::text[], $2::uuid[]) as e (topic, key) on p.topic = e.topic and p.key = e.key
"""


async def finish(connection: Connection, ends: Sequence[Finish]) -> list[Finish]:
    """Ends claims. Returns those whose entry was locked and must be ended again."""
    acknowledged = [
        (end.claim.key, *end.acknowledge) for end in ends if end.acknowledge is not None
    ]
    if acknowledged:
        await connection.execute(
            _ACKNOWLEDGE, *(list(column) for column in zip(*acknowledged, strict=True))
        )
    if not ends:
        return []
    topics, keys = [end.claim.topic for end in ends], [end.claim.key for end in ends]
    rows: list[Record] = await connection.fetch(
        _FINISH,
        topics,
        keys,
        [end.claim.generation for end in ends],
        [end.verdict for end in ends],
        [end.error for end in ends],
        [end.delay_s for end in ends],
        [end.claim.claimed_at for end in ends],
    )
    if len(rows) == len(ends):
        return []
    done = {(row["topic"], row["key"]) for row in rows}
    locked = [end for end in ends if (end.claim.topic, end.claim.key) not in done]
    rows = await connection.fetch(
        _PRESENT, [end.claim.topic for end in locked], [end.claim.key for end in locked]
    )
    present = {(row["topic"], row["key"]) for row in rows}
    return [end for end in locked if (end.claim.topic, end.claim.key) in present]


# At most 64 lags are stored, drawn evenly from the sorted ones: the distribution stays the same.
_RECORD_CALL: Final = f"""
with {_ASYNC_COMMIT}, lags as (
  select greatest(0, extract(epoch from clock_timestamp() - s) * 1000)::int as ms
    from unnest($1::timestamptz[]) s
), drawn as (
  select case when count(*) <= 64 then array_agg(ms order by ms)
              else percentile_disc(array(select q / 63.0 from generate_series(0, 63) q))
                     within group (order by ms) end as ms
    from lags
)
insert into sync.calls as c (slot, keys, transactions, took_ms, lags_ms)
select (nextval('sync.calls_seq') % 1000)::int, cardinality($1::timestamptz[]), $2, $3, ms
  from drawn, async_commit
on conflict (slot) do update
  set at = excluded.at, keys = excluded.keys, transactions = excluded.transactions,
      took_ms = excluded.took_ms, lags_ms = excluded.lags_ms
returning lags_ms
"""


async def record_call(
    connection: Connection, claims: Sequence[Claim], transactions: int, took_ms: int
) -> list[int]:
    """Stores a call that reached Supabase. Returns up to 64 of its lags in milliseconds."""
    lags: list[int] = await connection.fetchval(
        _RECORD_CALL, [claim.since for claim in claims], transactions, took_ms
    )
    return lags


async def release_waiting(connection: Connection) -> None:
    """Makes the entries due that were delayed by an outage; called when Supabase responds again."""
    await connection.execute(
        """
        update sync.pending p set next_at = now() from (
        select topic, key from sync.pending where parked_at is null and next_at > now()
        order by topic, key for update skip locked) due
        where p.topic = due.topic and p.key = due.key
        """
    )


async def enqueue(
    connection: Connection, topic: OutboxTopic, keys: Sequence[UUID], *, force: bool = False
) -> None:
    """Enqueues keys, due now and unparked; with `force` Supabase stores them whatever it has."""
    await connection.execute(
        """
        insert into sync.pending as p (topic, key, force)
        select $1, k, $3 from unnest($2::uuid[]) k order by k
        on conflict (topic, key) do update
        set generation = excluded.generation, next_at = now(), parked_at = null,
          attempts = 0, force = p.force or excluded.force
        """,
        topic,
        keys,
        force,
    )
    if topic == "client" and force:  # after the entries, which every change locks first
        await connection.execute(
            """
            insert into sync.acknowledged (client_id, version)
            select k, 0 from unnest($1::uuid[]) k order by k
            on conflict (client_id) do update set version = 0, at = now()
            """,
            keys,
        )


async def forget_acknowledged(connection: Connection, clients: Sequence[UUID]) -> None:
    """Resets what Supabase is known to have of clients; their entries must be locked before."""
    await connection.execute(
        """
        with known as materialized (select client_id from sync.acknowledged
          where client_id = any ($1::uuid[]) order by client_id for no key update)
        update sync.acknowledged a set version = 0 from known k where a.client_id = k.client_id
        """,
        clients,
    )


async def unpark_all(connection: Connection) -> int:
    """Makes every parked entry due now, locked in the order of the key. Returns how many.

    The new generation keeps the answer to an older call from parking it again.
    """
    keys: int = await connection.fetchval(
        """
        with parked as materialized (select topic, key from sync.pending
          where parked_at is not null order by topic, key for no key update),
          due as (update sync.pending p set parked_at = null, attempts = 0, next_at = now(),
          generation = nextval('sync.pending_generation')
          from parked k where p.topic = k.topic and p.key = k.key returning 1)
        select count(*) from due
        """
    )
    return keys

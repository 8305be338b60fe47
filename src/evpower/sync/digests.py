"""Both sides in short: ours by SQL, theirs by evpower_digest, in the same words."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final, cast
from uuid import UUID

import orjson

from evpower.foundation.db import Connection, Record
from evpower.sync.errors import TargetUnavailable
from evpower.sync.model import (
    CLIENT_STATUS,
    SESSION_STATUS,
    ClientDigest,
    SessionDigest,
    Topic,
)
from evpower.sync.supabase_rpc import Rpc

Digest = ClientDigest | SessionDigest

_CLIENTS: Final = """
select c.id::text as id, w.balance_minor, w.held_minor, w.version, c.status,
       count(t.version) as count, coalesce(sum(t.amount_minor), 0)::bigint as sum_minor,
       coalesce(max(t.version), 0) as last,
       coalesce(sum(t.version::numeric * (t.amount_minor * 31 + t.balance_after_minor * 7
         + 100 * case t.kind when 'topup' then 1 when 'charge' then 2 when 'refund' then 3 end)),
         0)::text as moment
  from identity.clients c
  join wallet.wallets w on w.client_id = c.id
  left join wallet.transactions t on t.client_id = c.id
 where c.id = any ($1::uuid[])
 group by c.id, w.client_id
"""
_SESSIONS: Final = """
select s.id::text as id, s.client_id::text as client_id, s.revision, s.state, s.energy_wh,
       s.cost_minor
  from charging.sessions s where s.id = any ($1::uuid[])
"""


async def page_of_ours(
    connection: Connection, topic: Topic, after: UUID | None, limit: int
) -> list[UUID]:
    """The next ids after one, in their order."""
    table = "identity.clients" if topic == "client" else "charging.sessions"
    rows: list[Record] = await connection.fetch(
        f"select id from {table} where $1::uuid is null or id > $1 order by id limit $2",
        after,
        limit,
    )
    return [row["id"] for row in rows]


async def ours(connection: Connection, topic: Topic, keys: Sequence[UUID]) -> dict[str, Digest]:
    """What EvPower has of these."""
    if topic == "client":
        rows: list[Record] = await connection.fetch(_CLIENTS, keys)
        return {
            row["id"]: ClientDigest(
                row["id"],
                row["balance_minor"],
                row["version"],
                CLIENT_STATUS[row["status"]],
                row["count"],
                row["sum_minor"],
                row["last"],
                int(row["moment"]),
                row["held_minor"],
            )
            for row in rows
        }
    rows = await connection.fetch(_SESSIONS, keys)
    return {
        row["id"]: SessionDigest(
            row["id"],
            row["client_id"],
            row["revision"],
            SESSION_STATUS[row["state"]],
            row["energy_wh"],
            row["cost_minor"],
        )
        for row in rows
    }


async def theirs(rpc: Rpc, topic: Topic, keys: Sequence[UUID]) -> dict[str, Digest]:
    """What Supabase has of these."""
    rows, _ = await _ask(rpc, topic, {"ids": [str(key) for key in keys]})
    return {row.id: row for row in rows}


async def page_of_theirs(
    rpc: Rpc, topic: Topic, after: str | None, limit: int
) -> tuple[list[Digest], str | None]:
    """The next rows of Supabase in its own order, and where the page after them begins."""
    return await _ask(rpc, topic, {"after": after, "limit": limit})


async def _ask(
    rpc: Rpc, topic: Topic, what: Mapping[str, object]
) -> tuple[list[Digest], str | None]:
    body = orjson.dumps({"payload": {"topic": f"{topic}s", **what}})
    raw = await rpc.call("evpower_digest", body)
    try:
        answer = cast("Mapping[str, object]", raw)
        rows = cast("list[Mapping[str, object]]", answer["rows"])
        read = _client if topic == "client" else _session
        return [read(row) for row in rows], cast("str | None", answer["next"])
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise TargetUnavailable("evpower_digest answered in an unknown form") from error


def _client(row: Mapping[str, object]) -> ClientDigest:
    return ClientDigest(
        str(row["id"]),
        _scaled(row["balance"], 2),
        int(str(row["version"])),
        str(row["status"]),
        int(str(row["count"])),
        _scaled(row["sum"], 2),
        int(str(row["last"])),
        _scaled(row["moment"], 2),
        _scaled(row["held"], 2),
        int(str(row["foreign"])),
        bool(row["written"]),
    )


def _session(row: Mapping[str, object]) -> SessionDigest:
    return SessionDigest(
        str(row["id"]),
        str(row["client_id"]),
        int(str(row["revision"])) if row["revision"] is not None else None,
        str(row["status"]),
        _scaled(row["energy"], 3),
        _scaled(row["cost"], 2),
        bool(row["same"]),
    )


def _scaled(value: object, places: int) -> int | float:
    """Som to tyiyn, kWh to Wh; a fraction that is left makes a difference to be seen."""
    number = Decimal(str(value if value is not None else 0)).scaleb(places)
    whole = number.is_finite() and number == number.to_integral_value()
    return int(number) if whole else float(number)

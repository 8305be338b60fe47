"""The SQL of meter values that share a transaction: a statement for all of them at once."""

from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from evpower.charging.running import Facts, RunningTransaction
from evpower.charging.store_running import (
    RUNNING,
    UNKNOWN_POWER_W,
    VALUE_COLUMNS,
    WRITTEN,
    progress_values,
    read_running,
)
from evpower.foundation.db import Connection
from evpower.foundation.value import Value

_PROGRESS_TYPES: Final[Mapping[str, str]] = {
    "register": "jsonb", "register_wh": "numeric", "energy_wh": "bigint", "cost_minor": "bigint",
    "tally": "jsonb", "interval_s": "int", "close_reason": "text", "tail_wh": "numeric",
    **dict.fromkeys(
        ("parked_since", "last_value_at", "flowed_at", "stop_due_at", "close_due_at",
          "rebill_due_at"),
        "timestamptz",
    ),
    **dict.fromkeys(Facts._fields, "int"),
}  # fmt: skip


class RowVersions(Value, frozen=True):
    """Which versions of its rows a running transaction was read from."""

    transaction: int
    progress: int
    session: int | None


class OpenTransaction(Value, frozen=True):
    """An open transaction by its versions, and what is not in the versioned rows."""

    id: int
    versions: RowVersions
    held_minor: int
    available_minor: int
    rated_power_w: int
    skew_s: int | None


async def find_open(
    connection: Connection, wanted: Sequence[tuple[str, int, int]]
) -> list[OpenTransaction | None]:
    """Returns the open transaction of each station, number and connector, as `bind` would.

    It has the number; or it is called so, and is on the connector.
    """
    rows = await connection.fetch(
        """
        select w.place, o.*
          from unnest($2::text[], $3::int[], $4::int[])
               with ordinality as w (station_id, number, connector, place)
         cross join lateral (
          select t.id, t.xmin as t_xmin, p.xmin as p_xmin, s.xmin as s_xmin,
                 coalesce(h.amount_minor, 0) as held_minor,
                 coalesce(b.balance_minor - b.held_minor, 0) as available_minor,
                 coalesce(c.rated_power_w,
                          (select max(m.rated_power_w) from stations.connectors_public m
                            where m.station_id = t.station_id), $1) as rated_power_w,
                 k.skew_s
            from charging.transactions t
            join charging.progress p on p.transaction_id = t.id
            left join charging.sessions s on s.id = t.session_id
            left join charging.clocks k on k.station_id = t.station_id
            left join stations.connectors_public c
              on c.station_id = t.station_id and c.number = t.connector
            left join wallet.holds_public h on h.session_id = t.session_id and h.state = 'open'
            left join wallet.balances b on b.client_id = s.client_id
           where t.station_id = w.station_id and t.ended_at is null
             and (t.id = w.number or t.connector = w.connector and (
                  t.text_id = w.number::text
                  or exists (select from charging.transaction_aliases a
                              where a.station_id = w.station_id and a.alias = w.number::text
                                and a.transaction_id = t.id)))
           order by t.id desc limit 1) o
        """,
        UNKNOWN_POWER_W,
        *(list(column) for column in zip(*wanted, strict=True)),
    )
    listed: list[OpenTransaction | None] = [None] * len(wanted)
    for place, number, t_xmin, p_xmin, s_xmin, *facts in rows:
        versions = RowVersions(t_xmin, p_xmin, s_xmin)
        listed[place - 1] = OpenTransaction(number, versions, *facts)
    return listed


async def load_all(connection: Connection, ids: Sequence[int]) -> dict[int, RunningTransaction]:
    """Returns transactions with their sessions, progress and money, by id."""
    rows = await connection.fetch(
        f"""
        select o.* from unnest($2::int[]) as w (id)
         cross join lateral ({RUNNING} where t.id = w.id limit 1) o
        """,
        UNKNOWN_POWER_W,
        ids,
    )
    return {row["t_id"]: read_running(row) for row in rows}


async def write(
    connection: Connection,
    values: Sequence[tuple[object, ...]],
    running: Sequence[RunningTransaction],
) -> int:
    """Stores meter values, and the progress of transactions.

    Returns the version that the progress has now, 0 if there is none.
    """
    if values:
        await connection.copy_records_to_table(
            "meter_values", schema_name="charging", columns=VALUE_COLUMNS, records=values
        )
    # One text: asyncpg looks at each element of an array, which takes longer than all the rest.
    # JSON has no decimals: they are written as texts.
    rows = orjson.dumps([_members(each) for each in running], default=str)
    version: int | None = await connection.fetchval(_WRITE, rows.decode())
    return version or 0


def _members(running: RunningTransaction) -> dict[str, object]:
    """Returns a row of `_WRITE`."""
    values = (running.transaction.id, *progress_values(running.progress))
    return dict(zip(_NAMES, values, strict=True))


_NAMES: Final = ("id", *WRITTEN)
_TYPES: Final = ("int", *(_PROGRESS_TYPES[name] for name in WRITTEN))
_COLUMNS: Final = ", ".join(f"{name} {kind}" for name, kind in zip(_NAMES, _TYPES, strict=True))
# The ids stand twice, so that only rows of theirs are read whatever plan there is.
_WRITE: Final = f"""
with given as materialized (
  select * from json_to_recordset($1::text::json) as u ({_COLUMNS})
), counted as (
  update charging.progress p set revision = p.revision + 1,
         {", ".join(f"{name} = u.{name}" for name in WRITTEN)}
    from given u
   where p.transaction_id = u.id and p.transaction_id = any (array(select id from given))
  returning p.xmin as version
) select version from counted limit 1
"""

"""All SQL of the tariffs of single clients."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from evpower.foundation.db import Connection, Record
from evpower.tariffs.model import ClientTariff, Dimension, Discount, Place, TariffVersion
from evpower.tariffs.store import VERSION

_ROW: Final = """
select c.id, c.client_id, p.code as plan, c.discount_ppm, c.discount_on, c.valid_from,
       c.valid_until, c.created_at, c.actor
  from tariffs.client_tariffs c left join tariffs.plans p on p.id = c.plan_id
"""


async def insert(
    connection: Connection,
    client_id: UUID,
    plan_id: int | None,
    discount_ppm: int | None,
    discount_on: Sequence[Dimension],
    valid_from: datetime,
    valid_until: datetime | None,
    actor: str,
) -> int:
    """Inserts a client's tariff; returns its id."""
    number: int = await connection.fetchval(
        """
        insert into tariffs.client_tariffs
          (client_id, plan_id, discount_ppm, discount_on, valid_from, valid_until, actor)
        values ($1, $2, $3, $4, $5, $6, $7) returning id
        """,
        client_id,
        plan_id,
        discount_ppm,
        list(discount_on),
        valid_from,
        valid_until,
        actor,
    )
    return number


async def lock(connection: Connection, number: int) -> ClientTariff | None:
    """Returns a client's tariff, locked until the transaction ends."""
    row = await connection.fetchrow(f"{_ROW} where c.id = $1 for update of c", number)
    return None if row is None else _read(row)


async def get(connection: Connection, number: int) -> ClientTariff | None:
    """Returns a client's tariff."""
    row = await connection.fetchrow(f"{_ROW} where c.id = $1", number)
    return None if row is None else _read(row)


async def end(connection: Connection, number: int, valid_until: datetime) -> None:
    """Ends a client's tariff earlier than it was to."""
    await connection.execute(
        "update tariffs.client_tariffs set valid_until = $2 where id = $1", number, valid_until
    )


class Chosen(NamedTuple):
    """The version that prices a client's session at a place, and the client's own tariff."""

    version: TariffVersion
    number: int | None  # of the client's tariff; None: it has none
    discount: Discount | None


async def choose(
    connection: Connection, place: Place, at: datetime, client_id: UUID | None
) -> Chosen | None:
    """Returns what prices a session that begins: by the client's plan, else by the place's.

    Of several tariffs of a client that are in force the one that was made last counts.
    """
    row = await connection.fetchrow(
        f"""
        with own as (
          select c.id, c.plan_id, c.discount_ppm, c.discount_on from tariffs.client_tariffs c
           where c.client_id = $5 and c.valid_from <= $4
             and (c.valid_until is null or c.valid_until > $4)
           order by c.id desc limit 1)
        select v.*, own.id as client_tariff, own.discount_ppm, own.discount_on
          from (
            select v.id
              from (select 0 as width, o.plan_id from own o where o.plan_id is not null
                    union all
                    select s.width, a.plan_id
                      from (values (1, 'connector', $1::text), (2, 'station', $2::text),
                                   (3, 'location', $3::text), (4, 'everything', ''))
                             as s (width, scope, scope_id)
                     cross join lateral (
                       select a.plan_id from tariffs.assignments a
                        where a.scope = s.scope and a.scope_id = s.scope_id and a.valid_from <= $4
                        order by a.valid_from desc, a.id desc limit 1) a) s
             cross join lateral (
               select v.id from tariffs.versions v
                where v.plan_id = s.plan_id and v.valid_from <= $4
                order by v.valid_from desc, v.number desc limit 1) v
             order by s.width limit 1) chosen
         cross join lateral ({VERSION} where v.id = chosen.id offset 0) v
          left join own on true
        """,
        place.connector,
        place.station,
        place.location,
        at,
        client_id,
    )
    if row is None:
        return None
    columns: dict[str, Any] = dict(row)
    number, discount_ppm, on = (
        columns.pop(name) for name in ("client_tariff", "discount_ppm", "discount_on")
    )
    discount = None if discount_ppm is None else Discount(discount_ppm, frozenset(on))
    return Chosen(TariffVersion(**columns), number, discount)


async def listed(
    connection: Connection, client_id: UUID | None, after: datetime | None, limit: int
) -> list[ClientTariff]:
    """Returns the newest tariffs of a client, or of all; `after`: those that end later."""
    rows: list[Record] = await connection.fetch(
        f"""
        {_ROW} where ($1::uuid is null or c.client_id = $1)
           and ($2::timestamptz is null or c.valid_until is null or c.valid_until > $2)
         order by c.id desc limit $3
        """,
        client_id,
        after,
        limit,
    )
    return [_read(row) for row in rows]


def _read(row: Record) -> ClientTariff:
    columns: dict[str, Any] = dict(row)
    columns["discount_on"] = frozenset(row["discount_on"])
    return ClientTariff(**columns)

"""All SQL of the tariffs of single clients."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from evpower.foundation.db import Connection, Record
from evpower.tariffs.model import ClientTariff, Dimension, Discount, Place

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

    plan: str
    version: int
    format: int  # of the document
    document: Mapping[str, Any]
    number: int | None  # of the client's tariff; None: it has none
    discount: Discount | None


async def choose(
    connection: Connection, place: Place, at: datetime, client_id: UUID | None
) -> Chosen | None:
    """Returns what prices a session that begins: by the client's plan, else by the place's.

    Of several tariffs of a client that are in force the one that was made last counts.
    """
    row = await connection.fetchrow(
        "select * from tariffs.choose($1, $2, $3, $4, $5)",
        place.connector,
        place.station,
        place.location,
        at,
        client_id,
    )
    return None if row is None else chosen(row)


def chosen(row: Record) -> Chosen | None:
    """Returns a row of `tariffs.choose`; None: all is null."""
    if row["plan"] is None:
        return None
    ppm: int | None = row["discount_ppm"]
    return Chosen(
        row["plan"],
        row["plan_version"],
        row["document_format"],
        row["document"],
        row["client_tariff"],
        None if ppm is None else Discount(ppm, frozenset(row["discount_on"])),
    )


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

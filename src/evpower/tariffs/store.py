"""All SQL of the tariffs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from evpower.foundation.db import Connection, Record
from evpower.tariffs.model import Assignment, Place, Scope, TariffVersion

VERSION: Final = """
select v.id, p.code as plan, v.number, v.format, v.document, v.valid_from, v.created_at, v.actor
  from tariffs.versions v join tariffs.plans p on p.id = v.plan_id
"""


@dataclass(frozen=True, slots=True)
class LockedPlan:
    """A plan that no other transaction adds a version to."""

    id: int
    last_version: int


async def insert_plan(connection: Connection, code: str) -> None:
    """Inserts a plan, unless there is one of this code."""
    await connection.execute(
        "insert into tariffs.plans (code) values ($1) on conflict (code) do nothing", code
    )


async def lock_plan(connection: Connection, code: str) -> LockedPlan | None:
    """Returns the plan, locked until the transaction ends; None: there is none."""
    row = await connection.fetchrow(
        """
        update tariffs.plans set last_version = last_version where code = $1
        returning id, last_version
        """,
        code,
    )
    return None if row is None else LockedPlan(**dict(row))


async def insert_version(
    connection: Connection,
    plan: LockedPlan,
    document: Mapping[str, Any],
    format_number: int,
    valid_from: datetime | None,
    actor: str,
) -> int:
    """Inserts the plan's next version; returns its number."""
    number: int = await connection.fetchval(
        """
        with next as (
          update tariffs.plans set last_version = last_version + 1 where id = $1
          returning id, last_version)
        insert into tariffs.versions (plan_id, number, format, document, valid_from, actor)
        select id, last_version, $2, $3, $4, $5 from next
        returning number
        """,
        plan.id,
        format_number,
        document,
        valid_from,
        actor,
    )
    return number


async def activate_version(
    connection: Connection, plan: LockedPlan, number: int, valid_from: datetime
) -> bool:
    """Puts a draft in force from a time; false when there is no such draft."""
    updated = await connection.fetchval(
        """
        update tariffs.versions set valid_from = $3
         where plan_id = $1 and number = $2 and valid_from is null
        returning true
        """,
        plan.id,
        number,
        valid_from,
    )
    return updated is True


async def get_version(connection: Connection, code: str, number: int) -> TariffVersion | None:
    """Returns one version of a plan."""
    row = await connection.fetchrow(f"{VERSION} where p.code = $1 and v.number = $2", code, number)
    return None if row is None else TariffVersion(**dict(row))


async def version_at(connection: Connection, code: str, at: datetime) -> TariffVersion | None:
    """Returns the version of a plan that is in force at a time."""
    row = await connection.fetchrow(
        f"""
        {VERSION} where p.code = $1 and v.valid_from <= $2
         order by v.valid_from desc, v.number desc limit 1
        """,
        code,
        at,
    )
    return None if row is None else TariffVersion(**dict(row))


async def version_for(connection: Connection, place: Place, at: datetime) -> TariffVersion | None:
    """Returns the version that prices a place at a time, by its narrowest scope with a plan."""
    [version] = await versions_for(connection, [place], at)
    return version


async def versions_for(
    connection: Connection, places: Sequence[Place], at: datetime
) -> list[TariffVersion | None]:
    """Returns for each place, in order, the version that prices it at a time.

    Places with the same version get the same object: its document is sent once.
    """
    rows: list[Record] = await connection.fetch(
        f"""
        with priced as materialized (
          select p.place, v.id
            from unnest($1::text[], $2::text[], $3::text[])
                 with ordinality as p (connector, station, location, place)
           cross join lateral (
             select v.id
               from (values (1, 'connector', p.connector), (2, 'station', p.station),
                            (3, 'location', p.location), (4, 'everything', ''))
                    as s (width, scope, scope_id)
              cross join lateral (
                select a.plan_id from tariffs.assignments a
                 where a.scope = s.scope and a.scope_id = s.scope_id and a.valid_from <= $4
                 order by a.valid_from desc, a.id desc limit 1) a
              cross join lateral (
                select v.id from tariffs.versions v
                 where v.plan_id = a.plan_id and v.valid_from <= $4
                 order by v.valid_from desc, v.number desc limit 1) v
              order by s.width limit 1) v)
        select places.numbers, v.*
          from (select id, array_agg(place) as numbers from priced group by id) places
         cross join lateral ({VERSION} where v.id = places.id offset 0) v
        """,
        [place.connector for place in places],
        [place.station for place in places],
        [place.location for place in places],
        at,
    )
    versions: list[TariffVersion | None] = [None] * len(places)
    for row in rows:
        columns = dict(row)
        numbers: list[int] = columns.pop("numbers")
        version = TariffVersion(**columns)
        for number in numbers:
            versions[number - 1] = version
    return versions


async def versions_of(connection: Connection, code: str) -> list[TariffVersion]:
    """Returns every version of a plan, the newest first."""
    rows: list[Record] = await connection.fetch(
        f"{VERSION} where p.code = $1 order by v.number desc", code
    )
    return [TariffVersion(**dict(row)) for row in rows]


async def versions_from(connection: Connection, at: datetime) -> list[TariffVersion]:
    """Returns of every plan the version in force at a time, later ones, and newer drafts."""
    rows: list[Record] = await connection.fetch(
        f"""
        {VERSION}
          left join lateral (
            select c.id, c.number from tariffs.versions c
             where c.plan_id = p.id and c.valid_from <= $1
             order by c.valid_from desc, c.number desc limit 1) c on true
         where v.id = c.id or v.valid_from > $1
            or (v.valid_from is null and v.number > coalesce(c.number, 0))
         order by p.code, v.valid_from nulls last, v.number
        """,
        at,
    )
    return [TariffVersion(**dict(row)) for row in rows]


async def insert_assignment(
    connection: Connection,
    scope: Scope,
    scope_id: str,
    plan: LockedPlan | None,
    valid_from: datetime,
    actor: str,
) -> None:
    """Inserts from when a plan prices a scope; None: no plan of its own."""
    await connection.execute(
        """
        insert into tariffs.assignments (scope, scope_id, plan_id, valid_from, actor)
        values ($1, $2, $3, $4, $5)
        """,
        scope,
        scope_id,
        None if plan is None else plan.id,
        valid_from,
        actor,
    )


async def assignments_from(connection: Connection, at: datetime) -> list[Assignment]:
    """Returns the assignments in force at a time and all later ones, by scope and time."""
    rows: list[Record] = await connection.fetch(
        """
        select a.scope, a.scope_id, p.code as plan, a.valid_from, a.created_at, a.actor
          from (
            select a.*, lead(a.valid_from) over (
                     partition by a.scope, a.scope_id order by a.valid_from, a.id) as ends_at
              from tariffs.assignments a) a
          left join tariffs.plans p on p.id = a.plan_id
         where a.ends_at is null or a.ends_at > $1
         order by array_position(array['everything', 'location', 'station', 'connector'], a.scope),
                  a.scope_id, a.valid_from, a.id
        """,
        at,
    )
    return [Assignment(**dict(row)) for row in rows]

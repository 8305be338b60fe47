"""SQL of stations' passwords, and of names that no station has."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import read_row
from evpower.stations.model import UnknownStation


@dataclass(frozen=True, slots=True)
class Credential:
    """A password that counts, or that waits to be used for the first time."""

    id: int
    secret_sha256: bytes
    activated_at: datetime | None


async def credentials_of(connection: Connection, station_id: str) -> list[Credential]:
    """Returns the passwords with which a station may connect, the present one first."""
    rows: list[Record] = await connection.fetch(
        """
        select id, secret_sha256, activated_at from stations.credentials
         where station_id = $1 and ended_at is null order by activated_at nulls last
        """,
        station_id,
    )
    return [read_row(Credential, row) for row in rows]


async def insert_credential(connection: Connection, station_id: str, digest: bytes) -> None:
    """Lets a new password wait; one that waited before no longer does."""
    await connection.execute(
        """
        update stations.credentials set ended_at = now()
         where station_id = $1 and activated_at is null and ended_at is null
        """,
        station_id,
    )
    await connection.execute(
        "insert into stations.credentials (station_id, secret_sha256) values ($1, $2)",
        station_id,
        digest,
    )


async def end_present(connection: Connection, station_id: str) -> None:
    """Ends the password that a station uses."""
    await connection.execute(
        """
        update stations.credentials set ended_at = now()
         where station_id = $1 and activated_at is not null and ended_at is null
        """,
        station_id,
    )


async def activate_credential(connection: Connection, credential_id: int) -> bool:
    """Makes a waiting password the present one; false when it no longer waits."""
    activated = await connection.fetchval(
        """
        update stations.credentials set activated_at = now()
         where id = $1 and activated_at is null and ended_at is null returning true
        """,
        credential_id,
    )
    return activated is True


async def passwords_of(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[bool, bool]]:
    """Returns of stations whether one is used, and whether one waits; without any it is absent."""
    rows: list[Record] = await connection.fetch(
        """
        select station_id, bool_or(activated_at is not null) as is_used,
               bool_or(activated_at is null) as waits
          from stations.credentials where station_id = any ($1) and ended_at is null
         group by station_id
        """,
        list(ids),
    )
    return {row["station_id"]: (row["is_used"], row["waits"]) for row in rows}


async def upsert_unknown(
    connection: Connection, attempts: Sequence[tuple[str, UnknownStation]]
) -> None:
    """Counts attempts, each with the key of its name and in the order of the keys."""
    await connection.execute(
        """
        insert into stations.unknown_stations as u
          (key, name, address, attempts, first_seen_at, last_seen_at, reason)
        select a.key, a.name, a.address, a.attempts, a.first_seen_at, a.last_seen_at, a.reason
          from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[],
                      $6::timestamptz[], $7::text[])
            as a (key, name, address, attempts, first_seen_at, last_seen_at, reason)
         where a.reason <> 'station_not_found'
            or not exists (select from stations.names n where n.key = a.key) -- added since
        on conflict (key) do update
           set name = excluded.name, address = excluded.address, reason = excluded.reason,
               attempts = u.attempts + excluded.attempts,
               last_seen_at = greatest(u.last_seen_at, excluded.last_seen_at)
        """,
        [key for key, _ in attempts],
        [attempt.name for _, attempt in attempts],
        [attempt.address for _, attempt in attempts],
        [attempt.attempts for _, attempt in attempts],
        [attempt.first_seen_at for _, attempt in attempts],
        [attempt.last_seen_at for _, attempt in attempts],
        [attempt.reason for _, attempt in attempts],
    )


async def trim_unknown(connection: Connection, most: int, most_of_one_address: int) -> None:
    """Forgets the names that have not tried for the longest time, so that so many are left."""
    await connection.execute(
        """
        delete from stations.unknown_stations where key in (
          select key from (
            select key, row_number() over (order by last_seen_at desc, key) as place,
                   row_number() over (partition by address order by last_seen_at desc, key)
                     as place_of_address
              from stations.unknown_stations) u
           where place > $1 or place_of_address > $2)
        """,
        most,
        most_of_one_address,
    )


async def all_unknown(connection: Connection) -> list[UnknownStation]:
    """Returns the refused names, the latest attempt first; none whose station connected since."""
    rows: list[Record] = await connection.fetch(
        """
        select u.name, u.address, u.attempts, u.first_seen_at, u.last_seen_at, u.reason
          from stations.unknown_stations u
         where not exists (
                 select from stations.names n join stations.connections c using (station_id)
                  where n.key = u.key and c.opened_at > u.last_seen_at)
         order by u.last_seen_at desc, u.key
        """
    )
    return [read_row(UnknownStation, row) for row in rows]


async def delete_unknown(connection: Connection, key: str) -> str | None:
    """Removes a name from the list; returns how the station wrote it, None: it is not there."""
    name: str | None = await connection.fetchval(
        "delete from stations.unknown_stations where key = $1 returning name", key
    )
    return name


@dataclass(frozen=True, slots=True)
class Admitting:
    """A name in the form in which names are compared, and what lets its station in."""

    key: str
    station_id: str
    is_open: bool  # connects without a password, or another CSMS checks it
    digests: list[bytes]


async def all_admitting(connection: Connection) -> list[Admitting]:
    """Returns every name of every station that is not retired."""
    rows: list[Record] = await connection.fetch(
        """
        select n.key, s.id as station_id, s.no_auth or s.forward_url is not null as is_open,
               array(select c.secret_sha256 from stations.credentials c
                      where c.station_id = s.id and c.ended_at is null) as digests
          from stations.names n join stations.stations s on s.id = n.station_id
         where s.retired_at is null
        """
    )
    return [read_row(Admitting, row) for row in rows]

"""SQL of what an operator decides about stations."""

from evpower.foundation.db import Connection, Record
from evpower.stations.model import Station


async def set_decisions(connection: Connection, station: Station) -> None:
    """Stores owner, wanted availability and which cards count."""
    await connection.execute(
        """
        update stations.stations
           set owner = $2, wanted_availability = $3, paid_only = $4, cards_without_auth = $5,
               updated_at = now()
         where id = $1
        """,
        station.id,
        station.owner,
        station.wanted_availability,
        station.paid_only,
        station.cards_without_auth,
    )


async def set_connector_availability(
    connection: Connection, station_id: str, number: int, availability: str
) -> bool:
    """Stores the wanted availability of one connector; false: the station has no such one."""
    stored = await connection.fetchval(
        """
        update stations.connectors set wanted_availability = $3
         where station_id = $1 and number = $2 returning true
        """,
        station_id,
        number,
        availability,
    )
    return stored is True


async def without_password(connection: Connection) -> list[str]:
    """Returns the stations that connect without a password and are not simulated, by id."""
    rows: list[Record] = await connection.fetch(
        """
        select s.id from stations.stations s
         where s.no_auth and not s.is_simulated and s.retired_at is null order by s.id
        """
    )
    return [row["id"] for row in rows]

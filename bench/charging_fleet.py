"""Drivers with money who charge at stations, made by the product's own use cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from bench import charging_seed, seed
from bench.rig import Rig
from evpower import charging
from evpower.charging import StartRequest, StationStart, StationTime
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database

AGO: Final = timedelta(minutes=20)
_PAYMENTS: Final = 4  # of a client: together more than a hold
_PLACES: Final = 50


@dataclass(frozen=True, slots=True)
class Charge:
    """A driver's session that charges, at connector 1 of a station."""

    client: UUID
    station: str
    session: UUID
    transaction: int


async def add_fleet(rig: Rig, dsn: str, count: int) -> list[tuple[UUID, str]]:
    """Adds as many clients with money and stations, a partition for their frames, and a tariff."""
    async with rig.owner(dsn) as owner:
        clients = await seed.add_clients(owner, count)
        first = await seed.add_payments(owner, _PAYMENTS * count, confirmed=True, evenly=True)
        await seed.credit_all(owner, first, _PAYMENTS * count)
        await charging_seed.add_stations(owner, count, _PLACES)
        await owner.execute("update stations.connectors set reported_status = 'available'")
        await owner.execute("select * from charging.keep_meter_values(current_date, 400)")
        await owner.execute("select * from ocpp.keep_frames(current_date, 90)")
    return [(client, f"EVP-{number:05}") for number, client in enumerate(clients, 1)]


async def charge(dsn: str, pairs: Sequence[tuple[UUID, str]]) -> list[Charge]:
    """Lets each client charge at a station since twenty minutes, with the usual hold."""
    at = utc_now() - AGO
    db = await Database.open(dsn, size=1)
    try:
        return [await _charge(db, client, station, at) for client, station in pairs]
    finally:
        await db.close()


async def disconnect(owner: Connection) -> None:
    """Ends the connections that the stations were made with, so that real ones may come."""
    await owner.execute(
        "update stations.connections set closed_at = now(), close_reason = 'lost'"
        " where closed_at is null"
    )


async def _charge(db: Database, client: UUID, station: str, at: datetime) -> Charge:
    async with db.transaction() as connection:
        started = await charging.start(connection, StartRequest(client, station, 1), now=at)
        tag: str = await connection.fetchval(
            "select id_tag from charging.sessions where id = $1", started.session_id
        )
        report = StationStart(
            station, 1, tag, Decimal(0), None, StationTime(at, at.isoformat()), at
        )
        begun = await charging.start_transaction(connection, report, now=at)
    return Charge(client, station, started.session_id, begun.transaction_id)

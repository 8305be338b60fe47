"""Drivers, stations and jobs at the same time: no deadlock, each session billed once."""

import asyncio
import random
from decimal import Decimal
from uuid import UUID

from evpower import charging, stations, wallet
from evpower.charging.events import StationReadings, StationStart, StationStop, StationTime
from evpower.foundation.db import Connection
from evpower.foundation.errors import EvPowerError
from tests.charging.place import read
from tests.charging.site import NOON, STATION, Site
from tests.stations.scenario import draft

NAMES = [STATION, "EVP-002", "EVP-003"]
OVER = "('settled', 'expired', 'refused', 'cancelled', 'failed')"


async def test_everything_at_once_never_waits_in_a_circle(site: Site, owner: Connection) -> None:
    for name in NAMES[1:]:
        async with site.db.transaction() as connection:
            await stations.add_station(
                connection, draft(name, no_auth=True), now=NOON, actor="aida"
            )
            await stations.open_connection(
                connection, name, address="10.0.0.1", version="ocpp1.6",
                is_authenticated=False, node="here", now=NOON,
            )  # fmt: skip
    clients = [await site.driver(500) for _ in range(4)]
    lock = asyncio.Lock()
    chance = random.Random(7)

    async def drive() -> None:
        """A driver starts somewhere, the station begins, meters and stops, and repeats itself."""
        for _ in range(6):
            client, name = chance.choice(clients), chance.choice(NAMES)
            connector = chance.choice([1, 2])
            try:
                started = await site.start(client, connector, station=name)
            except EvPowerError:
                await asyncio.gather(site.run_jobs(), top_up(site, client, lock))
                continue
            async with lock:
                tag = await site.tag(started.session_id)
            begins = [begin(site, name, connector, tag) for _ in range(2)]
            await asyncio.gather(*begins, site.run_jobs())
            number = await begin(site, name, connector, tag)
            await asyncio.gather(
                values(site, name, connector, number),
                site.stop(started.session_id, chance.choice([client, None])),
                top_up(site, client, lock),
            )
            await asyncio.gather(stop(site, name, number), stop(site, name, number))

    await asyncio.gather(*(drive() for _ in range(4)))
    assert (
        await owner.fetchval(
            "select deadlocks from pg_stat_database where datname = current_database()"
        )
        == 0
    )
    counts = await owner.fetchrow(
        f"""
        select count(*) filter (where state = 'settled') as settled,
               count(*) filter (where state not in {OVER}) as left,
               (select count(*) from charging.settlements where bill_number = 1) as bills
          from charging.sessions
        """
    )
    assert counts is not None
    assert counts["settled"] == counts["bills"] > 0
    assert counts["left"] == 0
    assert (await wallet.verify(site.db)).ok


async def top_up(site: Site, client: UUID, lock: asyncio.Lock) -> None:
    async with lock:  # the owner's connection does one thing at a time
        payment = await site.scenario.payment(client, 1_000)
    async with site.db.transaction() as connection:
        await wallet.credit(connection, payment)


async def begin(site: Site, name: str, connector: int, tag: str) -> int:
    time = StationTime(site.now, site.now.isoformat())
    report = StationStart(name, connector, tag, Decimal(1000), None, time, site.now)
    async with site.db.transaction() as connection:
        return (await charging.start_transaction(connection, report, now=site.now)).transaction_id


async def values(site: Site, name: str, connector: int, number: int) -> None:
    readings = (read(1500, site.now),)
    event = StationReadings(name, connector, number, None, readings, (), site.now)
    async with site.db.transaction() as connection:
        await charging.meter_values(connection, event, now=site.now)


async def stop(site: Site, name: str, number: int) -> None:
    time = StationTime(site.now, site.now.isoformat())
    event = StationStop(name, number, None, None, Decimal(1500), time, "Local", (), (), site.now)
    async with site.db.transaction() as connection:
        await charging.stop_transaction(connection, event, now=site.now)

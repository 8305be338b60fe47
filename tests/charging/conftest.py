"""The whole API over the test's own database."""

from collections.abc import AsyncIterator

import pytest

from evpower.foundation.db import Connection, Database
from tests.api.scenario import Api, running_api
from tests.charging.place import ChargingPlace
from tests.charging.site import Site


@pytest.fixture
async def api(db: Database) -> AsyncIterator[Api]:
    async with running_api(db) as api:
        yield api


@pytest.fixture
async def site(db: Database, owner: Connection) -> Site:
    """A station that is online, with a tariff."""
    site = Site(db, owner)
    await site.open()
    return site


@pytest.fixture
async def place(db: Database, owner: Connection) -> ChargingPlace:
    """A station with two connectors of 60 kW; a kWh costs 12 som."""
    place = ChargingPlace(db, owner)
    await place.build()
    return place

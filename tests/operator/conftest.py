"""The whole API, and a place where charging happens."""

from collections.abc import AsyncIterator

import pytest

from evpower.foundation.db import Connection, Database
from tests.api.operator_scenario import OperatorApi, running_operator_api
from tests.charging.place import ChargingPlace


@pytest.fixture
async def operators(db: Database) -> AsyncIterator[OperatorApi]:
    async with running_operator_api(db) as api:
        yield api


@pytest.fixture
async def place(db: Database, owner: Connection) -> ChargingPlace:
    """A station S1 with two connectors of 60 kW; a kWh costs 12 som."""
    place = ChargingPlace(db, owner)
    await place.build()
    return place

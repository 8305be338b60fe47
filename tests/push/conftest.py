"""A station with a price, and a push service."""

from collections.abc import AsyncIterator

import pytest

from evpower.foundation.db import Connection, Database
from tests.charging.place import ChargingPlace
from tests.push.scenario import Push, PushService, running_push, running_service


@pytest.fixture
async def place(db: Database, owner: Connection) -> ChargingPlace:
    """A station with two connectors of 60 kW; a kWh costs 12 som."""
    place = ChargingPlace(db, owner)
    await place.build()
    return place


@pytest.fixture
async def service() -> AsyncIterator[PushService]:
    async with running_service() as service:
        yield service


@pytest.fixture
async def push(place: ChargingPlace, service: PushService) -> AsyncIterator[Push]:
    async with running_push(place, service) as push:
        yield push

"""A server, a station and a driver for each test."""

from collections.abc import AsyncIterator

import pytest

from evpower.foundation.db import Connection, Database
from tests.ocpp.driving import Driving, driving


@pytest.fixture
async def drive(db: Database, owner: Connection) -> AsyncIterator[Driving]:
    async with driving(db, owner) as drive:
        yield drive

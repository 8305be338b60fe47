"""One endpoint a test."""

from collections.abc import AsyncIterator

import pytest

from evpower.foundation.db import Connection, Database
from tests.ocpp.scenario import Central, running


@pytest.fixture
async def central(db: Database, owner: Connection) -> AsyncIterator[Central]:
    async with running(db, owner) as central:
        yield central

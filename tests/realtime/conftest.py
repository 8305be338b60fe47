"""One live server a test, with times short enough to wait for."""

from collections.abc import AsyncIterator

import pytest

from evpower.foundation.db import Connection, Database
from tests.realtime.scenario import Live, running


@pytest.fixture
async def live(db: Database, owner: Connection) -> AsyncIterator[Live]:
    async with running(db, owner) as live:
        yield live

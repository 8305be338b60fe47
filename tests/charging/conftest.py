"""The whole API over the test's own database."""

from collections.abc import AsyncIterator

import pytest

from evpower.foundation.db import Database
from tests.api.scenario import Api, running_api


@pytest.fixture
async def api(db: Database) -> AsyncIterator[Api]:
    async with running_api(db) as api:
        yield api

"""The scenario of a wallet test."""

import pytest

from evpower.foundation.db import Connection
from tests.wallet.scenario import Scenario


@pytest.fixture
async def scenario(owner: Connection) -> Scenario:
    """Returns the writer of payments, sessions and refund orders, as the database's owner."""
    return Scenario(owner)

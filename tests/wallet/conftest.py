"""The scenario of a wallet test."""

import pytest

from evpower.foundation.db import Connection
from tests.wallet.scenario import Scenario


@pytest.fixture
async def scenario(owner: Connection) -> Scenario:
    """Makes payments, sessions and the like, as the owner."""
    return Scenario(owner)

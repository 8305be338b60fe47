"""The world of a wallet test."""

import pytest

from evpower.foundation.db import Connection
from tests.wallet.world import World


@pytest.fixture
async def world(owner: Connection) -> World:
    """Makes payments, sessions and the like, as the owner."""
    return World(owner)

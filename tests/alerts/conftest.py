"""Receivers of alerts, and a clock."""

from collections.abc import AsyncIterator

import pytest

from tests.alerts.clock import TurnedClock
from tests.alerts.receivers import Mailbox, Receiver, running_mailbox, running_receiver


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as receiver:
        yield receiver


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    """Without TLS."""
    async with running_mailbox() as mailbox:
        yield mailbox

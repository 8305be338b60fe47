"""Sends a test message through each channel, at once, past the outbox."""

from collections.abc import Mapping
from datetime import datetime
from uuid import uuid4

from evpower.alerts.channels import Channel
from evpower.alerts.model import AlertMessage, ChannelName


async def send_test(
    channels: Mapping[ChannelName, Channel], now: datetime
) -> dict[ChannelName, str | None]:
    """Returns for each channel why the test was not accepted; None: it was."""
    results: dict[ChannelName, str | None] = {}
    for name, channel in channels.items():
        [attempt] = await channel.send([_message(now)])
        results[name] = attempt.error
    return results


def _message(now: datetime) -> AlertMessage:
    return AlertMessage(
        number=0,
        id=uuid4(),
        event="test",
        created_at=now,
        attempts=1,
        alert_id=0,
        kind="test",
        subject="evpower alert test-delivery",
        detail={},
        count=1,
        opened_at=now,
        last_seen_at=now,
        closed_at=None,
    )

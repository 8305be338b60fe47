"""Sends the messages that wait: crash-safe, at least once, with a lease and a back-off."""

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import structlog

from evpower.alerts import metrics, store_messages
from evpower.alerts.channels import Channel
from evpower.alerts.kinds import GRAVE
from evpower.alerts.model import Attempt, ChannelName
from evpower.alerts.quiet_hours import QuietHours
from evpower.foundation.backoff import Backoff
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.failpoints import Failpoint, hit
from evpower.foundation.loops import AT_ONCE, Loop, Pause, Round

POLL_S: Final = 5.0
GATHER_FOR: Final = timedelta(seconds=60)  # in one mail, unless it is grave
LEASE: Final = timedelta(minutes=2)  # longer than a batch may take, on any channel
GIVE_UP_AFTER: Final = timedelta(days=3)
_LONGEST_PAUSE_S: Final = 3600.0  # also of a Retry-After
_BACKOFF: Final = Backoff(10.0, _LONGEST_PAUSE_S)
_MOST_ERROR: Final = 500
_log: Final = structlog.get_logger()


class MessageDelivery:
    """Sends what is due by each channel."""

    def __init__(
        self,
        db: Database,
        channels: Mapping[ChannelName, Channel],
        quiet_hours: QuietHours | None,
        clock: Clock,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._db = db
        self._channels = channels
        self._quiet_hours = quiet_hours
        self._clock = clock
        self._jitter = jitter

    def loop(self) -> Loop:
        """Returns the loop that sends them."""

        async def work(current: Round) -> Pause | None:
            return AT_ONCE if await self.send_due(current) else None

        return Loop("alert_delivery", work, period_s=POLL_S)

    async def send_due(self, current: Round | None = None) -> int:
        """Sends a batch by each channel, all at the same time; returns how many messages.

        What waits for a channel that is not configured is deleted.
        """
        current = current or Round()
        async with self._db.transaction() as connection:
            await store_messages.drop_of_others(connection, list(self._channels))
        if current.stopping:
            return 0
        counts = await asyncio.gather(
            *(self._send_by(name, channel) for name, channel in self._channels.items()),
            return_exceptions=True,  # one that fails ends no other
        )
        for count in counts:
            if isinstance(count, BaseException):
                raise count
        return sum(count for count in counts if isinstance(count, int))

    async def _send_by(self, name: ChannelName, channel: Channel) -> int:
        now = self._clock()
        async with self._db.transaction() as connection:
            messages = await store_messages.claim(
                connection,
                name,
                now,
                lease=LEASE,
                grave=GRAVE,
                only_grave=self._quiet_hours is not None and self._quiet_hours.has(now),
                gather_for=GATHER_FOR if channel.gathers else timedelta(),
                limit=channel.batch,
            )
        if not messages:
            return 0
        hit(Failpoint.ALERT_CLAIMED)
        attempts = await channel.send(messages)
        hit(Failpoint.ALERT_SENT)
        for attempt in attempts:
            await self._record(name, attempt)
        return len(messages)

    async def _record(self, channel: ChannelName, attempt: Attempt) -> None:
        message, now = attempt.message, self._clock()
        if attempt.error is None:
            metrics.MESSAGES.labels(channel, "sent").inc()
            async with self._db.transaction() as connection:
                await store_messages.finish(connection, message.number, now)
            return
        due_at = self._next(attempt, now)
        outcome = "failed" if due_at is not None else "given_up"
        metrics.MESSAGES.labels(channel, outcome).inc()
        _log.warning(
            "alert_message_failed" if due_at is not None else "alert_message_given_up",
            channel=channel,
            message=str(message.id),
            alert=message.alert_id,
            error=attempt.error[:_MOST_ERROR],
        )
        async with self._db.transaction() as connection:
            await store_messages.postpone(
                connection, message.number, attempt.error[:_MOST_ERROR], due_at, now
            )

    def _next(self, attempt: Attempt, now: datetime) -> datetime | None:
        if now - attempt.message.created_at >= GIVE_UP_AFTER:
            return None
        pause_s = _BACKOFF.pause_s(attempt.message.attempts, self._jitter)
        asked_s = min(attempt.pause_s or 0.0, _LONGEST_PAUSE_S)
        return now + timedelta(seconds=max(pause_s, asked_s))

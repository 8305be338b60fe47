"""Sends the messages that wait: with a lease and a back-off, each at most once.

That a request begins is stored before it does. After a crash from there on, or without an answer,
it may have been accepted: it is not repeated.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

import structlog

from evpower.foundation.backoff import Backoff
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.failpoints import Failpoint, hit
from evpower.foundation.loops import AT_ONCE, Loop, Pause, Round
from evpower.push import metrics, store_devices
from evpower.push import store_messages as store
from evpower.push.model import PushMessage, PushOutcome, PushSender

POLL_S: Final = 1.0
_BUSY_S: Final = 0.1  # while batches are on their way
LEASE: Final = timedelta(minutes=3)  # longer than a batch may take
BATCH: Final = 100  # messages that are leased at once
HOST_AT_ONCE: Final = 8  # requests to one host at the same time
MOST_HOSTS: Final = 6  # with a batch on its way: together they leave HttpClient places
_BACKOFF: Final = Backoff(5.0, 600.0)
_MOST_ERROR: Final = 500
_log: Final = structlog.get_logger()


class PushDelivery:
    """Sends what is due. A slow push service delays no other: each host has a task of its own."""

    def __init__(
        self,
        db: Database,
        sender: PushSender,
        clock: Clock,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._db = db
        self._sender = sender
        self._clock = clock
        self._jitter = jitter
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def loop(self) -> Loop:
        """Returns the loop that sends them."""

        async def work(current: Round) -> Pause | None:
            if await self.begin_due(current):
                return AT_ONCE
            return Pause(_BUSY_S) if self._tasks else None

        return Loop("push_delivery", work, period_s=POLL_S, around=self._waited_for)

    @asynccontextmanager
    async def _waited_for(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self.wait_for_all()

    async def send_due(self) -> int:
        """Sends a batch to each host, and waits for all; returns how many messages."""
        count = await self.begin_due(Round())
        await self.wait_for_all()
        return count

    async def begin_due(self, current: Round) -> int:
        """Begins to send a batch to each host that has none on its way. Returns how many."""
        await self._collect()
        if current.stopping or len(self._tasks) >= MOST_HOSTS:
            return 0
        async with self._db.transaction() as connection:
            messages = await store.claim(
                connection,
                self._sender.kind,
                self._clock(),
                lease=LEASE,
                busy=list(self._tasks),
                limit=BATCH,
            )
        if not messages:
            return 0
        hit(Failpoint.PUSH_CLAIMED)
        by_host: dict[str, list[PushMessage]] = {}
        for message in messages:
            by_host.setdefault(message.host, []).append(message)
        for host, batch in by_host.items():
            self._tasks[host] = asyncio.create_task(self._send_batch(batch))
        return len(messages)

    async def wait_for_all(self) -> None:
        """Waits for what is on its way."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        await self._collect()

    async def _collect(self) -> None:
        """Forgets the finished tasks; raises what one of them raised."""
        finished = {host: task for host, task in self._tasks.items() if task.done()}
        for host in finished:
            del self._tasks[host]
        _raise_first(await asyncio.gather(*finished.values(), return_exceptions=True))

    async def _send_batch(self, messages: list[PushMessage]) -> None:
        places = asyncio.Semaphore(HOST_AT_ONCE)

        async def send(message: PushMessage) -> None:
            async with places:
                await self._send(message)

        _raise_first(await asyncio.gather(*map(send, messages), return_exceptions=True))

    async def _send(self, message: PushMessage) -> None:
        now = self._clock()
        if message.expires_at <= now:
            await self._record(message, PushOutcome("refused", "expired"))
            return
        async with self._db.transaction() as connection:
            if not await store.begin(connection, message.number, message.attempts, now):
                return
        hit(Failpoint.PUSH_BEGUN)
        outcome = await self._sender.send(message)
        hit(Failpoint.PUSH_SENT)
        await self._record(message, outcome)

    async def _record(self, message: PushMessage, outcome: PushOutcome) -> None:
        now, error = self._clock(), (outcome.error or "")[:_MOST_ERROR]
        due_at = self._next(message, outcome, now) if outcome.word == "failed" else None
        word = "given_up" if outcome.word == "failed" and due_at is None else outcome.word
        metrics.MESSAGES.labels(self._sender.kind, message.event, word).inc()
        if word != "sent":
            _log.info(
                "push_message_not_sent", message=message.number, device=message.device_id,
                host=message.host, outcome=word, error=error,
            )  # fmt: skip
        async with self._db.transaction() as connection:
            if word == "sent":
                await store.finish(connection, message.number, now)
            elif word == "unsubscribed":
                await store_devices.remove_unsubscribed(connection, message.device_id)
            elif due_at is not None:
                await store.postpone(connection, message.number, error, due_at)
            else:
                await store.give_up(connection, message.number, error, now)

    def _next(self, message: PushMessage, outcome: PushOutcome, now: datetime) -> datetime | None:
        """Returns when the next attempt is due; None: it would come too late."""
        pause_s = _BACKOFF.pause_s(message.attempts, self._jitter)
        due_at = now + timedelta(seconds=max(pause_s, outcome.retry_after_s or 0.0))
        return due_at if due_at < message.expires_at else None


def _raise_first(results: Sequence[BaseException | None]) -> None:
    for result in results:
        if result is not None:
            raise result

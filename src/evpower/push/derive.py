"""Writes the messages that follow from what is stored of sessions.

Each event is a fact in a row that charging wrote in its own transaction, so this slice is
not notified: a crash at any point loses no message, and the events of a watched session, written
with its messages, let none be written twice.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.failpoints import Failpoint, hit
from evpower.foundation.loops import Loop, Round
from evpower.push import store_sessions as store
from evpower.push.events import is_done, is_news, messages_of
from evpower.push.model import NewMessage, SessionFacts

POLL_S: Final = 2.0
# A session's row may be committed so long after the time that it has.
_OVERLAP: Final = timedelta(minutes=5)
_LONGEST_LOOK: Final = timedelta(hours=25)  # back, after no worker ran: older ones are no news
_PAGE: Final = 1_000


class MessageWriter:
    """Watches the sessions of clients with devices."""

    def __init__(self, db: Database, vapid_key: str, clock: Clock) -> None:
        """`vapid_key`: our public key; subscriptions made for another one get nothing."""
        self._db = db
        self._vapid_key = vapid_key
        self._clock = clock

    def loop(self) -> Loop:
        """Returns the loop that does it."""

        async def work(current: Round) -> None:
            await self.write(current)

        return Loop("push_writer", work, period_s=POLL_S)

    async def write(self, current: Round | None = None) -> int:
        """Writes what is to be written; returns how many messages. One worker does it at a time."""
        current = current or Round()
        now = self._clock()
        async with self._db.transaction() as connection:
            watched_to = await store.lock_cursor(connection)
            if watched_to is None:
                await store.begin_cursor(connection, now)
                return 0
            since = max(watched_to - _OVERLAP, now - _LONGEST_LOOK)
            await store.watch_new(connection, since, ["web"], now)
            await store.move_cursor(connection, max(now, watched_to))
        written, after = 0, None
        while not current.stopping:
            count, after = await self._write_page(after, now)
            written += count
            if after is None:
                break
            current.progress()
        return written

    async def _write_page(self, after: UUID | None, now: datetime) -> tuple[int, UUID | None]:
        """Returns how many messages were written, and the last session of a full page."""
        async with self._db.transaction() as connection:
            if await store.lock_cursor(connection) is None:
                return 0, None
            page = await store.watched(connection, after, _PAGE)
            written = await self._write_of(connection, page, now)
            hit(Failpoint.PUSH_UNCOMMITTED)
        return written, page[-1].session_id if len(page) == _PAGE else None

    async def _write_of(
        self, connection: Connection, page: list[SessionFacts], now: datetime
    ) -> int:
        messages: list[NewMessage] = []
        changed: list[tuple[UUID, list[str], bool]] = []
        for facts in page:
            age = now - facts.updated_at
            new = messages_of(facts)
            done = is_done(facts, age)
            if new or done:
                changed.append((facts.session_id, [message.event for message in new], done))
            if is_news(facts, age):
                messages += new
        written = await store.write_messages(connection, messages, self._vapid_key, now)
        await store.set_written(connection, changed, now)
        return written

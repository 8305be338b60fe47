"""Upkeep of the messages: what a lost worker had on its way, old messages, unused devices."""

from datetime import timedelta
from typing import Final

from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.loops import Loop, Round, every
from evpower.foundation.purge import purge
from evpower.push import store_devices, store_messages, store_sessions

PERIOD_S: Final = 60.0
KEEP_MESSAGES: Final = timedelta(days=30)
KEEP_SESSIONS: Final = timedelta(days=7)  # longer than they are looked for again
KEEP_DEVICES: Final = timedelta(days=270)  # without being registered again: FCM's own limit


def upkeep_loop(db: Database, clock: Clock) -> Loop:
    """Returns the loop that does it."""

    async def work(current: Round) -> None:
        await keep_up(db, clock, current)

    return every(PERIOD_S, "push_upkeep", work)


async def keep_up(db: Database, clock: Clock, current: Round | None = None) -> None:
    """Does it once."""
    now = clock()
    async with db.transaction() as connection:
        await store_messages.give_up_interrupted(connection, now)
    await purge(db, lambda c, most: store_messages.purge(c, now - KEEP_MESSAGES, most), current)
    await purge(
        db, lambda c, most: store_sessions.purge_sessions(c, now, KEEP_SESSIONS, most), current
    )
    await purge(
        db, lambda c, most: store_devices.remove_unused(c, now - KEEP_DEVICES, most), current
    )

"""What `evpower doctor` finds of push messages: whether they are set up, and sent."""

from datetime import timedelta
from typing import Final, get_args

import asyncpg

from evpower import push
from evpower.cli.finding import Finding
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError

_DAY: Final = timedelta(days=1)
_LATE_AFTER: Final = timedelta(minutes=30)
_MOST_ERROR: Final = 200


async def look_at_push(settings: Settings) -> list[Finding]:
    """Returns whether messages are set up, and whether any waits for long."""
    dsn = settings.database_url.get_secret_value()
    if not dsn or push.push_problems(settings):
        return []  # another line says so
    now = utc_now()
    try:
        database = await Database.open(dsn, size=1, role=None)
        try:
            async with database.connection() as connection:
                states = await push.push_states(connection, get_args(push.DeviceKind), now, _DAY)
        finally:
            await database.close()
    except (EvPowerError, OSError, ValueError, asyncpg.PostgresError):
        return []
    devices = ", ".join(f"{state.devices} {state.kind}" for state in states)
    if push.push_settings(settings) is None:
        detail = f"not set up: drivers whose app is closed get none (devices: {devices})"
        return [Finding("push messages", True, detail, "evpower push keys")]
    late = [s for s in states if s.oldest_at is not None and now - s.oldest_at > _LATE_AFTER]
    given_up = sum(state.given_up for state in states)
    detail = f"devices: {devices}; {sum(state.waiting for state in states)} waiting"
    if given_up:
        detail += f", {given_up} given up in the last day"
    if late and late[0].error:
        detail += f": {late[0].error[:_MOST_ERROR]}"
    return [Finding("push messages", not late, detail, "evpower push status")]

"""What `evpower doctor` finds of alerts: how many are open, and whether they are sent."""

from datetime import timedelta
from typing import Final

import asyncpg

from evpower import alerts
from evpower.cli.finding import Finding
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError
from evpower.foundation.http import HttpClient

_DAY: Final = timedelta(days=1)
_LATE_AFTER: Final = timedelta(hours=1)
_MOST_ERROR: Final = 200


async def look_at_alerts(settings: Settings) -> list[Finding]:
    """Returns how many are open, and of each channel what waits; one that fails is bad.

    What the lines of the settings and of the database say is not repeated.
    """
    dsn = settings.database_url.get_secret_value()
    if not dsn or alerts.channel_problems(settings):
        return []
    async with HttpClient() as http:
        channels = list(alerts.configured_channels(settings, http))
    try:
        open_alerts, states = await _read(dsn, channels)
    except (EvPowerError, OSError, ValueError, asyncpg.PostgresError):
        return []
    graves = sum(alerts.facts_of(alert.kind).severity == "grave" for alert in open_alerts)
    detail = f"{len(open_alerts)} open, {graves} of them grave" if open_alerts else "none open"
    if not channels:
        detail += "; not sent: no channel is set (EVPOWER_ALERT_*)"
    findings = [Finding("alerts", not graves, detail, "evpower alert list")]
    return findings + [_channel(state) for state in states]


async def _read(
    dsn: str, channels: list[alerts.ChannelName]
) -> tuple[list[alerts.Alert], list[alerts.ChannelState]]:
    database = await Database.open(dsn, size=1, role=None)
    try:
        async with database.connection() as connection:
            open_alerts = await alerts.list_alerts(connection)
            since = utc_now() - _DAY
            return open_alerts, await alerts.channel_states(connection, channels, since)
    finally:
        await database.close()


def _channel(state: alerts.ChannelState) -> Finding:
    is_late = state.oldest_at is not None and utc_now() - state.oldest_at > _LATE_AFTER
    is_bad = state.given_up > 0 or (state.error is not None and is_late)
    detail = f"{state.waiting} waiting" if state.waiting else "nothing waits"
    if state.given_up:
        detail += f", {state.given_up} given up in the last day"
    if state.error is not None:
        detail += f": {state.error[:_MOST_ERROR]}"
    return Finding(f"alerts by {state.channel}", not is_bad, detail, "evpower alert test-delivery")

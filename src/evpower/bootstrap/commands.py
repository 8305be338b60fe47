"""Tells charging of commands that ended without a reply; stations itself knows no sessions."""

from collections.abc import Callable, Sequence
from datetime import datetime

from evpower import charging, stations
from evpower.config import Settings
from evpower.foundation.bus import Bus
from evpower.foundation.db import Connection


def commands_ended(settings: Settings) -> stations.CommandsEnded:
    """Returns what applies the end of commands to their sessions, in the same transaction."""
    rules = charging.configured_rules(settings)

    async def ended(
        connection: Connection, commands: Sequence[stations.Command], now: datetime
    ) -> Callable[[Bus], None]:
        changes = charging.Changes()
        for command in commands:
            changes.merge(await charging.command_ended(connection, command, now=now, rules=rules))
        return changes.publish

    return ended

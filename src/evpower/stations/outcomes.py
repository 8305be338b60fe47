"""Waits for the outcomes of commands, each of its own station."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.key_watch import KeyWatch
from evpower.stations import store_connections
from evpower.stations.model import ONLINE_FOR, Command, station_key
from evpower.stations.search import commands_by_id

# offline: not sent, the station is not there. waiting: no outcome yet. timed_out: sent, and not
# answered: whether it was carried out is unknown.
StationOutcome = Literal["accepted", "refused", "offline", "timed_out", "waiting"]
_MOST_LOOKS: Final = 2_000  # each change of one of the stations is a look
_LOOK_S: Final = 1.0  # another node's change may not be announced


@dataclass(frozen=True, slots=True)
class CommandOutcomes:
    """Waits until commands have ended; one that its station is not there for is not waited for."""

    db: Database
    watch: KeyWatch
    clock: Clock
    now_s: Callable[[], float] = time.monotonic

    async def wait(
        self, commands: Sequence[Command], within_s: float
    ) -> list[tuple[Command, StationOutcome]]:
        """Returns each command with what became of it, by station."""
        ids = [command.id for command in commands]
        stations = sorted({command.station_id for command in commands})
        ends_s = self.now_s() + within_s
        listed: list[tuple[Command, StationOutcome]] = []
        with self.watch.watch(*(station_key(station) for station in stations)) as changed:
            for _ in range(_MOST_LOOKS):
                async with self.db.connection() as connection:
                    online = await _online_among(connection, stations, self.clock())
                    present = await commands_by_id(connection, ids)
                listed = [
                    (command, outcome_of(command, is_online=command.station_id in online))
                    for command in present
                ]
                left_s = ends_s - self.now_s()
                if left_s <= 0 or all(outcome != "waiting" for _, outcome in listed):
                    return listed
                await changed.wait(min(left_s, _LOOK_S))
        return listed


def outcome_of(command: Command, *, is_online: bool) -> StationOutcome:
    """Returns what became of a command at its station."""
    if command.state in {"accepted", "refused"}:
        return "accepted" if command.state == "accepted" else "refused"
    if command.sent_at is None and (command.state == "timed_out" or not is_online):
        return "offline"
    return "timed_out" if command.state == "timed_out" else "waiting"


async def _online_among(connection: Connection, ids: Sequence[str], now: datetime) -> set[str]:
    last = await store_connections.last_frames_of(connection, ids)
    fresh_after = now - ONLINE_FOR
    return {station_id for station_id, at in last.items() if at is not None and at > fresh_after}

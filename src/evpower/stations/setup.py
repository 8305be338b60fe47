"""Sets a station up, once for each firmware: its keys are read, and written where they differ.

It goes command by command through the queue, so it waits until the station has settled. No key is
read again after it was written, and a run that failed is not begun again by itself: some stations
reboot at a read, and would do so for ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from evpower import alerts, identity
from evpower.foundation.bus import Bus
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict
from evpower.stations import store, store_commands, store_setups
from evpower.stations.commands import queue_command
from evpower.stations.find import lock_station
from evpower.stations.model import (
    STATION_CHANGED,
    Command,
    CommandAction,
    station_key,
)
from evpower.stations.profiles import vendor_profile
from evpower.stations.setup_keys import NEEDED, compare_keys
from evpower.stations.setup_model import SetupKey, StationSetup

ACTOR: Final = "set-up"
ALERT: Final = "station_setup_failed"
_EXPIRES: Final = timedelta(minutes=10)
_LATELY: Final = timedelta(days=1)  # within it so many set-ups of a station, and no more
_AT_ONCE: Final = 100
_REBOOT: Final = "rebootrequired"


async def request_setup(
    connection: Connection, *, station: str, now: datetime, actor: str, reason: str | None = None
) -> StationSetup:
    """Begins a set-up, whether there was one for this firmware or not.

    The caller publishes STATION_CHANGED after the commit. Raises NotFound("station_not_found"),
    Conflict("setup_running" | "station_retired" | "station_forwarded").
    """
    stored = await lock_station(connection, station)
    if stored.forward_url is not None:
        raise Conflict("station_forwarded", f"another CSMS answers station {stored.id!a:.80}")
    if await store_setups.running(connection, stored.id) is not None:
        raise Conflict("setup_running", f"station {stored.id!a:.80} is being set up")
    begun = await _begin(connection, stored.id, now, actor)
    await identity.record_act(
        connection, actor=actor, action="station.setup", subject=stored.id, reason=reason,
        details={"setup": begun.id},
    )  # fmt: skip
    return begun


async def latest_setup(connection: Connection, station_id: str) -> StationSetup | None:
    """Returns a station's newest set-up, running or not; None: there was none."""
    return await store_setups.latest(connection, station_id)


async def set_up_stations(db: Database, bus: Bus, now: datetime) -> int:
    """Begins the set-ups that are due and goes on with those that run; returns how many.

    One that fails does not keep the others from it: its error is raised at the end.
    """
    async with db.connection() as connection:
        new = await store_setups.stations_without(connection, now - _LATELY, _AT_ONCE)
        answered = await store_setups.stations_answered(connection, _AT_ONCE)
    failures: list[Exception] = []
    for station_id in dict.fromkeys([*answered, *new]):
        try:
            async with db.transaction() as connection:
                await _advance(connection, station_id, now)
        except Exception as error:  # noqa: BLE001 - raised below
            failures.append(error)
            continue
        bus.publish(STATION_CHANGED, station_key(station_id))
    if failures:
        raise failures[0]
    return len(new) + len(answered)


async def _advance(connection: Connection, station_id: str, now: datetime) -> None:
    """Begins a station's set-up, or goes on with it, unless that was done meanwhile."""
    await lock_station(connection, station_id)
    running = await store_setups.running(connection, station_id)
    if running is not None:
        await _go_on(connection, running, now)
    elif await store_setups.stations_without(connection, now - _LATELY, 1, station_id):
        await _begin(connection, station_id, now, ACTOR)


async def _begin(
    connection: Connection, station_id: str, now: datetime, actor: str
) -> StationSetup:
    command = await _queue(connection, station_id, "get_configuration", {}, now)
    return await store_setups.insert(connection, station_id, command.id, actor, now)


async def _go_on(connection: Connection, setup: StationSetup, now: datetime) -> None:
    """Takes the outcome of the command that a set-up waits for."""
    command = await store_commands.command_by_id(connection, setup.command_id)
    if command is None or command.ended_at is None:
        return
    keys: Sequence[SetupKey] = setup.keys
    if command.state == "timed_out":
        is_sent = command.sent_at is not None
        failure = "no_answer" if is_sent else "not_delivered"
        await _end(connection, setup, keys, failure, now)
        return
    if command.action == "get_configuration":
        if command.state == "refused":
            await _end(connection, setup, keys, "refused", now)
            return
        profile = await vendor_profile(connection, setup.station_id)
        connectors = await store.connectors_of(connection, [setup.station_id])
        has_dc = any(row.power_type == "DC" for row in connectors.get(setup.station_id, []))
        keys = compare_keys(command.response or {}, profile, has_dc=has_dc)
    else:
        keys = _written(keys, command)
        failed = next((key for key in keys if key.outcome == "refused" and key.key in NEEDED), None)
        if failed is not None:
            await _end(connection, setup, keys, "refused", now)
            return
    following = next((key for key in keys if key.outcome == "to_write"), None)
    if following is None:
        await _end(connection, setup, keys, None, now)
        return
    payload = {"key": following.key, "value": following.wanted or ""}
    try:
        queued = await _queue(connection, setup.station_id, "change_configuration", payload, now)
    except Conflict:  # the station was retired meanwhile
        await _end(connection, setup, keys, "not_delivered", now)
        return
    await store_setups.update(connection, setup.id, queued.id, keys)


def _written(keys: Sequence[SetupKey], command: Command) -> list[SetupKey]:
    """Returns the keys after one of them was written, or was not."""
    outcome = "refused"
    if command.state == "accepted":
        status = str((command.response or {}).get("status", "")).strip().casefold()
        outcome = "written_after_reboot" if status == _REBOOT else "written"
    name = command.payload.get("key")
    return [replace(key, outcome=outcome) if key.key == name else key for key in keys]


async def _end(
    connection: Connection,
    setup: StationSetup,
    keys: Sequence[SetupKey],
    failure: str | None,
    now: datetime,
) -> None:
    await store_setups.end(connection, setup.id, keys, failure, now)
    if failure is None:
        await alerts.close_alert(connection, ALERT, setup.station_id, now)
    elif failure != "not_delivered":  # then it begins again with the next connection
        waits_for = next((key.key for key in keys if key.outcome in {"to_write", "refused"}), None)
        detail = {"failure": failure, "key": waits_for}
        await alerts.open_alert(connection, ALERT, setup.station_id, detail, now)


async def _queue(
    connection: Connection,
    station_id: str,
    action: CommandAction,
    payload: Mapping[str, object],
    now: datetime,
) -> Command:
    return await queue_command(
        connection, station_id, action, payload, actor=ACTOR, expires_in=_EXPIRES, now=now
    )

"""Changes what an operator decides about a station: owner, availability, cards, its profile."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from evpower import identity
from evpower.foundation.db import Connection
from evpower.foundation.errors import Invalid
from evpower.foundation.names import name_flaw
from evpower.stations import store, store_changes, store_commands
from evpower.stations.commands import queue_command
from evpower.stations.find import lock_station
from evpower.stations.model import Availability, Command, Station
from evpower.stations.profile_files import override_text
from evpower.stations.profiles import set_profile, station_profile

_OWNER_MAX: Final = 200
_ACTOR: Final = "availability"
_AVAILABILITY_EXPIRES: Final = timedelta(minutes=5)  # it is sent again after the next boot


@dataclass(frozen=True, slots=True)
class StationChange:
    """What becomes of a station; None: it stays as it is."""

    owner: str | None = None  # "": it has none any more
    paid_only: bool | None = None
    cards_without_auth: bool | None = None
    availability: Availability | None = None
    connector: int | None = None  # whose availability; None: the station's
    profile: str | None = None  # the vendor profile; "": by what the station says of itself
    members: Mapping[str, str] | None = None  # of the profile, its own; "": as in the profile


async def change_station(
    connection: Connection,
    *,
    station: str,
    change: StationChange,
    now: datetime,
    actor: str,
    reason: str | None = None,
) -> Command | None:
    """Changes a station, and queues the command that tells it of a new availability.

    The caller publishes STATION_CHANGED after the commit. Raises NotFound("station_not_found"),
    Invalid("station_invalid" | "profile_invalid"), Conflict("station_retired").
    """
    stored = await lock_station(connection, station)
    before = await _before(connection, stored, change)
    wanted = _changed(stored, change)
    await store_changes.set_decisions(connection, wanted)
    if change.profile is not None or change.members:
        await set_profile(connection, stored.id, name=change.profile, members=change.members)
    command = None
    if change.availability is not None:
        if change.connector is not None and not await store_changes.set_connector_availability(
            connection, stored.id, change.connector, change.availability
        ):
            detail = f"station {stored.id} has no connector {change.connector}"
            raise Invalid("station_invalid", detail)
        command = await queue_command(
            connection,
            stored.id,
            "change_availability",
            {"connector": change.connector or 0, "availability": change.availability},
            actor=actor,
            connector=change.connector,
            expires_in=_AVAILABILITY_EXPIRES,
            now=now,
        )
    after = {name: value for name, value in asdict(change).items() if value is not None}
    details = after | {"before": before}
    await identity.record_act(
        connection,
        actor=actor,
        action="station.change",
        subject=stored.id,
        reason=reason,
        details=details,
    )
    return command


async def restore_availability(
    connection: Connection, station_id: str, now: datetime
) -> list[Command]:
    """Sends a station that booted what the operator wants of it, where it may not have that.

    A station may lose it, or have accepted it and done nothing. Operative, the state after a boot,
    is sent only to one that says it is not. The caller publishes STATION_CHANGED after the commit.
    """
    stored = await lock_station(connection, station_id)
    wanted = [(0, stored.wanted_availability, stored.reported_availability == "inoperative")]
    rows = (await store.connectors_of(connection, [stored.id])).get(stored.id, [])
    wanted += [
        (row.number, row.wanted_availability, row.reported_status == "unavailable") for row in rows
    ]
    if stored.wanted_availability == "inoperative":
        wanted = wanted[:1]
    queued = await store_commands.queued_connectors(
        connection, stored.id, "change_availability", now
    )
    return [
        await queue_command(
            connection,
            stored.id,
            "change_availability",
            {"connector": number, "availability": availability},
            actor=_ACTOR,
            connector=number or None,
            expires_in=_AVAILABILITY_EXPIRES,
            now=now,
        )
        for number, availability, is_out in wanted
        if (availability == "inoperative" or is_out) and number not in queued
    ]


async def _before(
    connection: Connection, stored: Station, change: StationChange
) -> dict[str, object]:
    """Returns what the members of a change are until now, for the audit."""
    availability: object = stored.wanted_availability
    if change.connector is not None:
        connectors = (await store.connectors_of(connection, [stored.id])).get(stored.id, [])
        wanted = {row.number: row.wanted_availability for row in connectors}
        availability = wanted.get(change.connector)
    values: dict[str, object] = {
        "owner": stored.owner,
        "paid_only": stored.paid_only,
        "cards_without_auth": stored.cards_without_auth,
        "availability": availability,
    }
    given = asdict(change)
    if change.profile is not None or change.members:
        profile = await station_profile(connection, stored.id)
        values["profile"] = profile.profile.name if profile.is_chosen else ""
        values["members"] = {
            member: override_text(profile.overrides[member]) if member in profile.overrides else ""
            for member in change.members or {}
        }
    return {name: value for name, value in values.items() if given[name] is not None}


def _changed(stored: Station, change: StationChange) -> Station:
    wanted = stored
    if change.owner is not None:
        if change.owner and name_flaw(change.owner, most=_OWNER_MAX):
            raise Invalid("station_invalid", "the owner must have 1 to 200 characters")
        wanted = replace(wanted, owner=change.owner or None)
    if change.paid_only is not None:
        wanted = replace(wanted, paid_only=change.paid_only)
    if change.cards_without_auth is not None:
        wanted = replace(wanted, cards_without_auth=change.cards_without_auth)
    if wanted.cards_without_auth and not wanted.no_auth:
        raise Invalid("station_invalid", "cards_without_auth is for stations with no_auth")
    if change.availability is not None and change.connector is None:
        wanted = replace(wanted, wanted_availability=change.availability)
    return wanted

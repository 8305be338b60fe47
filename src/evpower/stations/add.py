"""Adds a station: its location, names, connectors and, unless it needs none, a password."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from evpower import identity
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict
from evpower.foundation.ids import new_code, new_uuid
from evpower.stations import store, store_credentials
from evpower.stations.check import check_draft
from evpower.stations.credentials import give_password
from evpower.stations.model import AddedStation, Location, Name, StationDraft
from evpower.stations.names import key_of
from evpower.stations.profiles import set_profile

_POST_CODE_LENGTH: Final = 6
_POST_CODE_TRIES: Final = 20


async def add_station(
    connection: Connection,
    draft: StationDraft,
    *,
    now: datetime,
    actor: str,
    reason: str | None = None,
    new_post_code: Callable[[int], str] = new_code,
) -> AddedStation:
    """Adds a station; its password is only in this result.

    A location without an id is found by its name, or made. Raises Invalid("station_invalid"),
    Conflict("station_name_taken" | "location_ambiguous" | "location_differs").
    """
    added = await insert_draft(connection, draft, now=now, new_post_code=new_post_code)
    password = None if draft.no_auth else await give_password(connection, added.id)
    await identity.record_act(
        connection,
        actor=actor,
        action="station.add",
        subject=draft.id,
        reason=reason,
        details={"location": added.location.id, "no_auth": draft.no_auth},
    )
    return replace(added, password=password)


async def insert_draft(
    connection: Connection,
    draft: StationDraft,
    *,
    now: datetime,
    new_post_code: Callable[[int], str] = new_code,
) -> AddedStation:
    """Stores a station without a password and without an entry of the audit. Raises as above."""
    check_draft(draft)
    location = await _place(connection, draft.location)
    placed = replace(draft, location=location)
    key = key_of(draft.id)
    if other := await store.station_of_name(connection, key):
        raise _name_conflict(draft.id, other.id)
    post_code = draft.post_code or await _free_code(connection, new_post_code)
    if not await store.insert_station(connection, placed, key, post_code, now):
        raise Conflict("station_name_taken", f"the id or post code of {draft.id!a:.80} is taken")
    own = Name(draft.id, "ocpp"), Name(post_code, "post_code")
    for name in (*own, *draft.names):
        owner = await store.insert_name(connection, draft.id, name, key_of(name.name))
        if owner != draft.id:
            raise _name_conflict(name.name, owner)
    for connector in draft.connectors:
        if not await store.insert_connector(connection, draft.id, connector):
            raise Conflict("station_name_taken", f"the EVSE id {connector.evse_id} is taken")
    if draft.profile is not None or draft.profile_members:
        members = dict(draft.profile_members)
        await set_profile(connection, draft.id, name=draft.profile, members=members)
    await store_credentials.delete_unknown(connection, key)
    return AddedStation(draft.id, post_code, location, None)


async def find_location(connection: Connection, location: Location) -> Location | None:
    """Returns the stored location that is meant, by its id, else by its name; None: a new one.

    Raises Conflict("location_ambiguous" | "location_differs").
    """
    stored = await store.locations_named(connection, location.id or location.name)
    if location.id:
        stored = [candidate for candidate in stored if candidate.id == location.id]
    if len(stored) > 1:
        detail = f"there are several locations {location.name!a:.80}: name one by its id"
        raise Conflict("location_ambiguous", detail)
    if not stored:
        return None
    [match] = stored
    is_only_named = not location.id and location == Location("", location.name)
    if not is_only_named and replace(match, id=location.id) != location:
        raise Conflict("location_differs", f"location {match.id} is stored with other values")
    return match


async def _place(connection: Connection, location: Location) -> Location:
    stored = await find_location(connection, location)
    if stored is None:
        await store.lock_locations(connection)
        stored = await find_location(connection, location)  # another adder may have made it
    if stored is not None:
        return stored
    new = location if location.id else replace(location, id=str(new_uuid()))
    await store.insert_location(connection, new)
    return new


async def _free_code(connection: Connection, new_post_code: Callable[[int], str]) -> str:
    for _ in range(_POST_CODE_TRIES):
        code = new_post_code(_POST_CODE_LENGTH)
        if await store.station_of_name(connection, code) is None:
            return code
    raise Conflict("station_name_taken", "no free post code was found, try again")


def _name_conflict(name: str, station_id: str) -> Conflict:
    return Conflict("station_name_taken", f"{name!a:.80} is a name of station {station_id!a:.80}")

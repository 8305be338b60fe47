"""Says which plan prices a connector, a station, a location or everything, and from when."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, Literal

from evpower import identity
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid, NotFound
from evpower.foundation.text import flaw
from evpower.tariffs import store
from evpower.tariffs.find import has_plan
from evpower.tariffs.model import Scope
from evpower.tariffs.save import refuse_past

# Returns the id of a place by any of its names; None: there is no such place.
FindPlace = Callable[
    [Connection, Literal["location", "station", "connector"], str], Awaitable[str | None]
]
_MAX_ID: Final = 128


async def place_id(
    connection: Connection,
    find_place: FindPlace,
    scope: Scope,
    name: str,
    *,
    ends_at: datetime | None = None,
) -> str:
    """Returns the id under which sessions look a scope up, by any of its names.

    Where a plan ends, an id that has one is taken as it is: its place may not be there, or no more.
    Raises NotFound("location_not_found" | "station_not_found" | "connector_not_found").
    """
    if scope == "everything" or not name:
        return name
    if ends_at is not None and await has_plan(connection, scope, name, ends_at):
        return name
    known_id = await find_place(connection, scope, name)
    if known_id is None:
        raise NotFound(f"{scope}_not_found", f"there is no {scope} {name!a:.80}")
    return known_id


async def assign(
    connection: Connection,
    *,
    scope: Scope,
    scope_id: str,
    plan: str | None,
    valid_from: datetime,
    now: datetime,
    actor: str,
    reason: str | None = None,
) -> None:
    """Lets a plan price a scope from a time on; None: from then on the next wider scope does.

    `scope_id` is "" for everything, "<station>/<number>" for a connector. Raises
    NotFound("tariff_not_found"), Conflict("tariff_not_in_force"), Invalid("tariff_scope_invalid" |
    "tariff_starts_in_past").
    """
    is_named = bool(scope_id) and scope_id == scope_id.strip()
    if flaw(scope_id, most=_MAX_ID) or is_named == (scope == "everything"):
        raise Invalid("tariff_scope_invalid", f"{scope} can't have the id {scope_id!a:.70}")
    refuse_past(valid_from, now)
    locked = None
    if plan is not None:
        locked = await store.lock_plan(connection, plan)
        if locked is None:
            raise NotFound("tariff_not_found", f"there is no plan {plan!a:.70}")
        if await store.version_at(connection, plan, valid_from) is None:
            detail = f"no version of {plan} is in force then: save one, or activate a draft"
            raise Conflict("tariff_not_in_force", detail)
    await store.insert_assignment(connection, scope, scope_id, locked, valid_from, actor)
    await identity.record_act(
        connection,
        actor=actor,
        action="tariff.assign",
        subject=f"{scope}:{scope_id}" if scope_id else scope,
        reason=reason,
        details={"plan": plan, "valid_from": valid_from.isoformat()},
    )

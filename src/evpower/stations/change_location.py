"""Changes what drivers see of a location: its name, address, place on the map, time zone."""

from dataclasses import asdict, dataclass, replace
from decimal import Decimal

from evpower import identity
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid, NotFound
from evpower.stations import store
from evpower.stations.check import location_flaws
from evpower.stations.model import Location


@dataclass(frozen=True, slots=True)
class LocationChange:
    """What becomes of a location; None: it stays as it is."""

    name: str | None = None
    address: str | None = None
    city: str | None = None
    country: str | None = None
    latitude: Decimal | None = None
    longitude: Decimal | None = None
    time_zone: str | None = None


@dataclass(frozen=True, slots=True)
class LocationChanged:
    """A location as it is now, and the stations there: what is known of them has changed."""

    location: Location
    station_ids: list[str]


async def change_location(
    connection: Connection,
    *,
    location: str,
    change: LocationChange,
    actor: str,
    reason: str | None = None,
) -> LocationChanged:
    """Changes a location by its id or name; its id never changes.

    The caller publishes STATION_CHANGED of its stations after the commit. Raises
    NotFound("location_not_found"), Conflict("location_ambiguous" | "location_name_taken"),
    Invalid("location_invalid").
    """
    await store.lock_locations(connection)
    stored = await _find(connection, location)
    given = {name: value for name, value in asdict(change).items() if value is not None}
    wanted = replace(stored, **given)
    if flaws := list(location_flaws(wanted, stored)):
        raise Invalid("location_invalid", "; ".join(flaws))
    if wanted.name.lower() != stored.name.lower():
        await _check_free(connection, wanted)
    await store.set_location(connection, wanted)
    await identity.record_act(
        connection,
        actor=actor,
        action="location.change",
        subject=f"location:{stored.id}",
        reason=reason,
        details=_written(given) | {"before": _written({n: getattr(stored, n) for n in given})},
    )
    return LocationChanged(wanted, await store.stations_at(connection, stored.id))


async def _find(connection: Connection, text: str) -> Location:
    named = await store.locations_named(connection, text)
    if not named:
        raise NotFound("location_not_found", f"there is no location {text!a:.80}")
    if len(named) > 1:
        detail = f"there are several locations {text!a:.80}: name one by its id"
        raise Conflict("location_ambiguous", detail)
    return named[0]


async def _check_free(connection: Connection, wanted: Location) -> None:
    """Refuses a name by which another location is found."""
    for other in await store.locations_named(connection, wanted.name):
        if other.id != wanted.id:
            detail = f"{wanted.name!a:.80} is the name or id of location {other.id!a:.80}"
            raise Conflict("location_name_taken", detail)


def _written(values: dict[str, object]) -> dict[str, object]:
    return {
        name: str(value) if isinstance(value, Decimal) else value for name, value in values.items()
    }

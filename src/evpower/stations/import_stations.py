"""Adds the stations of a file: all of them, or none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from evpower import identity
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict
from evpower.stations import store
from evpower.stations.add import insert_draft
from evpower.stations.export_stations import draft_of
from evpower.stations.file import InvalidStationFile, ReadStation
from evpower.stations.find import get_station
from evpower.stations.model import StationDraft
from evpower.stations.names import key_of


@dataclass(frozen=True, slots=True)
class ImportedStations:
    """What an import did."""

    added: tuple[str, ...]
    unchanged: tuple[str, ...]
    without_password: tuple[str, ...]  # of the added: they can't connect until one is made


async def import_stations(
    connection: Connection,
    stations: Sequence[ReadStation],
    *,
    now: datetime,
    actor: str,
    reason: str | None = None,
) -> ImportedStations:
    """Adds what is not there; a station that is there with the same values stays as it is.

    Raises InvalidStationFile with every station that can't be stored: the caller's transaction must
    then be rolled back.
    """
    added: list[StationDraft] = []
    unchanged: list[str] = []
    flaws: list[tuple[str, str]] = []
    for station in stations:
        draft = station.draft
        present = await store.station_of_name(connection, key_of(draft.id))
        if present is not None and present.id == draft.id:
            differing = await _differences(connection, draft)
            if differing:
                flaws.append((station.where, f"{draft.id} is there with another {differing}"))
            else:
                unchanged.append(draft.id)
            continue
        try:
            async with connection.transaction():
                await insert_draft(connection, draft, now=now)
            added.append(draft)
        except Conflict as error:
            flaws.append((station.where, error.detail))
    if flaws:
        raise InvalidStationFile(flaws)
    await identity.record_act(
        connection,
        actor=actor,
        action="station.import",
        subject="stations",
        reason=reason,
        details={"added": len(added), "unchanged": len(unchanged)},
    )
    closed = tuple(draft.id for draft in added if not draft.no_auth)
    return ImportedStations(tuple(draft.id for draft in added), tuple(unchanged), closed)


async def _differences(connection: Connection, draft: StationDraft) -> str:
    """Returns which values of a stored station are others than a file's; "": none."""
    stored = draft_of(await get_station(connection, draft.id))
    wanted = replace(
        draft,
        post_code=draft.post_code or stored.post_code,
        names=stored.names if set(draft.names) <= set(stored.names) else draft.names,
        connectors=tuple(sorted(draft.connectors, key=lambda connector: connector.number)),
    )
    if not draft.location.id:
        wanted = replace(wanted, location=replace(draft.location, id=stored.location.id))
        if wanted.location.name.lower() == stored.location.name.lower():
            wanted = replace(wanted, location=stored.location)
    pairs = {
        "location": (wanted.location, stored.location),
        "connectors": (wanted.connectors, stored.connectors),
        "names": (wanted.names, stored.names),
        "post_code": (wanted.post_code, stored.post_code),
        "owner": (wanted.owner, stored.owner),
        "availability": (wanted.availability, stored.availability),
        "no_auth": (wanted.no_auth, stored.no_auth),
        "paid_only": (wanted.paid_only, stored.paid_only),
        "cards_without_auth": (wanted.cards_without_auth, stored.cards_without_auth),
        "simulated": (wanted.is_simulated, stored.is_simulated),
        "pinned_version": (wanted.pinned_version, stored.pinned_version),
        "retired": (wanted.is_retired, stored.is_retired),
    }
    return ", ".join(field for field, (left, right) in pairs.items() if left != right)

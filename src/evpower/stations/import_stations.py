"""Adds the stations of a file: all of them, or none."""

from collections.abc import Mapping, Sequence
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
from evpower.stations.rows import CONNECTOR_FIELDS, LOCATION_FIELDS, STATION_FIELDS, write_rows


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
                flaws.append((station.where, f"{draft.id} is stored with {differing}"))
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
    """Returns what is stored of a station where a file says another; "": all is equal."""
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
    rows, stored_rows = write_rows(wanted), write_rows(stored)
    of_all = _unequal("", rows[0], stored_rows[0], STATION_FIELDS + LOCATION_FIELDS)
    numbers, stored_numbers = (
        ", ".join(row["connector"] for row in side) for side in (rows, stored_rows)
    )
    if numbers != stored_numbers:
        return "; ".join([*of_all, f"connectors {stored_numbers}, not {numbers}"])
    of_connectors = [
        text
        for row, stored_row in zip(rows, stored_rows, strict=True)
        for text in _unequal(f" of connector {row['connector']}", row, stored_row, CONNECTOR_FIELDS)
    ]
    return "; ".join(of_all + of_connectors)


def _unequal(
    of: str, row: Mapping[str, str], stored: Mapping[str, str], fields: Sequence[str]
) -> list[str]:
    return [
        f"{field}{of} {stored[field] or 'empty'!a:.80}, not {row[field] or 'empty'!a:.80}"
        for field in fields
        if row[field] != stored[field]
    ]

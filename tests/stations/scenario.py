"""Stations as an operator has them, each act in a transaction of its own."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from evpower import stations
from evpower.foundation.db import Connection, Database
from evpower.stations import (
    AddedStation,
    ImportedStations,
    Location,
    NameKind,
    StationDraft,
    StationView,
)
from evpower.stations.model import Admission, ConnectorDraft, Name

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
MALL = Location("mall", "Mall", "Chui 1", "Bishkek", "KGZ", Decimal("42.8746"), Decimal("74.5698"))


def connector(number: int = 1, **values: Any) -> ConnectorDraft:
    return replace(stations.usual_connector(number, 22_000), **values)


def draft(station_id: str = "EVP-001", **values: Any) -> StationDraft:
    connectors = (connector(1), connector(2, evse_id="KG*EVP*E1*2"))
    if station_id != "EVP-001":
        connectors = (connector(1), connector(2))
    return replace(StationDraft(station_id, MALL, connectors), **values)


class Operator:
    """The use cases."""

    def __init__(self, db: Database) -> None:
        self.db = db

    async def add(self, station_id: str = "EVP-001", **values: Any) -> AddedStation:
        codes = values.pop("codes", None)
        how = {} if codes is None else {"new_post_code": lambda _: next(codes)}
        async with self.db.transaction() as connection:
            return await stations.add_station(
                connection, draft(station_id, **values), now=NOW, actor="aida", **how
            )

    async def accept(self, station_id: str) -> AddedStation:
        async with self.db.transaction() as connection:
            return await stations.accept_station(
                connection, draft(station_id), now=NOW, actor="aida"
            )

    async def rename(self, station: str, name: str, kind: NameKind = "ocpp") -> None:
        async with self.db.transaction() as connection:
            await stations.rename_station(
                connection, station=station, name=name, kind=kind, actor="aida"
            )

    async def change(self, station: str, **values: Any) -> None:
        change = stations.StationChange(**values)
        async with self.db.transaction() as connection:
            await stations.change_station(
                connection, station=station, change=change, now=NOW, actor="aida"
            )

    async def secure(self, station: str, *, at_once: bool = False) -> str:
        async with self.db.transaction() as connection:
            return await stations.secure_station(
                connection, station=station, at_once=at_once, actor="aida"
            )

    async def retire(self, station: str, *, undo: bool = False) -> bool:
        async with self.db.transaction() as connection:
            return await stations.retire_station(
                connection, station=station, undo=undo, now=NOW, actor="aida"
            )

    async def admit(self, station: str, presented: bytes | str | None) -> Admission:
        raw = presented.encode() if isinstance(presented, str) else presented
        async with self.db.transaction() as connection:
            return await stations.admit(
                connection, await stations.lock_station(connection, station), raw
            )

    async def show(self, station: str) -> StationView:
        async with self.db.connection() as connection:
            return await stations.get_station(connection, station)

    async def find(self, name: str) -> str | None:
        """The id of the station that has a name."""
        async with self.db.connection() as connection:
            station = await stations.resolve_station(connection, name)
            return station and station.id

    async def names(self, station: str) -> set[Name]:
        return set((await self.show(station)).names)

    async def attempt(
        self, name: str, at: datetime = NOW, most: int = 1000, address: str = "10.0.0.1"
    ) -> None:
        await self.attempts([name], at, most, address)

    async def attempts(
        self,
        names: Sequence[str],
        at: datetime = NOW,
        most: int = 1000,
        address: str = "10.0.0.1",
    ) -> None:
        listed = [stations.UnknownStation(name, address, 1, at, at) for name in names]
        async with self.db.transaction() as connection:
            await stations.record_attempts(connection, listed, most=most)

    async def unknown(self) -> list[tuple[str, int]]:
        async with self.db.connection() as connection:
            listed = await stations.list_unknown(connection)
            return [(unknown.name, unknown.attempts) for unknown in listed]

    async def load(self, text: str, *, is_json: bool = False) -> ImportedStations:
        async with self.db.transaction() as connection:
            read = stations.read_stations(text.encode(), is_json=is_json)
            return await stations.import_stations(connection, read, now=NOW, actor="aida")

    async def export(self) -> list[StationDraft]:
        async with self.db.connection() as connection:
            return await stations.export_stations(connection)


async def claim(
    connection: Connection, station_id: str, epoch: int, at: datetime
) -> stations.Command | None:
    """The station's next command, now sent on its socket."""
    claimed = await stations.claim_command(connection, station_id, epoch, at)
    return None if claimed is None else claimed.command

"""Stations that charge side by side, and their meter values as the sockets hand them over."""

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from typing import Any
from uuid import UUID

from evpower import charging
from evpower.charging import Reading, StartRequest, StationReadings, StationStart, StationTime
from evpower.ocpp.model import FrameRow
from evpower.ocpp.shared_frames import FrameOutcome, SharedFrames, ValuesFrame
from tests.charging.place import ChargingPlace, read


@dataclass
class Sharing:
    """A place with several stations, and what takes their meter values on one node."""

    place: ChargingPlace
    node: SharedFrames = field(init=False)

    def __post_init__(self) -> None:
        self.node = self.another_node()

    def another_node(self) -> SharedFrames:
        return SharedFrames(self.place.db, lambda: self.place.now, self.place.rules)

    async def charging(self, station: str, som: int = 1_000, **limits: int) -> tuple[UUID, int]:
        """Add a station where a driver charges; return session and transaction."""
        await self.place.build(station, tariff=None)
        return await self.charge(await self.place.driver(som=som), station, **limits)

    async def charge(
        self, client: UUID, station: str, *, connector: int = 1, **limits: int
    ) -> tuple[UUID, int]:
        """Let a driver charge; return session and transaction."""
        place = self.place
        await place.frame(station)
        async with place.db.transaction() as connection:
            request = StartRequest(client, station, connector, **limits)
            started = await charging.start(connection, request, now=place.now, rules=place.rules)
        tag = await place.value("id_tag", started.session_id)
        time = StationTime(place.now, place.now.isoformat())
        report = StationStart(station, connector, tag, Decimal(0), None, time, place.now)
        async with place.db.transaction() as connection:
            begun = await charging.start_transaction(
                connection, report, now=place.now, rules=place.rules
            )
        return started.session_id, begun.transaction_id

    async def fleet(self, count: int) -> dict[str, int]:
        """Stations A0, A1, ... that charge: their transactions."""
        return {f"A{n}": (await self.charging(f"A{n}"))[1] for n in range(count)}

    def frame(
        self, station: str, transaction: int | None, *energies: int | None, **facts: Any
    ) -> ValuesFrame:
        """A frame with these registers."""
        connector = facts.pop("connector", 1)
        readings = tuple(read(energy, self.place.now, **facts) for energy in energies)
        return self.frame_of(station, transaction, readings, connector)

    def frame_of(
        self,
        station: str,
        transaction: int | None,
        readings: tuple[Reading, ...],
        connector: int = 1,
    ) -> ValuesFrame:
        now = self.place.now
        text = f"{station} {connector} {transaction} {readings}"
        event = StationReadings(station, connector, transaction, None, readings, (), now)
        rows = [
            FrameRow(station, now, "in", 2, "m", "MeterValues", text),
            FrameRow(station, now, "out", 3, "m", "MeterValues", "{}"),
        ]
        return ValuesFrame(event, blake2b(text.encode(), digest_size=16).digest(), "{}", rows)

    async def take(self, *frames: ValuesFrame) -> list[FrameOutcome]:
        """Take frames that come in at the same moment."""
        return await asyncio.gather(*(self.node.take(frame) for frame in frames))

    async def energies(self) -> dict[str, int]:
        rows = await self.place.owner.fetch(
            """
            select t.station_id, p.energy_wh
              from charging.progress p join charging.transactions t on t.id = p.transaction_id
            """
        )
        return {row["station_id"]: row["energy_wh"] for row in rows}

    async def transactions_used(self) -> int:
        """How many database transactions wrote the meter values."""
        return await self.place.owner.fetchval(
            "select count(distinct xmin::text) from charging.meter_values"
        )

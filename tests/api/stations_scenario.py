"""Stations of two locations, with prices and sockets, for the calls about them."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from evpower import stations, tariffs
from evpower.foundation.db import Database
from evpower.stations import Location, StationDraft, StatusReport, Touch
from evpower.stations.model import Name
from tests.api.scenario import WallClock
from tests.tariffs.examples import document

MALL = Location(
    "mall", "Mall", "Chui 1, Бишкек", "Бишкек", "KGZ", Decimal("42.87"), Decimal("74.56")
)
YARD = Location("yard", "Yard")


@dataclass
class Site:
    """The hands of an operator and of stations."""

    db: Database
    clock: WallClock

    async def add(
        self, station_id: str, location: Location = MALL, connectors: int = 1, **values: Any
    ) -> None:
        draft = StationDraft(
            station_id,
            location,
            tuple(stations.usual_connector(n, 22_000) for n in range(1, connectors + 1)),
            no_auth=True,
            is_simulated=True,
        )
        async with self.db.transaction() as connection:
            await stations.add_station(
                connection, replace(draft, **values), now=self.clock(), actor="aida"
            )

    async def price(self, *elements: dict[str, Any], code: str = "city", **more: Any) -> None:
        """Makes a plan for everything, in force from now on."""
        now = self.clock()
        async with self.db.transaction() as connection:
            await tariffs.save(
                connection,
                plan=code,
                document=document(*elements, **more),
                valid_from=now,
                now=now,
                actor="aida",
            )
            await tariffs.assign(
                connection,
                scope="everything",
                scope_id="",
                plan=code,
                valid_from=now,
                now=now,
                actor="aida",
            )

    async def assign(self, connector: str, prices: dict[str, str]) -> None:
        """Makes a plan for one connector, "<station>/<number>", in force from now on."""
        now, code = self.clock(), connector.lower().replace("/", "-")
        async with self.db.transaction() as connection:
            await tariffs.save(
                connection, plan=code, document=document(prices), valid_from=now, now=now,
                actor="aida",
            )  # fmt: skip
            await tariffs.assign(
                connection, scope="connector", scope_id=connector, plan=code, valid_from=now,
                now=now, actor="aida",
            )  # fmt: skip

    async def connect(self, station_id: str) -> int:
        now = self.clock()
        async with self.db.transaction() as connection:
            opened = await stations.open_connection(
                connection, station_id, address="10.0.0.1", version="ocpp1.6",
                is_authenticated=False, node="test", now=now,
            )  # fmt: skip
            await stations.touch(connection, [Touch(station_id, opened.epoch, now)])
        return opened.epoch

    async def report(
        self, station_id: str, connector: int, status: str, error: str | None = None
    ) -> None:
        now = self.clock()
        async with self.db.transaction() as connection:
            await stations.report_status(
                connection,
                StatusReport(
                    station_id=station_id, connector=connector, status=status, error=error,
                    info=None, station_at=now, station_time=now.isoformat(), received_at=now,
                ),
            )  # fmt: skip

    async def ready(self, station_id: str, connectors: int = 1, **values: Any) -> None:
        """A station that is connected, and free."""
        await self.add(station_id, connectors=connectors, **values)
        await self.connect(station_id)
        for number in range(1, connectors + 1):
            await self.report(station_id, number, "available")


def serial(name: str) -> tuple[Name, ...]:
    return (Name(name, "serial"),)

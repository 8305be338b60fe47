"""What a forwarded station's charge would cost here, by all that it said on its way."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evpower import stations, tariffs
from evpower.foundation.db import Connection, Database
from evpower.ocpp import messages
from evpower.ocpp.forwarded_charges import ForwardedCharges
from evpower.ocpp.frame_log import FrameLog
from evpower.ocpp.model import CALL, FrameRow
from tests.stations.scenario import draft

EVENING = datetime(2026, 12, 1, 15, tzinfo=UTC)  # 21:00 in Bishkek
# 20 som a kWh, at night 10; 3 som a minute once the car is done.
NIGHTS: dict[str, Any] = {
    "name": "cheaper at night",
    "elements": [
        {"prices": {"energy_per_kwh": "10"}, "if": {"from": "22:00", "to": "06:00"}},
        {"prices": {"energy_per_kwh": "20"}},
        {"prices": {"parking_per_minute": "3"}},
    ],
}


@dataclass
class Passing:
    """A station whose messages go to another CSMS."""

    db: Database
    owner: Connection
    frames: FrameLog
    charges: ForwardedCharges
    ids: list[int] = field(default_factory=list[int])

    async def says(self, minutes: float, action: str, **payload: Any) -> None:
        """A message some minutes after the evening began."""
        self.ids.append(1)
        raw = json.dumps([2, f"m{len(self.ids)}", action, payload])
        at = EVENING + timedelta(minutes=minutes)
        self.frames.add(FrameRow("EVP-001", at, "in", CALL, f"m{len(self.ids)}", action, raw))
        self.charges.note("in", messages.read(raw.encode()), at)

    async def begins(self, timestamp: str = "2026-12-01T15:00:00Z", minutes: float = 0) -> None:
        await self.says(
            minutes, "StartTransaction", connectorId=1, idTag="A1", meterStart=1000,
            timestamp=timestamp,
        )  # fmt: skip
        self.charges.note("out", messages.read(b'[3,"m1",{"transactionId":77}]'), EVENING)

    async def meters(self, minutes: float, wh: int, **more: Any) -> None:
        at = EVENING + timedelta(minutes=minutes)
        stamp = more.pop("timestamp", at.isoformat())
        values = [{"timestamp": stamp, "sampledValue": [{"value": str(wh)}]}]
        usual = {"connectorId": 1, "transactionId": 77, "meterValue": values}
        await self.says(minutes, "MeterValues", **usual | more)

    async def shows(self, minutes: float, status: str) -> None:
        at = (EVENING + timedelta(minutes=minutes)).isoformat()
        await self.says(
            minutes, "StatusNotification", connectorId=1, errorCode="NoError", status=status,
            timestamp=at,
        )  # fmt: skip

    async def ends(self, minutes: float, wh: int, **more: Any) -> int:
        """The stop. Returns what the charge would have cost, in som."""
        at = (EVENING + timedelta(minutes=minutes)).isoformat()
        usual = {"transactionId": 77, "meterStop": wh, "timestamp": at}
        await self.says(minutes, "StopTransaction", **usual | more)
        await self.charges.finish()
        await self.charges.run()
        cost_minor = await self.owner.fetchval("select cost_minor from ocpp.forwarded_charges")
        assert cost_minor % 100 == 0
        return cost_minor // 100

    async def is_like(self, overrides: str) -> None:
        await self.owner.execute(
            "insert into stations.profiles (station_id, overrides) values ('EVP-001', $1)",
            overrides,
        )


@pytest.fixture
async def passing(db: Database, owner: Connection) -> Passing:
    before = EVENING - timedelta(days=1)
    async with db.transaction() as connection:
        await stations.add_station(connection, draft(), now=before, actor="aida")
        await tariffs.save(
            connection, plan="nights", document=NIGHTS, valid_from=before, now=before, actor="aida"
        )
        await tariffs.assign(
            connection, plan="nights", scope="everything", scope_id="", valid_from=before,
            now=before, actor="aida",
        )  # fmt: skip
    frames = FrameLog(db)
    return Passing(db, owner, frames, ForwardedCharges(db, "EVP-001", frames, lambda: EVENING))


@pytest.mark.parametrize("stored", [0, 1, 2])
async def test_energy_costs_what_it_does_when_it_flows(passing: Passing, stored: int) -> None:
    """10 kWh before ten, 2 kWh after; wherever its frames are at the end."""
    await passing.begins()
    for place, (minutes, wh) in enumerate([(60, 11_000), (90, 12_000)]):
        if place == stored:
            await passing.frames.flush()
        await passing.meters(minutes, wh)
    if stored == 2:
        await passing.frames.flush()
    assert await passing.ends(120, 13_000) == 220


async def test_values_of_the_stop_count(passing: Passing) -> None:
    await passing.begins()
    data = [{"timestamp": "2026-12-01T16:00:00Z", "sampledValue": [{"value": "11000"}]}]
    assert await passing.ends(120, 13_000, transactionData=data) == 220


async def test_without_values_it_flows_evenly(passing: Passing) -> None:
    await passing.begins()
    assert await passing.ends(120, 13_000) == 180


async def test_values_that_can_not_be_of_it_count_nothing(passing: Passing) -> None:
    """Of another charge, another connector, below the start, above the stop, and back."""
    await passing.begins()
    await passing.meters(10, 12_900, transactionId=78)
    await passing.meters(10, 12_900, transactionId=None, connectorId=2)
    await passing.meters(20, 0)
    await passing.meters(20, 900_000)
    await passing.meters(60, 11_000, transactionId=None)
    await passing.meters(70, 5_000)
    await passing.meters(80, 0)
    assert await passing.ends(120, 13_000) == 220


@pytest.mark.parametrize(("detection", "som"), [("true", 200 + 150), ("false", 200)])
async def test_a_car_that_is_done_costs_where_its_station_shows_it(
    passing: Passing, detection: str, som: int
) -> None:
    """It is done for 20 minutes, charges a little again, and is done for 30."""
    await passing.is_like(f'{{"release_detection": {detection}}}')
    await passing.begins()
    await passing.meters(10, 6_000)
    await passing.shows(10, "SuspendedEV")
    await passing.meters(20, 6_000)
    await passing.meters(30, 6_001)
    await passing.shows(30, "Charging")
    await passing.meters(40, 11_000)
    await passing.shows(40, "SuspendedEV")
    assert await passing.ends(70, 11_000) == som


@pytest.mark.parametrize("says_so", [1, 2])
async def test_the_value_after_a_car_was_done_may_have_the_energy_before(
    passing: Passing, says_so: int
) -> None:
    await passing.is_like('{"release_detection": true}')
    await passing.begins()
    await passing.meters(5, 3_500)
    for minutes in range(10, 10 + says_so):
        await passing.shows(minutes, "SuspendedEV")
    await passing.meters(20, 6_000)
    assert await passing.ends(30, 6_000) == 100 + 60


@pytest.mark.parametrize(("shows_it_at", "som"), [([10], 200 + 30), ([10, 25], 200 + 45)])
async def test_energy_ends_idle_time(passing: Passing, shows_it_at: list[int], som: int) -> None:
    await passing.is_like('{"release_detection": true}')
    await passing.begins()
    await passing.meters(10, 6_000)
    for minutes in shows_it_at:
        await passing.shows(minutes, "SuspendedEV")
    await passing.meters(20, 6_000)
    await passing.meters(30, 11_000)
    assert await passing.ends(50, 11_000) == som


async def test_times_without_a_zone_are_those_of_its_place(passing: Passing) -> None:
    """The charge of an evening without a network, sent after midnight."""
    await passing.is_like('{"local_clock": true}')
    await passing.begins("2026-12-01T21:00:00", 600)
    await passing.meters(600, 11_000, meterValue=[
        {"timestamp": "2026-12-01T22:00:00", "sampledValue": [{"value": "11000"}]}
    ])  # fmt: skip
    assert await passing.ends(600, 13_000, timestamp="2026-12-01T23:00:00") == 220

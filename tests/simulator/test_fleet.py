"""Several stations run together."""

import asyncio

import pytest
from ocpp.v16 import call

from evpower.simulator import ConnectFailed, StationConfig, make_fleet
from tests.simulator.csms import running_csms
from tests.simulator.rig import TAG
from tests.simulator.test_connect import closed_port
from tests.waiting import until


async def test_a_fleet_ends_its_charges_and_sends_them_before_it_leaves() -> None:
    stop = asyncio.Event()
    async with running_csms() as csms:
        config = StationConfig("EV", csms.url, speed=100_000, plugs_itself=True)
        fleet = make_fleet(config, count=3, seed=7)
        running = asyncio.create_task(fleet.run(stop))
        await until(lambda: all(station.is_online for station in fleet.stations))
        assert sorted(each.id for each in csms.connections) == ["EV-1", "EV-2", "EV-3"]
        for connection in csms.connections:
            await connection.call(call.RemoteStartTransaction(id_tag=TAG))
        await until(lambda: csms.count("StartTransaction") == 3)
        await until(lambda: fleet.delivered_wh > 0)
        stop.set()
        assert await running == 0
        billed = sum(each["meterStop"] for each in csms.payloads("StopTransaction"))
        assert billed == fleet.delivered_wh
        assert csms.violations() == []


async def test_a_fleet_without_a_server_fails() -> None:
    config = StationConfig("EV", f"ws://127.0.0.1:{closed_port()}")
    with pytest.raises(ConnectFailed):
        await make_fleet(config, count=2).run(asyncio.Event())


def test_an_unknown_persona_is_refused() -> None:
    with pytest.raises(KeyError):
        make_fleet(StationConfig("EV", "ws://127.0.0.1"), persona="none")


@pytest.mark.parametrize("fields", [{"connectors": 0}, {"connectors": 33}, {"speed": 0}])
def test_an_impossible_station_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        StationConfig("EV", "ws://127.0.0.1", **fields)  # type: ignore[arg-type]

"""Stations that none of our code is in charge from their first boot to the bill."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from evpower.devstack.supabase.server import node_binary
from tests.flows.charging_site import Site, cost_minor, minor
from tests.flows.foreign_station import connected
from tests.foreign.install import HERE
from tests.waiting import until

pytestmark = [pytest.mark.xdist_group("charging"), pytest.mark.timeout(900)]
METER_START_WH = 1_000


async def test_the_ocpp_package_charges_from_boot_to_bill(site: Site) -> None:
    await site.add_station("FOREIGN-1")
    phone = await site.driver(som=500)
    async with connected(site.socket_url, "FOREIGN-1") as station:
        await station.boot()
        session_id = (await phone.start("FOREIGN-1"))["session_id"]
        await until(station.started.is_set, "the station never started")
        await station.sample()
        await station.sample()
        await phone.charges_wh(session_id, 1_000)
        await phone.stop(session_id)
        await until(station.stopped.is_set, "the station never stopped")
        await until(lambda: phone.is_billed(session_id))
    energy_wh = station.meter_wh - METER_START_WH
    status = await phone.status(session_id)
    assert round(status["energy_consumed"] * 1000) == energy_wh == 1_000
    assert minor((await phone.balance())["balance"]) == 500_00 - cost_minor(energy_wh)


async def test_ocpp_rpc_in_its_strict_mode_charges_from_boot_to_bill(site: Site) -> None:
    await site.add_station("FOREIGN-2")
    phone = await site.driver(som=500)
    async with running_ocpp_rpc(site.socket_url, "FOREIGN-2") as station:
        await until(lambda: station.has("ready"), "it never was ready")
        session_id = (await phone.start("FOREIGN-2"))["session_id"]
        await phone.charges_wh(session_id, 1_000)
        await phone.stop(session_id)
        await until(lambda: station.has("stopped"), "the station never stopped")
        await until(lambda: phone.is_billed(session_id))
    energy_wh = station.last("stopped")["meter"] - METER_START_WH
    status = await phone.status(session_id)
    assert round(status["energy_consumed"] * 1000) == energy_wh
    assert minor((await phone.balance())["balance"]) == 500_00 - cost_minor(energy_wh)


@dataclass
class OcppRpc:
    """The other program, by what it prints."""

    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def has(self, event: str) -> bool:
        failed = [each for each in self.events if each["event"] == "failed"]
        assert not failed, failed
        return any(each["event"] == event for each in self.events)

    def last(self, event: str) -> dict[str, Any]:
        return [each for each in self.events if each["event"] == event][-1]


@asynccontextmanager
async def running_ocpp_rpc(url: str, station_id: str) -> AsyncGenerator[OcppRpc]:
    process = await asyncio.create_subprocess_exec(
        node_binary(), HERE / "station.mjs", url, station_id,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=HERE,
    )  # fmt: skip
    station = OcppRpc()

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            try:
                station.events.append(json.loads(line))
            except ValueError:
                station.events.append({"event": "failed", "text": line.decode()})

    reading = asyncio.create_task(read())
    try:
        yield station
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading

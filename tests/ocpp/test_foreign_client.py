"""The `ocpp` package's ChargePoint, which shares no code with this server, from boot to bill."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from ocpp.routing import on
from ocpp.v16 import ChargePoint, call, call_result
from ocpp.v16.enums import RegistrationStatus, RemoteStartStopStatus
from websockets.asyncio.client import connect

from evpower import charging
from evpower.charging import StopRequest
from evpower.foundation.db import Connection, Database
from tests.ocpp.driving import Driving, driving
from tests.ocpp.scenario import V16
from tests.waiting import WAIT_LIMIT_S


class ForeignStation(ChargePoint):
    """Keeps the commands it was sent."""

    def __init__(self, wire: Any) -> None:
        super().__init__("EVP-001", wire, response_timeout=int(WAIT_LIMIT_S))
        self.starts: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.stops: asyncio.Queue[int] = asyncio.Queue()

    @on("RemoteStartTransaction")
    def on_start(self, **payload: Any) -> call_result.RemoteStartTransaction:
        self.starts.put_nowait(payload)
        return call_result.RemoteStartTransaction(RemoteStartStopStatus.accepted)

    @on("RemoteStopTransaction")
    def on_stop(self, transaction_id: int) -> call_result.RemoteStopTransaction:
        self.stops.put_nowait(transaction_id)
        return call_result.RemoteStopTransaction(RemoteStartStopStatus.accepted)

    async def ask(self, request: object) -> Any:
        """Sends a request; the package checks the answer by its schema."""
        answer = await cast("Any", self).call(request, suppress=False)
        assert answer is not None
        return answer


@pytest.fixture
async def drive(db: Database, owner: Connection) -> AsyncIterator[Driving]:
    async with driving(db, owner) as drive:
        yield drive


@contextlib.asynccontextmanager
async def foreign(drive: Driving) -> AsyncIterator[ForeignStation]:
    address = f"{drive.central.base}/ocpp/EVP-001"
    async with connect(address, subprotocols=[V16]) as wire:
        station = ForeignStation(wire)
        reading = asyncio.create_task(station.start())
        yield station
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading


async def test_it_charges_from_boot_to_bill(drive: Driving) -> None:
    async with foreign(drive) as station, asyncio.timeout(WAIT_LIMIT_S):
        boot = await station.ask(call.BootNotification("One", "Acme", firmware_version="1.0"))
        assert boot.status == RegistrationStatus.accepted
        await station.ask(call.Heartbeat())
        for status in ("Available", "Preparing"):
            await station.ask(call.StatusNotification(1, "NoError", status, drive.stamp()))
        session = await drive.request()
        tag = (await station.starts.get())["id_tag"]
        answer = await station.ask(call.Authorize(tag))
        assert answer.id_tag_info["status"] == "Accepted"
        begun = await station.ask(call.StartTransaction(1, tag, 1000, drive.stamp()))
        await station.ask(call.StatusNotification(1, "NoError", "Charging", drive.stamp()))
        drive.later()
        sampled = [
            {"value": "4000", "unit": "Wh", "measurand": "Energy.Active.Import.Register"},
            {"value": "3.0", "unit": "kW", "measurand": "Power.Active.Import"},
            {"value": "55", "unit": "Percent", "measurand": "SoC"},
        ]
        entry = {"timestamp": drive.stamp(), "sampled_value": sampled}
        await station.ask(call.MeterValues(1, [entry], begun.transaction_id))
        async with drive.central.db.transaction() as connection:
            request = StopRequest(session, drive.client, "client:x", "stopped_by_driver")
            stopped = await charging.request_stop(connection, request, now=drive.central.clock())
        stopped.changes.publish(drive.central.bus)
        assert await station.stops.get() == begun.transaction_id
        drive.later()
        await station.ask(
            call.StopTransaction(6000, drive.stamp(), begun.transaction_id, "Remote", tag)
        )
        await station.ask(call.StatusNotification(1, "NoError", "Available", drive.stamp()))
        await station.ask(call.DataTransfer("com.acme", "x", "y"))
        await station.ask(call.FirmwareStatusNotification("Idle"))
        await station.ask(call.DiagnosticsStatusNotification("Idle"))
    assert await drive.bills() == [(5000, 50_00)]
    assert await drive.central.deviations() == {}

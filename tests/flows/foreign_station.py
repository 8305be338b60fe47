"""A charge point made of the `ocpp` package alone: none of our code is in it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import websockets
from ocpp.routing import after, on
from ocpp.v16 import ChargePoint, call, call_result
from ocpp.v16.enums import (
    Action,
    ChargePointErrorCode,
    ChargePointStatus,
    Reason,
    RegistrationStatus,
    RemoteStartStopStatus,
)

WH_PER_SAMPLE = 500


class ForeignStation(ChargePoint):
    """A station with one connector; each sample is 500 Wh more."""

    def __init__(self, station_id: str, connection: Any, meter_wh: int = 1_000) -> None:
        super().__init__(station_id, connection, response_timeout=60)
        self.meter_wh = meter_wh
        self.id_tag = ""
        self.transaction_id = 0
        self.started = asyncio.Event()
        self.stopped = asyncio.Event()

    async def boot(self) -> None:
        """Boots as after power-up, and reports a car that is plugged in."""
        reply = await self.call(
            call.BootNotification(charge_point_model="Foreign", charge_point_vendor="Mobility"),
            suppress=False,
        )
        assert reply.status == RegistrationStatus.accepted
        await self.report(ChargePointStatus.available)
        await self.report(ChargePointStatus.preparing)

    async def report(self, status: ChargePointStatus) -> None:
        await self.call(
            call.StatusNotification(
                connector_id=1, error_code=ChargePointErrorCode.no_error, status=status,
                timestamp=_now(),
            ),
            suppress=False,
        )  # fmt: skip

    async def sample(self) -> None:
        """Sends a meter value, 500 Wh above the last one."""
        self.meter_wh += WH_PER_SAMPLE
        sampled = {"value": str(self.meter_wh), "context": "Sample.Periodic", "unit": "Wh"}
        value = {"timestamp": _now(), "sampledValue": [sampled]}
        await self.call(
            call.MeterValues(
                connector_id=1, transaction_id=self.transaction_id, meter_value=[value]
            ),
            suppress=False,
        )

    @on(Action.remote_start_transaction)
    def accept_start(self, **_: Any) -> Any:
        return call_result.RemoteStartTransaction(status=RemoteStartStopStatus.accepted)

    @after(Action.remote_start_transaction)
    async def begin_charge(self, id_tag: str, **_: Any) -> None:
        self.id_tag = id_tag
        reply = await self.call(
            call.StartTransaction(
                connector_id=1, id_tag=id_tag, meter_start=self.meter_wh, timestamp=_now()
            ),
            suppress=False,
        )
        self.transaction_id = reply.transaction_id
        await self.report(ChargePointStatus.charging)
        self.started.set()

    @on(Action.remote_stop_transaction)
    def accept_stop(self, transaction_id: int) -> Any:
        is_ours = transaction_id == self.transaction_id
        status = RemoteStartStopStatus.accepted if is_ours else RemoteStartStopStatus.rejected
        return call_result.RemoteStopTransaction(status=status)

    @after(Action.remote_stop_transaction)
    async def end_charge(self, **_: Any) -> None:
        await self.call(
            call.StopTransaction(
                meter_stop=self.meter_wh, timestamp=_now(), transaction_id=self.transaction_id,
                reason=Reason.remote, id_tag=self.id_tag,
            ),
            suppress=False,
        )  # fmt: skip
        await self.report(ChargePointStatus.finishing)
        await self.report(ChargePointStatus.available)
        self.stopped.set()


@asynccontextmanager
async def connected(url: str, station_id: str) -> AsyncGenerator[ForeignStation]:
    """Yields a station whose socket is open."""
    async with websockets.connect(
        f"{url}/{station_id}", subprotocols=[websockets.Subprotocol("ocpp1.6")], proxy=None
    ) as socket:
        station = ForeignStation(station_id, socket)
        reading = asyncio.create_task(station.start())
        try:
            yield station
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, websockets.ConnectionClosed):
                await reading


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")

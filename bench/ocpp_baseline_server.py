"""`python -m bench.ocpp_baseline_server PORT`: the `ocpp` package's ChargePoint on websockets.

It validates each request and its answer, and answers a constant.
"""

import asyncio
import sys
from contextlib import suppress

import uvloop
from ocpp.routing import on  # pyright: ignore[reportUnknownVariableType]
from ocpp.v16 import ChargePoint, call_result
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from evpower.devstack.ports import LOOPBACK

_NOW = "2026-11-29T10:00:00Z"


class Station(ChargePoint):
    """Answers what the benchmark sends."""

    @on("Heartbeat")
    async def heartbeat(self) -> call_result.Heartbeat:
        """Answer a constant time."""
        return call_result.Heartbeat(current_time=_NOW)

    @on("StartTransaction")
    async def on_start(self, **_: object) -> call_result.StartTransaction:
        """Answer a constant transaction."""
        return call_result.StartTransaction(transaction_id=7, id_tag_info={"status": "Accepted"})  # pyright: ignore[reportArgumentType]

    @on("MeterValues")
    async def meter_values(self, **_: object) -> call_result.MeterValues:
        """Answer nothing."""
        return call_result.MeterValues()


async def _connected(socket: ServerConnection) -> None:
    with suppress(ConnectionClosed):
        await Station("station", socket).start()


async def _serve(port: int) -> None:
    async with serve(
        _connected, LOOPBACK, port, subprotocols=["ocpp1.6"],  # pyright: ignore[reportArgumentType]
        compression=None, ping_interval=None,
    ):  # fmt: skip
        print("ready", flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))

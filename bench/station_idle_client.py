"""`python -m bench.station_idle_client PORT COUNT FIRST`: booted stations that say nothing more.

Prints `ready` when every one was accepted and booted; ends at a line on stdin.
"""

import asyncio
import sys
from typing import Final

import orjson
import uvloop
from websockets.asyncio.client import ClientConnection, connect

from evpower.devstack.ports import LOOPBACK

_AT_ONCE: Final = 50
_BOOT: Final = [
    2, "boot", "BootNotification", {"chargePointVendor": "Acme", "chargePointModel": "Bench"}
]  # fmt: skip


async def _open(port: int, number: int, gate: asyncio.Semaphore) -> ClientConnection:
    async with gate:
        socket = await connect(
            f"ws://{LOOPBACK}:{port}/ocpp/BENCH-{number:05d}",
            subprotocols=["ocpp1.6"],  # pyright: ignore[reportArgumentType]
            compression=None, ping_interval=None, open_timeout=60,
        )  # fmt: skip
        await socket.send(orjson.dumps(_BOOT).decode())
        answer = orjson.loads(await socket.recv())
        if answer[0] != 3:
            raise RuntimeError(f"not booted: {answer}")
        return socket


async def _run(port: int, count: int, first: int) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)
    sockets = await asyncio.gather(
        *(_open(port, number, gate) for number in range(first, first + count))
    )
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for socket in sockets:
        socket.transport.abort()


if __name__ == "__main__":
    uvloop.run(_run(*(int(word) for word in sys.argv[1:4])))

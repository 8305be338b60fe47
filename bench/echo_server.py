"""`python -m bench.echo_server PORT`: sends back every text of a WebSocket."""

import asyncio
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, serve

from evpower.devstack.ports import LOOPBACK


async def _echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


async def _run(port: int) -> None:
    async with serve(_echo, LOOPBACK, port, compression=None, ping_interval=None):
        print("ready", flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(_run(int(sys.argv[1])))

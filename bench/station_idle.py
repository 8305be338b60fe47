"""What a connected, booted, idle station costs: resident memory of the server's process."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from bench.evpower_server import EvPowerServer
from bench.harness import Bar, Row
from bench.live import settled_kib
from bench.rig import Rig
from bench.station_reads import add_stations

_STATIONS: Final = 1_000
_WARM: Final = 100
_LIMIT_KIB: Final = 45
_MANY: Final = {
    "EVPOWER_IDLE_CONNECTIONS": "100000",
    "EVPOWER_IDLE_CONNECTIONS_PER_ADDRESS": "100000",
}


@asynccontextmanager
async def _connected(server: EvPowerServer, count: int, first: int) -> AsyncGenerator[None]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.station_idle_client", str(server.port), str(count), str(first),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        line = await child.stdout.readline() if child.stdout is not None else b""
        if line != b"ready\n":
            raise RuntimeError("the stations did not connect")
        yield
        await child.communicate(b"\n")
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def station_idle(rig: Rig) -> list[Row]:
    """Connects 100 stations, then 1,000 more."""
    async with AsyncExitStack() as stack:
        dsn = await rig.new_database()
        await add_stations(dsn, _STATIONS + _WARM, 1)
        server = await EvPowerServer.start(rig, stack, dsn, role="stations", env=_MANY)
        async with _connected(server, _WARM, 0):
            before_kib = await settled_kib(server)
            async with _connected(server, _STATIONS, _WARM):
                after_kib = await settled_kib(server)
    each = (after_kib - before_kib) / _STATIONS
    note = f"{_STATIONS:,} stations, {after_kib / 1024:.0f} MB in all"
    bar = Bar("<=", _LIMIT_KIB, of="value")
    return [Row("station_idle", each, "KiB/socket", "limit", _LIMIT_KIB, bar, note)]

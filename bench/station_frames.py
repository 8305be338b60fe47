"""A station's frame: CPU of the server's process, beside the `ocpp` package on websockets."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Final
from uuid import uuid4

from bench.harness import Bar, Row, in_turn
from bench.rig import Rig
from bench.station_client import Plan, Sent
from bench.supabase_webhooks import cpu_s
from evpower.devstack.ports import LOOPBACK, free_port

_SECONDS: Final = 2.5
_WARMUP_S: Final = 0.5
_SOCKETS: Final = 4
_BARS: Final = {"Heartbeat": 1.3, "StartTransaction": 3.0, "MeterValues": 6.0}
_BASELINE: Final = "ocpp's ChargePoint on websockets"


@dataclass(frozen=True, slots=True)
class _Server:
    rig: Rig
    port: int
    pid: int

    async def frames(self, action: str, seconds: float) -> Sent:
        """Sends one action's requests from all stations."""
        url = f"ws://{LOOPBACK}:{self.port}/ocpp/EVP-{{number}}"
        plan = self.rig.folder / f"frames-{uuid4().hex[:8]}.json"
        plan.write_text(json.dumps(asdict(Plan(url, action, seconds, _SOCKETS))))
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.station_client", str(plan), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await child.communicate()
        if child.returncode:
            raise RuntimeError(f"the stations of {action} failed")
        return Sent(**json.loads(output))

    async def per_core_s(self, action: str) -> float:
        """Returns frames served in a core-second of the server's process."""
        await self.frames(action, _WARMUP_S)
        used_s = cpu_s(self.pid)
        sent = await self.frames(action, _SECONDS)
        return sent.answered / (cpu_s(self.pid) - used_s)


@asynccontextmanager
async def _server(rig: Rig, module: str) -> AsyncGenerator[_Server]:
    port = free_port()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, str(port), stdout=asyncio.subprocess.PIPE
    )
    try:
        line = await child.stdout.readline() if child.stdout is not None else b""
        if line != b"ready\n":
            raise RuntimeError(f"{module} did not start")
        yield _Server(rig, port, child.pid)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def station_frames(rig: Rig) -> list[Row]:
    """Heartbeat, StartTransaction, and MeterValues with 6 samples: both validate and answer."""
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(_server(rig, "bench.ocpp_evpower_server"))
        theirs = await stack.enter_async_context(_server(rig, "bench.ocpp_baseline_server"))
        for action, bar in _BARS.items():

            async def of_ours(action: str = action) -> float:
                return await ours.per_core_s(action)

            async def of_theirs(action: str = action) -> float:
                return await theirs.per_core_s(action)

            turns = await in_turn(of_ours, of_theirs)
            rate, baseline = turns
            name = f"frame_{action.lower()}"
            rows.append(
                Row(name, rate, "frames/core-s", _BASELINE, baseline, Bar(">=", bar), "",
                    turns.ratio())
            )  # fmt: skip
    return rows

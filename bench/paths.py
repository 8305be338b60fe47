"""Runs `bench.paths_client`, a driver's phone with what is around it, and an echo beside it."""

import asyncio
import json
import statistics
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Final
from uuid import uuid4

from bench.evpower_server import EvPowerServer
from bench.paths_client import Plan
from bench.rig import Rig
from evpower.devstack.ports import free_port

EACH: Final = 40  # steps of a round


class Phone:
    """The process that is phone, station and bank."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    async def median_ms(self, step: str) -> float:
        """Returns the median of a round's steps."""
        if self._child.stdin is not None:
            self._child.stdin.write(step.encode() + b"\n")
            await self._child.stdin.drain()
        return statistics.median(json.loads(await _line(self._child)))


@asynccontextmanager
async def paths(
    rig: Rig,
    server: EvPowerServer,
    *,
    charging: Sequence[tuple[str, str, int]] = (),
    waiting: Sequence[tuple[str, str]] = (),
    paying: Sequence[tuple[str, str]] = (),
    bank_port: int = 0,
    questions: Sequence[str] = (),
) -> AsyncGenerator[Phone]:
    """Yields the process; it takes EACH steps in a round."""
    echo_port = free_port()
    async with _child("bench.echo_server", str(echo_port)) as echo:
        await _line(echo)
        plan = Plan(
            server.port, echo_port, EACH, list(charging), list(waiting), list(paying), bank_port,
            list(questions),
        )  # fmt: skip
        path = rig.folder / f"paths-{uuid4().hex[:8]}.json"
        path.write_text(json.dumps(asdict(plan)))
        async with _child("bench.paths_client", str(path)) as child:
            await _line(child)
            yield Phone(child)


async def _line(child: asyncio.subprocess.Process) -> bytes:
    """Returns what a process prints next."""
    line = b"" if child.stdout is None else await child.stdout.readline()
    if not line:
        raise RuntimeError("phone and station, or the echo, failed")
    return line


@asynccontextmanager
async def _child(*argv: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()

"""Live updates: what an idle socket costs, all phones coming back at once, how late a push is."""

import asyncio
import json
import os
import re
import sys
import time
from bisect import bisect_left
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import jwt
import orjson

from bench import requests, seed
from bench.evpower_server import EvPowerServer, access_token
from bench.harness import Bar, Row, Turns, in_turn, p99, say
from bench.live_client import Connected, Plan
from bench.loadgen import Report
from bench.reads import PATHS
from bench.rig import Rig
from bench.webhooks import fresh_webhooks

_SCALE: Final = float(os.environ.get("BENCH_LIVE_SCALE", "1"))  # 0.1 to see that it runs
_IDLE: Final = int(10_000 * _SCALE)
_WARM: Final = 200
_STORM: Final = int(5_000 * _SCALE)
_WATCHING: Final = int(1_000 * _SCALE)
_RATE_PER_S: Final = 500.0 * _SCALE
_PACED_S: Final = 8.0
_NO_LIMIT: Final = {
    "EVPOWER_IDLE_CONNECTIONS": "100000",
    "EVPOWER_IDLE_CONNECTIONS_PER_ADDRESS": "100000",
    "EVPOWER_LIVE_SOCKETS": "100000",
    "EVPOWER_LIVE_SOCKETS_PER_ADDRESS": "100000",
    "EVPOWER_LIVE_UNAUTHENTICATED": "100000",
    "EVPOWER_MAX_IN_FLIGHT": "100000",
    "EVPOWER_LIVE_UNAUTHENTICATED_PER_ADDRESS": "100000",
    "EVPOWER_RATE_SOCKETS_PER_MINUTE": "1000000000",
}


@dataclass(frozen=True, slots=True)
class Phones:
    """A process full of sockets."""

    connected: Connected
    child: asyncio.subprocess.Process
    frames: Path

    async def collect(self) -> list[tuple[float, str, int]]:
        """End it; answers when which version of whom arrived, but the first states."""
        await self.child.communicate(b"\n")
        return [orjson.loads(line) for line in self.frames.read_bytes().splitlines()]


@asynccontextmanager
async def _phones(
    server: EvPowerServer, tokens: Sequence[str], *, at_once: int = 0
) -> AsyncGenerator[Phones]:
    """Connect a socket for each token; all of them or none."""
    name = server.rig.folder / f"phones-{uuid4().hex[:8]}"
    name.with_suffix(".tokens").write_text("\n".join(tokens))
    plan = Plan(server.port, f"{name}.tokens", f"{name}.frames", at_once)
    name.with_suffix(".json").write_text(json.dumps(asdict(plan)))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.live_client", f"{name}.json",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        line = await child.stdout.readline() if child.stdout is not None else b""
        connected = Connected(**json.loads(line))
        if connected.failed:
            raise RuntimeError(f"{connected.failed} of {len(tokens)} sockets failed")
        yield Phones(connected, child, name.with_suffix(".frames"))
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def _server(
    rig: Rig, stack: AsyncExitStack, clients: int
) -> tuple[EvPowerServer, list[str], str]:
    """A server just started, and tokens of clients it has never seen."""
    supabase = await rig.supabase()
    dsn = await rig.new_database()
    async with rig.owner(dsn) as owner:
        ids: list[UUID] = await seed.add_clients(owner, clients)
        await seed.settle_down(owner)
    server = await EvPowerServer.start(rig, stack, dsn, env=_NO_LIMIT)
    return server, [access_token(supabase, client) for client in ids], dsn


async def live_idle(rig: Rig) -> list[Row]:
    """Resident memory for each of 10,000 signed-in sockets."""
    async with AsyncExitStack() as stack:
        server, tokens, _ = await _server(rig, stack, _IDLE + _WARM)
        async with _phones(server, tokens[:_WARM]):
            before_kib = await settled_kib(server)
            async with _phones(server, tokens[_WARM:], at_once=200) as phones:
                after_kib = await settled_kib(server)
                rate = phones.connected.sockets / phones.connected.seconds
    each = (after_kib - before_kib) / _IDLE
    note = f"{_IDLE:,} sockets, {after_kib / 1024:.0f} MB in all, opened at {rate:,.0f}/s"
    return [Row("live_idle", each, "KiB/socket", "limit", 40, Bar("<=", 40, of="value"), note)]


async def live_reconnect(rig: Rig) -> list[Row]:
    """Until 5,000 phones that come at once to a process just started have their balance.

    The limit is HTTP: as many read the same balance once, on 1,000 connections: 5,000 at once wait
    longer for one to PostgreSQL than a request may, on a machine with a busy core.
    """
    cpus_s: list[float] = []

    async def ours() -> float:
        async with AsyncExitStack() as stack:
            server, tokens, _ = await _server(rig, stack, _STORM)
            before_s = cpu_s(server)
            async with _phones(server, tokens) as phones:
                cpus_s.append(cpu_s(server) - before_s)
                return phones.connected.seconds

    async def limit() -> float:
        async with AsyncExitStack() as stack:
            server, tokens, _ = await _server(rig, stack, _STORM)
            path = PATHS["balance"]
            report = await server.load(
                [requests.get(path.format(client_id=_client(token)), token) for token in tokens],
                connections=_STORM // 5, limit=_STORM, warmup_s=0.0, cycle=False,
            )  # fmt: skip
            return report.seconds

    turns = await in_turn(ours, limit, rounds=3)
    took_s, read_s = turns
    note = f"{_STORM:,} sockets at once, none failed; {cpus_s[-1]:.1f} s of CPU"
    bar, ratio = Bar("<=", 3), turns.ratio()
    return [Row("live_reconnect", took_s, "s", "the balances by HTTP", read_s, bar, note, ratio)]


async def live_push(rig: Rig) -> list[Row]:
    """From commit to frame, at 500 confirmed top-ups a second, with 1,000 sockets.

    The limit is what the bank waits for its answer to the same top-ups at the same time.
    """
    notes: list[str] = []
    answered_ms: list[float] = []

    async def ours() -> float:
        lags, report = await _pushes(rig)
        notes.append(
            f"p50 {lags[len(lags) // 2]:.1f} ms, worst {lags[-1]:.0f} ms of {len(lags):,} changes"
            f" at {report.rate:.0f}/s, {_WATCHING:,} sockets"
        )
        answered_ms.append(report.p99_ms)
        return p99(lags)

    pushed = await in_turn(ours, rounds=3)
    turns = Turns((pushed.sides[0], tuple(answered_ms)))
    lag, answer = turns
    bar, ratio = Bar("<=", 4), turns.ratio()
    return [Row("live_push_p99", lag, "ms", "the bank's answer", answer, bar, notes[-1], ratio)]


async def _pushes(rig: Rig) -> tuple[list[float], Report]:
    async with AsyncExitStack() as stack:
        server, tokens, dsn = await _server(rig, stack, _WATCHING)
        async with _phones(server, tokens) as phones:
            first, webhooks = await fresh_webhooks(rig, dsn, int(_RATE_PER_S * (_PACED_S + 2)))
            report = await server.load(
                webhooks, rate=_RATE_PER_S, seconds=_PACED_S, warmup_s=1.0, cycle=False
            )
            await asyncio.sleep(1)
            frames = await phones.collect()
        lags = await _lags_ms(rig, dsn, first, frames)
    if len(lags) < report.answered:
        raise RuntimeError(f"{report.answered} were confirmed, {len(lags)} arrived")
    return lags, report


def _client(token: str) -> str:
    return jwt.decode(token, options={"verify_signature": False})["sub"]


async def _lags_ms(
    rig: Rig, dsn: str, first: int, frames: list[tuple[float, str, int]]
) -> list[float]:
    """By PostgreSQL's commit timestamps; a state that came after several changes shows them all."""
    async with rig.owner(dsn) as owner:
        rows = await owner.fetch(
            "select client_id::text, version,"
            " extract(epoch from pg_xact_commit_timestamp(xmin))::float8"
            " from wallet.transactions where payment_id >= $1",
            first,
        )
    seen: dict[str, list[tuple[int, float]]] = {}
    for at, client, version in frames:
        seen.setdefault(client, []).append((version, at))
    lags: list[float] = []
    for client, version, committed_at in rows:
        arrived = seen.get(client, [])
        place = bisect_left(arrived, (version, 0.0))
        if place < len(arrived):
            lags.append((arrived[place][1] - committed_at) * 1000)
    return sorted(lags)


def cpu_s(server: EvPowerServer) -> float:
    """Returns the seconds of CPU that the process has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def settled_kib(server: EvPowerServer) -> int:
    """Resident memory once it has stopped changing."""
    seen, until = [0], time.monotonic() + 10
    while time.monotonic() < until:
        await asyncio.sleep(0.5)
        seen.append(_resident_kib(server))
        if abs(seen[-1] - seen[-2]) < 256:
            break
    say(f"    {seen[-1] / 1024:.1f} MB")
    return seen[-1]


def _resident_kib(server: EvPowerServer) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    resident = re.search(r"VmRSS:\s+(\d+)", status)
    if resident is None:
        raise RuntimeError("this system does not tell a process's memory")
    return int(resident[1])

"""What drivers wait while one address without credentials does its worst, each attack alone.

BENCH_ATTACKS_S=60 measures each attack for a minute; by default it is shorter.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import Final

from bench import requests, seed
from bench.attack_client import REQUESTS, SHAPES, Done, Plan
from bench.evpower_server import EvPowerServer, access_token
from bench.harness import Bar, Row, quiet, say
from bench.loadgen import Plan as Load
from bench.loadgen import Report, Request, load, write_requests
from bench.rig import Rig
from bench.supabase_webhooks import cpu_s

_SECONDS: Final = float(os.environ.get("BENCH_ATTACKS_S", "15"))
_DRIVERS: Final = 1_000
_RATE: Final = 100.0  # drivers' requests a second from each of the two addresses
_SOCKETS: Final = 2_000
_ATTACK_RATE: Final = 200.0
_ELSEWHERE: Final = "127.0.0.1"
_ATTACKER: Final = "127.0.0.2"
_ADDRESSES: Final = (_ELSEWHERE, _ATTACKER)
_WINDOWS: Final = 5
_LIMITS: Final = {"EVPOWER_RATE_PER_MINUTE": "120", "EVPOWER_RATE_WEBHOOK_PER_MINUTE": "3000"}


async def attacks(rig: Rig) -> list[Row]:
    """Drivers' p99 beside each attack, and beside none, in turn."""
    supabase = await rig.supabase()
    dsn = await rig.new_database()
    async with rig.owner(dsn) as owner:
        ids = await seed.add_clients(owner, _DRIVERS)
        await seed.settle_down(owner)
    calls = [
        requests.get(f"/api/v1/balance/{client}", access_token(supabase, client)) for client in ids
    ]
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        server = await EvPowerServer.start(rig, stack, dsn, env=_LIMITS)
        await _drivers(server, calls, seconds=2.0)  # every token is known
        before_ms = max(await _drivers(server, calls, seconds=_SECONDS))
        for attack in (*SHAPES, *REQUESTS):
            await quiet()
            async with _attacking(server, attack) as done:
                used_s, began_s = cpu_s(server.process.pid), time.monotonic()
                elsewhere_ms, there_ms = await _drivers(server, calls, seconds=_SECONDS)
                used_s = cpu_s(server.process.pid) - used_s
                cores = used_s / (time.monotonic() - began_s)
            after_ms = max(await _drivers(server, calls, seconds=_SECONDS))
            note = (
                f"{elsewhere_ms:.1f} ms elsewhere, {there_ms:.1f} ms at the attacker's address,"
                f" quiet {before_ms:.1f} and {after_ms:.1f} ms, {_SECONDS:g} s each;"
                f" {cores:.0%} of a core;"
                f" {done.count / done.seconds:.0f} {_unit(attack)} a second"
            )
            say(f"    {attack}: {note}")
            ours, usual = max(elsewhere_ms, there_ms), (before_ms + after_ms) / 2
            bar = Bar("<=", 5)
            rows.append(Row(f"attack_{attack}", ours, "ms p99", "quiet", usual, bar, note))
            before_ms = after_ms
    return rows


async def _drivers(
    server: EvPowerServer, calls: Sequence[Request], *, seconds: float
) -> tuple[float, float]:
    """The p99 from elsewhere, and from the attacker's address; all answers are as they must be.

    The median of some windows: a machine that stands still once says nothing of EvPower.
    """
    windows = [
        await asyncio.gather(
            *(_from(server, calls, address, seconds / _WINDOWS) for address in _ADDRESSES)
        )
        for _ in range(_WINDOWS)
    ]
    elsewhere, there = (
        statistics.median(window[side].p99_ms for window in windows) for side in (0, 1)
    )
    return elsewhere, there


async def _from(
    server: EvPowerServer, calls: Sequence[Request], address: str, seconds: float
) -> Report:
    folder = server.rig.folder / f"drivers-{address}"
    folder.mkdir(exist_ok=True)
    path = folder / "requests"
    half = calls[:: 1 if address == _ELSEWHERE else -1]
    write_requests(path, half)
    plan = Load(
        port=server.port, requests=str(path), connections=8, seconds=seconds, rate=_RATE,
        address=address,
    )  # fmt: skip
    return await load(plan, folder)


def _unit(attack: str) -> str:
    return "sockets" if attack in SHAPES else "requests"


@asynccontextmanager
async def _attacking(server: EvPowerServer, attack: str) -> AsyncGenerator[Done]:
    """Attack until the end of the block; what was done is known after it.

    Raises RuntimeError when it was too little to say anything.
    """
    sockets = _SOCKETS if attack in SHAPES else 100
    plan = Plan(server.port, attack, _ATTACKER, sockets, _ATTACK_RATE)
    path = server.rig.folder / f"attack-{attack}.json"
    path.write_text(json.dumps(asdict(plan)))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.attack_client", str(path),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    done = Done()
    try:
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("the attacker has no pipes")
        await child.stdout.readline()
        if attack in SHAPES:  # until all are open
            await asyncio.sleep(sockets / _ATTACK_RATE)
        yield done
        child.stdin.close()
        report = json.loads(await child.stdout.readline() or b"{}")
        done.count, done.seconds = report.get("count", 0), report.get("seconds", 1.0)
        enough = sockets if attack in SHAPES else _ATTACK_RATE * done.seconds / 2
        if done.count < enough:
            raise RuntimeError(f"{attack}: only {done.count} {_unit(attack)} in {done.seconds:g} s")
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()

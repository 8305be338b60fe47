"""Does the API process grow with the requests it has served."""

import random
import re
from contextlib import AsyncExitStack
from pathlib import Path

from bench import requests
from bench.evpower_server import EvPowerServer, Reader, readers
from bench.harness import Bar, Row, say
from bench.loadgen import Request
from bench.reads import PATHS
from bench.rig import Rig
from bench.webhooks import fresh_webhooks

_FIRST = 20_000
_ALL = 200_000
_PIECE = 20_000
_TOPUPS = 2_000  # of each piece


async def memory(rig: Rig) -> list[Row]:
    """Resident memory after 200,000 mixed requests beside that after 20,000."""
    dsn = await rig.new_database()
    people = await readers(rig, dsn)
    async with AsyncExitStack() as stack:
        server = await EvPowerServer.start(rig, stack, dsn)
        seen: list[float] = []
        for _ in range(_ALL // _PIECE):
            await server.load(await _mixed(rig, dsn, people), limit=_PIECE, warmup_s=0.0)
            seen.append(_resident_mb(server.process.pid))
            say(f"    {len(seen) * _PIECE:,} requests: {seen[-1]:.1f} MB")
    early, late = seen[_FIRST // _PIECE - 1], seen[-1]
    return [
        Row("memory", late, "MB", "the same process after 20,000", early, Bar("<=", 1.1)),
    ]


async def _mixed(rig: Rig, dsn: str, people: list[Reader]) -> list[Request]:
    """Reads, top-ups, and what must be refused: another's balance, no token, no such route."""
    _, mixed = await fresh_webhooks(rig, dsn, _TOPUPS)
    paths = list(PATHS.values())
    while len(mixed) < _PIECE:
        reader, other = random.choice(people), random.choice(people)
        kind = random.random()
        if kind < 0.96:
            mixed.append(
                requests.get(random.choice(paths).format(client_id=reader.id), reader.token)
            )
        elif kind < 0.98:
            status = 200 if reader is other else 403
            path = PATHS["balance"].format(client_id=other.id)
            mixed.append(requests.get(path, reader.token, status=status))
        elif kind < 0.99:
            mixed.append(requests.get(PATHS["balance"].format(client_id=reader.id), status=401))
        else:
            mixed.append(requests.get(f"/nothing/{reader.id}", status=404))
    random.shuffle(mixed)
    return mixed


def _resident_mb(pid: int) -> float:
    resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    if resident is None:
        raise RuntimeError("this system does not tell a process's memory")
    return int(resident[1]) / 1024

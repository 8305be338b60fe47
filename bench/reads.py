"""What apps read most: balance and histories, with real tokens, each client its own."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx

from bench import requests
from bench.baseline_server import Baseline
from bench.evpower_server import EvPowerServer, Reader, readers
from bench.harness import Bar, Row, in_turn
from bench.rig import Rig
from evpower.devstack.ports import LOOPBACK

_SECONDS = 2.5
PATHS: Mapping[str, str] = {
    "history": "/api/v1/balance/history/{client_id}?limit=50",
    "charging_history": "/api/v1/charging/history/{client_id}?limit=50",
    "balance": "/api/v1/balance/{client_id}",
}
_MEMORY = "the same bytes from memory"


@dataclass(frozen=True, slots=True)
class _Side:
    """One path of one server, read by everybody in turn."""

    server: EvPowerServer
    people: list[Reader]
    path: str

    async def __call__(self) -> float:
        ready = [requests.get(self.path.format(client_id=one.id), one.token) for one in self.people]
        return (await self.server.load(ready, seconds=_SECONDS, warmup_s=0.5)).rate


async def history(rig: Rig) -> list[Row]:
    """Both histories, pages of 50."""
    return await _reads(rig, ["history", "charging_history"])


async def balance(rig: Rig) -> list[Row]:
    """The balance."""
    return await _reads(rig, ["balance"])


async def start_reading(rig: Rig, stack: AsyncExitStack) -> tuple[EvPowerServer, list[Reader]]:
    """A server on a database full of histories, and those who may read them."""
    dsn = await rig.new_database()
    people = await readers(rig, dsn)
    return await EvPowerServer.start(rig, stack, dsn), people


async def _reads(rig: Rig, names: list[str]) -> list[Row]:
    rows: list[Row] = []
    baseline = await rig.once(Baseline.start)
    server, people = await rig.once(start_reading)
    for name in names:
        path = PATHS[name]
        await _keep_answer(server, people[0], name)

        async def sketched(path: str = path) -> float:
            return await baseline.gets(path)

        turns = await in_turn(
            _Side(server, people, path),
            _Side(server, people, f"/api/v1/bench/{name}/{{client_id}}"),
            sketched,
        )
        ours, memory, theirs = turns
        ratios = turns.ratio(0, 2), turns.ratio(0, 1)
        rows += [
            Row(name, ours, "requests/s", "sketch", theirs, Bar(">=", 150), "", ratios[0]),
            Row(name, ours, "requests/s", _MEMORY, memory, Bar(">=", 0.5), "", ratios[1]),
        ]
    return rows


async def _keep_answer(server: EvPowerServer, reader: Reader, name: str) -> None:
    """Ask once, and let the bench-only route answer the same from then on."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(
            f"http://{LOOPBACK}:{server.port}{PATHS[name].format(client_id=reader.id)}",
            headers={"Authorization": f"Bearer {reader.token}"},
        )
    answer.raise_for_status()
    found = answer.json()
    if isinstance(found, list) and len(found) != 50:  # pyright: ignore[reportUnknownArgumentType]
        raise RuntimeError(f"{name} is not a full page")
    (server.bytes_folder / name).write_bytes(answer.content)

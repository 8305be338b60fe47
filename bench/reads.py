"""What apps read most: balance and histories, with real tokens, each client its own."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx

from bench import requests
from bench.baseline_server import Baseline
from bench.evpower_server import EvPowerServer, Reader, readers
from bench.harness import Bar, Row, Turns, in_turn
from bench.rig import Rig
from bench.supabase_webhooks import cpu_s
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
    """One path of one server, read by every client in turn."""

    server: EvPowerServer
    people: list[Reader]
    path: str
    per_core_s: list[float] = field(default_factory=list)  # of each round

    async def __call__(self) -> float:
        """Return requests a second; store requests a core-second of the server's process."""
        ready = [
            requests.get(self.path.format(client_id=client.id), client.token)
            for client in self.people
        ]
        pid = self.server.process.pid
        used_s = cpu_s(pid)
        report = await self.server.load(ready, seconds=_SECONDS, warmup_s=0)
        self.per_core_s.append(report.answered / (cpu_s(pid) - used_s))
        return report.rate


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

        async def of_baseline(path: str = path) -> float:
            return await baseline.gets(path)

        side = _Side(server, people, path)
        memory = _Side(server, people, f"/api/v1/bench/{name}/{{client_id}}")
        turns = await in_turn(side, memory, of_baseline)
        rate, memory_rate, baseline_rate = turns
        cores = Turns((tuple(side.per_core_s), tuple(memory.per_core_s)))
        each, memory_each = cores
        rows += [
            Row(
                name,
                rate,
                "requests/s",
                "baseline implementation",
                baseline_rate,
                Bar(">=", 100),
                "",
                turns.ratio(0, 2),
            ),
            Row(
                name,
                rate,
                "requests/s",
                _MEMORY,
                memory_rate,
                Bar(">=", 0.4),
                "",
                turns.ratio(0, 1),
            ),
            Row(
                f"{name}_cpu",
                each,
                "requests/core-s",
                _MEMORY,
                memory_each,
                Bar(">=", 0.55),
                "",
                cores.ratio(),
            ),
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
    page = answer.json()
    if isinstance(page, list) and len(page) != 50:  # pyright: ignore[reportUnknownArgumentType]
        raise RuntimeError(f"{name} is not a full page")
    (server.bytes_folder / name).write_bytes(answer.content)

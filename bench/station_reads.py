"""What phones poll of stations: locations, a station's status, a session's status."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import httpx

from bench import requests
from bench.evpower_server import EvPowerServer, Reader, readers
from bench.harness import Bar, Row, Turns, in_turn
from bench.loadgen import Request
from bench.rig import Rig
from bench.supabase_webhooks import cpu_s
from evpower import stations
from evpower.devstack.ports import LOOPBACK
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database

_SECONDS: Final = 2.5
_LOCATIONS: Final = 60
_STATIONS_EACH: Final = 2
_MEMORY: Final = "the same bytes from memory"
_BARS: Final[Mapping[str, float]] = {
    "locations": 0.9,
    "station_status": 0.9,
    "charging_status": 0.4,
}
# A session's status is read from PostgreSQL each time, so by the clock it needs a free second core.
_CPU_BARS: Final[Mapping[str, float]] = {"charging_status": 0.5}
_NO_LIMIT: Final = {"EVPOWER_RATE_PUBLIC_PER_MINUTE": "1000000000"}


@dataclass(frozen=True, slots=True)
class _Read:
    """The requests of one path, and of the same answers from memory."""

    name: str
    path: str
    token: str | None
    ours: Sequence[Request]
    memory: Sequence[Request]


@dataclass(frozen=True, slots=True)
class _Side:
    """Requests sent again and again; calling it returns how many a second were answered."""

    server: EvPowerServer
    requests: Sequence[Request]
    per_core_s: list[float] = field(default_factory=list)  # of the server's process, each round

    async def __call__(self) -> float:
        pid = self.server.process.pid
        used_s = cpu_s(pid)
        report = await self.server.load([*self.requests], seconds=_SECONDS, warmup_s=0)
        self.per_core_s.append(report.answered / (cpu_s(pid) - used_s))
        return report.rate


async def add_stations(dsn: str, locations: int, each: int) -> list[str]:
    """Adds simulated stations with two connectors at locations. Returns their ids."""
    head = "station,location_name,connector,standard,power_kw,no_auth,simulated,latitude,longitude"
    lines = [head]
    ids: list[str] = []
    for number in range(locations * each):
        ids.append(f"BENCH-{number:05d}")
        lines += [
            f"{ids[-1]},Location {number // each},{connector},GBT_DC,60,true,true,42.8,74.6"
            for connector in (1, 2)
        ]
    drafts = stations.read_stations("\n".join(lines).encode(), is_json=False)
    database = await Database.open(dsn, size=1)
    try:
        async with database.transaction() as connection:
            await stations.import_stations(
                connection, drafts, now=utc_now(), actor="bench", reason=None
            )
    finally:
        await database.close()
    return ids


async def start_with_stations(
    rig: Rig, stack: AsyncExitStack
) -> tuple[EvPowerServer, list[str], list[tuple[UUID, Reader]]]:
    """Returns a server, its stations, and a session of each client."""
    dsn = await rig.new_database()
    people = await readers(rig, dsn)
    ids = await add_stations(dsn, _LOCATIONS, _STATIONS_EACH)
    async with rig.owner(dsn) as owner:
        rows = await owner.fetch(
            "select distinct on (client_id) client_id, id from charging.sessions"
        )
    newest: dict[UUID, UUID] = {row["client_id"]: row["id"] for row in rows}
    server = await EvPowerServer.start(rig, stack, dsn, env=_NO_LIMIT)
    return server, ids, [(newest[client.id], client) for client in people]


async def station_reads(rig: Rig) -> list[Row]:
    """Requests a second of each, beside the same bytes from memory."""
    async with AsyncExitStack() as stack:
        server, ids, sessions = await start_with_stations(rig, stack)
        first_session, first_client = sessions[0]
        memory = "/api/v1/bench/{}/x"
        reads = [
            _Read(
                "locations", "/api/v1/locations?include_stations=true", None,
                [requests.get("/api/v1/locations?include_stations=true")],
                [requests.get(memory.format("locations"))],
            ),
            _Read(
                "station_status", f"/api/v1/station/status/{ids[0]}", None,
                [requests.get(f"/api/v1/station/status/{station}") for station in ids],
                [requests.get(memory.format("station_status"))],
            ),
            _Read(
                "charging_status", f"/api/v1/charging/status/{first_session}", first_client.token,
                [
                    requests.get(f"/api/v1/charging/status/{session}", client.token)
                    for session, client in sessions
                ],
                [
                    requests.get(memory.format("charging_status"), client.token)
                    for _, client in sessions
                ],
            ),
        ]  # fmt: skip
        return [row for read in reads for row in await _measure(server, read)]


async def _measure(server: EvPowerServer, read: _Read) -> list[Row]:
    async with httpx.AsyncClient(trust_env=False) as http:
        headers = {} if read.token is None else {"Authorization": f"Bearer {read.token}"}
        answer = await http.get(f"http://{LOOPBACK}:{server.port}{read.path}", headers=headers)
    answer.raise_for_status()
    (server.bytes_folder / read.name).write_bytes(answer.content)

    ours, memory = _Side(server, read.ours), _Side(server, read.memory)
    turns = await in_turn(ours, memory)
    rate, memory_rate = turns
    bar = Bar(">=", _BARS[read.name])
    note = f"{len(answer.content):,} bytes"
    rows = [Row(read.name, rate, "requests/s", _MEMORY, memory_rate, bar, note, turns.ratio())]
    if (least := _CPU_BARS.get(read.name)) is not None:
        cores = Turns((tuple(ours.per_core_s), tuple(memory.per_core_s)))
        each, memory_each = cores
        name, unit, bar = f"{read.name}_cpu", "requests/core-s", Bar(">=", least)
        rows.append(Row(name, each, unit, _MEMORY, memory_each, bar, "", cores.ratio()))
    return rows

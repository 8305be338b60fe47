"""What charging phones poll: locations, a station, their session."""

from contextlib import AsyncExitStack

import httpx

from bench import charging_seed, requests, seed
from bench.evpower_server import EvPowerServer, access_token
from bench.harness import Bar, Row, in_turn
from bench.loadgen import Request
from bench.rig import Rig
from evpower.devstack.ports import LOOPBACK

_SECONDS = 2.5
_CLIENTS = 1_000
_STATIONS = 1_000  # each with a client who charges there
_PLACES = 250
_MEMORY = "the same bytes from memory"


async def _start(rig: Rig, stack: AsyncExitStack) -> tuple[EvPowerServer, dict[str, list[Request]]]:
    """A server with charging clients, and the requests of each read."""
    dsn = await rig.new_database()
    supabase = await rig.supabase()
    async with rig.owner(dsn) as owner:
        await seed.add_clients(owner, _CLIENTS)
        await charging_seed.add_stations(owner, _STATIONS, _PLACES)
        sessions = await charging_seed.add_charging(owner, _CLIENTS)
        await seed.settle_down(owner)
    tokens = {client: access_token(supabase, client) for client in sessions}
    server = await EvPowerServer.start(
        rig, stack, dsn, env={"EVPOWER_RATE_PUBLIC_PER_MINUTE": "1000000000"}
    )
    return server, {
        "locations": [requests.get("/api/v1/locations?include_stations=true")],
        "station_status": [
            requests.get(f"/api/v1/station/status/EVP-{number:05}")
            for number in range(1, _STATIONS + 1)
        ],
        "charging_status": [
            requests.get(f"/api/v1/charging/status/{session}", tokens[client])
            for client, session in sessions.items()
        ],
    }


async def charging_reads(rig: Rig) -> list[Row]:
    """Each read against a route that answers the same bytes from memory."""
    server, reads = await rig.once(_start)
    bars = {"locations": 0.9, "station_status": 0.9, "charging_status": 0.5}
    rows: list[Row] = []
    for name, wanted in reads.items():
        await _keep_answer(server, wanted[0], name)
        same = [
            (status, raw.replace(_path(raw), f"/api/v1/bench/{name}/{number}".encode(), 1))
            for number, (status, raw) in enumerate(wanted)
        ]

        async def ours(wanted: list[Request] = wanted) -> float:
            return (await server.load(wanted, seconds=_SECONDS, warmup_s=0.3)).rate

        async def memory(same: list[Request] = same) -> float:
            return (await server.load(same, seconds=_SECONDS, warmup_s=0.3)).rate

        turns = await in_turn(ours, memory)
        rate, memory_rate = turns
        rows.append(
            Row(
                name, rate, "requests/s", _MEMORY, memory_rate, Bar(">=", bars[name]), "",
                turns.ratio(),
            )
        )  # fmt: skip
    return rows


def _path(raw: bytes) -> bytes:
    return raw.split(b" ", 2)[1]


async def _keep_answer(server: EvPowerServer, request: Request, name: str) -> None:
    """Ask once, and let the bench-only route answer the same from then on."""
    head = request[1].decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(
            f"http://{LOOPBACK}:{server.port}{_path(request[1]).decode()}", headers=headers
        )
    answer.raise_for_status()
    (server.bytes_folder / name).write_bytes(answer.content)

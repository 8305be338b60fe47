"""What charging phones poll: locations, a station, their session."""

import asyncio
import random
from contextlib import AsyncExitStack

import httpx

from bench import charging_seed, requests, seed
from bench.evpower_server import EvPowerServer, access_token
from bench.harness import Bar, Row, in_turn
from bench.loadgen import Plan, Report, Request, load, write_requests
from bench.rig import Rig
from evpower.devstack.ports import LOOPBACK

_SECONDS = 2.5
_CLIENTS = 1_000
_STATIONS = 1_000  # each with a client who charges there
_PLACES = 250
_PHONES = 2_000
_POLLS_PER_S = _PHONES * 5 / 60
_PHONES_S = 5.0
_PHONES_WARMUP_S = 2.0  # the other addresses' phones are still connecting
_ADDRESSES = tuple(f"127.0.0.{number}" for number in range(2, 6))
_MEMORY = "the same bytes from memory"


async def _start_unlimited(
    rig: Rig, stack: AsyncExitStack
) -> tuple[EvPowerServer, dict[str, list[Request]]]:
    return await _start(rig, stack, {"EVPOWER_RATE_PUBLIC_PER_MINUTE": "1000000000"})


async def _start(
    rig: Rig, stack: AsyncExitStack, env: dict[str, str]
) -> tuple[EvPowerServer, dict[str, list[Request]]]:
    """A server with charging clients, and the requests of each read."""
    dsn = await rig.new_database()
    supabase = await rig.supabase()
    async with rig.owner(dsn) as owner:
        await seed.add_clients(owner, _CLIENTS)
        await charging_seed.add_stations(owner, _STATIONS, _PLACES)
        sessions = await charging_seed.add_charging(owner, _CLIENTS)
        await seed.settle_down(owner)
    tokens = {client: access_token(supabase, client) for client in sessions}
    server = await EvPowerServer.start(rig, stack, dsn, env=env)
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
    server, reads = await rig.once(_start_unlimited)
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


async def phones(rig: Rig) -> list[Row]:
    """The p99 of 2,000 phones behind 4 addresses, and of a few.

    Each phone polls its session or its station four times a minute, the map once. The budgets are
    those of production.
    """
    server, reads = await rig.once(_start_limited)
    polls = [*reads["charging_status"], *reads["station_status"], *reads["locations"] * 500]
    random.Random(0).shuffle(polls)
    everything_s = 1.1 * len(polls) / (2 * _POLLS_PER_S)
    await _p99_ms(server, polls, rate=2 * _POLLS_PER_S, connections=100, seconds=everything_s)

    async def many() -> float:
        return await _p99_ms(server, polls, rate=_POLLS_PER_S, connections=_PHONES)

    async def few() -> float:
        return await _p99_ms(server, polls, rate=_POLLS_PER_S / 10, connections=_PHONES // 10)

    turns = await in_turn(many, few)
    busy_ms, quiet_ms = turns
    bar = Bar("<=", 5)
    return [Row("phones", busy_ms, "ms p99", "quiet", quiet_ms, bar, "", turns.ratio())]


async def _start_limited(
    rig: Rig, stack: AsyncExitStack
) -> tuple[EvPowerServer, dict[str, list[Request]]]:
    return await _start(rig, stack, {"EVPOWER_RATE_PER_MINUTE": "120"})


async def _p99_ms(
    server: EvPowerServer,
    polls: list[Request],
    *,
    rate: float,
    connections: int,
    seconds: float = _PHONES_S,
) -> float:
    """Returns the worst of the addresses' p99; all answers are as they must be."""
    share = len(_ADDRESSES)
    reports = await asyncio.gather(
        *(
            _from(server, polls[index::share], address, rate / share, connections // share, seconds)
            for index, address in enumerate(_ADDRESSES)
        )
    )
    return max(report.p99_ms for report in reports)


async def _from(
    server: EvPowerServer,
    polls: list[Request],
    address: str,
    rate: float,
    connections: int,
    seconds: float,
) -> Report:
    folder = server.rig.folder / f"phones-{address}"
    folder.mkdir(exist_ok=True)
    path = folder / "requests"
    write_requests(path, polls)
    plan = Plan(
        port=server.port, requests=str(path), connections=connections, seconds=seconds,
        warmup_s=_PHONES_WARMUP_S, rate=rate, address=address,
    )  # fmt: skip
    return await load(plan, folder)


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

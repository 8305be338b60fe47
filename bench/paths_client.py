"""`python -m bench.paths_client PLAN.json`: a driver's phone and a station, one step after another.

For each line on stdin it does one thing so often, and prints the milliseconds of each time:
`stop`: from a StopTransaction on the station's socket to the new balance on the phone's;
`start`: from the phone's HTTP call to the RemoteStartTransaction on the station's socket;
`pay`: from a bank's notice to the new balance on the phone's socket;
`ask`: a question to the bank and its answer;
`echo`: a text to an echoing server and back.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
import uvloop
from websockets.asyncio.client import ClientConnection, connect

from evpower.devstack.ports import LOOPBACK

_BOOT: Final = [
    2, "boot", "BootNotification", {"chargePointVendor": "Acme", "chargePointModel": "Bench"}
]  # fmt: skip
_WAIT_LIMIT_S: Final = 20.0
_SETTLE_S: Final = 2.0  # what the connections of a round started may end,
GAP_S: Final = 0.1  # and what the step before did
Step = Callable[[], Awaitable[float]]  # takes one step; returns its milliseconds


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to connect; drivers with their tokens, stations, transactions that run, paid bills."""

    port: int
    echo_port: int
    each: int  # steps of a run
    charging: list[tuple[str, str, int]]  # token, station, transaction
    waiting: list[tuple[str, str]]  # token, station
    paying: list[tuple[str, str]]  # token, the bank's request with its notice
    bank_port: int
    questions: list[str]  # a request to the bank about each bill


@asynccontextmanager
async def _station(port: int, name: str) -> AsyncGenerator[ClientConnection]:
    async with connect(
        f"ws://{LOOPBACK}:{port}/ocpp/{name}", subprotocols=["ocpp1.6"],  # pyright: ignore[reportArgumentType]
        compression=None, ping_interval=None, close_timeout=1,
    ) as socket:  # fmt: skip
        await socket.send(orjson.dumps(_BOOT).decode())
        await _until(socket, lambda message: message[:2] == [3, "boot"])
        yield socket


async def _until(
    socket: ClientConnection,
    is_it: Callable[[Any], bool],
) -> Any:  # noqa: ANN401 - a message
    """Returns the first message that is meant; calls of the server in between are refused."""
    async with asyncio.timeout(_WAIT_LIMIT_S):
        while True:
            message = orjson.loads(await socket.recv())
            if is_it(message):
                return message
            if isinstance(message, list) and message[0] == 2:
                refusal: list[object] = [4, message[1], "NotSupported", "", {}]
                await socket.send(orjson.dumps(refusal).decode())


@asynccontextmanager
async def _stopping(plan: Plan, number: int) -> AsyncGenerator[Step]:
    """A phone that is signed in, and a station that charges: a step stops it."""
    token, name, transaction = plan.charging[number]
    live = connect(f"ws://{LOOPBACK}:{plan.port}/api/v1/ws", compression=None, ping_interval=None)
    async with live as phone, _station(plan.port, name) as station:
        await phone.send(json.dumps({"type": "auth", "token": token}))
        before = await _until(phone, _is_balance)

        async def stop() -> float:
            stop = {
                "transactionId": transaction, "meterStop": 5_000, "reason": "Local",
                "timestamp": datetime.now(UTC).isoformat()[:23] + "Z",
            }  # fmt: skip
            message = orjson.dumps([2, f"stop-{number}", "StopTransaction", stop]).decode()
            began_s = time.perf_counter()
            await station.send(message)
            await _until(
                phone, lambda sent: _is_balance(sent) and sent["balance"] != before["balance"]
            )
            took_ms = (time.perf_counter() - began_s) * 1000
            await _until(station, lambda sent: sent[:2] == [3, f"stop-{number}"])
            return took_ms

        yield stop


def _is_balance(message: Mapping[str, Any]) -> bool:
    return message.get("type") == "balance_update"


@asynccontextmanager
async def _starting(plan: Plan, number: int) -> AsyncGenerator[Step]:
    """A phone with an open connection, and a station that is booted: a step starts it.

    The phone has asked before whether it charges, as apps do when they open.
    """
    token, name = plan.waiting[number]
    body = json.dumps({"station_id": name, "connector_id": 1}).encode()
    head = (
        f"POST /api/v1/charging/start HTTP/1.1\r\nHost: {LOOPBACK}\r\nAuthorization: Bearer {token}"
        f"\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    async with _station(plan.port, name) as station:
        reader, writer = await asyncio.open_connection(LOOPBACK, plan.port)
        writer.write(
            f"GET /api/v1/charging/active HTTP/1.1\r\nHost: {LOOPBACK}\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        answer = await reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"(?i)content-length: *(\d+)", answer)
        if size is None or b" 404 " not in answer.split(b"\r\n", 1)[0]:
            raise RuntimeError(f"it charges: {answer!r:.200}")
        await reader.readexactly(int(size[1]))

        async def start() -> float:
            began_s = time.perf_counter()
            writer.write(head.encode() + body)
            call = await _until(station, _is_remote_start)
            took_ms = (time.perf_counter() - began_s) * 1000
            await station.send(json.dumps([3, call[1], {"status": "Accepted"}]))
            status = await reader.readline()
            if b" 200 " not in status:
                raise RuntimeError(f"not started: {status!r}")
            return took_ms

        yield start
        writer.close()


def _is_remote_start(message: list[Any]) -> bool:
    return message[0] == 2 and message[2] == "RemoteStartTransaction"


@asynccontextmanager
async def _paying(plan: Plan, number: int) -> AsyncGenerator[Step]:
    """A phone that is signed in, and a bank that is connected: a step sends its notice."""
    token, notice = plan.paying[number]
    live = connect(f"ws://{LOOPBACK}:{plan.port}/api/v1/ws", compression=None, ping_interval=None)
    async with live as phone, _connection(plan.port) as bank:
        await bank.call(f"GET /healthz HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode())
        await phone.send(json.dumps({"type": "auth", "token": token}))
        before = await _until(phone, _is_balance)

        async def pay() -> float:
            began_s = time.perf_counter()
            answer = asyncio.ensure_future(bank.call(notice.encode()))
            await _until(
                phone, lambda sent: _is_balance(sent) and sent["balance"] != before["balance"]
            )
            took_ms = (time.perf_counter() - began_s) * 1000
            await answer
            return took_ms

        yield pay


@asynccontextmanager
async def _asking(plan: Plan, number: int) -> AsyncGenerator[Step]:
    """A connection to the bank: a step asks it about a bill, as the server did."""
    async with _connection(plan.bank_port) as bank:

        async def ask() -> float:
            began_s = time.perf_counter()
            await bank.call(plan.questions[number].encode())
            return (time.perf_counter() - began_s) * 1000

        yield ask


class _Connection:
    """An HTTP connection that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def call(self, request: bytes) -> None:
        """Sends a request and reads its answer. Raises RuntimeError when it is not 200."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"(?i)content-length: *(\d+)", head)
        if size is None or b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(f"refused: {head!r:.200}")
        await self._reader.readexactly(int(size[1]))


@asynccontextmanager
async def _connection(port: int) -> AsyncGenerator[_Connection]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        yield _Connection(reader, writer)
    finally:
        writer.close()


async def _run(plan: Plan) -> None:
    loop = asyncio.get_running_loop()
    async with connect(
        f"ws://{LOOPBACK}:{plan.echo_port}", compression=None, ping_interval=None
    ) as echo:

        @asynccontextmanager
        async def echoing(_plan: Plan, number: int) -> AsyncGenerator[Step]:
            async def send() -> float:
                began_s = time.perf_counter()
                await echo.send(f"echo {number} " + "x" * 200)
                await echo.recv()
                return (time.perf_counter() - began_s) * 1000

            yield send

        kinds = {
            "stop": _stopping, "start": _starting, "pay": _paying, "ask": _asking, "echo": echoing,
        }  # fmt: skip
        done = dict.fromkeys(kinds, 0)
        print("[]", flush=True)
        while name := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            first = done[name]
            done[name] += plan.each
            async with AsyncExitStack() as stack:
                steps = [
                    await stack.enter_async_context(kinds[name](plan, number))
                    for number in range(first, done[name])
                ]
                await asyncio.sleep(_SETTLE_S if name != "echo" else 0)
                took: list[float] = []
                for step in steps:
                    await asyncio.sleep(GAP_S)
                    took.append(await step())
            print(json.dumps(took), flush=True)


def main() -> int:
    """Run the plan until stdin ends."""
    uvloop.run(_run(Plan(**json.loads(Path(sys.argv[1]).read_text()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m bench.values_client PLAN.json`: stations that send MeterValues as soon as they may.

Opens and boots a socket for each station and prints a line. For each line on stdin every station
sends frames, each when the one before was answered, and it prints how many were. As light as can
be: it shares the machine with the server.
"""

import asyncio
import json
import resource
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final, cast

import uvloop

_HANDSHAKE: Final = (
    b"GET /ocpp/%b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
)
_BOOT: Final = (
    b'[2,"boot","BootNotification",{"chargePointVendor":"Acme","chargePointModel":"Bench"}]'
)
_FRAME: Final = """\
[2,"{number}","MeterValues",{{"connectorId":1,"transactionId":{transaction},"meterValue":[\
{{"timestamp":"{stamp}","sampledValue":[\
{{"value":"{register}","context":"Sample.Periodic","measurand":"Energy.Active.Import.Register","unit":"Wh"}},\
{{"value":"50000","context":"Sample.Periodic","measurand":"Power.Active.Import","unit":"W"}},\
{{"value":"125.0","context":"Sample.Periodic","measurand":"Current.Import","unit":"A","phase":"L1"}},\
{{"value":"400.0","context":"Sample.Periodic","measurand":"Voltage","unit":"V","phase":"L1-N"}},\
{{"value":"40","context":"Sample.Periodic","measurand":"SoC","unit":"Percent"}},\
{{"value":"31","context":"Sample.Periodic","measurand":"Temperature","unit":"Celsius"}}]}}]}}]"""
_SHORT, _LONG = 126, 127
_WAIT_LIMIT_S: Final = 60.0
_STAMP_NS: Final = 10_000_000


def values_frame(transaction: int, number: int) -> bytes:
    """Returns the frame number `number` of a transaction: a Wh more, stamped now."""
    return _frame_of(transaction) % (number, _stamp(time.time_ns() // _STAMP_NS), number)


@lru_cache(maxsize=8)
def _stamp(number: int) -> bytes:
    """Returns a time in hundredths of a second: many stations share one, and writing it costs."""
    return (
        datetime.fromtimestamp(number / 100, UTC).isoformat(timespec="milliseconds")[:23].encode()
    )


@lru_cache(maxsize=4096)
def _frame_of(transaction: int) -> bytes:
    """Returns the frames of a transaction but for their numbers, stamps and registers."""
    parts = {"number": "%010d", "stamp": "%bZ", "register": "%d"}
    return _FRAME.format(transaction=transaction, **parts).encode()


@dataclass(frozen=True, slots=True)
class Plan:
    """Which stations, each with its transaction, send for how long."""

    port: int
    stations: list[tuple[str, int]]
    seconds: float


class Station(asyncio.Protocol):
    """One socket."""

    def __init__(self, name: str, transaction: int) -> None:
        self._name = name.encode()
        self._transaction = transaction
        self._buffer = b""
        self._is_open = False
        self._transport: asyncio.Transport | None = None
        self._number = 0
        self.answered = 0
        self.until_s = 0.0
        self.idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the upgrade."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(_HANDSHAKE % self._name)

    def data_received(self, data: bytes) -> None:
        """Sends the next frame when the one before is answered."""
        self._buffer += data
        if not self._is_open:
            head, ended, rest = self._buffer.partition(b"\r\n\r\n")
            if not ended:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self._fail(head)
                return
            self._is_open, self._buffer = True, rest
            self._write(_BOOT)
        while len(self._buffer) >= 2:
            size, start = self._buffer[1], 2
            if size >= _SHORT:
                self._fail(self._buffer)
                return
            if len(self._buffer) < start + size:
                return
            payload, self._buffer = self._buffer[start : start + size], self._buffer[start + size :]
            if payload[:3] == b"[3,":
                self._next()
            elif payload[:3] == b"[2,":
                self._refuse(payload)
            elif payload:  # not a ping
                self._fail(payload)

    def send(self, until_s: float) -> None:
        """Sends frames until then."""
        self.answered = -1  # the next answer is the first frame's
        self.until_s = until_s
        self.idle = asyncio.get_running_loop().create_future()
        self._next()

    def _next(self) -> None:
        self.answered += 1
        if time.monotonic() >= self.until_s:
            self.idle.set_result(None)
            return
        self._number += 1
        self._write(values_frame(self._transaction, self._number))

    def _refuse(self, call: bytes) -> None:
        self._write(json.dumps([4, json.loads(call)[1], "NotSupported", "", {}]).encode())

    def connection_lost(self, exc: Exception | None) -> None:
        """A station that is dropped ends the run."""
        self._fail(repr(exc).encode())

    def _fail(self, why: bytes) -> None:
        if not self.idle.done():
            self.idle.set_exception(RuntimeError(f"{self._name!r}: {why!r:.300}"))

    def _write(self, payload: bytes) -> None:
        """Frames a text as a client must; a mask of zeros leaves it as it is."""
        size = (
            bytes([0x80 | len(payload)])
            if len(payload) < _SHORT
            else bytes([0x80 | _SHORT]) + len(payload).to_bytes(2, "big")
        )
        if self._transport is not None:
            self._transport.write(b"\x81" + size + bytes(4) + payload)


async def _run(plan: Plan) -> None:
    loop = asyncio.get_running_loop()
    stations: list[Station] = []
    for name, transaction in plan.stations:
        station = Station(name, transaction)
        await loop.create_connection(lambda station=station: station, "127.0.0.1", plan.port)
        async with asyncio.timeout(_WAIT_LIMIT_S):
            await station.idle  # booted
        stations.append(station)
    print("{}", flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        began_s, cpu_s = time.monotonic(), time.process_time()
        for station in stations:
            station.send(began_s + plan.seconds)
        async with asyncio.timeout(plan.seconds + _WAIT_LIMIT_S):
            await asyncio.gather(*(station.idle for station in stations))
        sent = {
            "answered": sum(station.answered for station in stations),
            "seconds": time.monotonic() - began_s,
            "cpu_s": time.process_time() - cpu_s,
        }
        print(json.dumps(sent), flush=True)


def main() -> int:
    """Run the plan until stdin ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text()))
    uvloop.run(_run(plan))
    return 0


if __name__ == "__main__":
    sys.exit(main())

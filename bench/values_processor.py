"""`python -m bench.values_processor PLAN.json`: gives stations' frames to the processor.

No sockets: each station's next frame is there when the one before is answered. For each line on
stdin every station sends for the plan's seconds, and it prints how many frames were answered.
"""

import asyncio
import gc
import json
import resource
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import uvloop

from bench.values_client import values_frame
from evpower.charging import Rules
from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.ocpp.process import Processor
from evpower.ocpp.router import Router
from evpower.ocpp.socket import Identity, Registry, StationSocket

_COLLECT_AFTER: Final = (20_000, 10, 10)  # as the server's process


@dataclass(frozen=True, slots=True)
class ProcessorPlan:
    """Which stations, each with its transaction, send for how long."""

    dsn: str
    stations: list[tuple[str, int]]
    seconds: float


class Wire:
    """A socket that takes every answer."""

    def __init__(self) -> None:
        self.writable = asyncio.Event()
        self.writable.set()
        self.answers = 0

    def write(self, message: bytes) -> bool:
        """Counts an answer."""
        if b"[3," not in message[:8]:
            raise RuntimeError(f"not an answer: {message!r:.200}")
        self.answers += 1
        return True


class ProcessSockets:
    """Takes what sockets report."""

    def schedule_drop(self, socket: StationSocket) -> None:
        """No socket ends here."""

    def log(self, frame: object) -> None:
        """No frame is logged outside of its transaction."""
        raise RuntimeError(f"not stored with its values: {frame!r:.200}")

    def note(self, station_id: str, kinds: set[str], sample: str, at: object) -> None:
        """Every frame is by the book."""
        raise RuntimeError(f"{station_id}: {kinds} at {at}: {sample:.200}")


class _Station:
    """One station: its frames, one after the other."""

    def __init__(self, station_id: str, transaction: int) -> None:
        now = datetime.now(UTC)
        registry = cast("Registry", ProcessSockets())
        identity = Identity(station_id, 1, now, now, True, timedelta(0), timedelta(0))
        self._wire = Wire()
        self._socket = StationSocket(
            cast("Any", self._wire), identity, registry, clock=utc_now, now_s=time.monotonic
        )
        self._transaction = transaction
        self._sent = 0

    async def send(self, processor: Processor, until_s: float) -> int:
        """Sends until then; returns how many were answered."""
        before = self._wire.answers
        while time.monotonic() < until_s:
            self._sent += 1
            await processor.serve(
                self._socket, values_frame(self._transaction, self._sent), utc_now()
            )
        return self._wire.answers - before


async def _run(plan: ProcessorPlan) -> None:
    loop = asyncio.get_running_loop()
    stations = [_Station(*pair) for pair in plan.stations]
    db = await Database.open(plan.dsn)
    registry = cast("Registry", ProcessSockets())
    processor = Processor(db, LocalBus(), Router(), registry, utc_now, Rules())
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    print("{}", flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        began_s, cpu_s = time.monotonic(), time.process_time()
        answered = await asyncio.gather(
            *(station.send(processor, began_s + plan.seconds) for station in stations)
        )
        sent = {
            "answered": sum(answered),
            "seconds": time.monotonic() - began_s,
            "cpu_s": time.process_time() - cpu_s,
        }
        print(json.dumps(sent), flush=True)
    await processor.close()
    await db.close()


def main() -> int:
    """Run the plan until stdin ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    plan = ProcessorPlan(**json.loads(Path(sys.argv[1]).read_text()))
    uvloop.run(_run(plan))
    return 0


if __name__ == "__main__":
    sys.exit(main())

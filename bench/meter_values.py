"""MeterValues, each answered after its durable commit, beside pgbench that writes the same rows."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final, cast

from bench import seed
from bench.charging_fleet import Charge, add_fleet, charge, disconnect
from bench.evpower_server import EvPowerServer
from bench.harness import Bar, Row, in_turn, say
from bench.pgbench import pgbench
from bench.rig import Rig
from bench.values_client import Plan, values_frame
from evpower.charging import Rules
from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.ocpp.process import Processor
from evpower.ocpp.router import Router
from evpower.ocpp.socket import Identity, Registry, StationSocket

_STATIONS: Final = 256
_SECONDS: Final = 3.0
_PGBENCH: Final = 16
_BASELINE: Final = "pgbench, 16 clients, one frame a transaction"
_MANY: Final = {
    "EVPOWER_IDLE_CONNECTIONS": "100000",
    "EVPOWER_IDLE_CONNECTIONS_PER_ADDRESS": "100000",
}
# The rows of a frame: the dedupe row, both raw frames, the value and the session's progress.
_SCRIPT: Final = """\
\\set n :n + 1
\\set id :first + :client_id * {each} + :n % {each}
begin;
insert into ocpp.answers (key, answer, received_at)
values (uuid_send(gen_random_uuid()), '{{}}', now());
insert into ocpp.frames
  (station_id, received_at, direction, message_type, message_id, action, frame)
values ('EVP-' || :id, now(), 'in', 2, :n::text, 'MeterValues', '{frame}'),
       ('EVP-' || :id, now(), 'out', 3, :n::text, 'MeterValues', '[3,"1234567890",{{}}]');
insert into charging.meter_values (received_at, at, transaction_id, session_wh, power_w, current_ma,
  voltage_mv, connector, soc_percent, outlet_temperature, is_parked, is_timed, energy_wh)
values (now(), now(), :id, :n, 50000, 125000, 400000, 1, 40, 31, false, true, 1234 + :n);
update charging.progress
   set revision = revision + 1, register = '{register}'::jsonb, register_wh = 1234 + :n,
       energy_wh = :n, cost_minor = :n, tally = '{tally}'::jsonb, power_w = 50000, soc_percent = 40,
       current_ma = 125000, voltage_mv = 400000, ev_current_ma = null, ev_voltage_mv = null,
       body_temperature = null, outlet_temperature = 31, inlet_temperature = null, interval_s = 30,
       parked_since = null, last_value_at = now(), flowed_at = now(), stop_due_at = now(),
       close_due_at = null, close_reason = null, rebill_due_at = null,
       tail_wh = 0
 where transaction_id = :id;
commit;
"""


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


class _InProcess:
    """Frames of all stations given to the processor, without sockets."""

    def __init__(self, dsn: str, charges: Sequence[Charge]) -> None:
        self._dsn = dsn
        self._charges = charges
        self._sent = dict.fromkeys((charge.station for charge in charges), 0)

    async def rate(self) -> float:
        """Returns frames a second."""
        db = await Database.open(self._dsn)
        processor = Processor(
            db, LocalBus(), Router(), cast("Registry", ProcessSockets()), utc_now, Rules()
        )
        began = time.perf_counter()
        until = began + _SECONDS
        try:
            counts = await asyncio.gather(
                *(self._send(processor, charge, until) for charge in self._charges)
            )
            return sum(counts) / (time.perf_counter() - began)
        finally:
            await processor.close()
            await db.close()

    async def _send(self, processor: Processor, charge: Charge, until: float) -> int:
        now = utc_now()
        identity = Identity(charge.station, 1, now, now, True, timedelta(0), timedelta(0))
        wire = Wire()
        socket = StationSocket(
            cast("Any", wire), identity, cast("Registry", ProcessSockets()), clock=utc_now,
            now_s=time.monotonic,
        )  # fmt: skip
        while time.perf_counter() < until:
            self._sent[charge.station] += 1
            message = values_frame(charge.transaction, self._sent[charge.station])
            await processor.serve(socket, message, utc_now())
        return wire.answers


class _Sender:
    """A process with a socket for each station; each run prints what was answered."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    async def line(self) -> dict[str, float]:
        """Returns what it prints next."""
        line = b"" if self._child.stdout is None else await self._child.stdout.readline()
        if not line:
            raise RuntimeError("the stations failed")
        return json.loads(line)

    async def rate(self) -> float:
        """Returns frames a second."""
        if self._child.stdin is not None:
            self._child.stdin.write(b"run\n")
            await self._child.stdin.drain()
        sent = await self.line()
        say(f"    generator {sent['cpu_s']:.1f} s CPU")
        return sent["answered"] / sent["seconds"]


@asynccontextmanager
async def _stations(server: EvPowerServer, charges: Sequence[Charge]) -> AsyncGenerator[_Sender]:
    plan = server.rig.folder / "values.json"
    pairs = [(charge.station, charge.transaction) for charge in charges]
    plan.write_text(json.dumps(asdict(Plan(server.port, pairs, _SECONDS))))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.values_client", str(plan),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        sender = _Sender(child)
        await sender.line()
        yield sender
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def meter_values(rig: Rig) -> list[Row]:
    """Frames a second over sockets, in process, and of pgbench, from as many stations each."""
    dsn = await rig.new_database()
    pairs = await add_fleet(rig, dsn, 3 * _STATIONS)
    charges = await charge(dsn, pairs)
    served, given, written = (
        charges[start : start + _STATIONS] for start in range(0, len(charges), _STATIONS)
    )
    async with rig.owner(dsn) as owner:
        await disconnect(owner)
        await seed.settle_down(owner)
    async with AsyncExitStack() as stack:
        server = await EvPowerServer.start(rig, stack, dsn, role="stations", env=_MANY)
        sender = await stack.enter_async_context(_stations(server, served))
        in_process = _InProcess(dsn, given)

        async def baseline() -> float:
            return await _pgbench(rig, dsn, written[0].transaction)

        turns = await in_turn(sender.rate, in_process.rate, baseline)
    await _check(rig, dsn, [*served, *given])
    over_sockets, inside, limit = turns
    unit = "frames/s"
    return [
        Row("meter_values_sockets", over_sockets, unit, _BASELINE, limit, Bar(">=", 0.7), "",
            turns.ratio(0, 2)),
        Row("meter_values", inside, unit, _BASELINE, limit, Bar(">=", 3), "in process",
            turns.ratio(1, 2)),
    ]  # fmt: skip


async def _pgbench(rig: Rig, dsn: str, first: int) -> float:
    async with rig.owner(dsn) as owner:
        row = await owner.fetchrow(
            "select register::text, tally::text from charging.progress"
            " where register is not null limit 1"
        )
    if row is None:
        raise RuntimeError("no frame was stored")
    each = _STATIONS // _PGBENCH
    frame = values_frame(first, 1).decode()
    # pgbench takes a colon before a name for a variable: the texts are written without any.
    texts = {"frame": frame, "register": row["register"], "tally": row["tally"]}
    script = _SCRIPT.format(each=each, **{name: _plain(text) for name, text in texts.items()})
    outcome = await pgbench(
        rig.postgres, dsn, script, rig.folder, clients=_PGBENCH, seconds=int(_SECONDS),
        variables={"first": first, "n": 0},
    )  # fmt: skip
    return outcome.tps


def _plain(text: str) -> str:
    return text.replace("'", "''").replace(":", ": ")


async def _check(rig: Rig, dsn: str, charges: Sequence[Charge]) -> None:
    """Every frame that was answered is in its session's progress, and is stored once."""
    async with rig.owner(dsn) as owner:
        wrong = await owner.fetchval(
            """
            select count(*) from charging.progress p
             where p.transaction_id = any ($1)
               and (p.energy_wh, p.energy_wh, p.cost_minor > 0, p.stop_due_at > now())
                   is distinct from
                   ((select count(*) from charging.meter_values v
                      where v.transaction_id = p.transaction_id),
                    (select max(v.session_wh) from charging.meter_values v
                      where v.transaction_id = p.transaction_id), true, true)
            """,
            [charge.transaction for charge in charges],
        )
    if wrong:
        raise RuntimeError(f"{wrong} sessions are not where their frames are")

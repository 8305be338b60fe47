"""MeterValues, each answered after its durable commit, beside pgbench that writes the same rows.

Over sockets by one server, and in process: as many processors as the machine has cores, as its
operator starts nodes, while pgbench has its clients on all cores.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from bench import seed
from bench.charging_fleet import Charge, add_fleet, charge, disconnect
from bench.evpower_server import EvPowerServer
from bench.harness import Bar, Row, in_turn, say
from bench.pgbench import pgbench
from bench.rig import Rig
from bench.values_client import Plan, values_frame
from bench.values_processor import ProcessorPlan

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


class _Sender:
    """A process that sends for its stations; each run prints what was answered."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    async def line(self) -> dict[str, float]:
        """Returns what it prints next."""
        line = b"" if self._child.stdout is None else await self._child.stdout.readline()
        if not line:
            raise RuntimeError("the stations failed")
        return json.loads(line)

    async def run(self) -> dict[str, float]:
        """Lets its stations send; returns what was answered, in which time."""
        if self._child.stdin is not None:
            self._child.stdin.write(b"run\n")
            await self._child.stdin.drain()
        return await self.line()

    async def rate(self) -> float:
        """Returns frames a second."""
        sent = await self.run()
        say(f"    generator {sent['cpu_s']:.1f} s CPU")
        return sent["answered"] / sent["seconds"]


@asynccontextmanager
async def _sender(module: str, path: Path) -> AsyncGenerator[_Sender]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, str(path),
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


def _stations(
    server: EvPowerServer, charges: Sequence[Charge]
) -> AbstractAsyncContextManager[_Sender]:
    path = server.rig.folder / "values.json"
    path.write_text(json.dumps(asdict(Plan(server.port, _pairs(charges), _SECONDS))))
    return _sender("bench.values_client", path)


def _processor(
    rig: Rig, dsn: str, number: int, charges: Sequence[Charge]
) -> AbstractAsyncContextManager[_Sender]:
    path = rig.folder / f"processor-{number}.json"
    path.write_text(json.dumps(asdict(ProcessorPlan(dsn, _pairs(charges), _SECONDS))))
    return _sender("bench.values_processor", path)


def _pairs(charges: Sequence[Charge]) -> list[tuple[str, int]]:
    return [(charge.station, charge.transaction) for charge in charges]


async def _in_process(processors: Sequence[_Sender]) -> float:
    """Returns the frames a second of all processors together."""
    sent = await asyncio.gather(*(processor.run() for processor in processors))
    answered = sum(each["answered"] for each in sent)
    cpu_us = sum(each["cpu_s"] for each in sent) / answered * 1_000_000
    say(f"    {len(sent)} processors, {cpu_us:.0f} us of Python's CPU a frame")
    return answered / max(each["seconds"] for each in sent)


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
        cores = os.cpu_count() or 1
        processors = [
            await stack.enter_async_context(_processor(rig, dsn, number, given[number::cores]))
            for number in range(cores)
        ]

        async def in_process() -> float:
            return await _in_process(processors)

        async def baseline() -> float:
            return await _pgbench(rig, dsn, written[0].transaction)

        turns = await in_turn(sender.rate, in_process, baseline)
    await _check(rig, dsn, [*served, *given])
    over_sockets, inside, limit = turns
    unit = "frames/s"
    return [
        Row("meter_values_sockets", over_sockets, unit, _BASELINE, limit, Bar(">=", 0.7), "",
            turns.ratio(0, 2)),
        Row("meter_values", inside, unit, _BASELINE, limit, Bar(">=", 3),
            "in process, one for each core", turns.ratio(1, 2)),
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

"""How long a driver waits for a station and for the bill, beside bare statements and an echo."""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import orjson

from bench import seed
from bench.charging_fleet import Charge, add_fleet, charge, disconnect
from bench.evpower_server import EvPowerServer, access_token
from bench.harness import Bar, Measure, Row, in_turn
from bench.paths import EACH, paths
from bench.paths_client import GAP_S
from bench.pgbench import median_ms
from bench.recorded import RecordingDatabase, Statement, prepare
from bench.rig import Rig
from bench.values_processor import ProcessSockets, Wire
from evpower.charging import Rules
from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import utc_now
from evpower.ocpp.process import Processor
from evpower.ocpp.router import Router
from evpower.ocpp.socket import Identity, Registry, StationSocket

_ROUNDS: Final = 5
_AT_ONCE: Final = {
    "EVPOWER_CHARGING_FIRST_FRAME_WAIT_S": "0",
    "EVPOWER_CHARGING_SETTLE_AFTER_CONNECT_S": "0",
}
# One row and its commit.
_COMMIT: Final = "insert into bench.commits (at) values (now());\n"


async def stop_to_balance(rig: Rig) -> list[Row]:
    """StopTransaction on a station's socket until the new balance is on the driver's.

    The limit is the same statements, sent by pgbench on a copy of the database, and an echo.
    """
    dsn = await rig.new_database()
    charges = await charge(dsn, await add_fleet(rig, dsn, _ROUNDS * EACH))
    copies = [await rig.copy_database(dsn) for _ in range(2)]
    times = await _record_stops(copies[0], charges)
    async with rig.owner(copies[1]) as owner:
        script = await prepare(owner, times)
        await seed.settle_down(owner)
    done = 0

    async def statements() -> float:
        nonlocal done
        first, done = done, done + EACH
        return await median_ms(
            rig.postgres, copies[1], script, rig.folder, times=EACH, per_s=1 / GAP_S,
            variables={"n": first},
        )  # fmt: skip

    return [
        await _measure(
            rig, dsn, "stop", statements, Bar("<=", 3), f"{len(times[0])} statements",
            charges=charges,
        )
    ]  # fmt: skip


async def start_to_remote(rig: Rig) -> list[Row]:
    """The phone's start call until RemoteStartTransaction is on the station's socket."""
    dsn = await rig.new_database()
    pairs = await add_fleet(rig, dsn, _ROUNDS * EACH)
    async with rig.owner(dsn) as owner:
        await owner.execute("create schema if not exists bench")
        await owner.execute(
            "create table bench.commits (id bigint generated always as identity, at timestamptz)"
        )
        await owner.execute("grant usage on schema bench to evpower_app")
        await owner.execute("grant insert on bench.commits to evpower_app")

    async def commit() -> float:
        return await median_ms(rig.postgres, dsn, _COMMIT, rig.folder, times=EACH, per_s=1 / GAP_S)

    return [await _measure(rig, dsn, "start", commit, Bar("<=", 6), "", waiting=pairs)]


async def _measure(
    rig: Rig,
    dsn: str,
    step: str,
    statements: Measure,
    bar: Bar,
    note: str,
    *,
    charges: Sequence[Charge] = (),
    waiting: Sequence[tuple[Any, str]] = (),
) -> Row:
    supabase = await rig.supabase()
    async with rig.owner(dsn) as owner:
        await disconnect(owner)
        await seed.settle_down(owner)
    async with AsyncExitStack() as stack:
        server = await EvPowerServer.start(rig, stack, dsn, role="all", env=_AT_ONCE)
        phone = await stack.enter_async_context(
            paths(
                rig,
                server,
                charging=[
                    (access_token(supabase, charge.client), charge.station, charge.transaction)
                    for charge in charges
                ],
                waiting=[(access_token(supabase, client), station) for client, station in waiting],
            )
        )

        async def ours() -> float:
            return await phone.median_ms(step)

        async def limit() -> float:
            return await statements() + await phone.median_ms("echo")

        turns = await in_turn(ours, limit, rounds=_ROUNDS)
    took_ms, limit_ms = turns
    name = {"stop": "stop_to_balance", "start": "start_to_remote"}[step]
    baseline = {"stop": "the same statements and an echo", "start": "a commit and an echo"}[step]
    return Row(name, took_ms, "ms p50", baseline, limit_ms, bar, note, turns.ratio())


async def _record_stops(dsn: str, charges: Sequence[Charge]) -> list[list[Statement]]:
    """Stops each charge in this process; returns the statements of each."""
    db = RecordingDatabase(dsn)
    await db.start()
    registry = cast("Registry", ProcessSockets())
    processor = Processor(db, LocalBus(), Router(), registry, utc_now, Rules())
    times: list[list[Statement]] = []
    try:
        for number, charge in enumerate(charges):
            now = utc_now()
            identity = Identity(charge.station, 1, now, now, True, timedelta(0), timedelta(0))
            socket = StationSocket(
                cast("Any", Wire()), identity, registry, clock=utc_now, now_s=time.monotonic
            )
            stamp = datetime.now(UTC).isoformat()[:23] + "Z"
            stop = {
                "transactionId": charge.transaction, "meterStop": 5_000, "timestamp": stamp,
                "reason": "Local",
            }  # fmt: skip
            message = orjson.dumps([2, f"stop-{number}", "StopTransaction", stop])
            db.statements = []
            await processor.serve(socket, message, now)
            times.append(db.statements)
    finally:
        await processor.close()
        await db.close()
    return times

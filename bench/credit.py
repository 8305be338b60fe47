"""The wallet in process beside pgbench calling the same SQL function on the same database."""

import asyncio
import time

from bench import seed
from bench.harness import Bar, Row, in_turn
from bench.pgbench import Outcome, pgbench
from bench.rig import Rig
from evpower.foundation.db import Database
from evpower.wallet import WalletBatcher

CLIENTS = 10_000
SECONDS = 3
# Every client of pgbench walks its own stretch of fresh payments.
_SCRIPT = """\
\\set n :n + 1
\\set id :first + :client_id * :stride + :n - 1
select * from wallet.credit(:id);
"""


async def pgbench_credits(rig: Rig, dsn: str, *, clients: int, stride: int) -> Outcome:
    """Let pgbench credit fresh confirmed payments; every one it counted must be in the ledger."""
    async with rig.owner(dsn) as owner:
        first = await seed.add_payments(owner, clients * stride, confirmed=True)
        await seed.settle_down(owner)
        outcome = await pgbench(
            rig.postgres, dsn, _SCRIPT, rig.folder, clients=clients, seconds=SECONDS,
            variables={"first": first, "stride": stride, "n": 0},
        )  # fmt: skip
        credited = await seed.credited(owner, first, clients * stride)
    if credited < outcome.transactions:
        raise RuntimeError(
            f"{outcome.transactions} counted, {credited} in the ledger: a longer stride"
        )
    return outcome


async def credit_grouped(rig: Rig) -> list[Row]:
    """Credits a second, 256 callers at once, each waiting for its own commit."""
    dsn = await wallets(rig)

    async def ours() -> float:
        rate, _ = await _credits(rig, dsn, callers=256, payments=60_000)
        return rate

    async def pgbench() -> float:
        return (await pgbench_credits(rig, dsn, clients=16, stride=1_200)).tps

    turns = await in_turn(ours, pgbench)
    rate, limit = turns
    bar, ratio = Bar(">=", 3), turns.ratio()
    name, baseline_name = "credit_grouped", "pgbench, 16 clients"
    return [Row(name, rate, "credits/s", baseline_name, limit, bar, "", ratio)]


async def credit_single(rig: Rig) -> list[Row]:
    """Milliseconds of one call without other calls."""
    dsn = await wallets(rig)

    async def ours() -> float:
        _, latency_ms = await _credits(rig, dsn, callers=1, payments=15_000)
        return latency_ms

    async def pgbench() -> float:
        return (await pgbench_credits(rig, dsn, clients=1, stride=15_000)).latency_ms

    turns = await in_turn(ours, pgbench)
    latency, limit = turns
    bar, ratio = Bar("<=", 1.75), turns.ratio()
    return [Row("credit_single", latency, "ms", "pgbench, 1 client", limit, bar, "", ratio)]


async def wallets(rig: Rig) -> str:
    """A database that has lived a little: plans made on empty tables are not what is measured."""
    dsn = await rig.new_database()
    async with rig.owner(dsn) as owner:
        await seed.add_clients(owner, CLIENTS)
        first = await seed.add_payments(owner, 2 * CLIENTS, confirmed=True)
        await seed.credit_all(owner, first, 2 * CLIENTS)
    return dsn


async def _credits(rig: Rig, dsn: str, *, callers: int, payments: int) -> tuple[float, float]:
    """Credits a second, and the mean milliseconds of one."""
    async with rig.owner(dsn) as owner:
        first = await seed.add_payments(owner, payments, confirmed=True)
        await seed.settle_down(owner)
        db = await Database.open(dsn)
        group = WalletBatcher(db)
        ids = iter(range(first, first + payments))
        done = 0
        began = time.perf_counter()
        until = began + SECONDS

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < until and (payment := next(ids, None)) is not None:
                await group.credit(payment)
                done += 1

        try:
            await asyncio.gather(*(caller() for _ in range(callers)))
            elapsed = time.perf_counter() - began
        finally:
            await group.close()
            await db.close()
        if await seed.credited(owner, first, payments) != done:
            raise RuntimeError("the ledger disagrees with what was answered")
    return done / elapsed, elapsed * 1000 * callers / done

"""Confirmed top-ups over HTTP: signed webhook in, committed, answered."""

from contextlib import AsyncExitStack

from bench import seed
from bench.baseline_server import Baseline
from bench.credit import pgbench_credits, wallets
from bench.evpower_server import EvPowerServer
from bench.harness import Bar, Row, in_turn, say
from bench.rig import Rig
from bench.webhooks import fresh_webhooks

_SECONDS = 4.0
_PAYMENTS = 16_000
_BASELINE = "baseline implementation"
_LIMIT = "pgbench, 16 clients"


async def topup_http(rig: Rig) -> list[Row]:
    """16 connections, beside the baseline implementation over HTTP and pgbench with 16 clients."""
    baseline = await rig.once(Baseline.start)
    async with AsyncExitStack() as stack:
        dsn = await wallets(rig)
        server = await EvPowerServer.start(rig, stack, dsn)

        async def ours() -> float:
            return await _confirmed(server)

        async def pgbench() -> float:
            return (await pgbench_credits(rig, dsn, clients=16, stride=1_200)).tps

        turns = await in_turn(ours, pgbench, baseline.top_ups)
    rate, limit, baseline_rate = turns
    unit = "top-ups/s"
    return [
        Row(
            "topup_http",
            rate,
            unit,
            _BASELINE,
            baseline_rate,
            Bar(">=", 100),
            "",
            turns.ratio(0, 2),
        ),
        Row("topup_http", rate, unit, _LIMIT, limit, Bar(">=", 0.3), "", turns.ratio(0, 1)),
    ]


async def _confirmed(server: EvPowerServer) -> float:
    first, webhooks = await fresh_webhooks(server.rig, server.dsn, _PAYMENTS)
    report = await server.load(webhooks, seconds=_SECONDS, cycle=False)
    async with server.rig.owner(server.dsn) as owner:
        credited = await seed.credited(owner, first, _PAYMENTS)
    if credited != report.answered:
        raise RuntimeError(f"{report.answered} were answered, {credited} are in the ledger")
    cpu = f"generator {report.cpu_s:.1f} s CPU"
    say(f"    p50 {report.p50_ms:.1f} ms, p99 {report.p99_ms:.1f} ms, {cpu}")
    return report.rate

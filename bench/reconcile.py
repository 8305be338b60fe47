"""Comparing both sides: how many clients a second, and whether more of them take more memory."""

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from bench.harness import Bar, Row, in_turn, quiet, say
from bench.rig import Rig
from evpower.devstack.stack import supabase_migrations
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection

SMALL = 20_000
LARGE = 100_000
_EACH: Final = 5  # transactions a client
_WAIT_LIMIT_S: Final = 120.0
_BASELINE: Final = "every row over PostgREST"
_AT: Final = "timestamptz '2026-01-01' + g * interval '1 minute'"  # of both sides' transactions

# Equal rows on both sides, made where they lie. No trigger and no foreign key has a say: what is
# measured is the comparison. Ids come from the number, so that both sides have the same.
_PEOPLE: Final = """
  from (select g, md5('client ' || g)::uuid as id, 'driver' || g || '@example.kg' as email,
               'Driver ' || g as name, '+9967' || lpad(g::text, 8, '0') as phone
          from generate_series($1::int, $2::int) g) p
"""
_LINES: Final = f"""
  from generate_series($1::int, $2::int) g cross join generate_series(1, {_EACH}) v
 order by g, v
"""
_HERE: Final = (
    f"""insert into identity.clients (id, email, phone, name, origin)
    select id, email, phone, name, 'import' {_PEOPLE}""",
    f"""insert into wallet.wallets (client_id, balance_minor, version)
    select id, {_EACH} * (1000 + g), {_EACH} {_PEOPLE}""",
    f"""insert into payments.payments (id, invoice_id, order_id, client_id, provider, provider_ref,
      method, amount_minor, status, paid_minor, confirmed_at, credited_ref, expires_at)
    overriding system value
    select g::bigint * {_EACH} + v, 'invoice-' || g || '.' || v, 'order-' || g || '.' || v,
           md5('client ' || g)::uuid, 'sandbox', 'ref-' || g || '.' || v, 'qr', 1000 + g,
           'approved', 1000 + g, {_AT}, 'ref-' || g || '.' || v, {_AT} {_LINES}""",
    f"""insert into wallet.transactions (client_id, version, amount_minor, balance_before_minor,
      balance_after_minor, payment_id, event_at, created_at, id, kind)
    select md5('client ' || g)::uuid, v, 1000 + g, (v - 1) * (1000 + g), v * (1000 + g),
           g::bigint * {_EACH} + v, {_AT}, {_AT}, md5('line ' || g || '.' || v)::uuid,
           'topup' {_LINES}""",
)
_THERE: Final = (
    f"""insert into auth.users (id, email, phone, raw_user_meta_data)
    select id, email, ltrim(phone, '+'), jsonb_build_object('name', name) {_PEOPLE}""",
    f"""insert into public.clients (id, email, phone, name, balance, balance_version,
      wallet_revision, evpower_revision)
    select id, email, phone, name, {_EACH} * (1000 + g) * 0.01, {_EACH}, 1, 1 {_PEOPLE}""",
    f"""insert into public.transactions (id, client_id, version, type, amount, balance_before,
      balance_after, invoice_id, event_at, created_at)
    select md5('line ' || g || '.' || v)::uuid, md5('client ' || g)::uuid, v, 'topup',
           (1000 + g) * 0.01, (v - 1) * (1000 + g) * 0.01, v * (1000 + g) * 0.01,
           'invoice-' || g || '.' || v, {_AT}, {_AT} {_LINES}""",
)


async def reconcile(rig: Rig) -> list[Row]:
    """`sync check` of equal sides: beside the baseline on 20,000 clients, its memory on 100,000."""
    results: dict[str, list[dict[str, Any]]] = {"check": [], "naive": []}
    dsn = await rig.new_database()
    async with _project(rig) as (supabase, there_dsn):
        async with rig.owner(dsn) as here, rig.owner(there_dsn) as there:
            await _add(here, there, 1, SMALL)

            async def rate(mode: str) -> float:
                results[mode].append(await _run(mode, dsn, supabase))
                return results[mode][-1]["clients"] / results[mode][-1]["seconds"]

            turns = await in_turn(lambda: rate("check"), lambda: rate("naive"), rounds=3)
            await _add(here, there, SMALL + 1, LARGE)
        await quiet()
        large = await _run("check", dsn, supabase)
    ours, baseline = turns
    small, naive = (max(results[mode], key=_grown_mb) for mode in ("check", "naive"))
    note = (
        f"{SMALL:,} people and clients; {LARGE:,} with {_EACH * LARGE:,} transactions in"
        f" {large['seconds']:.1f} s"
    )
    bar, ratio = Bar(">=", 2), turns.ratio()
    return [
        Row("reconcile", ours, "clients/s", _BASELINE, baseline, bar, note, ratio),
        Row(
            "reconcile_memory",
            _grown_mb(large),
            "MB above the start",
            f"the same with {SMALL:,} clients",
            _grown_mb(small),
            Bar("<=", 1.5),
            f"the baseline of the row above: {_grown_mb(naive):.0f} MB for {SMALL:,}",
        ),
    ]


def _grown_mb(run: dict[str, Any]) -> float:
    return max(1.0, run["peak_mb"] - run["start_mb"])


@asynccontextmanager
async def _project(rig: Rig) -> AsyncGenerator[tuple[LocalSupabase, str]]:
    """A Supabase of its own: without the clients of other benchmarks."""
    folder = Path(tempfile.mkdtemp(dir=rig.folder))
    await rig.postgres.create_database("supabase_reconcile")
    dsn = rig.postgres.dsn("supabase_reconcile")
    local = LocalSupabase(dsn, port=None, state_dir=folder, migrations_dir=supabase_migrations())
    await local.start()
    try:
        yield local, dsn
    finally:
        await local.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def _add(here: Connection, there: Connection, first: int, last: int) -> None:
    say(f"  making clients up to {last:,}")
    await asyncio.gather(_fill(here, _HERE, first, last), _fill(there, _THERE, first, last))


async def _fill(side: Connection, statements: tuple[str, ...], first: int, last: int) -> None:
    async with side.transaction():
        await side.execute("set local session_replication_role = replica")
        for statement in statements:
            await side.execute(statement, first, last, timeout=_WAIT_LIMIT_S)
    await side.execute("vacuum (analyze)", timeout=_WAIT_LIMIT_S)


async def _run(mode: str, dsn: str, supabase: LocalSupabase) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.reconcile_run",
        mode,
        dsn,
        supabase.url,
        supabase.secret_key,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(_WAIT_LIMIT_S):
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"the comparison ({mode}) failed")
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    say(f"    {mode}: {result}")
    return result

"""Moving clients to one id: rows a second beside what Supabase Auth's admin API gives by itself.

`python -m bench.migrate CLIENTS` measures one run of any size, and what it used.
"""

import asyncio
import csv
import itertools
import logging
import resource
import sys
import time
from pathlib import Path
from typing import Final
from uuid import uuid4

import structlog
from pydantic import SecretStr

from bench.harness import Bar, Row, in_turn, say
from bench.rig import Rig
from evpower import client_migration
from evpower.foundation.db import Connection, Database
from evpower.foundation.http import HttpClient
from evpower.identity import SupabaseAdmin
from evpower.identity.model import ImportedUser
from evpower.sync import SupabaseRpc, TargetUnavailable

_CLIENTS: Final = 2_000
_AT_ONCE: Final = 8
_PER_PAGE: Final = 1_000  # as the plan reads them
_phones = itertools.count()  # each once, in any run
_HASH: Final = "$2b$10$" + "a" * 53  # Auth hashes nothing then


async def migrate_clients(rig: Rig) -> list[Row]:
    """A plan and a run of 2,000 clients; the baseline lists the users there are and creates 2,000.

    A plan reads every user of the project first, whoever made them: so does the baseline.
    """
    async with HttpClient() as http:
        admin = await _admin(rig, http)

        async def ours() -> float:
            return _CLIENTS / (await _run(rig, http, admin, _CLIENTS))

        async def baseline() -> float:
            return await _bare(admin, _CLIENTS)

        turns = await in_turn(ours, baseline)
    rate, bare = turns
    note = f"{_CLIENTS:,} clients, users there are read first; {_AT_ONCE} calls at once"
    bar = Bar(">=", 0.5)
    return [Row("migrate", rate, "clients/s", "bare admin API", bare, bar, note, turns.ratio())]


async def _bare(admin: SupabaseAdmin, count: int) -> float:
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            person = uuid4()
            await admin.import_user(
                ImportedUser(
                    id=person, email=f"{person.hex}@bare.kg", email_confirm=True, phone=None,
                    phone_confirm=False, claimed_phone="+996555000000", name="Aida",
                    password_hash=_HASH,
                )
            )  # fmt: skip

    began = time.monotonic()
    page = 1
    while await admin.list_users(page, _PER_PAGE):
        page += 1
    await asyncio.gather(*(worker() for _ in range(_AT_ONCE)))
    return count / (time.monotonic() - began)


async def _run(rig: Rig, http: HttpClient, admin: SupabaseAdmin, count: int) -> float:
    """Seconds of one run into a new database of EvPower; quiet, as the command is."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    dsn = await rig.new_database()
    source = client_migration.CsvSource(_write(rig.folder / f"{uuid4().hex}.csv", count))
    db = await Database.open(dsn, size=_AT_ONCE + 4, role=None)
    supabase = await rig.supabase()
    rpc = SupabaseRpc(http, supabase.url, supabase.secret_key, timeout_s=30)
    began = time.monotonic()
    planned = await client_migration.plan(
        db,
        source,
        client_migration.users_by_rpc(rpc, transient=TargetUnavailable),
        actor="bench",
        dry_run=False,
    )
    planned_s = time.monotonic() - began
    if planned.run is None or planned.counts.create != count:
        raise RuntimeError(f"not the plan: {planned}")
    options = client_migration.ExecuteOptions(client_migration.RateLimiter(1e9), _AT_ONCE)
    done = await client_migration.execute(
        db, admin, source, planned.run, credit_balance=_no_money, options=options, actor="bench"
    )
    took_s = time.monotonic() - began
    await db.close()
    if done.done != count:
        raise RuntimeError(f"not done: {done}")
    say(f"    {count:,}: plan {planned_s:.1f} s, all {took_s:.1f} s")
    return took_s


async def _no_money(_: Connection, *about: object) -> bool:
    raise RuntimeError(f"there is no balance in this source: {about}")


def _write(path: Path, count: int) -> Path:
    run = uuid4().hex[:8]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "email", "phone", "name", "password_hash", "id_tags"])
        for n in range(count):
            phone = f"+9965{next(_phones):08}"
            tags = f"{run}-{n}" if n % 2 else ""
            writer.writerow([f"{run}-{n}", f"{run}.{n}@moved.kg", phone, "Aida", _HASH, tags])
    return path


async def _admin(rig: Rig, http: HttpClient) -> SupabaseAdmin:
    supabase = await rig.supabase()
    return SupabaseAdmin(http=http, url=supabase.url, secret_key=SecretStr(supabase.secret_key))


async def _main(count: int) -> None:
    async with Rig() as rig, HttpClient() as http:
        admin = await _admin(rig, http)
        took_s = await _run(rig, http, admin, count)
        memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        cpu_s = time.process_time()
        print(
            f"{count:,} clients in {took_s:.0f} s: {count / took_s:.0f}/s;"
            f" this process {cpu_s:.0f} s CPU, {memory_mib:.0f} MiB at most"
        )


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))

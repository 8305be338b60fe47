"""The same report twice in one moment, held where two insertions could block each other."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

from evpower.charging.model import Recorded, ReportedSession
from evpower.charging.record import record
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from tests.charging.money import top_up
from tests.waiting import until

# PostgreSQL writes the index entries of a row in the order in which the indexes were made. This one
# is written only when the test lets it, after the row was looked for and before its keys are kept.
_GATE = """
create function charging.gate(id uuid) returns uuid language plpgsql immutable as $$
begin
  if current_setting('test.gated', true) = 'yes' then
    perform pg_advisory_xact_lock(1);
  end if;
  return id;
end
$$;
grant execute on function charging.gate to evpower_app;
create index sessions_gate on charging.sessions (charging.gate(id));
"""
_KEYS = """
select conname as name, conrelid::regclass::text as of_table, pg_get_constraintdef(oid) as written
  from pg_constraint
 where conrelid = 'charging.sessions'::regclass and contype in ('p', 'u')
    or confrelid = 'charging.sessions'::regclass
 order by contype = 'p' desc, contype = 'u' desc
"""


async def put_the_gate_first(owner: Connection) -> None:
    """Make the keys anew, in their own order, so that the gate is older."""
    await owner.execute(_GATE)
    keys = await owner.fetch(_KEYS)
    for key in reversed(keys):
        await owner.execute(f"alter table {key['of_table']} drop constraint {key['name']}")
    for key in keys:
        await owner.execute(
            f"alter table {key['of_table']} add constraint {key['name']} {key['written']}"
        )


def a_report(client_id: UUID) -> ReportedSession:
    now = utc_now()
    return ReportedSession(
        id=uuid4(),
        client_id=client_id,
        station_id="EVI-0080",
        connector_id=1,
        status="stopped",
        started_at=now - timedelta(hours=1),
        ended_at=now,
        energy_wh=21_375,
        cost_minor=8856,
        billed=False,
    )


async def record_gated(db: Database, report: ReportedSession) -> Recorded:
    async with db.transaction() as connection:
        await connection.execute("set local test.gated = 'yes'")
        return await record(connection, report)


async def record_plainly(db: Database, report: ReportedSession) -> Recorded:
    async with db.transaction() as connection:
        return await record(connection, report)


async def are_waiting(owner: Connection, how_many: int, event: str) -> bool:
    await owner.execute("select pg_stat_clear_snapshot()")  # a transaction sees one moment else
    return await owner.fetchval(
        "select count(*) = $2 from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock' and wait_event = $1",
        event,
        how_many,
    )


async def balance_minor(owner: Connection, client_id: UUID) -> int:
    return await owner.fetchval(
        "select balance_minor from wallet.wallets where client_id = $1", client_id
    )


async def test_a_twin_between_its_look_and_its_keys_blocks_no_one(
    db: Database, owner: Connection, client_id: UUID
) -> None:
    """It waits for the first one; were it to wait with a key in hand, both would wait for ever."""
    await top_up(owner, client_id, 100_000)
    await put_the_gate_first(owner)
    report = a_report(client_id)
    await owner.execute("select pg_advisory_lock(1)")
    twin = asyncio.create_task(record_gated(db, report))
    await until(lambda: are_waiting(owner, 1, "advisory"))
    held = owner.transaction()
    await held.start()
    await owner.execute("select from wallet.wallets where client_id = $1 for update", client_id)
    first = asyncio.create_task(record_plainly(db, report))
    await until(lambda: are_waiting(owner, 1, "transactionid"))  # inserted; the wallet is not free
    await owner.execute("select pg_advisory_unlock(1)")
    await until(lambda: are_waiting(owner, 2, "transactionid"))  # the twin for the first one
    await held.commit()
    assert await first == Recorded(report.id, True, True, 0, True)
    assert await twin == Recorded(report.id, False, True, 0, False)
    assert await balance_minor(owner, client_id) == 100_000 - report.cost_minor

"""Two concurrent identical reports, stopped where two inserts could block each other."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

from evpower.charging.model import RecordResult, ReportedSession
from evpower.charging.record import record
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from tests.charging.money import top_up
from tests.waiting import until

# PostgreSQL writes a row's index entries in the order in which the indexes were created. The entry
# of this index waits for the test, after the search for the row and before its keys are written.
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
select conname as name, conrelid::regclass::text as of_table,
       pg_get_constraintdef(oid) as definition
  from pg_constraint
 where conrelid = 'charging.sessions'::regclass and contype in ('p', 'u')
    or confrelid = 'charging.sessions'::regclass
 order by contype = 'p' desc, contype = 'u' desc
"""


async def create_gate_first(owner: Connection) -> None:
    """Create the gate and then recreate the keys, in their own order."""
    await owner.execute(_GATE)
    keys = await owner.fetch(_KEYS)
    for key in reversed(keys):
        await owner.execute(f"alter table {key['of_table']} drop constraint {key['name']}")
    for key in keys:
        await owner.execute(
            f"alter table {key['of_table']} add constraint {key['name']} {key['definition']}"
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


async def record_gated(db: Database, report: ReportedSession) -> RecordResult:
    async with db.transaction() as connection:
        await connection.execute("set local test.gated = 'yes'")
        return await record(connection, report)


async def record_ungated(db: Database, report: ReportedSession) -> RecordResult:
    async with db.transaction() as connection:
        return await record(connection, report)


async def are_waiting(owner: Connection, count: int, event: str) -> bool:
    await owner.execute("select pg_stat_clear_snapshot()")  # otherwise one snapshot per transaction
    return await owner.fetchval(
        "select count(*) = $2 from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock' and wait_event = $1",
        event,
        count,
    )


async def balance_minor(owner: Connection, client_id: UUID) -> int:
    return await owner.fetchval(
        "select balance_minor from wallet.wallets where client_id = $1", client_id
    )


async def test_a_duplicate_stopped_before_writing_its_keys_does_not_deadlock(
    db: Database, owner: Connection, client_id: UUID
) -> None:
    """The duplicate waits for the first insert; with a key already written, both would wait."""
    await top_up(owner, client_id, 100_000)
    await create_gate_first(owner)
    report = a_report(client_id)
    await owner.execute("select pg_advisory_lock(1)")
    duplicate = asyncio.create_task(record_gated(db, report))
    await until(lambda: are_waiting(owner, 1, "advisory"))
    wallet_lock = owner.transaction()
    await wallet_lock.start()
    await owner.execute("select from wallet.wallets where client_id = $1 for update", client_id)
    first = asyncio.create_task(record_ungated(db, report))
    await until(lambda: are_waiting(owner, 1, "transactionid"))  # inserted; waits for the wallet
    await owner.execute("select pg_advisory_unlock(1)")
    await until(lambda: are_waiting(owner, 2, "transactionid"))  # the duplicate waits for `first`
    await wallet_lock.commit()
    assert await first == RecordResult(report.id, True, True, 0, True)
    assert await duplicate == RecordResult(report.id, False, True, 0, False)
    assert await balance_minor(owner, client_id) == 100_000 - report.cost_minor

"""What the database refuses of charging, whoever writes: nothing twice, nothing rewritten."""

from datetime import timedelta
from decimal import Decimal

import asyncpg
import pytest

from evpower import charging
from evpower.charging.events import StationStop, StationTime
from evpower.charging.stop_transaction import stop_transaction
from tests.charging.site import STATION, Site

REFUSED = (
    asyncpg.CheckViolationError,
    asyncpg.RestrictViolationError,
    asyncpg.UniqueViolationError,
)
END = """
update charging.sessions set state = 'finished', ended_at = started_at,
       end_reason = 'stopped_by_driver' where state = 'charging' returning revision
"""
STEP = """
insert into charging.stop_steps (transaction_id, step, cause, base_wh, taken_at, command_id)
values ($1, $2, 'energy_limit', 0, now(), $3)
"""
# Each is one change of what the fixture has once: a settled session, a running and a waiting one.
FORGERIES = """
insert into charging.sessions (id, client_id, station_id, connector_id, state, source, started_by,
                               id_tag, start_window_ends_at)
select gen_random_uuid(), client_id, station_id, 3, 'requested', 'evpower', 'app', '0123456789AB',
       now() from charging.sessions where state = 'requested';
insert into charging.sessions (id, client_id, station_id, connector_id, state, source, started_by,
                               id_tag, start_window_ends_at)
select gen_random_uuid(), (select client_id from charging.sessions where state = 'settled'),
       station_id, 3, 'requested', 'evpower', 'app', id_tag, now()
  from charging.sessions where state = 'requested';
insert into charging.sessions (id, client_id, station_id, connector_id, state, source, started_by,
                               id_tag, start_window_ends_at)
select gen_random_uuid(), (select client_id from charging.sessions where state = 'settled'),
       station_id, connector_id, 'requested', 'evpower', 'app', '0123456789AB', now()
  from charging.sessions where state = 'requested';
insert into charging.transactions (station_id, connector, id_tag, purpose, started_at, received_at,
                                   start_key)
select station_id, connector, 'X', 'unattributed', now(), now(), 'k'
  from charging.transactions where ended_at is null;
insert into charging.transactions (station_id, connector, id_tag, purpose, started_at, received_at,
                                   start_key)
select station_id, 7, 'X', 'unattributed', now(), now(), start_key
  from charging.transactions where ended_at is null;
insert into charging.free_periods (station_id, begins_at, ends_at, reason, actor)
select station_id, begins_at, ends_at, reason, actor
  from charging.free_periods where ended_at is null;
insert into charging.stops (station_id, id_as_sent, meter_stop_wh, station_time, received_at)
select station_id, id_as_sent, meter_stop_wh, station_time, received_at
  from charging.stops where station_time is null;

update charging.sessions set started_at = started_at - interval '1 s' where state = 'settled';
update charging.sessions set billed_elsewhere = true where state = 'settled';
update charging.sessions set vehicle_plate = '01KG777AAA' where state = 'settled';
update charging.sessions set free_reason = 'station_fault' where state = 'settled';
update charging.sessions set stop_requested_at = now() where state = 'charging';
update charging.sessions set quarantined_at = now() where state = 'charging';
update charging.sessions set connector_id = 1 where state = 'charging';

update charging.transactions set ended_at = null, end_kind = null where ended_at is not null;
update charging.transactions set ended_at = started_at - interval '1 s', end_kind = 'stop'
 where ended_at is null;
truncate charging.transactions cascade;

update charging.stops set transaction_id = (select max(id) from charging.transactions)
 where transaction_id is not null;
update charging.stops set transaction_id = null where transaction_id is not null;
update charging.stops set meter_stop_wh = 7 where transaction_id is null;
delete from charging.stops;
truncate charging.stops;

update charging.stop_steps set outcome = 'refused' where outcome is not null;
update charging.stop_steps set ended_at = ended_at + interval '1 s' where outcome is not null;
update charging.stop_steps set cleared_at = now() + interval '1 s' where cleared_at is not null;
update charging.stop_steps set cleared_at = null where cleared_at is not null;
update charging.stop_steps set cleared_at = now() where step <> 'zero_limit';
update charging.stop_steps set base_wh = 1;
update charging.stop_steps set outcome = 'stopped', ended_at = taken_at - interval '1 s'
 where outcome is null;
delete from charging.stop_steps;
truncate charging.stop_steps;

update charging.free_periods set ended_at = null, ended_by = null where ended_at is not null;
update charging.free_periods set ended_at = ended_at - interval '1 s' where ended_at is not null;
update charging.free_periods set ends_at = ends_at + interval '1 h' where ended_at is null;
update charging.free_periods set ended_at = ends_at + interval '1 s', ended_by = 'x'
 where ended_at is null;
insert into charging.free_periods (station_id, begins_at, ends_at, reason, actor, ended_at,
                                   ended_by)
select id, now(), now() + interval '8 days', 'r', 'a', now(), 'a' from stations.stations;
delete from charging.free_periods;
truncate charging.free_periods;

update charging.signed_values set value = 'x';
delete from charging.signed_values;
truncate charging.signed_values;
update charging.cdrs set energy_wh = 1;
delete from charging.cdrs;
truncate charging.cdrs;
truncate charging.session_tariffs;
insert into wallet.holds (session_id, attempt, client_id, amount_minor)
select session_id, attempt + 1, client_id, 1 from wallet.holds where state = 'open'
"""
# What is checked at commit.
AT_COMMIT = """
insert into wallet.holds (session_id, attempt, client_id, amount_minor)
select session_id, attempt + 1, client_id, 1 from wallet.holds where state = 'charged'
"""


async def passes(site: Site, forgery: str, *, at_commit: bool = False) -> bool:
    """Whether the database lets a change through; it is rolled back."""
    change = site.sql.transaction()
    await change.start()
    try:
        done = await site.sql.execute(forgery)
        assert not done.endswith(" 0"), f"no row to try it with: {forgery}"
        if at_commit:
            await site.sql.execute("set constraints all immediate")
    except REFUSED:
        return False
    finally:
        await change.rollback()
    return True


@pytest.fixture
async def full(site: Site) -> Site:
    """A settled session, a running one, one that waits, and everything that belongs to them."""
    first = await site.started(await site.driver())
    await site.wait(600)
    for number, meter, stamp in ((first.transaction_id, 3000, True), (4711, 5, False)):
        time = StationTime(site.now, site.now.isoformat()) if stamp else StationTime(None, None)
        event = StationStop(
            STATION, number, None, None, Decimal(meter), time, "Local", (), (), site.now
        )
        async with site.db.transaction() as connection:
            await stop_transaction(connection, event, now=site.now)
    await site.started(await site.driver(), connector=2)
    await site.start(await site.driver(), connector=1)
    for step, command in (("remote_stop", None), ("zero_limit", 1), ("remote_stop_again", None)):
        await site.sql.execute(STEP, first.transaction_id, step, command)
    await site.sql.execute(
        """
        update charging.stop_steps set outcome = 'went_on', ended_at = taken_at,
               cleared_at = case when command_id is not null then now() end
         where step <> 'remote_stop_again'
        """
    )
    await site.sql.execute(
        "insert into charging.signed_values (transaction_id, value, received_at)"
        " values ($1, 'signed', now())",
        first.transaction_id,
    )
    async with site.db.transaction() as connection:
        for minutes in (30, 60):
            await charging.free_station(
                connection, station=STATION, minutes=minutes, actor="operator:aida",
                reason="the app is down", now=site.now + timedelta(seconds=minutes),
            )  # fmt: skip
    return site


async def test_nothing_is_there_twice_or_rewritten(full: Site) -> None:
    let_through = [each for each in FORGERIES.split(";") if await passes(full, each)]
    assert let_through == []


async def test_a_session_that_was_billed_gets_no_money_on_hold(full: Site) -> None:
    assert not await passes(full, AT_COMMIT, at_commit=True)


@pytest.mark.parametrize(
    "change", ["energy_wh = 1", "cost_minor = 1", "ended_at = ended_at + interval '1 s'"]
)
async def test_what_has_ended_keeps_its_facts_until_its_bill(full: Site, change: str) -> None:
    transaction = full.sql.transaction()
    await transaction.start()
    await full.sql.execute(END)
    with pytest.raises(asyncpg.CheckViolationError, match="its facts stay"):
        await full.sql.execute(f"update charging.sessions set {change} where state = 'finished'")
    await transaction.rollback()


async def test_the_revision_of_an_ended_session_is_above_that_of_its_progress(full: Site) -> None:
    """Whoever has seen the newest value must not take the end for an older one."""
    before = await full.sql.fetchval(
        "select revision from charging.sessions where state = 'charging'"
    )
    await full.sql.execute(
        "update charging.progress set revision = 40 where session_id ="
        " (select id from charging.sessions where state = 'charging')"
    )
    change = full.sql.transaction()
    await change.start()
    revision = await full.sql.fetchval(END)
    await change.rollback()
    assert revision == before + 1 + 40

"""The table of states, in Python and in the database: each pair of states is tried."""

import re
from itertools import product
from pathlib import Path
from typing import get_args
from uuid import uuid4

import asyncpg
import pytest

from evpower.charging.model import SessionState
from evpower.charging.states import ENDED, IMPORTED_TRANSITIONS, RUNNING, TRANSITIONS, UNSTARTED
from evpower.foundation.db import Connection
from tests.charging.site import Site
from tests.charging.test_next_start import stops

PAGE = Path(__file__).parents[2] / "docs" / "charging.md"
STATES: tuple[SessionState, ...] = get_args(SessionState)
# What a session of ours must have in a state, beside what all have.
FACTS = """
start_failure = case when $1 = any ($2) then 'not_delivered' end,
started_at = case when $1 = any ($3) then '2026-12-01 12:00Z'::timestamptz end,
ended_at = case when $1 = any ($4) then '2026-12-01 13:00Z'::timestamptz end,
end_reason = case when $1 = any ($4) then 'stopped_by_driver' end
"""


async def passes(connection: Connection, source: str, old: SessionState, new: SessionState) -> bool:
    """Whether the database lets a session of a source go from a state to another."""
    lists = [list(states) for states in (UNSTARTED, RUNNING | ENDED, ENDED)]
    change = connection.transaction()
    await change.start()
    try:
        session = uuid4()
        client = await connection.fetchval(
            "insert into identity.clients (id, origin) values ($1, 'import') returning id", uuid4()
        )
        started_by = "app" if source == "evpower" else None
        await connection.execute("set session_replication_role = replica")
        await connection.execute(
            """
            insert into charging.sessions (id, client_id, station_id, connector_id, state, source,
              started_by, id_tag, start_window_ends_at)
            values ($1, $2, 'S1', 1, 'requested', $3, $4, $5, now())
            """,
            session,
            client,
            source,
            started_by,
            "0123456789AB" if started_by else None,
        )
        update = f"update charging.sessions set state = $1, {FACTS} where id = $5"
        await connection.execute(update, old, *lists, session)
        await connection.execute("reset session_replication_role")
        try:
            await connection.execute(update, new, *lists, session)
        except asyncpg.CheckViolationError:
            return False
        return True
    finally:
        await change.rollback()


@pytest.mark.parametrize(
    ("source", "table"), [("evpower", TRANSITIONS), ("import", IMPORTED_TRANSITIONS)]
)
async def test_the_database_has_the_same_table(
    owner: Connection, source: str, table: dict[SessionState, frozenset[SessionState]]
) -> None:
    assert set(table) == set(STATES)
    allowed = {
        (old, new)
        for old, new in product(STATES, STATES)
        if old != new and await passes(owner, source, old, new)
    }
    assert allowed == {(old, new) for old in table for new in table[old]}


def test_the_documented_diagram_has_the_same_table() -> None:
    arrows = re.findall(r"^  (\w+) --> (\w+):", PAGE.read_text(), re.MULTILINE)
    assert len(arrows) == len(set(arrows))
    drawn = {(old, new) for old, new in arrows if old != new}
    assert drawn == {(old, new) for old in TRANSITIONS for new in TRANSITIONS[old]}


async def test_what_a_session_began_with_stays(site: Site) -> None:
    started = await site.start(await site.driver(), energy_wh=1000)
    for change in (
        "id_tag = '0123456789AB'",
        "limit_energy_wh = 2000",
        "limit_amount_minor = 1",
        "limit_soc_percent = 5",
        "station_id = 'OTHER'",
        "connector_id = 2",
        "client_id = gen_random_uuid()",
        "created_at = created_at - interval '1 s'",
        "started_by = null, id_tag = null",
        "source = 'import', started_by = null, id_tag = null",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await site.sql.execute(
                f"update charging.sessions set {change} where id = $1", started.session_id
            )


END = """
update charging.sessions set state = 'finished', ended_at = started_at,
  end_reason = 'stopped_by_driver'
"""


class TestAtCommit:
    """What the database refuses when a transaction ends."""

    @pytest.mark.parametrize("state", ["expired", "refused", "cancelled", "failed"])
    async def test_a_session_over_with_money_on_hold(self, site: Site, state: str) -> None:
        started = await site.start(await site.driver())
        with pytest.raises(asyncpg.CheckViolationError, match="its hold is resolved"):
            await site.sql.execute(
                "update charging.sessions set state = $2, start_failure = 'cancelled_by_driver'"
                " where id = $1",
                started.session_id,
                state,
            )

    async def test_a_session_that_charges_without_a_transaction(self, site: Site) -> None:
        started = await site.start(await site.driver())
        with pytest.raises(asyncpg.CheckViolationError, match="no tariff or transaction"):
            await site.sql.execute(
                "update charging.sessions set state = 'charging', started_at = now() where id = $1",
                started.session_id,
            )

    async def test_a_session_by_app_without_its_tariff(self, site: Site) -> None:
        client = await site.driver()
        with pytest.raises(asyncpg.CheckViolationError, match="no tariff or transaction"):
            await site.sql.execute(
                """
                insert into charging.sessions (id, client_id, station_id, connector_id, state,
                  source, started_by, id_tag, start_window_ends_at)
                values (gen_random_uuid(), $1, 'S1', 1, 'requested', 'evpower', 'app',
                        '0123456789AB', now())
                """,
                client,
            )

    async def test_a_bill_without_its_record(self, site: Site) -> None:
        answer = await site.started(await site.driver())
        session_id = await site.session_of(answer.transaction_id)
        with pytest.raises(asyncpg.CheckViolationError, match="no record of what it rests on"):
            await site.sql.execute(
                f"""
                update charging.transactions set ended_at = started_at, end_kind = 'stop';
                update charging.sessions set state = 'finished', ended_at = started_at,
                  end_reason = 'stopped_by_driver' where id = '{session_id}';
                select wallet.charge('{session_id}');
                """
            )

    async def test_a_session_that_ended_while_its_transaction_runs(self, site: Site) -> None:
        answer = await site.started(await site.driver())
        session_id = await site.session_of(answer.transaction_id)
        with pytest.raises(asyncpg.CheckViolationError, match="no tariff or transaction"):
            await site.sql.execute(f"{END} where id = '{session_id}'")

    @pytest.mark.parametrize(
        ("energy", "ended_at"),
        [("energy_wh + 1", "ended_at"), ("energy_wh", "ended_at + interval '1 s'")],
    )
    async def test_a_bill_whose_record_says_something_else(
        self, site: Site, energy: str, ended_at: str
    ) -> None:
        answer = await site.started(await site.driver())
        session_id = await site.session_of(answer.transaction_id)
        bill = f"""
        update charging.transactions set ended_at = started_at, end_kind = 'stop';
        {END} where id = '{session_id}';
        select wallet.charge('{session_id}');
        insert into charging.cdrs
          (settlement_id, session_id, is_estimated, energy_wh, ended_at, periods, parts)
        select id, session_id, false, {{}}, {{}}, '[]', '[]' from charging.settlements
        """
        with pytest.raises(asyncpg.CheckViolationError, match="no record of what it rests on"):
            await site.sql.execute(bill.format(energy, ended_at))
        await site.sql.execute(bill.format("energy_wh", "ended_at"))


@pytest.mark.parametrize("state", ["charging", "stopping"])
@pytest.mark.parametrize("change", ["started_at = started_at - interval '1 s'", "connector_id = 2"])
async def test_while_it_charges_a_session_keeps_its_connector_and_start(
    site: Site, change: str, state: str
) -> None:
    client = await site.driver()
    session_id = await site.session_of((await site.started(client)).transaction_id)
    if state == "stopping":
        await site.stop(session_id, client)
    assert await site.state(session_id) == state
    with pytest.raises(asyncpg.CheckViolationError, match="keeps its connector and start"):
        await site.sql.execute(f"update charging.sessions set {change} where id = $1", session_id)


FACTS_OF_AN_END = ("ended_at = ended_at + interval '1 s'", "energy_wh = 5", "cost_minor = 5")
OTHER_FACTS = (
    "started_at = started_at - interval '1 s'", "billed_elsewhere = not billed_elsewhere",
    "vehicle_plate = '01KG123ABC'",
)  # fmt: skip


@pytest.mark.parametrize("fact", [*FACTS_OF_AN_END, *OTHER_FACTS])
async def test_a_finished_session_keeps_its_facts(site: Site, fact: str) -> None:
    await site.started(await site.driver())
    with pytest.raises(asyncpg.CheckViolationError, match="its facts stay"):
        await site.sql.execute(
            f"""
            update charging.transactions set ended_at = started_at, end_kind = 'stop';
            {END};
            update charging.sessions set {fact};
            """
        )


@pytest.mark.parametrize("fact", OTHER_FACTS)
async def test_a_settled_session_keeps_what_no_bill_changes(site: Site, fact: str) -> None:
    answer = await site.started(await site.driver())
    await site.wait(60)
    await stops(site, answer.transaction_id, 1_500)
    assert await site.sql.fetchval("select state from charging.sessions") == "settled"
    with pytest.raises(asyncpg.CheckViolationError, match="its facts stay"):
        await site.sql.execute(f"update charging.sessions set {fact}")


@pytest.mark.parametrize(
    "forgery",
    [
        "update charging.transactions set connector = 2",
        "update charging.transactions set session_id = null, purpose = 'unattributed'",
        "update charging.transactions set started_at = started_at - interval '1 second'",
        "update charging.transactions set meter_start_wh = 0",
        "delete from charging.transactions",
        "truncate charging.transactions cascade",
        "update charging.session_tariffs set version = 9",
        "delete from charging.session_tariffs",
        "update wallet.holds set attempt = 2",
        "update wallet.holds set amount_minor = 1",
    ],
)
async def test_what_was_recorded_stays(site: Site, forgery: str) -> None:
    await site.started(await site.driver())
    with pytest.raises((asyncpg.RestrictViolationError, asyncpg.CheckViolationError)):
        await site.sql.execute(forgery)


async def test_a_stop_is_final_and_an_estimate_is_not(site: Site) -> None:
    await site.started(await site.driver())
    end = "update charging.transactions set ended_at = started_at, end_kind = '{}'"
    await site.sql.execute("alter table charging.sessions disable trigger user")
    await site.sql.execute(end.format("estimated"))
    with pytest.raises(asyncpg.RestrictViolationError):
        await site.sql.execute("update charging.transactions set ended_at = null, end_kind = null")
    await site.sql.execute(end.format("stop"))
    await site.sql.execute("update charging.transactions set meter_stop_wh = 5000")  # came later
    for change in (end.format("estimated"), "update charging.transactions set meter_stop_wh = 1"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await site.sql.execute(change)

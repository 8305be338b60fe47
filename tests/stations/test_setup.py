"""Which stations are set up by themselves, and when."""

import pytest

from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.stations import open_connection, report_boot
from evpower.stations.setup import set_up_stations
from tests.stations.scenario import NOW, Operator


@pytest.fixture
async def connected(operator: Operator, db: Database) -> None:
    await operator.add(no_auth=True)
    async with db.transaction() as connection:
        await open_connection(
            connection, "EVP-001", address="10.0.0.1", version="ocpp1.6", is_authenticated=False,
            node="n1", now=NOW,
        )  # fmt: skip
        await report_boot(connection, "EVP-001", vendor="Acme", model="One", firmware="1", now=NOW)


async def is_begun(db: Database, owner: Connection) -> bool:
    await set_up_stations(db, LocalBus(), NOW)
    return await owner.fetchval("select count(*) from stations.setups") == 1


@pytest.mark.usefixtures("connected")
async def test_a_station_that_booted_is_set_up(db: Database, owner: Connection) -> None:
    assert await is_begun(db, owner)
    assert await is_begun(db, owner), "it runs already"
    commands = await owner.fetch("select action, payload::text from stations.commands")
    assert [tuple(row) for row in commands] == [("get_configuration", "{}")]


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    "state",
    [
        pytest.param("booted_at = null", id="it-has-not-booted"),
        pytest.param("forward_url = 'wss://csms.example/ocpp'", id="another-csms-answers-it"),
    ],
)
async def test_one_that_is_not_ours_to_set_up_is_left(
    db: Database, owner: Connection, state: str
) -> None:
    await owner.execute(f"update stations.stations set {state}")
    assert not await is_begun(db, owner)


async def test_a_simulated_one_is_left(operator: Operator, db: Database, owner: Connection) -> None:
    await operator.add(no_auth=True, is_simulated=True)
    async with db.transaction() as connection:
        await open_connection(
            connection, "EVP-001", address="10.0.0.1", version="ocpp1.6", is_authenticated=False,
            node="n1", now=NOW,
        )  # fmt: skip
        await report_boot(connection, "EVP-001", vendor="A", model="B", firmware="1", now=NOW)
    assert not await is_begun(db, owner)


@pytest.mark.usefixtures("connected")
async def test_one_that_is_away_is_left(db: Database, owner: Connection) -> None:
    await owner.execute(
        "update stations.connections set closed_at = opened_at, close_reason = 'lost'"
    )
    assert not await is_begun(db, owner)


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("status", ["charging", "suspended_ev", "suspended_evse"])
async def test_one_at_which_a_car_charges_waits(
    db: Database, owner: Connection, status: str
) -> None:
    set_status = (
        "update stations.connectors set reported_status = $1, reported_at = now() where number = 2"
    )
    await owner.execute(set_status, status)
    assert not await is_begun(db, owner)
    await owner.execute(set_status, "available")
    assert await is_begun(db, owner)


@pytest.mark.usefixtures("connected")
async def test_one_that_fails_keeps_no_other_from_it(
    operator: Operator, db: Database, owner: Connection
) -> None:
    await operator.add("EVP-002", no_auth=True)
    async with db.transaction() as connection:
        await open_connection(
            connection, "EVP-002", address="10.0.0.2", version="ocpp1.6", is_authenticated=False,
            node="n1", now=NOW,
        )  # fmt: skip
        await report_boot(connection, "EVP-002", vendor="A", model="B", firmware="1", now=NOW)
    await owner.execute(
        "alter table stations.setups add constraint fails check (station_id <> 'EVP-001')"
    )
    with pytest.raises(Exception, match="fails"):
        await set_up_stations(db, LocalBus(), NOW)
    assert await owner.fetchval("select station_id from stations.setups") == "EVP-002"

"""What a running session is shown to cost: never more than its bill will be."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest

from evpower import charging
from evpower.charging.events import StationTime
from evpower.charging.running import begin_progress
from evpower.charging.stored_register import write_register
from evpower.foundation.db import Connection, Database
from evpower.tariffs import Tally, write_tally
from tests.api.charging_scenario import Ride
from tests.api.scenario import Api, bearer
from tests.api.stations_scenario import Site


@pytest.fixture
async def ride(api: Api, db: Database, owner: Connection, client_id: UUID) -> Ride:
    ride = Ride(api, owner, Site(db, api.clock), client_id)
    await ride.open()
    return ride


async def test_beyond_the_amount_limit_what_will_be_billed(ride: Ride) -> None:
    session = await ride.started(amount_som=100)
    await ride.begin(session)
    tally = Tally(0, 1, 7_900_000, is_started=True, volumes={("energy", 0): 7_900_000})
    now = ride.api.clock()
    begun = begin_progress(now, Decimal(1000), StationTime(now, now.isoformat()), now)
    await ride.progress(
        session, energy_wh=7900, cost_minor=10_665,
        tally=orjson.dumps(write_tally(tally)).decode(),
        register=orjson.dumps(write_register(begun.register)).decode(),
    )  # fmt: skip
    shown = (await ride.status(session)).json()
    assert (shown["current_cost"], shown["session"]["current_amount"]) == (100.0, 100.0)
    parts = [(part["kind"], part["amount"]) for part in shown["cost_parts"]]
    assert parts == [("energy", 106.65), ("not_billed", -6.65)]
    listed = await charging.list_sessions(ride.owner, client_id=ride.client)
    assert [row.cost_minor for row in listed] == [10_000]
    stopped = (await ride.stop(session)).json()
    assert (stopped["final_cost"], stopped["final"]) == (100.0, False)
    assert stopped["cost_parts"] == shown["cost_parts"]


async def newest(ride: Ride, query: str = "") -> dict[str, Any]:
    path = f"/api/v1/charging/history/{ride.client}{query}"
    response = await ride.api.get(path, bearer(ride.client))
    assert response.status_code == 200, response.text
    return response.json()[0]


def instant(session: dict[str, Any]) -> datetime:
    """Returns when it started: PostgreSQL writes no zeros at a second's end, Python does."""
    return datetime.fromisoformat(session["start_time"])


@pytest.mark.parametrize("query", ["", "?order=start_time"], ids=["by recording", "by start"])
async def test_the_history_shows_what_the_status_shows(ride: Ride, query: str) -> None:
    session = await ride.started(amount_som=100)
    requested = await newest(ride, query)
    assert (requested["energy_consumed"], requested["total_cost"]) == (0, 0)
    assert requested["start_time"] == requested["created_at"]
    transaction = await ride.begin(session)
    for energy_wh, cost_minor in ((1234, 2166), (7900, 10_665)):
        await ride.progress(session, energy_wh=energy_wh, cost_minor=cost_minor)
        shown, active = await newest(ride, query), (await ride.active()).json()
        assert (shown["energy_consumed"], shown["total_cost"]) == (
            energy_wh / 1000,
            min(cost_minor, 10_000) / 100,
        )
        for name, of_status in (("energy_consumed", "energy_consumed"), ("total_cost", "cost")):
            assert shown[name] == active[of_status]
        assert (shown["energy"], shown["amount"]) == (shown["energy_consumed"], shown["total_cost"])
        assert instant(shown) == instant(active)
    ride.forward(minutes=30)
    await ride.end(transaction, 5000)
    ended = await newest(ride, query)
    assert (ended["energy_consumed"], ended["total_cost"]) == (4, 59)


async def test_a_session_that_did_not_start_has_the_time_of_its_request(ride: Ride) -> None:
    session = await ride.started()
    assert (await ride.stop(session)).status_code == 200
    shown, status = await newest(ride), (await ride.status(session)).json()
    assert (shown["status"], shown["energy_consumed"], shown["total_cost"]) == ("error", 0, 0)
    assert shown["start_time"] == shown["created_at"]
    assert instant(shown) == instant(status)

"""What a running session is shown to cost: never more than its bill will be."""

from decimal import Decimal
from uuid import UUID

import orjson
import pytest

from evpower import charging
from evpower.charging.events import StationTime
from evpower.charging.running import begin_progress, write_register
from evpower.foundation.db import Connection, Database
from evpower.tariffs import Tally, write_tally
from tests.api.charging_scenario import Ride
from tests.api.scenario import Api
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

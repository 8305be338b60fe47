"""Tariffs of single clients in the table of an older backend, which phones read."""

from datetime import timedelta

import httpx
import pytest

from evpower.foundation.db import Connection, Database
from evpower.sync import Relay, check
from evpower.sync.outbound.old_rows import plan_key
from evpower.tariffs import Dimension
from tests.sync.conftest import rpc_to
from tests.sync.old_backend import switch
from tests.sync.scenario import Target
from tests.sync.test_old_rows import (  # noqa: F401 - fixtures
    NOW,
    project,
    relay,
    row,
    there,
)
from tests.tariffs.test_client_tariffs import Clients, new_client


@pytest.fixture
async def clients(db: Database) -> Clients:
    return Clients(db)


async def test_a_discount_is_shown_and_its_end(
    clients: Clients, owner: Connection, relay: Relay, there: Connection,  # noqa: F811
) -> None:  # fmt: skip
    client = await new_client(owner)
    now = NOW - timedelta(days=1)
    own = await clients.add(client, discount_ppm=125_000, valid_from=now, now=now)
    assert (await relay.drain()).refused == 0
    shown = await row(there, "client_tariffs", client_id=client)
    assert (shown["discount_percent"], shown["tariff_plan_id"], shown["is_active"]) == (
        12.5, None, True,
    )  # fmt: skip
    assert shown["valid_until"] is None
    await clients.end(own.id, NOW - timedelta(hours=1), now=now)
    assert (await relay.drain()).refused == 0
    shown = await row(there, "client_tariffs", client_id=client)
    assert (shown["is_active"], shown["valid_until"] is not None) == (False, True)


@pytest.mark.parametrize(
    ("on", "shown_percent"),
    [(["energy", "time", "flat"], 20), (["energy"], 0), (["time"], 0), (["parking"], 0)],
)
async def test_a_discount_is_shown_only_where_it_is_on_all_that_readers_take_it_off(
    clients: Clients, owner: Connection, relay: Relay, there: Connection,  # noqa: F811
    on: list[Dimension], shown_percent: int,
) -> None:  # fmt: skip
    client = await new_client(owner)
    await clients.add(client, discount_ppm=200_000, discount_on=on)
    assert (await relay.drain()).refused == 0
    shown = await row(there, "client_tariffs", client_id=client)
    assert shown["discount_percent"] == shown_percent


async def test_a_plan_of_its_own_is_there_before_it(
    clients: Clients, owner: Connection, relay: Relay, there: Connection,  # noqa: F811
) -> None:  # fmt: skip
    client = await new_client(owner)
    await clients.save("fleet-of-one", 9, NOW)
    await clients.add(client, "fleet-of-one")
    assert (await relay.drain()).refused == 0
    shown = await row(there, "client_tariffs", client_id=client)
    assert shown["tariff_plan_id"] == str(plan_key("fleet-of-one"))
    assert (await row(there, "tariff_plans", id=plan_key("fleet-of-one")))["is_active"]


async def test_what_another_wrote_there_is_found_and_repaired(
    clients: Clients, owner: Connection, db: Database, relay: Relay,  # noqa: F811
    there: Connection, project: Target, http: httpx.AsyncClient,  # noqa: F811
) -> None:  # fmt: skip
    client = await new_client(owner)
    own = await clients.add(client, discount_ppm=500_000)
    await relay.drain()
    rpc = rpc_to(http, project)
    assert (await check(db, rpc)).differ == 0
    await switch(there, enable=False)  # as an older backend, or an owner in psql
    await there.execute(
        "update public.client_tariffs set discount_percent = 90 where client_id = $1", str(client)
    )
    await switch(there, enable=True)
    [drift] = (await check(db, rpc)).drift
    assert (drift.theirs.id, drift.where) == (str(own.id), "table client_tariffs")
    assert drift.fields == ("discount_percent",)
    assert (await check(db, rpc, repair=True, deliver=relay.drain)).equal
    assert (await row(there, "client_tariffs", client_id=client))["discount_percent"] == 50

"""What a driver writes into the own row or metadata never keeps others' changes from EvPower."""

import json
from uuid import uuid4

import httpx
import pytest

from evpower.config import Settings
from evpower.foundation.db import Connection, Database
from evpower.sync import Puller, SyncError, TargetUnavailable
from evpower.sync.errors import TooLarge
from evpower.sync.inbound.remote_users import parse, parse_time
from tests.sync.changes_log import make_user, rpc, until_visible
from tests.sync.checking import compare, past_every_guard
from tests.sync.conftest import rpc_to
from tests.sync.pulling import DrainsAll, HandClock, Supabase, client_here, emptied, page, person
from tests.sync.scenario import Scenario, Target

MILLIONS = 3_000_000
_ANSWER = 50_000  # more than a few people take


@pytest.fixture
async def supabase(target: Target, there: Connection, http: httpx.AsyncClient) -> Supabase:
    await emptied(target, there)
    return Supabase(target, there, http)


async def test_a_book_in_a_profile_is_not_carried_around(supabase: Supabase) -> None:
    driver = await supabase.sign_up(name="Aida")
    book = "я" * MILLIONS
    await supabase.insert_row(driver.id, name=book)
    user = await make_user(
        supabase.psql, raw_user_meta_data=json.dumps({"name": book, "phone": book})
    )
    await until_visible(supabase.psql)
    for answer in (
        await rpc(supabase.psql, "evpower_changes", after=None, limit=10),
        await rpc(supabase.psql, "evpower_people", ids=[str(driver.id), str(user)]),
        await rpc(supabase.psql, "evpower_people", after=None, limit=10),
    ):
        assert {user["id"] for user in answer["people"]} == {str(driver.id), str(user)}
        assert len(json.dumps(answer)) < _ANSWER


async def test_what_is_cut_is_read_as_before(
    supabase: Supabase,
    db: Database,
    http: httpx.AsyncClient,
    settings: Settings,
    scenario: Scenario,
) -> None:
    driver = await supabase.sign_up()
    await supabase.insert_row(
        driver.id, email=driver.email, name=" \n" * 300 + "Айгүл" + "x" * MILLIONS
    )
    to_target = rpc_to(http, supabase.target)
    pulled = await DrainsAll(db, to_target, settings, supabase.psql).drain()
    assert (pulled.error, pulled.failed, pulled.created) == (None, 0, 1)
    name = (await client_here(scenario.db, driver.id))["name"]
    assert name == "Айгүл" + "x" * 195
    assert [
        difference.topic
        for difference in (await compare(db, to_target)).drift
        if difference.topic == "profile"
    ] == []


@pytest.mark.parametrize(
    "at",
    [
        "infinity", "-infinity", "0001-01-01T00:00:00+06:00", "9999-12-31T23:59:59-05:00",
        "294276-12-31T23:59:59+00:00", "0044-03-15T12:00:00+00:00 BC",
    ],
)  # fmt: skip
def test_a_time_that_is_none_still_says_that_deletion_was_asked_for(at: str) -> None:
    """A driver may write any of these; none may reach the database as a time."""
    assert parse_time(at) is None
    read = parse(person(uuid4(), client={"delete_requested_at": at}))
    assert read is not None
    assert (read.deletion_requested, read.row and read.row.delete_requested_at) == (True, None)


@pytest.mark.parametrize("target", ["fresh_project"], indirect=True)
async def test_a_text_too_long_for_any_answer_stops_no_one(supabase: Supabase) -> None:
    """PostgreSQL has no JSON string of that length, so the row can't be returned."""
    client = uuid4()
    async with past_every_guard(supabase.psql):
        await supabase.insert_row(client, email="long@example.kg")
        await supabase.psql.execute("update public.clients set name = repeat('x', 270000000)")
    (answer,) = (await rpc(supabase.psql, "evpower_people", ids=[str(client)]))["people"]
    assert answer["client"]["email"] == "long@example.kg"
    assert len(answer["client"]["name"]) == 1000
    async with past_every_guard(supabase.psql):
        await supabase.psql.execute("delete from public.clients")


@pytest.mark.parametrize(
    "error",
    [
        TargetUnavailable("evpower_changes: HTTP 500 57014 canceling statement"),
        TargetUnavailable("ReadTimeout"),
        TargetUnavailable("evpower_changes: HTTP 500 54000 total size of jsonb array elements"),
        TooLarge("evpower_changes: 413"),
    ],
    ids=str,
)
async def test_a_page_that_is_too_much_is_asked_for_smaller(
    error: SyncError, db: Database, settings: Settings
) -> None:
    clock, requests = HandClock(), list[int]()

    class OnlySmall:
        async def call(self, function: str, body: bytes) -> object:
            if function == "evpower_people":
                return {"people": [], "next": None}
            requests.append(json.loads(body)["payload"]["limit"])
            if requests[-1] > 15:
                raise error
            return page(person(uuid4(), client={"name": "Aida"}), seq=len(requests))

    puller = Puller(db, OnlySmall(), settings, clock, jitter=lambda: 0.0)
    pulled = await puller.drain()
    while pulled.error is not None:
        clock.move(60)
        pulled = await puller.drain()
    assert pulled.created == 1
    assert requests[0] == 200
    assert sorted(requests, reverse=True) == requests
    clock.move(60)
    await puller.drain()
    assert requests[-1] > requests[-2], "larger again, as far as it goes"

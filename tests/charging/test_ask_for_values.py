"""A station that sends no meter values by itself is asked for them; one that refuses is let be."""

import pytest

from evpower.charging import jobs
from evpower.foundation.bus import LocalBus
from evpower.stations.jobs import end_commands
from tests.charging.site import Site

A_WHILE = 120.0


async def ask(site: Site, seconds: float) -> list[tuple[str, str]]:
    """So many seconds later; every command so far."""
    await site.wait(seconds)
    await jobs.ask_for_values(site.db, LocalBus(), lambda: site.now)
    return (await site.commands())[1:]  # the first one is the remote start


async def test_after_a_while_without_a_value_it_is_asked_for_its_connector(site: Site) -> None:
    await site.started(await site.driver(), 2)
    assert await ask(site, A_WHILE - 1) == []
    for _ in range(2):
        assert await ask(site, 1) == [("trigger", "queued")], "once while it waits"
    command = await site.deliver("accepted")
    assert command.payload == {"message": "meter_values", "connector": 2}
    assert len(await ask(site, A_WHILE - 2)) == 1
    assert len(await ask(site, 1)) == 2, "no value came"


async def test_it_is_asked_for_some_minutes_and_then_let_be(site: Site) -> None:
    await site.started(await site.driver())
    for _ in range(60):
        if ("trigger", "queued") in await ask(site, 60):
            await site.deliver("accepted")
    assert await site.commands() == [("remote_start", "accepted")] + [("trigger", "accepted")] * 5


async def test_it_is_not_asked_for_what_no_client_pays(site: Site) -> None:
    await site.sql.execute("update stations.stations set paid_only = false")
    answer = await site.begin("STRANGER")
    assert (await site.transaction(answer.transaction_id))["purpose"] == "unattributed"
    await site.wait(A_WHILE)
    await jobs.ask_for_values(site.db, LocalBus(), lambda: site.now)
    assert await site.commands() == []


@pytest.mark.parametrize("answer", ["refused", None], ids=["refuses", "does not answer"])
async def test_one_that_takes_no_such_question_is_let_be(site: Site, answer: str | None) -> None:
    await site.started(await site.driver())
    assert len(await ask(site, A_WHILE)) == 1
    await site.deliver(answer)
    await site.wait(A_WHILE + 1)
    await end_commands(site.db, LocalBus(), site.now)
    for _ in range(2):
        assert await ask(site, A_WHILE) == [("trigger", answer or "timed_out")]


async def test_a_question_that_was_not_sent_says_nothing_of_the_station(site: Site) -> None:
    await site.started(await site.driver())
    assert len(await ask(site, A_WHILE)) == 1
    await site.wait(A_WHILE)
    await end_commands(site.db, LocalBus(), site.now)
    assert await ask(site, 1) == [("trigger", "timed_out"), ("trigger", "queued")]


@pytest.mark.parametrize(
    "prepare",
    [
        (
            "insert into stations.profiles (station_id, profile, overrides)"
            " values ('EVP-001', 'abl', '{}')"
        ),
        "update stations.stations set forward_url = 'wss://old.example/ocpp'",
        "update charging.progress set parked_since = now()",
        "update charging.progress set stop_due_at = '2026-12-01T12:03:59Z'",
        "update charging.progress set stop_step = 'remote_stop'",
        "update stations.sockets set last_frame_at = '2026-12-01T12:00:00Z'",
    ],
    ids=[
        "its make takes none",
        "another backend's",
        "the car takes nothing",
        "a stop is due",
        "it is stopped",
        "it is away",
    ],
)
async def test_where_it_is_of_no_use_it_is_not_asked(site: Site, prepare: str) -> None:
    await site.started(await site.driver())
    await site.wait(A_WHILE)
    await site.sql.execute(prepare)
    await jobs.ask_for_values(site.db, LocalBus(), lambda: site.now)
    assert await site.commands() == [("remote_start", "accepted")]

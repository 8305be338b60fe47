"""Alerts of charging that no single frame raises."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest

from evpower.charging import store_alarms
from evpower.charging.alarms import watch_ends, watch_overdue
from evpower.foundation.db import Connection
from tests.charging.place import NOON, ChargingPlace
from tests.charging.site import Site

HOUR = timedelta(hours=1)


async def ended(place: ChargingPlace, reason: str, energy_wh: int, number: int = 1) -> None:
    """Sessions that were billed now, each of another driver."""
    sql = place.owner
    for _ in range(number):
        session = await place.money.finished(await place.driver(), 0)
        await sql.execute("select wallet.charge($1)", session)
        await sql.execute("set session_replication_role = replica")
        await sql.execute(
            "update charging.sessions set started_by = 'card', source = 'evpower',"
            " end_reason = $2, energy_wh = $3, updated_at = now() where id = $1",
            session,
            reason,
            energy_wh,
        )
        await sql.execute("reset session_replication_role")


async def watched(place: ChargingPlace) -> list[str]:
    async with place.db.transaction() as connection:
        await watch_ends(connection, place.now)
    return await place.alerts()


async def aged(owner: Connection, minutes: int) -> None:
    await owner.execute("set session_replication_role = replica")
    for table, column in (("sessions", "updated_at"), ("settlements", "created_at")):
        await owner.execute(
            f"update charging.{table} set {column} = {column} - make_interval(mins => $1)", minutes
        )
    await owner.execute("reset session_replication_role")


@pytest.mark.parametrize("reason", ["no_frames", "station_booted", "power_loss", "reboot"])
async def test_more_than_5_ends_by_disconnect_in_10_minutes(
    place: ChargingPlace, reason: str
) -> None:
    await ended(place, reason, 5_000, 5)
    assert await watched(place) == []
    await ended(place, reason, 5_000)
    assert await watched(place) == ["stops_by_disconnect"]
    await aged(place.owner, 11)
    assert await watched(place) == []


async def test_more_than_3_ends_without_energy_in_10_minutes(place: ChargingPlace) -> None:
    await ended(place, "stopped_by_driver", 0, 3)
    await ended(place, "stopped_by_driver", 5_000, 9)
    assert await watched(place) == []
    await ended(place, "stopped_by_driver", 0)
    assert await watched(place) == ["zero_energy_stops"]
    await aged(place.owner, 9)
    assert await watched(place) == ["zero_energy_stops"]
    await aged(place.owner, 2)
    assert await watched(place) == []


async def test_a_correction_of_an_old_session_is_no_end(place: ChargingPlace) -> None:
    await ended(place, "stopped_by_driver", 0, 4)
    await place.owner.execute("set session_replication_role = replica")
    await place.owner.execute(
        "update charging.settlements set created_at = created_at - interval '1 hour'"
    )
    await place.owner.execute("reset session_replication_role")
    assert await watched(place) == []


async def overdue(place: ChargingPlace) -> list[tuple[str, str]]:
    async with place.db.transaction() as connection:
        await watch_overdue(connection, place.now, place.rules)
    rows = await place.owner.fetch(
        "select subject, detail ->> 'rule' as rule from alerts.alerts"
        " where kind = 'session_past_rules' and closed_at is null order by id"
    )
    return [(row["subject"], row["rule"]) for row in rows]


async def charging(place: ChargingPlace) -> UUID:
    session = await place.start(await place.driver())
    await place.begin(session)
    await place.watch()
    await place.owner.execute("update charging.progress set stop_due_at = null")
    return session


async def past(place: ChargingPlace, bound: str, at: datetime) -> list[str]:
    """The rules that are past where one of the bounds is a time, and all others are long ago."""
    long_ago = NOON - 9 * HOUR
    async with place.db.connection() as connection:
        sessions = await store_alarms.past_rules(
            connection,
            due_before=at if bound == "due_before" else long_ago,
            silent_before=at if bound == "silent_before" else long_ago,
            begun_before=at if bound == "begun_before" else long_ago,
            idle_for=HOUR,
        )
    return [session.rule for session in sessions]


@pytest.mark.parametrize(
    "rule", ["start", "close", "stop", "step", "rebill", "unseen", "silent", "too_long", "idle"]
)
async def test_a_rule_is_past_once_its_time_is_over(place: ChargingPlace, rule: str) -> None:
    at = NOON
    if rule == "start":
        session = await place.start(await place.driver())
        at = await place.value("start_window_ends_at", session)
    elif rule in {"unseen", "idle"}:
        _, transaction = await place.charging(await place.driver())
        if rule == "idle":
            place.later(5)
            await place.values(transaction, 500)
            place.later(60)
            await place.values(transaction, 500)
            at = place.now
    else:
        session = await charging(place)
        if rule == "step":
            await place.ask_to_stop(session)
        if rule in {"close", "stop", "step", "rebill"}:
            await place.owner.execute(
                "update charging.progress set close_due_at = null, close_reason = null"
            )
            reason = ", close_reason = 'became_available'" if rule == "close" else ""
            await place.owner.execute(
                f"update charging.progress set {rule}_due_at = $1{reason}", at
            )
    bound = {"silent": "silent_before", "too_long": "begun_before"}.get(rule, "due_before")
    assert await past(place, bound, at) == []
    assert await past(place, bound, at + timedelta(microseconds=1)) == [
        "stop" if rule == "unseen" else rule
    ]


async def test_a_start_whose_window_is_long_over(place: ChargingPlace) -> None:
    session = await place.start(await place.driver())
    place.later(12)
    assert await overdue(place) == []
    place.later(1)
    assert await overdue(place) == [(str(session), "start")]
    await place.begin(session)
    assert await overdue(place) == []


async def test_an_end_that_was_due_and_was_not_made(place: ChargingPlace) -> None:
    session = await charging(place)
    await place.owner.execute(
        "update charging.progress set close_due_at = $1, close_reason = 'became_available'",
        place.now,
    )
    place.later(9)
    await place.frame()
    assert await overdue(place) == []
    place.later(2)
    assert await overdue(place) == [(str(session), "close")]


async def test_a_station_that_was_away_longer_than_the_rule_allows(place: ChargingPlace) -> None:
    session = await charging(place)
    place.later(12 * 60 + 9)
    assert await overdue(place) == []
    place.later(2)
    assert await overdue(place) == [(str(session), "silent")]


async def test_one_that_goes_on_for_2_days(place: ChargingPlace) -> None:
    session = await charging(place)
    place.later(47 * 60)
    await place.frame()
    assert await overdue(place) == []
    place.later(61)
    assert await overdue(place) == [(str(session), "too_long")]


async def test_a_bill_of_growth_that_was_due(place: ChargingPlace) -> None:
    session = await charging(place)
    await place.owner.execute("update charging.progress set rebill_due_at = $1", place.now)
    place.later(11)
    assert (str(session), "rebill") in await overdue(place)


@pytest.mark.parametrize("rule", ["stop", "step"])
async def test_what_the_watch_can_not_do_is_reported(place: ChargingPlace, rule: str) -> None:
    session, transaction = await place.charging(await place.driver(), energy_wh=10_000)
    place.later(5)
    await place.values(transaction, 5_000)
    if rule == "step":
        await place.ask_to_stop(session)
        await place.values(transaction, 5_100)
    place.now = (await place.progress(transaction))[f"{rule}_due_at"]
    await place.frame()
    place.later(10)
    await place.frame()
    assert await overdue(place) == []
    place.later(0.1)
    await place.frame()
    assert await overdue(place) == [(str(session), rule)]
    await place.watch()
    assert await overdue(place) == []


async def test_a_first_stop_at_a_limit_that_never_succeeds(place: ChargingPlace) -> None:
    """A session's first look predicts its stop: without it nothing is due of the session."""
    session = await place.start(await place.driver(), energy_wh=10_000)
    await place.begin(session)
    place.later(10)
    await place.frame()
    assert await overdue(place) == []
    place.later(0.1)
    await place.frame()
    assert await overdue(place) == [(str(session), "stop")]
    await place.watch()
    assert await overdue(place) == []


async def test_a_person_s_stop_before_the_first_look_is_none(place: ChargingPlace) -> None:
    session = await place.start(await place.driver())
    await place.begin(session)
    await place.ask_to_stop(session)
    await place.owner.execute(
        "update charging.progress set close_due_at = null, close_reason = null, step_due_at = null"
    )
    place.later(11)
    await place.frame()
    assert await overdue(place) == []


async def test_a_stop_without_energy_that_never_succeeds(place: ChargingPlace) -> None:
    session, transaction = await place.charging(await place.driver())
    place.later(5)
    await place.values(transaction, 500)
    for minutes in (59, 2):
        place.later(minutes)
        await place.values(transaction, 500, power_w=0)
    for minutes in (5, 5):
        place.later(minutes)
        await place.values(transaction, 500, power_w=0)
        assert await overdue(place) == []
    place.later(0.1)
    await place.frame()
    assert await overdue(place) == [(str(session), "idle")]
    assert await place.watch() == ["idle"]
    assert await overdue(place) == []


async def test_a_car_that_pauses_for_hours_is_none(place: ChargingPlace) -> None:
    _, transaction = await place.charging(await place.driver())
    place.later(5)
    await place.values(transaction, 500)
    await place.status("suspended_ev")
    for _ in range(3):
        place.later(45)
        await place.values(transaction, 500, power_w=0)
    assert await overdue(place) == []


async def test_what_goes_by_the_rules_is_none(site: Site) -> None:
    client = await site.driver()
    await site.started(client)
    await site.wait(60)
    async with site.db.transaction() as connection:
        await watch_overdue(connection, site.now + timedelta(minutes=1), site.rules)
    assert await site.alerts() == []

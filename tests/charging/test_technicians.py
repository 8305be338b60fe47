"""Cards of technicians: they charge anywhere, and no client pays."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from typer.testing import CliRunner, Result

from evpower import charging
from evpower.charging import StationReadings
from evpower.charging.events import StartAnswer, StationStart, StationTime
from evpower.charging.technicians import find_card
from evpower.cli.app import app
from evpower.foundation.db import Connection
from evpower.foundation.errors import EvPowerError
from tests.charging.place import ChargingPlace, read
from tests.charging.site import STATION, Site
from tests.waiting import until

CARD = "04A1B2C3D4E5F6"


async def add(site: Site, tag: str = CARD, kwh: int = 20) -> None:
    async with site.db.transaction() as connection:
        await charging.add_technician(
            connection, tag=tag, name="Bakyt", daily_limit_wh=kwh * 1000, actor="aida"
        )


async def test_a_technician_charges_without_a_session(site: Site) -> None:
    assert await site.authorize(CARD) == "invalid"
    await add(site)
    assert await site.authorize(CARD.lower()) == "accepted"
    answer = await site.begin(CARD.lower())
    assert answer.tag == "accepted"
    row = await site.transaction(answer.transaction_id)
    assert (row["purpose"], row["session_id"]) == ("technician", None)
    assert await site.commands() == []
    again = await site.begin(CARD)
    assert (again.transaction_id, again.tag) == (answer.transaction_id, "accepted")


async def test_a_technician_takes_no_drivers_session(site: Site) -> None:
    await add(site)
    started = await site.start(await site.driver())
    await site.deliver()
    await site.begin(CARD)
    session = await site.session(started.session_id)
    assert (session["state"], session["start_failure"]) == ("cancelled", "connector_taken")


async def meter(site: Site, transaction: int, wh: int, connector: int = 1) -> None:
    readings = (read(wh, site.now),)
    event = StationReadings(STATION, connector, transaction, None, readings, (), site.now)
    async with site.db.transaction() as connection:
        await charging.meter_values(connection, event, now=site.now, rules=site.rules)


async def test_a_technician_is_stopped_at_the_cap(site: Site) -> None:
    await add(site, kwh=2)
    answer = await site.begin(CARD)
    await site.wait(600)
    await meter(site, answer.transaction_id, 2_000)
    assert await site.commands() == []
    await site.wait(600)
    await meter(site, answer.transaction_id, 3_000)
    assert await site.commands() == [("remote_stop", "queued")]


async def test_the_cap_is_of_the_card_not_of_a_charge(site: Site) -> None:
    await add(site, kwh=2)
    first, second = await site.begin(CARD), await site.begin(CARD, 2, at=site.now)
    await meter(site, first.transaction_id, 1_000)
    await meter(site, second.transaction_id, 1_000, 2)
    await site.wait(600)
    await meter(site, first.transaction_id, 2_000)
    assert await site.commands() == []
    await meter(site, second.transaction_id, 2_000, 2)
    assert await site.commands() == [("remote_stop", "queued")]
    assert await site.authorize(CARD) == "blocked"
    await site.wait(60)
    third = await site.begin(CARD, 2, meter_wh=Decimal(2_000))
    assert third.tag == "blocked"
    assert (await site.begin(CARD, 2, meter_wh=Decimal(2_000))).tag == "blocked"
    assert (await site.transaction(third.transaction_id))["limit_energy_wh"] == 0
    await site.wait(24 * 3600)
    assert await site.authorize(CARD) == "accepted"


@pytest.mark.parametrize("sends_values", [False, True])
async def test_q46_without_a_register_the_cap_is_kept_by_time(
    place: ChargingPlace, *, sends_values: bool
) -> None:
    """20 kWh at 60 kW take 20 minutes, whatever the station says of them."""
    transaction = await charge_of_a_technician(place)
    assert await place.watch() == ["stop"]
    for _ in range(19):
        place.later(1)
        await place.frame()
        if sends_values:
            await place.values(transaction, None, current_ma=90_000)
        assert await place.watch() == []
    assert await place.commands() == []
    place.later(1)
    await place.frame()
    assert await place.watch() == ["stop"]
    assert await place.steps(transaction) == [("remote_stop", None)]
    assert await place.watch() == []


async def test_charges_without_a_register_share_the_cap(place: ChargingPlace) -> None:
    """5 kWh alone, then 15 kWh at 2 x 60 kW: 7.5 minutes, and both are stopped."""
    first = await charge_of_a_technician(place)
    await place.watch()
    place.later(5)
    await place.frame()
    second = await place.begin(None, tag=CARD, connector=2)
    assert await place.watch() == ["stop", "stop"]
    place.later(7.4)
    await place.frame()
    await place.watch()
    assert await place.commands() == []
    place.later(0.1)
    await place.frame()
    await place.watch()
    assert [await place.steps(each) for each in (first, second)] == [[("remote_stop", None)]] * 2


async def test_a_charge_without_a_register_that_ended_has_used_the_cap(
    place: ChargingPlace,
) -> None:
    first = await charge_of_a_technician(place)
    place.later(15)
    await place.stop(first, 0)
    second = await place.begin(None, tag=CARD)
    await place.watch()
    place.later(5)
    await place.frame()
    await place.watch()
    assert await place.steps(second) == [("remote_stop", None)]


@pytest.mark.parametrize(
    ("connector", "stop_wh", "left_wh"), [(1, 0, 20_000), (1, None, 5_000), (2, 0, 5_000)]
)
async def test_a_charge_at_0_took_nothing_where_that_connector_has_a_register(
    place: ChargingPlace, connector: int, stop_wh: int | None, left_wh: int
) -> None:
    """Each charge begins at 0 there: a test without a car ends where it began."""
    measured = await place.begin(None, tag="STRANGER", connector=connector)
    place.later(5)
    await place.stop(measured, 3_000)
    test = await charge_of_a_technician(place)
    place.later(15)
    await place.stop(test, stop_wh)
    async with place.db.connection() as connection:
        card = await find_card(connection, CARD, place.now)
    assert card is not None
    assert card.left_wh == left_wh


async def test_of_two_starts_at_once_the_second_is_counted_after_the_first(
    place: ChargingPlace, owner: Connection
) -> None:
    """1 kWh at 60 kW is a minute: the cap is used up when the second station's start arrives."""

    async def begin(connection: Connection, station: str) -> StartAnswer:
        time = StationTime(place.now, place.now.isoformat())
        report = StationStart(station, 1, CARD, Decimal(0), None, time, place.now)
        return await charging.start_transaction(
            connection, report, now=place.now, rules=place.rules
        )

    async def begin_elsewhere() -> StartAnswer:
        async with place.db.transaction() as connection:
            return await begin(connection, "S2")

    async def waits_or_has_passed() -> bool:
        return second.done() or await owner.fetchval(
            "select exists (select from pg_stat_activity where datname = current_database()"
            " and wait_event_type = 'Lock')"
        )

    await place.build("S2", tariff=None)
    async with place.db.transaction() as connection:
        await charging.add_technician(
            connection, tag=CARD, name="Bakyt", daily_limit_wh=1_000, actor="aida"
        )
    async with place.db.transaction() as connection:
        first = await begin(connection, "S1")
        place.later(1)
        second = asyncio.create_task(begin_elsewhere())
        await until(waits_or_has_passed)
    assert (first.tag, (await second).tag) == ("accepted", "blocked")


async def test_a_card_removed_while_its_start_waits_charges_nothing(
    place: ChargingPlace, owner: Connection
) -> None:
    await charge_of_a_technician(place)

    async def waits() -> bool:
        return await owner.fetchval(
            "select exists (select from pg_stat_activity where datname = current_database()"
            " and wait_event_type = 'Lock')"
        )

    async with place.db.transaction() as connection:
        await charging.remove_technician(connection, tag=CARD, actor="aida")
        start = asyncio.create_task(place.begin(None, tag=CARD, connector=2))
        await until(waits)
    purpose = "select purpose from charging.transactions where id = $1"
    assert await owner.fetchval(purpose, await start) == "unattributed"


async def test_a_register_counts_and_not_the_time(place: ChargingPlace) -> None:
    """Two that take nothing: one by its values, one by a register that stands where it stood."""
    first = await charge_of_a_technician(place)
    place.later(10)
    await place.values(first, 1_000)
    await place.stop(first, 1_000)
    second = await place.begin(None, tag=CARD, meter_wh=7_000)
    place.later(60)
    await place.stop(second, 7_000)
    async with place.db.connection() as connection:
        card = await find_card(connection, CARD, place.now)
    assert card is not None
    assert card.left_wh == 19_000


async def test_the_cap_is_kept_between_two_values(place: ChargingPlace) -> None:
    """A value each 5 minutes at 60 kW: 15 kWh, then 5 kWh more before the next."""
    transaction = await charge_of_a_technician(place)
    for wh in (5_000, 10_000, 15_000):
        place.later(5)
        await place.values(transaction, wh)
        assert await place.watch() == []
    place.later(4.9)
    await place.frame()
    assert await place.watch() == []
    place.later(0.1)
    await place.frame()
    assert await place.watch() == ["stop"]
    assert await place.commands() == ["remote_stop"]


async def test_a_car_that_takes_nothing_keeps_its_technicians_charge(place: ChargingPlace) -> None:
    transaction = await charge_of_a_technician(place)
    for _ in range(8):
        place.later(5)
        await place.values(transaction, 1_000)
        await place.watch()
    assert await place.commands() == []


async def charge_of_a_technician(place: ChargingPlace) -> int:
    async with place.db.transaction() as connection:
        await charging.add_technician(
            connection, tag=CARD, name="Bakyt", daily_limit_wh=20_000, actor="aida"
        )
    return await place.begin(None, tag=CARD)


async def test_a_card_that_is_removed_charges_no_more(site: Site) -> None:
    await add(site)
    answer = await site.begin(CARD)
    async with site.db.transaction() as connection:
        await charging.remove_technician(connection, tag=CARD, actor="aida")
    await site.wait(600)
    await meter(site, answer.transaction_id, 1_500)
    assert await site.commands() == [("remote_stop", "queued")]


async def test_the_audit_has_each_charge(site: Site) -> None:
    await add(site)
    answer = await site.begin(CARD)
    rows = await site.sql.fetch("select actor, action, subject, details from identity.audit")
    row = rows[-1]
    assert (row["actor"], row["subject"]) == (f"technician:{CARD}", STATION)
    assert row["action"] == "charging.technician_charge"
    assert json.loads(row["details"])["transaction_id"] == answer.transaction_id
    async with site.db.connection() as connection:
        [charge] = await charging.list_technician_charges(connection)
    assert (charge.name, charge.tag, charge.energy_wh) == ("Bakyt", CARD, 0)


async def test_one_card_is_one_persons(site: Site) -> None:
    await site.card(await site.driver(), CARD)
    with pytest.raises(EvPowerError) as caught:
        await add(site)
    assert caught.value.code == "id_tag_taken"
    await add(site, "OTHER-1")
    with pytest.raises(EvPowerError):
        await add(site, "other-1")


@pytest.mark.parametrize("tag", ["", "  ", "--", "a\x00b", "x" * 201])
async def test_what_is_no_card_is_refused(site: Site, tag: str) -> None:
    with pytest.raises(EvPowerError) as caught:
        await add(site, tag)
    assert caught.value.code == "invalid_request"


async def test_a_technician_has_a_name_that_can_be_seen(site: Site) -> None:
    async with site.db.transaction() as connection:
        with pytest.raises(EvPowerError) as caught:
            await charging.add_technician(connection, tag=CARD, name="\u2800", actor="aida")
        assert caught.value.code == "invalid_request"
        named = await charging.add_technician(
            connection, tag=CARD, name=" Bakyt\u200b", actor="aida"
        )
    assert named.name == "Bakyt"


async def test_an_operator_adds_lists_and_removes_them(dsn: str) -> None:
    def run(*words: str) -> Result:
        env = {"EVPOWER_DATABASE_URL": dsn}
        with ThreadPoolExecutor(1) as pool:  # a command runs an event loop of its own
            call = pool.submit(lambda: CliRunner().invoke(app, ["technician", *words], env=env))
            return call.result()

    added = run("add", CARD.lower(), "--name", "Bakyt", "--reason", "new", "--json")
    assert [row["tag"] for row in json.loads(added.stdout)] == [CARD]
    assert "Bakyt" in run("list").stdout
    limited = run("limit", CARD, "--limit-kwh", "5", "--json")
    assert [row["daily_limit_kwh"] for row in json.loads(limited.stdout)] == ["5.000"]
    assert run("limit", "NONE", "--limit-kwh", "5").exit_code == 1
    assert json.loads(run("charges", "--json").stdout) == []
    assert run("remove", CARD, "--operator", "aida").exit_code == 0
    assert json.loads(run("list", "--json").stdout) == []
    missing = run("remove", CARD)
    assert missing.exit_code == 1
    assert "technician" in missing.stderr

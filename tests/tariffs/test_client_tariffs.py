"""Tariffs of single clients, on a real PostgreSQL: what counts when, what is refused, the audit."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import EvPowerError
from evpower.tariffs import (
    ClientTariff,
    NewClientTariff,
    Place,
    Snapshot,
    add_client_tariff,
    end_client_tariff,
    find_tariff,
    freeze_tariff,
    list_client_tariffs,
    read_discount,
    read_snapshot,
    write_snapshot,
)
from tests.tariffs.test_plans import Plans

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PLACE = Place("EVP-001/1", "EVP-001", "mall")


class Clients(Plans):
    """The use cases as an operator has them, each in a transaction of its own."""

    async def add(
        self, client: UUID, plan: str | None = None, now: datetime = NOW, **how: Any
    ) -> ClientTariff:
        new = NewClientTariff(client, how.pop("valid_from", NOW), plan=plan, **how)
        async with self.db.transaction() as connection:
            return await add_client_tariff(connection, new, now=now, actor="aida", reason="fleet")

    async def end(self, number: int, at: datetime, now: datetime = NOW) -> ClientTariff:
        async with self.db.transaction() as connection:
            return await end_client_tariff(
                connection, number=number, valid_until=at, now=now, actor="aida"
            )

    async def frozen(self, client: UUID | None, at: datetime = NOW) -> Snapshot | None:
        async with self.db.connection() as connection:
            return await freeze_tariff(connection, PLACE, at, client_id=client)


@pytest.fixture
async def clients(db: Database) -> Clients:
    clients = Clients(db)
    await clients.save("usual", 14)
    await clients.save("fleet", 11)
    await clients.assign("everything", "", "usual")
    return clients


@pytest.fixture
async def client(owner: Connection) -> UUID:
    return await new_client(owner)


async def new_client(owner: Connection) -> UUID:
    client = uuid4()
    await owner.execute("insert into identity.clients (id, origin) values ($1, 'import')", client)
    return client


async def test_a_discount_is_on_the_tariff_of_the_place(clients: Clients, client: UUID) -> None:
    own = await clients.add(client, discount_ppm=150_000)
    snapshot = await clients.frozen(client)
    assert snapshot is not None
    assert (snapshot.plan, snapshot.version, snapshot.client_tariff) == ("usual", 1, own.id)
    discount = snapshot.tariff.discount
    assert discount is not None
    assert (discount.rate_ppm, discount.dimensions) == (150_000, {"energy", "time"})
    assert read_snapshot(write_snapshot(snapshot)) == snapshot


async def test_a_plan_of_its_own_comes_before_that_of_the_place(
    clients: Clients, client: UUID
) -> None:
    await clients.add(client, "fleet", discount_ppm=100_000, discount_on=["energy"])
    snapshot = await clients.frozen(client)
    assert snapshot is not None
    assert (snapshot.plan, snapshot.tariff.discount is not None) == ("fleet", True)


async def test_others_pay_what_all_pay(clients: Clients, client: UUID, owner: Connection) -> None:
    await clients.add(client, "fleet", discount_ppm=100_000)
    async with clients.db.connection() as connection:
        usual = await find_tariff(connection, PLACE, NOW)
    assert usual is not None
    for other in (await new_client(owner), None):
        assert await clients.frozen(other) == usual


async def test_it_counts_from_its_start_until_its_end(clients: Clients, client: UUID) -> None:
    own = await clients.add(client, discount_ppm=1, valid_from=NOW + DAY, valid_until=NOW + 2 * DAY)
    second = timedelta(seconds=1)
    counted = [
        await number(clients, client, at) == own.id
        for at in (NOW, NOW + DAY - second, NOW + DAY, NOW + 2 * DAY - second, NOW + 2 * DAY)
    ]
    assert counted == [False, False, True, True, False]


async def test_the_one_that_was_made_last_counts(clients: Clients, client: UUID) -> None:
    await clients.add(client, discount_ppm=100_000)
    newer = await clients.add(client, "fleet", valid_until=NOW + DAY)
    assert (await number(clients, client, NOW), await number(clients, client, NOW + DAY)) == (
        newer.id, newer.id - 1,
    )  # fmt: skip


async def number(clients: Clients, client: UUID, at: datetime) -> int | None:
    snapshot = await clients.frozen(client, at)
    return None if snapshot is None else snapshot.client_tariff


async def test_a_plan_whose_version_is_not_in_force_then_is_passed_over(
    clients: Clients, client: UUID
) -> None:
    """Only at a time before the client's own began; its discount still counts."""
    own = await clients.add(client, "fleet", discount_ppm=50_000)
    await clients.save("late", 9, NOW + 5 * DAY)
    await clients.add(client, "late", valid_from=NOW + 5 * DAY)
    assert await number(clients, client, NOW + 4 * DAY) == own.id
    assert await number(clients, client, NOW + 5 * DAY) == own.id + 1


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({}, "tariff_discount_invalid"),
        ({"discount_ppm": 0}, "tariff_discount_invalid"),
        ({"discount_ppm": -1}, "tariff_discount_invalid"),
        ({"discount_ppm": 1_000_001}, "tariff_discount_invalid"),
        ({"discount_ppm": 5, "discount_on": []}, "tariff_discount_invalid"),
        ({"discount_ppm": 5, "discount_on": ["expiry"]}, "tariff_discount_invalid"),
        ({"plan": "tea"}, "tariff_not_found"),
        ({"plan": "draft"}, "tariff_not_in_force"),
        ({"discount_ppm": 5, "valid_from": NOW - DAY}, "tariff_starts_in_past"),
        ({"discount_ppm": 5, "valid_until": NOW}, "tariff_range_empty"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    clients: Clients, client: UUID, how: dict[str, Any], code: str
) -> None:
    await clients.save("draft", 9, None)
    with pytest.raises(EvPowerError) as error:
        await clients.add(client, **how)
    assert error.value.code == code


async def test_a_client_that_is_not_there_is_refused(clients: Clients) -> None:
    with pytest.raises(EvPowerError) as error:
        await clients.add(uuid4(), discount_ppm=5)
    assert error.value.code == "client_not_found"


@pytest.mark.parametrize("text", ["0", "101", "-5", "1e1", "12.34567", "", "ten", "٣"])
def test_a_percentage_is_a_plain_number(text: str) -> None:
    with pytest.raises(EvPowerError) as error:
        read_discount(text)
    assert error.value.code == "tariff_discount_invalid"
    assert read_discount("12.5") == 125_000


async def test_it_ends_earlier_never_later(clients: Clients, client: UUID) -> None:
    own = await clients.add(client, discount_ppm=5, valid_until=NOW + 3 * DAY)
    assert (await clients.end(own.id, NOW + DAY)).valid_until == NOW + DAY
    assert (await clients.end(own.id, NOW + 2 * DAY)).valid_until == NOW + DAY
    with pytest.raises(EvPowerError) as error:
        await clients.end(own.id, NOW - DAY)
    assert error.value.code == "tariff_starts_in_past"


async def test_one_that_has_not_begun_never_does(clients: Clients, client: UUID) -> None:
    own = await clients.add(client, discount_ppm=5, valid_from=NOW + DAY)
    assert (await clients.end(own.id, NOW)).valid_until == NOW + DAY
    assert await number(clients, client, NOW + 2 * DAY) is None


async def test_an_end_of_none_is_not_found(clients: Clients) -> None:
    with pytest.raises(EvPowerError) as error:
        await clients.end(99, NOW)
    assert error.value.code == "tariff_not_found"


async def test_they_are_listed_the_newest_first(
    clients: Clients, client: UUID, owner: Connection
) -> None:
    first = await clients.add(client, discount_ppm=5, valid_until=NOW + DAY)
    second = await clients.add(await new_client(owner), "fleet")
    async with clients.db.connection() as connection:
        all_of_them = await list_client_tariffs(connection)
        of_client = await list_client_tariffs(connection, client_id=client)
        later = await list_client_tariffs(connection, after=NOW + DAY)
    assert [own.id for own in all_of_them] == [second.id, first.id]
    assert ([own.id for own in of_client], [own.id for own in later]) == ([first.id], [second.id])


async def test_each_act_is_in_the_audit(clients: Clients, client: UUID, owner: Connection) -> None:
    own = await clients.add(client, discount_ppm=125_000)
    await clients.end(own.id, NOW + DAY)
    rows = await owner.fetch(
        "select action, actor, subject, details ->> 'discount' as discount from identity.audit"
        " where action like 'tariff.client%' order by id"
    )
    assert [tuple(row) for row in rows] == [
        ("tariff.client_add", "aida", str(client), "12.5"),
        ("tariff.client_end", "aida", str(client), None),
    ]


@pytest.mark.parametrize(
    "change",
    [
        "update tariffs.client_tariffs set discount_ppm = 1000000",
        "update tariffs.client_tariffs set valid_until = null",
        "update tariffs.client_tariffs set valid_until = valid_until + interval '1 day'",
        "update tariffs.client_tariffs set valid_from = valid_from - interval '1 day'",
        "delete from tariffs.client_tariffs",
        "truncate tariffs.client_tariffs",
    ],
)
async def test_the_database_keeps_what_was_given(
    clients: Clients, client: UUID, owner: Connection, change: str
) -> None:
    await clients.add(client, discount_ppm=5, valid_until=NOW + DAY)
    with pytest.raises(asyncpg.RestrictViolationError):
        await owner.execute(change)


def test_a_snapshot_without_a_client_s_tariff_reads_as_before() -> None:
    stored = {
        "format": 1, "plan": "usual", "version": 3, "name": "t",
        "elements": [{"prices": {"energy_per_kwh": "14"}}],
    }  # fmt: skip
    snapshot = read_snapshot(stored)
    assert (snapshot.client_tariff, snapshot.tariff.bills_parking) == (None, True)
    assert read_snapshot(write_snapshot(replace(snapshot, client_tariff=7))).client_tariff == 7

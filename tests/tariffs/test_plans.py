"""Plans, their versions and where they apply, on a real PostgreSQL."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, EvPowerError, Invalid, NotFound
from evpower.tariffs import (
    InvalidTariff,
    Place,
    SavedTariff,
    Scope,
    Snapshot,
    TariffVersion,
    activate,
    assign,
    find_tariff,
    get_plan,
    list_assignments,
    list_plans,
    list_versions,
    save,
    write_tariff,
)
from tests.tariffs.examples import document

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ASSIGNED = "insert into tariffs.assignments (scope, scope_id, valid_from, actor) values "
VERSIONED = "insert into tariffs.versions (plan_id, number, format, document, actor) "
CONNECTOR = Place("EVP-001/1", "EVP-001", "mall")


class Plans:
    """The use cases as an operator has them, each in a transaction of its own."""

    def __init__(self, db: Database) -> None:
        self.db = db

    async def save(
        self, plan: str, price: object, begins: datetime | None = NOW, **how: Any
    ) -> SavedTariff:
        async with self.db.transaction() as connection:
            how = {"document": document({"energy_per_kwh": price}), "now": NOW} | how
            return await save(connection, plan=plan, valid_from=begins, actor="aida", **how)

    async def activate(self, plan: str, number: int, begins: datetime = NOW) -> TariffVersion:
        async with self.db.transaction() as connection:
            return await activate(
                connection, plan=plan, number=number, valid_from=begins, now=NOW, actor="aida"
            )

    async def assign(
        self, scope: Scope, scope_id: str, plan: str | None, begins: datetime = NOW
    ) -> None:
        async with self.db.transaction() as connection:
            await assign(
                connection, scope=scope, scope_id=scope_id, plan=plan, valid_from=begins,
                now=NOW, actor="aida", reason="a test",
            )  # fmt: skip

    async def find(self, place: Place, at: datetime = NOW) -> Snapshot | None:
        async with self.db.connection() as connection:
            return await find_tariff(connection, place, at)

    async def price(self, place: Place = CONNECTOR, at: datetime = NOW) -> int | None:
        """Som per kWh; None: there is no tariff."""
        snapshot = await self.find(place, at)
        return snapshot and snapshot.tariff.elements[0].prices[0][1].price_micro // 10**6


@pytest.fixture
def plans(db: Database) -> Plans:
    return Plans(db)


class TestVersions:
    async def test_a_plan_is_saved_in_versions_that_count_up(self, plans: Plans) -> None:
        first, second = await plans.save("day", 14), await plans.save("day", 15)
        assert [saved.version.number for saved in (first, second)] == [1, 2]
        assert first.is_new
        assert second.is_new
        async with plans.db.connection() as connection:
            versions = await list_versions(connection, "day")
            assert [version.number for version in versions] == [2, 1]
            assert [version.plan for version in await list_plans(connection, NOW)] == ["day"]

    async def test_a_list_has_what_is_in_force_planned_and_drafted(self, plans: Plans) -> None:
        async def listed(at: datetime) -> list[tuple[str, int]]:
            async with plans.db.connection() as connection:
                return [(row.plan, row.number) for row in await list_plans(connection, at)]

        await plans.save("day", 14)
        await plans.save("fast", 20, None)
        await plans.save("day", 15)
        await plans.save("day", 16, None)
        assert await listed(NOW) == [("day", 2), ("day", 3), ("fast", 1)]
        await plans.save("day", 17, NOW + HOUR)
        assert await listed(NOW) == [("day", 2), ("day", 4), ("day", 3), ("fast", 1)]
        assert await listed(NOW + HOUR) == [("day", 4), ("fast", 1)]

    async def test_the_same_text_is_not_saved_again(self, plans: Plans) -> None:
        first = await plans.save("day", "14.00")
        again = await plans.save("day", 14, NOW + HOUR)
        assert (again.is_new, again.version) == (False, first.version)

    async def test_the_same_text_as_a_draft_or_sooner_is_a_version(self, plans: Plans) -> None:
        saved = [
            await plans.save("day", 14, NOW + HOUR),
            await plans.save("day", 14, None),
            await plans.save("day", 14, None),
            await plans.save("day", 14, NOW),
        ]
        assert [tariff.version.number for tariff in saved] == [1, 2, 2, 3]

    async def test_a_version_is_in_force_from_its_time(self, plans: Plans) -> None:
        await plans.save("day", 14)
        await plans.save("day", 18, NOW + 2 * HOUR)
        await plans.assign("everything", "", "day")
        at = [NOW, NOW + 2 * HOUR - timedelta(microseconds=1), NOW + 2 * HOUR]
        assert [await plans.price(at=moment) for moment in at] == [14, 14, 18]
        assert await plans.price(at=NOW - HOUR) is None

    async def test_of_two_from_one_time_the_later_saved_counts(self, plans: Plans) -> None:
        await plans.save("day", 14)
        await plans.save("day", 15)
        await plans.assign("everything", "", "day")
        assert await plans.price() == 15

    async def test_a_draft_prices_nothing_until_it_is_activated(self, plans: Plans) -> None:
        await plans.save("day", 14)
        await plans.assign("everything", "", "day")
        draft = await plans.save("day", 20, None)
        assert await plans.price() == 14
        active = await plans.activate("day", draft.version.number, NOW + HOUR)
        assert active.valid_from == NOW + HOUR
        assert [await plans.price(), await plans.price(at=NOW + HOUR)] == [14, 20]
        with pytest.raises(Conflict) as error:
            await plans.activate("day", draft.version.number, NOW + 2 * HOUR)
        assert error.value.code == "tariff_already_active"

    async def test_warnings_come_with_what_is_saved(self, plans: Plans) -> None:
        saved = await plans.save("day", "0.5")
        assert [flaw.code for flaw in saved.warnings] == ["tariff_price_unusual"]

    async def test_a_tariff_with_a_hole_leaves_nothing_behind(self, plans: Plans) -> None:
        holed = document({"energy_per_kwh": 9, "if": {"days": [1]}})
        with pytest.raises(InvalidTariff) as error:
            await plans.save("day", 0, document=holed)
        assert error.value.code == "tariff_hole"
        async with plans.db.connection() as connection:
            assert await list_plans(connection, NOW) == []

    @pytest.mark.parametrize("code", ["", "Day", "a b", "-a", "a_", "a" * 65, "день", "a.json"])
    async def test_a_code_is_plain(self, plans: Plans, code: str) -> None:
        with pytest.raises(Invalid) as error:
            await plans.save(code, 14)
        assert error.value.code == "tariff_code_invalid"

    async def test_savers_at_one_moment_get_a_version_each(self, plans: Plans) -> None:
        saved = await asyncio.gather(*(plans.save("day", price) for price in range(10, 18)))
        assert sorted(tariff.version.number for tariff in saved) == list(range(1, 9))

    async def test_each_version_is_found_by_its_number(self, plans: Plans) -> None:
        await plans.save("day", 14)
        await plans.save("day", 15, NOW + HOUR)
        async with plans.db.connection() as connection:
            snapshots = [
                await get_plan(connection, "day", at=NOW, number=number) for number in (None, 1, 2)
            ]
            assert [snapshot.version for snapshot in snapshots] == [1, 1, 2]
            for at, number in ((NOW - HOUR, None), (NOW, 3)):
                with pytest.raises(NotFound):
                    await get_plan(connection, "day", at=at, number=number)
            with pytest.raises(NotFound):
                await list_versions(connection, "night")


class TestAssignments:
    async def test_the_narrowest_scope_with_a_plan_counts(self, plans: Plans) -> None:
        scopes: list[tuple[Scope, str]] = [
            ("everything", ""), ("location", "mall"), ("station", "EVP-001"),
            ("connector", "EVP-001/1"),
        ]  # fmt: skip
        assert await plans.price() is None
        for price, (scope, scope_id) in enumerate(scopes, 10):
            await plans.save(scope, price)
            await plans.assign(scope, scope_id, scope)
            assert await plans.price() == price
        others = [
            Place("EVP-001/2", "EVP-001", "mall"), Place("EVP-002/1", "EVP-002", "mall"),
            Place("EVP-003/1", "EVP-003", "park"), Place(),
        ]  # fmt: skip
        assert [await plans.price(place) for place in others] == [12, 11, 10, 10]

    async def test_one_scope_is_not_another_of_its_name(self, plans: Plans) -> None:
        await plans.save("a", 14)
        await plans.assign("station", "mall", "a")
        assert await plans.price(Place(location="mall")) is None

    async def test_a_later_assignment_takes_over_at_its_time(self, plans: Plans) -> None:
        for plan, price in (("a", 14), ("b", 15), ("c", 16)):
            await plans.save(plan, price)
        await plans.assign("everything", "", "a")
        await plans.assign("everything", "", "b", NOW + HOUR)
        await plans.assign("everything", "", "c")
        assert [await plans.price(), await plans.price(at=NOW + HOUR)] == [16, 15]
        async with plans.db.connection() as connection:
            listed = await list_assignments(connection, NOW)
        assert [(row.plan, row.valid_from) for row in listed] == [("c", NOW), ("b", NOW + HOUR)]

    async def test_without_a_plan_of_its_own_the_wider_scope_counts_again(
        self, plans: Plans
    ) -> None:
        await plans.save("a", 14)
        await plans.save("b", 15)
        await plans.assign("everything", "", "a")
        await plans.assign("station", "EVP-001", "b")
        await plans.assign("station", "EVP-001", None, NOW + HOUR)
        assert [await plans.price(), await plans.price(at=NOW + HOUR)] == [15, 14]

    async def test_a_plan_must_be_in_force_when_it_begins(self, plans: Plans) -> None:
        await plans.save("later", 14, NOW + HOUR)
        await plans.save("draft", 14, None)
        for plan, begins in (("later", NOW), ("draft", NOW + HOUR)):
            with pytest.raises(Conflict) as error:
                await plans.assign("everything", "", plan, begins)
            assert error.value.code == "tariff_not_in_force"
        await plans.assign("everything", "", "later", NOW + HOUR)
        with pytest.raises(NotFound):
            await plans.assign("everything", "", "nothing")

    @pytest.mark.parametrize(
        ("scope", "scope_id"),
        [("everything", "x"), ("station", ""), ("station", " a"), ("location", "a" * 129),
         ("connector", "a\x00")],
    )  # fmt: skip
    async def test_a_place_has_a_name(self, plans: Plans, scope: Scope, scope_id: str) -> None:
        await plans.save("a", 14)
        with pytest.raises(Invalid) as error:
            await plans.assign(scope, scope_id, "a")
        assert error.value.code == "tariff_scope_invalid"


@pytest.mark.parametrize(
    "act",
    [
        lambda plans, past: plans.save("a", 15, past),
        lambda plans, past: plans.assign("everything", "", "a", past),
        lambda plans, past: plans.activate("a", 2, past),
    ],
)
async def test_no_price_begins_in_the_past(plans: Plans, act: Callable[..., Any]) -> None:
    await plans.save("a", 14)
    await plans.save("a", 15, None)
    with pytest.raises(EvPowerError) as error:
        await act(plans, NOW - timedelta(microseconds=1))
    assert error.value.code == "tariff_starts_in_past"


async def test_every_act_is_in_the_audit(plans: Plans, owner: Connection) -> None:
    await plans.save("a", 14, None)
    await plans.activate("a", 1)
    await plans.assign("station", "EVP-001", "a")
    await plans.save("a", 14, NOW + HOUR)  # says nothing new
    rows = await owner.fetch(
        "select actor, action, subject, reason, details from identity.audit order by id"
    )
    assert [tuple(row)[:4] for row in rows] == [
        ("aida", "tariff.save", "a", None),
        ("aida", "tariff.activate", "a", None),
        ("aida", "tariff.assign", "station:EVP-001", "a test"),
    ]
    assert json.loads(rows[1]["details"]) == {"version": 1, "valid_from": NOW.isoformat()}


async def test_a_tariff_comes_back_as_it_was_saved(plans: Plans) -> None:
    whole = document(
        {"energy_per_kwh": {"price": "9.5", "step": 10}, "if": {"from": "22:00", "to": "06:00"}},
        {"energy_per_kwh": 14, "time_per_hour": "30.25", "flat": 5},
        taxes=[{"name": "НДС", "percent": 12}],
        owner="EvPower",
        minimum=20,
        maximum="1000.50",
    )
    saved = await plans.save("whole", 0, document=whole)
    await plans.assign("everything", "", "whole")
    snapshot = await plans.find(CONNECTOR)
    assert snapshot is not None
    assert (snapshot.plan, snapshot.version, snapshot.tariff.owner) == ("whole", 1, "EvPower")
    assert write_tariff(snapshot.tariff) == saved.version.document


class TestGuards:
    """What was once in force stays readable, for a person in psql too."""

    @pytest.fixture(autouse=True)
    async def stored(self, plans: Plans) -> None:
        await plans.save("a", 14)
        await plans.save("a", 15, None)
        await plans.assign("everything", "", "a")

    @pytest.mark.parametrize(
        "statement",
        [
            "update tariffs.versions set document = '{}' where number = 1",
            "update tariffs.versions set document = '{}', valid_from = now() where number = 2",
            "update tariffs.versions set number = 3, valid_from = now() where number = 2",
            "update tariffs.versions set valid_from = now() where number = 1",
            "update tariffs.versions set valid_from = null where number = 1",
            "delete from tariffs.versions",
            "truncate tariffs.versions",
            "update tariffs.assignments set plan_id = null",
            "delete from tariffs.assignments",
            "truncate tariffs.assignments",
            "delete from tariffs.plans",
        ],
    )
    async def test_nothing_is_changed_or_deleted(self, owner: Connection, statement: str) -> None:
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(statement)

    @pytest.mark.parametrize(
        "statement",
        [
            ASSIGNED + "('everything', 'x', now(), 'a')",
            ASSIGNED + "('station', '', now(), 'a')",
            ASSIGNED + "('client', 'x', now(), 'a')",
            "insert into tariffs.plans (code) values ('No')",
            VERSIONED + "select id, 3, 1, '[]', 'a' from tariffs.plans",
            VERSIONED + "select id, 0, 1, '{}', 'a' from tariffs.plans",
            VERSIONED + "select id, 3, 0, '{}', 'a' from tariffs.plans",
        ],
    )
    async def test_what_makes_no_sense_is_refused(self, owner: Connection, statement: str) -> None:
        with pytest.raises(asyncpg.CheckViolationError):
            await owner.execute(statement)

    @pytest.mark.parametrize(
        "statement",
        [
            "update tariffs.plans set code = 'b'",
            "update tariffs.versions set document = '{}'",
            "delete from tariffs.assignments",
        ],
    )
    async def test_the_processes_have_no_right_to_it(self, db: Database, statement: str) -> None:
        async with db.connection() as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)

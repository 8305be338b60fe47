"""A corrected file is run again: what it has more is added, what contradicts is reported."""

from uuid import UUID

import pytest

from evpower import client_migration
from evpower.identity import resolve_id_tag
from tests.identity.moving import CONFIRMED, Moving, everything, someone
from tests.identity.test_migrate_conflicts import known


async def moved(moving: Moving, *rows: dict[str, object]) -> UUID:
    """Move them; answers whom "a" means."""
    await moving.run(moving.csv(*rows))
    return (await moving.named())["a"]


class TestIdTags:
    async def test_new_ones_are_added_and_the_others_stay(self, moving: Moving) -> None:
        row = someone("a", id_tags="AA;BB")
        client = await moved(moving, row)
        users = await moving.users()
        corrected = moving.csv(row | {"id_tags": "bb;CC;DD"})
        planned = await moving.plan(corrected, dry_run=True)
        assert (planned.counts.add, planned.counts.id_tags, planned.counts.skip) == (1, 2, 0)
        done = await moving.run(corrected)
        assert (done.moved, done.done, done.conflicts) == (1, 1, 0)
        for tag in ("aa", "bb", "cc", "dd"):
            assert await resolve_id_tag(moving.owner, tag) == client
        assert await moving.users() == users
        before = await everything(moving.owner)
        assert (await moving.plan(corrected)).run is None
        assert await everything(moving.owner) == before

    async def test_they_are_taken_back_with_their_run_alone(self, moving: Moving) -> None:
        row = someone("a", id_tags="AA")
        client = await moved(moving, row)
        await moving.run(moving.csv(row | {"id_tags": "AA;BB"}))
        back = await client_migration.revert(
            moving.db, moving.admin, None, actor="A", rate_limiter=moving.rate_limiter()
        )
        assert (back.aliases, back.users, back.retained) == (1, 0, 0)
        assert await resolve_id_tag(moving.owner, "bb") is None
        assert await resolve_id_tag(moving.owner, "aa") == client
        assert await moving.named() == {"a": client}

    async def test_none_of_a_client_that_was_taken_back_stays(self, moving: Moving) -> None:
        row = someone("a", id_tags="AA")
        await moved(moving, row)
        await moving.run(moving.csv(row | {"id_tags": "AA;BB"}))
        back = await client_migration.revert(
            moving.db, moving.admin, 1, actor="A", rate_limiter=moving.rate_limiter()
        )
        assert back.users == 1
        assert await moving.owner.fetchval("select count(*) from identity.aliases") == 0

    async def test_one_of_another_client_is_told(self, moving: Moving) -> None:
        row, other = someone("a", id_tags="AA"), someone("b", id_tags="BB")
        await moved(moving, row, other)
        source = moving.csv(row | {"id_tags": "AA;BB"}, other)
        assert await moving.reason(source) == "id_tag_taken"
        assert await moving.reason(source, line=3) is None
        assert (await moving.run(source)).conflicts == 1

    async def test_what_0_1_0_stored_as_it_was_written_is_the_same(self, moving: Moving) -> None:
        row = someone("a", id_tags="04:A1:B2")
        client = await moved(moving, row)
        await moving.owner.execute(
            "update identity.aliases set alias = '04:a1:b2' where kind = 'id_tag'"
        )
        planned = await moving.plan(moving.csv(row))
        assert (planned.run, planned.counts.skip, planned.counts.id_tags) == (None, 1, 0)
        source = moving.csv(someone("b", id_tags="04A1B2"))
        assert await moving.reason(source) == "id_tag_taken"
        assert await resolve_id_tag(moving.owner, "04A1B2") == client

    async def test_a_dash_is_none_and_the_balance_is_carried(self, moving: Moving) -> None:
        client = await moved(moving, someone("a", id_tags="-", balance="12.50"))
        assert await moving.balance(client) == 1_250
        assert await resolve_id_tag(moving.owner, "-") is None

    async def test_a_plan_of_0_1_0_is_carried_out(self, moving: Moving) -> None:
        source = moving.csv(someone("a", id_tags="AA", balance="5"))
        run = (await moving.plan(source)).run
        assert run is not None
        await moving.owner.execute(
            "update client_migration.run_rows set id_tags = array['04:a1', '04a1', '-']"
        )
        assert (await moving.execute(source, run)).done == 1
        client = (await moving.named())["a"]
        assert await moving.balance(client) == 500
        tags = "select alias, client_id from identity.aliases where kind = 'id_tag'"
        assert [tuple(tag) for tag in await moving.owner.fetch(tags)] == [("04a1", client)]

    async def test_one_that_two_rows_want_is_told_for_both(self, moving: Moving) -> None:
        row = someone("a", id_tags="AA")
        await moved(moving, row)
        source = moving.csv(row | {"id_tags": "AA;CC"}, someone("b", id_tags="CC"))
        assert await moving.reason(source, 2) == await moving.reason(source, 3) == "id_tag_twice"

    @pytest.mark.parametrize("stored", ["cc", "c-c"])
    async def test_one_that_was_taken_since_the_plan(self, moving: Moving, stored: str) -> None:
        row = someone("a")
        await moved(moving, row | {"id_tags": ""})
        source = moving.csv(row | {"id_tags": "CC"})
        run = (await moving.plan(source)).run
        assert run is not None
        stranger = await moving.user(email="stranger@example.kg", **CONFIRMED)
        await known(moving, stranger)
        await moving.owner.execute(
            "insert into identity.aliases (kind, alias, client_id) values ('id_tag', $2, $1)",
            stranger,
            stored,
        )
        assert (await moving.execute(source, run)).conflicts == 1
        assert await resolve_id_tag(moving.owner, "cc") == stranger

    async def test_two_old_clients_of_one_user_each_get_theirs(self, moving: Moving) -> None:
        first, second = someone("a"), someone("b")
        user = await moving.user(email=first["email"], **CONFIRMED)
        await moving.run(moving.csv(first, second | {"email": first["email"]}))
        async with moving.db.transaction() as connection:
            for old_id in ("a", "b"):
                await client_migration.decide(
                    connection, old_id, user, actor="Aizada", reason="one person"
                )
        await moving.run(moving.csv(first, second))
        assert await moving.named() == {"a": user, "b": user}
        done = await moving.run(moving.csv(first | {"id_tags": "AA"}, second | {"id_tags": "BB"}))
        assert (done.moved, done.conflicts) == (2, 0)


class TestBalance:
    async def test_one_that_was_left_out_is_carried_once(self, moving: Moving) -> None:
        row = someone("a")
        client = await moved(moving, row | {"balance": ""})
        source = moving.csv(row | {"balance": "12.50"})
        assert (await moving.run(source)).moved == 1
        assert (await moving.plan(source)).counts.skip == 1
        assert await moving.balance(client) == 1_250

    @pytest.mark.parametrize(("amount", "reason"), [("7", None), ("8", "balance_changed")])
    async def test_another_one_is_told(
        self, moving: Moving, amount: str, reason: str | None
    ) -> None:
        row = someone("a")
        client = await moved(moving, row | {"balance": "7"})
        source = moving.csv(row | {"balance": amount})
        assert await moving.reason(source) == reason
        if (planned := await moving.plan(source)).run is not None:
            await moving.execute(source, planned.run)
        assert await moving.balance(client) == 700

    async def test_one_that_is_left_out_later_is_nothing(self, moving: Moving) -> None:
        row = someone("a")
        await moved(moving, row | {"balance": "7"})
        assert (await moving.plan(moving.csv(row))).counts.skip == 1


class TestWhoseItIs:
    async def test_a_contact_that_is_anothers_now_is_told(self, moving: Moving) -> None:
        row = someone("a")
        client = await moved(moving, row)
        await moving.user(email="right@example.kg", **CONFIRMED)
        source = moving.csv(row | {"email": "right@example.kg", "id_tags": "AA"})
        assert await moving.reason(source) == "moved_to_another"
        await moving.run(source)
        assert await moving.named() == {"a": client}
        assert await resolve_id_tag(moving.owner, "aa") is None

    async def test_so_is_a_later_decision(self, moving: Moving) -> None:
        row = someone("a")
        user = await moving.user(email=row["email"])
        source = moving.csv(row)
        await moving.run(source)
        for decided in (user, await moving.user(email="other@example.kg")):
            async with moving.db.transaction() as connection:
                await client_migration.decide(
                    connection, "a", decided, actor="Aizada", reason="came"
                )
            planned = await moving.plan(source)
            if planned.run is not None:
                await moving.execute(source, planned.run)
        assert await moving.reason(source) == "moved_to_another"
        assert await moving.named() == {"a": user}

    async def test_a_closed_client_gets_nothing_more(self, moving: Moving) -> None:
        row = someone("a")
        await moved(moving, row)
        await moving.owner.execute("update identity.clients set status = 'closed'")
        assert await moving.reason(moving.csv(row | {"id_tags": "AA"})) == "client_closed"

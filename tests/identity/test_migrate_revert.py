"""Until it is confirmed a run can be taken back, as far as nobody uses what it made."""

from typing import Any
from uuid import UUID

import pytest

from evpower.foundation.db import Database
from evpower.identity import SupabaseAdmin, migrate, resolve
from tests.identity.moving import CONFIRMED, Moving, someone


async def revert(moving: Moving, run: int | None = None, **more: Any) -> migrate.Reverted:
    return await migrate.revert(
        moving.db, more.get("admin", moving.admin), run, actor="Aizada", pace=moving.pace()
    )


async def status(moving: Moving, client: UUID) -> str:
    return await moving.owner.fetchval("select status from identity.clients where id = $1", client)


async def test_users_it_made_are_gone_and_those_it_adopted_only_lose_the_old_id(
    moving: Moving,
) -> None:
    rows = [someone("a"), someone("b", id_tags="AA")]
    adopted = await moving.user(email=rows[0]["email"], **CONFIRMED)
    await moving.run(moving.csv(*rows))
    made = (await moving.named())["b"]
    back = await revert(moving)
    assert (back.aliases, back.users, back.kept) == (1, 1, 0)
    assert await moving.owner.fetchval("select count(*) from identity.aliases") == 0
    assert await moving.admin.get_user(adopted) is not None
    assert await moving.admin.get_user(made) is None
    assert (await status(moving, adopted), await status(moving, made)) == ("active", "closed")


async def test_what_is_in_use_stays_and_says_so(moving: Moving) -> None:
    rows = [someone("signed-in"), someone("paid", balance="5"), someone("idle")]
    await moving.run(moving.csv(*rows))
    named = await moving.named()
    await moving.there.execute(
        "update auth.users set last_sign_in_at = now() where id = $1", named["signed-in"]
    )
    back = await revert(moving)
    assert (back.users, back.kept) == (1, 2)
    assert set(await moving.named()) == {"signed-in", "paid"}
    assert await status(moving, named["paid"]) == "active"
    async with moving.db.connection() as connection:
        found = await migrate.troubles_of(connection, back.run, 10)
    assert {(one.old_id, one.detail) for one in found} == {
        ("signed-in", "signed_in"), ("paid", "wallet_used"),
    }  # fmt: skip


_PAYMENT = (
    "insert into payments.payments (invoice_id, order_id, client_id, provider, method,"
    " amount_minor, expires_at) values ('invoice', 'order-1', $1, 'sandbox', 'qr', 100, now())"
)
_SESSION = (
    "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
    " started_at) values (gen_random_uuid(), $1, 'EVP-1', 1, 'charging', 'import', now())"
)


@pytest.mark.parametrize("use", [_PAYMENT, _SESSION])
async def test_a_payment_or_a_session_under_way_is_use(moving: Moving, use: str) -> None:
    await moving.run(moving.csv(someone("a")))
    await moving.owner.execute(use, (await moving.named())["a"])
    assert (await revert(moving)).kept == 1
    assert set(await moving.named()) == {"a"}


@pytest.mark.parametrize("old_id", ["a", "5b0c2f6e-8a53-4a63-9a3f-0d8f6f6a3c11"])
async def test_taken_back_it_can_be_done_again(moving: Moving, old_id: str) -> None:
    row = someone(old_id)
    await moving.run(moving.csv(row))
    first = (await moving.named())[old_id]
    await revert(moving)
    done = await moving.run(moving.csv(row))
    assert done.done == 1
    again = (await moving.named())[old_id]
    assert again == first
    assert await status(moving, again) == "active"
    assert await moving.users() == 1


async def test_balances_of_the_adopted_stay_and_are_not_carried_twice(moving: Moving) -> None:
    row = someone("a", balance="7")
    user = await moving.user(email=row["email"], **CONFIRMED)
    await moving.run(moving.csv(row))
    await revert(moving)
    assert await moving.named() == {}
    assert (await moving.run(moving.csv(row))).done == 1
    assert await moving.balance(user) == 700


async def test_a_user_who_only_looks_like_ours_stays(moving: Moving) -> None:
    await moving.run(moving.csv(someone("a")))
    made = (await moving.named())["a"]
    await moving.there.execute("update auth.users set raw_app_meta_data = '{}'")
    assert (await revert(moving)).kept == 1
    assert await moving.admin.get_user(made) is not None


async def test_a_run_that_was_stopped_can_be_taken_back(moving: Moving) -> None:
    rows = [someone("a"), someone("b")]
    run = (await moving.plan(moving.csv(*rows))).run
    assert run is not None
    row = await moving.owner.fetchrow(
        "select client_id from identity.migration_rows where old_id = 'a'"
    )
    # Killed after the user was created, before it was written down.
    await moving.user(
        id=str((row or {})["client_id"]),
        email=rows[0]["email"],
        app_metadata={"evpower_migration": str(run.mark)},
    )
    back = await revert(moving)
    assert (back.users, await moving.users()) == (2, 0)


async def test_killed_while_taking_back_it_carries_on(moving: Moving) -> None:
    class Dies(SupabaseAdmin):
        left = 1

        async def delete_user(self, user_id: UUID) -> bool:
            if not Dies.left:
                raise KeyboardInterrupt
            Dies.left -= 1
            return await super().delete_user(user_id)

    await moving.run(moving.csv(*(someone(n) for n in range(3))))
    moving.admin.__class__ = Dies
    with pytest.raises(KeyboardInterrupt):
        await revert(moving)
    moving.admin.__class__ = SupabaseAdmin
    async with moving.db.connection() as connection:
        assert await migrate.resumable(connection) is None
    await revert(moving)
    assert (await moving.users(), await moving.named()) == (0, {})


class TestConfirm:
    async def test_it_is_final_and_the_copies_of_contacts_are_erased(self, moving: Moving) -> None:
        await moving.run(moving.csv(someone("a")))
        async with moving.db.transaction() as connection:
            run = await migrate.confirm(connection, None, actor="Aizada")
        with pytest.raises(migrate.Refused) as refused:
            await revert(moving, run.id)
        assert refused.value.code == "migration_state"
        kept = await moving.owner.fetchrow("select email, phone, name from identity.migration_rows")
        assert tuple(kept or ()) == (None, None, None)
        assert await moving.owner.fetchval(
            "select every(confirmed_at is not null) from identity.aliases"
        )
        assert await resolve(moving.owner, "a") is not None

    async def test_a_run_that_is_under_way_is_not_confirmed(self, moving: Moving) -> None:
        run = (await moving.plan(moving.csv(someone()))).run
        assert run is not None
        async with moving.db.transaction() as connection:
            with pytest.raises(migrate.Refused):
                await migrate.confirm(connection, run.id, actor="Aizada")

    async def test_there_is_nothing_to_confirm(self, db: Database, moving: Moving) -> None:
        async with moving.db.transaction() as connection:
            with pytest.raises(migrate.Refused) as missing:
                await migrate.confirm(connection, None, actor="Aizada")
        assert missing.value.code == "migration_not_found"
        assert db is not None

"""Until it is confirmed, a run can be reverted for the clients that are not in use."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from evpower import client_migration
from evpower.client_migration.model import RowRefused
from evpower.foundation.db import Database
from evpower.identity import SupabaseAdmin, resolve
from tests.identity.conftest import Answer, Edge, Request, forward
from tests.identity.moving import CONFIRMED, Moving, someone
from tests.identity.test_migrate import through


async def revert(
    moving: Moving, run: int | None = None, **more: Any
) -> client_migration.RevertResult:
    return await client_migration.revert(
        moving.db,
        more.get("admin", moving.admin),
        run,
        actor="Aizada",
        rate_limiter=moving.rate_limiter(),
    )


async def status(moving: Moving, client: UUID) -> str:
    return await moving.owner.fetchval("select status from identity.clients where id = $1", client)


async def test_users_it_made_are_gone_and_those_it_linked_only_lose_the_old_id(
    moving: Moving,
) -> None:
    rows = [someone("a"), someone("b", id_tags="AA")]
    linked = await moving.user(email=rows[0]["email"], **CONFIRMED)
    await moving.run(moving.csv(*rows))
    made = (await moving.named())["b"]
    back = await revert(moving)
    assert (back.aliases, back.users, back.retained) == (1, 1, 0)
    assert await moving.owner.fetchval("select count(*) from identity.aliases") == 0
    assert await moving.admin.get_user(linked) is not None
    assert await moving.admin.get_user(made) is None
    assert (await status(moving, linked), await status(moving, made)) == ("active", "closed")


async def test_a_reverted_user_s_sign_ins_end(moving: Moving) -> None:
    await moving.run(moving.csv(someone("a")))
    made = (await moving.named())["a"]
    await moving.owner.execute(
        "insert into identity.refresh_tokens"
        " (family, token_sha256, user_id, kind, phone, created_at, expires_at)"
        " values ($1, sha256('t'), $1, 'client', '', now(), now() + interval '90 days')",
        made,
    )
    await revert(moving)
    # Another run opens the client again; who had this token must not be signed in by that.
    revoked = "select revoked_by from identity.refresh_tokens where user_id = $1"
    assert await moving.owner.fetchval(revoked, made) == "deletion"


async def test_what_is_in_use_stays_and_says_so(moving: Moving) -> None:
    rows = [someone("signed-in"), someone("paid", balance="5"), someone("idle")]
    await moving.run(moving.csv(*rows))
    named = await moving.named()
    await moving.there.execute(
        "update auth.users set last_sign_in_at = now() where id = $1", named["signed-in"]
    )
    back = await revert(moving)
    assert (back.users, back.retained) == (1, 2)
    assert set(await moving.named()) == {"signed-in", "paid"}
    assert await status(moving, named["paid"]) == "active"
    async with moving.db.transaction() as connection:
        troubles = await client_migration.troubles_of(connection, back.run, 10)
        kinds = await client_migration.count_troubles(connection, back.run)
    assert {(row.old_id, row.plan, row.reason, row.detail) for row in troubles} == {
        ("signed-in", "retained", "signed_in", None), ("paid", "retained", "wallet_used", None),
    }  # fmt: skip
    assert [kind.reason for kind in kinds] == ["signed_in", "wallet_used"]


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
    assert (await revert(moving)).retained == 1
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


async def test_balances_of_the_linked_stay_and_are_not_carried_twice(moving: Moving) -> None:
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
    assert (await revert(moving)).retained == 1
    assert await moving.admin.get_user(made) is not None


async def test_a_run_that_was_stopped_can_be_taken_back(moving: Moving) -> None:
    rows = [someone("a"), someone("b")]
    run = (await moving.plan(moving.csv(*rows))).run
    assert run is not None
    row = await moving.owner.fetchrow(
        "select client_id from client_migration.run_rows where old_id = 'a'"
    )
    # Killed after the user was created, before it was written down.
    await moving.user(
        id=str((row or {})["client_id"]),
        email=rows[0]["email"],
        app_metadata={"evpower_migration": str(run.run_key)},
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
    async with moving.db.transaction() as connection:
        assert await client_migration.resumable(connection) is None
    await revert(moving)
    assert (await moving.users(), await moving.named()) == (0, {})


async def test_a_client_from_before_is_not_closed_by_taking_its_user_back(moving: Moving) -> None:
    """Its old id is its id; with the user, the puller would close it too."""
    old = uuid4()
    await moving.owner.execute(
        "insert into identity.clients (id, origin) values ($1, 'register')", old
    )
    await moving.run(moving.csv(someone(old, id_tags="AA")))
    back = await revert(moving)
    assert (back.users, back.retained) == (0, 1)
    assert (await status(moving, old), await moving.users()) == ("active", 1)


async def test_a_blocked_client_does_not_come_back_free(moving: Moving) -> None:
    row = someone("a")
    await moving.run(moving.csv(row))
    client = (await moving.named())["a"]
    await moving.owner.execute("update identity.clients set status = 'blocked'")
    assert (await revert(moving)).retained == 1
    again = await moving.plan(moving.csv(row))
    assert again.counts.skip == 1
    assert await status(moving, client) == "blocked"


async def test_a_client_who_is_another_old_client_too_is_not_deleted(moving: Moving) -> None:
    first, second = someone("a"), someone("b")
    await moving.run(moving.csv(first))
    user = (await moving.named())["a"]
    same_email = second | {"email": first["email"]}
    assert (await moving.run(moving.csv(same_email))).conflicts == 1
    async with moving.db.transaction() as connection:
        await client_migration.decide(connection, "b", user, actor="Aizada", reason="same person")
    await moving.run(moving.csv(same_email))
    back = await revert(moving, 1)
    assert (back.users, back.retained) == (0, 1)
    assert await moving.named() == {"a": user, "b": user}
    assert await moving.admin.get_user(user) is not None


async def test_while_a_run_is_at_work_no_one_takes_it_back_or_confirms_it(moving: Moving) -> None:
    source = moving.csv(someone("a"))
    await moving.run(source)
    async with moving.db.transaction() as connection:
        await connection.fetch("select pg_advisory_lock(1229210958)")
        for act in (revert(moving), confirm(moving)):
            with pytest.raises(RowRefused) as busy:
                await act
            assert busy.value.code == "migration_busy"
        await connection.fetch("select pg_advisory_unlock(1229210958)")
    assert (await revert(moving)).users == 1


async def test_an_older_run_is_not_taken_back_while_another_is_open(moving: Moving) -> None:
    await moving.run(moving.csv(someone("a")))
    assert (await moving.plan(moving.csv(someone("b")))).run is not None
    with pytest.raises(RowRefused) as refused:
        await revert(moving, 1)
    assert refused.value.code == "migration_open"
    assert set(await moving.named()) == {"a"}


async def test_a_busy_auth_does_not_end_it(
    moving: Moving, edge: Edge, http: httpx.AsyncClient
) -> None:
    await moving.run(moving.csv(*(someone() for _ in range(3))))
    refusals = iter([429, 503, None, 500, 429])

    async def respond(request: Request) -> Answer:
        status = next(refusals, None)
        if status is not None:
            return status, b"{}"
        return await forward(moving.supabase, http, request)

    edge.respond = respond
    assert (await revert(moving, admin=through(edge, moving))).users == 3
    assert await moving.users() == 0


async def test_contacts_are_erased_when_it_is_taken_back_too(moving: Moving) -> None:
    await moving.run(moving.csv(someone("a"), someone("b", email="private address")))
    await revert(moving)
    rows = await moving.owner.fetch("select t::text from client_migration.run_rows t")
    assert not any("private" in row["t"] or "+996" in row["t"] or "@" in row["t"] for row in rows)


async def confirm(moving: Moving) -> client_migration.Run:
    async with moving.db.transaction() as connection:
        return await client_migration.confirm(connection, None, actor="Aizada")


class TestConfirm:
    async def test_it_is_final_and_the_copies_of_contacts_are_erased(self, moving: Moving) -> None:
        await moving.run(moving.csv(someone("a"), someone("b", email="private address")))
        async with moving.db.transaction() as connection:
            run = await client_migration.confirm(connection, None, actor="Aizada")
        with pytest.raises(RowRefused) as refused:
            await revert(moving, run.id)
        assert refused.value.code == "migration_state"
        for row in await moving.owner.fetch("select t::text from client_migration.run_rows t"):
            assert not any(word in row["t"] for word in ("private", "@", "+996", "Aida"))
        assert await moving.owner.fetchval(
            "select every(confirmed_at is not null) from identity.aliases"
        )
        assert await resolve(moving.owner, "a") is not None

    async def test_a_run_that_is_under_way_is_not_confirmed(self, moving: Moving) -> None:
        run = (await moving.plan(moving.csv(someone()))).run
        assert run is not None
        async with moving.db.transaction() as connection:
            with pytest.raises(RowRefused):
                await client_migration.confirm(connection, run.id, actor="Aizada")

    async def test_there_is_nothing_to_confirm(self, db: Database, moving: Moving) -> None:
        async with moving.db.transaction() as connection:
            with pytest.raises(RowRefused) as missing:
                await client_migration.confirm(connection, None, actor="Aizada")
        assert missing.value.code == "migration_not_found"
        assert db is not None

"""Attempts to get another client's wallet out of the migration, or to stop it for all users."""

import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import SecretStr

from evpower import client_migration
from evpower.client_migration.remote_users import of_auth
from evpower.identity import SupabaseAdmin, resolve
from evpower.identity.aliases import as_uuid
from evpower.identity.contact import normal_email
from evpower.identity.model import AuthUser, Contact
from tests.identity.conftest import Answer, Edge, Request, forward
from tests.identity.moving import CONFIRMED, Moving, someone
from tests.identity.test_migrate import through
from tests.identity.test_migrate_conflicts import known, profile

KELVIN = "\u212a"  # becomes an ASCII k when it is made small
SENT = "2024-05-06T07:08:09Z"
LATER = "2024-05-06T07:18:09Z"
TOO_LATE = "2024-05-06T07:28:09Z"
USED: dict[str, Any] = {"last_sign_in_at": TOO_LATE}
BY_PHONE: dict[str, Any] = {"app_metadata": {"provider": "phone"}}


async def sign_up(moving: Moving, email: object) -> UUID:
    """In a project that confirms every address at once, as the local one and today's does."""
    answer = await moving.http.post(
        f"{moving.supabase.url}/auth/v1/signup",
        json={"email": email, "password": "attacker-pass-1"},
        headers={"apikey": moving.supabase.publishable_key},
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return UUID(body.get("user", body)["id"])


class TestConfirmedByNoOne:
    """Auth has it confirmed, and never asked its owner: email confirmations are turned off."""

    @pytest.mark.parametrize("by", ["rpc", "admin"])
    async def test_signing_up_where_nothing_is_confirmed_gives_nothing(
        self, moving: Moving, by: str
    ) -> None:
        moving.by = by
        victim = someone("old-1", balance="500", id_tags="AA")
        attacker = await sign_up(moving, victim["email"])
        assert await moving.there.fetchval(
            "select email_confirmed_at is not null from auth.users where id = $1", attacker
        )
        source = moving.csv(victim)
        assert await moving.reason(source) == "email_unverified"
        done = await moving.run(source)
        assert (done.done, done.conflicts, await moving.named()) == (0, 1, {})

    async def test_nor_between_the_plan_and_the_run(self, moving: Moving) -> None:
        """A user confirmed by a server was deleted, and another user signed up under its id."""
        row = someone("old-1")
        user = await moving.user(email=row["email"], **CONFIRMED)
        source = moving.csv(row)
        run = (await moving.plan(source)).run
        assert run is not None
        await moving.there.execute("update auth.users set last_sign_in_at = now()")
        done = await moving.execute(source, run)
        assert (done.done, done.conflicts, await moving.named()) == (0, 1, {}), user

    async def test_an_operator_may_know_better(self, moving: Moving) -> None:
        row = someone("old-1")
        user = await sign_up(moving, row["email"])
        moving.trusted = frozenset({"email"})
        assert await moving.reason(moving.csv(row)) is None
        await moving.run(moving.csv(row), trusted=frozenset({"email"}))
        assert await moving.named() == {"old-1": user}

    async def test_a_link_that_was_opened_is_proof(self, moving: Moving) -> None:
        row = someone("old-1")
        user = await sign_up(moving, row["email"])
        await moving.there.execute(
            "update auth.users set confirmation_sent_at = email_confirmed_at - interval '1 minute'"
        )
        await moving.run(moving.csv(row))
        assert await moving.named() == {"old-1": user}

    @pytest.mark.parametrize(
        ("fields", "kinds"),
        [
            ({}, "email phone"),  # a server said so, and no user has signed in since
            (USED, ""),
            (USED | {"confirmation_sent_at": SENT}, "email"),
            (USED | {"confirmation_sent_at": SENT} | BY_PHONE, "phone"),
            (USED | {"confirmation_sent_at": TOO_LATE}, ""),
            (USED | {"confirmation_sent_at": "soon"}, ""),
            (USED | {"invited_at": SENT}, "email"),
            (USED | {"email_change_sent_at": SENT}, "email"),
            (USED | {"email_change_sent_at": TOO_LATE}, ""),
            (USED | {"phone_change_sent_at": SENT}, "phone"),
            (USED | {"phone_change_sent_at": TOO_LATE}, ""),
            (USED | {"recovery_sent_at": SENT}, ""),  # anybody may ask for it
            ({"email_confirmed_at": None}, "phone"),
            ({"phone_confirmed_at": ""}, "email"),
            ({"app_metadata": {"evpower_email_unverified": True}}, "phone"),
        ],
    )
    async def test_what_is_proof(
        self, edge: Edge, http: httpx.AsyncClient, fields: dict[str, Any], kinds: str
    ) -> None:
        record, verified = a_user() | fields, set(kinds.split())
        user = await read_back(edge, http, record)
        both: tuple[Contact, ...] = ("email", "phone")
        assert {kind for kind in both if user.has_verified(kind)} == verified
        person = of_auth(record)
        assert person is not None
        assert {claim.kind for claim in person.claims if claim.verified} == verified

    @pytest.mark.parametrize(
        ("provider", "data", "verified"),
        [
            ("google", {"email": "Aida@Example.kg", "email_verified": True}, True),
            ("google", {"email": "aida@example.kg", "email_verified": False}, False),
            ("google", {"email": "other@example.kg", "email_verified": True}, False),
            # What was said at sign-up stands there, too.
            ("email", {"email": "aida@example.kg", "email_verified": True}, False),
            ("google", None, False),
        ],
    )
    async def test_another_provider_vouches(
        self,
        edge: Edge,
        http: httpx.AsyncClient,
        provider: str,
        data: dict[str, Any] | None,
        *,
        verified: bool,
    ) -> None:
        identity = {"provider": provider, "identity_data": data}
        record = a_user() | {"last_sign_in_at": LATER, "identities": [identity, None]}
        assert (await read_back(edge, http, record)).has_verified("email") is verified


def a_user() -> dict[str, Any]:
    return {
        "id": str(uuid4()), "email": "aida@example.kg", "phone": "996555112233",
        "email_confirmed_at": LATER, "phone_confirmed_at": LATER,
    }  # fmt: skip


async def read_back(edge: Edge, http: httpx.AsyncClient, record: dict[str, Any]) -> AuthUser:
    """The user as our client of the admin API reads it."""

    async def respond(_: Request) -> Answer:
        return 200, json.dumps(record).encode()

    edge.respond = respond
    admin = SupabaseAdmin(http=http, url=edge.url, secret_key=SecretStr("sb_secret_x"))
    user = await admin.get_user(UUID(record["id"]))
    assert user is not None
    return user


class TestLookAlikes:
    async def test_a_letter_that_becomes_another_one_is_no_email(self, moving: Moving) -> None:
        assert normal_email(f"vi{KELVIN}tor@example.kg") is None
        victim = "viktor@example.kg"
        await moving.user(email=victim, **CONFIRMED)
        row = someone("old-1", email=victim.replace("k", KELVIN, 1))
        assert await moving.reason(moving.csv(row)) == "email_invalid"

    def test_nor_one_in_supabase(self) -> None:
        person = of_auth(a_user() | {"email": f"vi{KELVIN}tor@example.kg"})
        assert person is not None
        [claim] = [each for each in person.claims if each.kind == "email"]
        assert (claim.value, claim.verified) == ("viktor@example.kg", False)

    @pytest.mark.parametrize("same", ["vik.tor@example.kg", "viktor+a@example.kg"])
    async def test_dots_and_plus_are_other_people(self, moving: Moving, same: str) -> None:
        await moving.user(email="viktor@example.kg", **CONFIRMED)
        planned = await moving.plan(moving.csv(someone(email=same)), dry_run=True)
        assert (planned.counts.link, planned.counts.create) == (0, 1)

    def test_what_only_reads_as_a_uuid_is_none(self) -> None:
        user = UUID("07c41d3b-1af2-4d42-9de4-0123456789ab")
        wide = user.hex.translate({ord(str(n)): chr(0xFF10 + n) for n in range(10)})
        for disguise in (
            wide,
            f"{user.hex[:2]}_{user.hex[3:]}",
            "+" + user.hex[1:],
            " " + user.hex[1:],
        ):
            assert as_uuid(disguise) is None
        for usual in (str(user), str(user).upper(), user.hex, f"{{{user}}}", user.urn):
            assert as_uuid(usual) == user


class TestIdOfAnotherClient:
    """The old id is a UUID, and in EvPower or Supabase a client of its own has it."""

    async def test_money_under_the_old_id_is_not_lost_sight_of(self, moving: Moving) -> None:
        old = uuid4()
        row = someone(old)
        await known(moving, old)
        await moving.user(email=row["email"], **CONFIRMED)
        source = moving.csv(row)
        assert await moving.reason(source) == "client_of_its_own"
        assert (await moving.run(source)).conflicts == 1
        assert await moving.named() == {}

    async def test_a_row_alone_in_supabase_becomes_a_client_any_moment(
        self, moving: Moving
    ) -> None:
        old = uuid4()
        row = someone(old)
        await profile(moving, old)
        await moving.user(email=row["email"], **CONFIRMED)
        assert await moving.reason(moving.csv(row)) == "client_of_its_own"

    async def test_one_that_came_since_the_plan(self, moving: Moving) -> None:
        old = uuid4()
        row = someone(old)
        await moving.user(email=row["email"], **CONFIRMED)
        source = moving.csv(row)
        run = (await moving.plan(source)).run
        assert run is not None
        await known(moving, old)
        assert (await moving.execute(source, run)).conflicts == 1
        assert await moving.named() == {}

    async def test_not_even_a_decision_gives_one_client_two_wallets(self, moving: Moving) -> None:
        old = uuid4()
        row = someone(old)
        await known(moving, old)
        user = await moving.user(email=row["email"], **CONFIRMED)
        await moving.run(moving.csv(row))
        async with moving.db.transaction() as connection:
            await client_migration.decide(
                connection, str(old).upper(), user, actor="Aizada", reason="same person"
            )
        assert await moving.reason(moving.csv(row)) == "client_of_its_own"
        await moving.owner.execute("update identity.clients set status = 'closed'")
        assert (await moving.run(moving.csv(row))).done == 1
        assert await resolve(moving.owner, str(old)) == user

    async def test_a_closed_client_means_whom_it_became(self, moving: Moving) -> None:
        """Taken back, the id is a closed client; then its owner signs up under another one."""
        old = uuid4()
        row = someone(old)
        await moving.run(moving.csv(row))
        await client_migration.revert(
            moving.db, moving.admin, None, actor="Aizada", rate_limiter=moving.rate_limiter()
        )
        assert await resolve(moving.owner, str(old)) == old
        user = await moving.user(email=row["email"], **CONFIRMED)
        await moving.run(moving.csv(row))
        assert await resolve(moving.owner, str(old)) == user


async def test_old_money_is_not_carried_into_two_wallets(moving: Moving) -> None:
    """Linked to the wrong user, taken back, linked to the right one: the first kept it."""
    row = someone("a", balance="7")
    wrong = await moving.user(email=row["email"], **CONFIRMED)
    await moving.run(moving.csv(row))
    await client_migration.revert(
        moving.db, moving.admin, None, actor="Aizada", rate_limiter=moving.rate_limiter()
    )
    corrected = row | {"email": "right@example.kg"}
    right = await moving.user(email="right@example.kg", **CONFIRMED)
    done = await moving.run(moving.csv(corrected))
    assert (done.done, done.conflicts) == (0, 1)
    assert await moving.balance(wrong) == 700
    assert await moving.owner.fetchval("select sum(balance_minor) from wallet.wallets") == 700
    assert right not in (await moving.named()).values()


async def test_a_contact_that_came_to_disagree_since_the_plan(moving: Moving) -> None:
    row = someone("a")
    user = await moving.user(phone=row["phone"], phone_confirm=True)
    source = moving.csv(row)
    run = (await moving.plan(source)).run
    assert run is not None
    await moving.there.execute(
        "update auth.users set email = 'new-owner@example.kg', email_confirmed_at = now()"
    )
    done = await moving.execute(source, run)
    assert (done.done, done.conflicts, user) == (0, 1, user)


class TestOwnUserOtherwise:
    async def test_a_user_made_with_other_contacts_is_not_taken_for_this_one(
        self, moving: Moving, edge: Edge, http: httpx.AsyncClient
    ) -> None:
        """Auth made the user and never said so; the file was corrected before the next run."""

        async def respond(request: Request) -> Answer:
            if request.method == "GET":
                return 500, b"{}"
            await forward(moving.supabase, http, request)
            return 500, b"{}"

        edge.respond = respond
        row = someone("a")
        source = moving.csv(row)
        run = (await moving.plan(source)).run
        assert run is not None
        done = await moving.execute(source, run, admin=through(edge, moving))
        assert (done.failed, await moving.users()) == (1, 1)
        corrected = moving.csv(row | {"email": "corrected@example.kg"})
        again = (await moving.plan(corrected)).run
        assert again is not None
        done = await moving.execute(corrected, again)
        assert (done.done, done.conflicts) == (0, 1)
        assert await moving.named() == {}


class TestNoOneStopsTheOthers:
    async def test_one_row_the_database_refuses(self, moving: Moving) -> None:
        """PostgreSQL, in another collation, has another small form of a letter, say."""
        await moving.owner.execute(
            "alter table identity.aliases add constraint small check (alias <> 'bb')"
        )
        rows = [someone("a"), someone("b", id_tags="BB"), someone("c", id_tags="AA")]
        done = await moving.run(moving.csv(*rows))
        assert (done.done, done.failed + done.invalid) == (2, 1)
        assert set(await moving.named()) == {"a", "c"}

    @pytest.mark.parametrize(
        "amount", ["-1e40", "1e9999999", "1_000", "\uff11\uff12", "+", "1e", "0x10"]
    )
    async def test_money_that_is_none(self, moving: Moving, amount: str) -> None:
        source = moving.csv(someone("a", balance=amount), someone("b", balance="1"))
        assert await moving.reason(source) in {"balance_invalid", "balance_negative"}
        assert await moving.reason(source, line=3) is None

    async def test_what_is_told_can_not_steer_a_terminal(self, moving: Moving) -> None:
        evil = "\x1b]0;pwned\x07\u202e"
        source = moving.csv(someone(evil), someone("b", email=evil), someone("c", id_tags=evil))
        planned = await moving.plan(source, dry_run=True)
        assert len(planned.troubles) == 3
        for row in planned.troubles:
            assert row.old_id.isprintable()
            assert row.detail is None or row.detail.isprintable()

"""No wallet is taken over, and nothing is guessed: each doubt is a conflict for a person."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from evpower import client_migration
from evpower.client_migration.model import RowRefused
from evpower.client_migration.reasons import REASONS
from tests.identity.moving import CONFIRMED, UNVERIFIED, Moving, someone

PHONE_CONFIRMED: Mapping[str, Any] = {"phone_confirm": True}


async def known(moving: Moving, client: UUID, **fields: Any) -> None:
    """A client EvPower has already."""
    names = ["id", "origin", *fields]
    marks = ", ".join(f"${n + 1}" for n in range(len(names)))
    await moving.owner.execute(
        f"insert into identity.clients ({', '.join(names)}) values ({marks})",
        client,
        "token",
        *fields.values(),
    )


async def profile(moving: Moving, client: UUID, **fields: Any) -> None:
    """A row of public.clients, as its owner may edit it."""
    names = ["id", *fields]
    marks = ", ".join(f"${n + 1}" for n in range(len(names)))
    await moving.there.execute(
        f"insert into public.clients ({', '.join(names)}) values ({marks})",
        client,
        *fields.values(),
    )


async def gets_nothing(moving: Moving, attacker: UUID, victim: dict[str, str]) -> None:
    """Who only typed a contact gets nothing by it, and keeps its owner from nothing."""
    report = moving.folder / "report.csv"
    planned = await moving.plan(moving.csv(victim), dry_run=True, report=report)
    assert (planned.counts.create, planned.counts.conflict) == (1, 0)
    assert f"claimed, unverified, by {attacker}" in report.read_text()
    done = await moving.run(moving.csv(victim))
    assert (done.done, done.conflicts) == (1, 0)
    [named] = (await moving.named()).values()
    assert named != attacker


class TestAttacks:
    async def test_signing_up_with_the_victims_email_gives_nothing(self, moving: Moving) -> None:
        victim = someone("old-1", balance="500")
        answer = await moving.http.post(
            f"{moving.supabase.url}/auth/v1/signup",
            json={"email": victim["email"], "password": "attacker-pass-1"},
            headers={"apikey": moving.supabase.publishable_key},
        )
        assert answer.status_code == 200, answer.text
        await moving.there.execute("update auth.users set email_confirmed_at = null")
        done = await moving.run(moving.csv(victim))
        assert (done.done, done.conflicts) == (0, 1)
        assert await moving.named() == {}
        assert await moving.owner.fetchval("select count(*) from payments.payments") == 0

    async def test_an_email_evpower_only_said_was_confirmed_gives_nothing(
        self, moving: Moving
    ) -> None:
        victim = someone("old-1")
        await moving.user(email=victim["email"], **UNVERIFIED)
        assert await moving.reason(moving.csv(victim)) == "email_unverified"

    @pytest.mark.parametrize("by", ["rpc", "admin"])
    async def test_a_phone_typed_into_the_profile_at_sign_up_gives_nothing(
        self, moving: Moving, by: str
    ) -> None:
        moving.by = by
        victim = someone("old-1")
        attacker = await moving.user(
            email="attacker@example.kg", user_metadata={"phone": victim["phone"]}, **CONFIRMED
        )
        await gets_nothing(moving, attacker, victim)

    async def test_a_phone_without_its_code_gives_nothing(self, moving: Moving) -> None:
        victim = someone("old-1")
        await moving.user(phone=victim["phone"])
        assert await moving.reason(moving.csv(victim)) == "phone_unverified"

    @pytest.mark.parametrize("contact", ["email", "phone"])
    async def test_editing_the_clients_row_gives_nothing(
        self, moving: Moving, contact: str
    ) -> None:
        victim = someone("old-1")
        attacker = await moving.user(email="attacker@example.kg", **CONFIRMED)
        await profile(moving, attacker, **{contact: victim[contact]})
        await gets_nothing(moving, attacker, victim)

    async def test_a_contact_evpower_knows_of_another_client_gives_nothing(
        self, moving: Moving
    ) -> None:
        victim = someone("old-1")
        moving.by = "admin"
        await known(moving, attacker := uuid4(), phone=victim["phone"])
        await gets_nothing(moving, attacker, victim)

    async def test_a_contact_another_client_has_verified_is_for_an_operator(
        self, moving: Moving
    ) -> None:
        row = someone("old-1")
        moving.by = "admin"
        await known(moving, uuid4(), phone=row["phone"], phone_verified=True)
        assert await moving.reason(moving.csv(row)) == "phone_unverified"

    async def test_a_local_number_abroad_is_not_the_kyrgyz_one(self, moving: Moving) -> None:
        """Auth keeps bare digits: 555123456 there begins with a country, here it does not."""
        await moving.user(phone="+555123456", **PHONE_CONFIRMED)
        victim = someone("old-1", phone="0555 123456", email="")
        assert await moving.reason(moving.csv(victim)) is None

    async def test_who_is_faster_than_the_run_gets_nothing(self, moving: Moving) -> None:
        victim = someone("old-1", balance="500")
        source = moving.csv(victim)
        run = (await moving.plan(source)).run
        assert run is not None
        attacker = await moving.user(email=victim["email"])
        done = await moving.execute(source, run)
        assert (done.done, done.failed) == (0, 1)
        assert attacker not in (await moving.named()).values()
        assert await moving.owner.fetchval("select count(*) from payments.payments") == 0

    async def test_who_was_verified_and_is_not_any_more_gets_nothing(self, moving: Moving) -> None:
        row = someone("old-1")
        user = await moving.user(email=row["email"], **CONFIRMED)
        source = moving.csv(row)
        run = (await moving.plan(source)).run
        assert run is not None
        await moving.there.execute(
            "update auth.users set email = 'new@example.kg' where id = $1", user
        )
        done = await moving.execute(source, run)
        assert (done.done, done.conflicts) == (0, 1)
        assert await moving.named() == {}

    async def test_an_email_the_old_system_never_confirmed_opens_no_door_either(
        self, moving: Moving
    ) -> None:
        """Who typed a victim's email there would charge the victim's wallet with his old card."""
        attacker = someone("old-1", email_confirmed="false", id_tags="AA")
        await moving.user(email=attacker["email"], **CONFIRMED)
        assert await moving.reason(moving.csv(attacker)) == "email_unconfirmed_in_source"
        bare = {key: value for key, value in attacker.items() if key != "email_confirmed"}
        doubted = moving.csv(bare, unconfirmed=frozenset({"email"}))
        assert await moving.reason(doubted) == "email_unconfirmed_in_source"
        assert await moving.reason(moving.csv(bare)) is None


class TestTwo:
    @pytest.mark.parametrize(
        ("same", "reason"),
        [
            ({"id": "x"}, "old_id_twice"),
            ({"email": "same@example.kg"}, "email_twice"),
            ({"phone": "+996700123123"}, "phone_twice"),
        ],
    )
    async def test_rows_that_are_one_are_a_conflict_for_both(
        self, moving: Moving, same: dict[str, str], reason: str
    ) -> None:
        source = moving.csv(someone() | same, someone(), someone() | same)
        assert await moving.reason(source, line=2) == reason
        assert await moving.reason(source, line=3) is None
        assert await moving.reason(source, line=4) == reason

    async def test_one_id_tag_in_two_rows(self, moving: Moving) -> None:
        source = moving.csv(someone(id_tags="AA;BB"), someone(id_tags="bb"))
        assert await moving.reason(source, 2) == await moving.reason(source, 3) == "id_tag_twice"

    async def test_a_row_that_can_not_be_moved_still_counts(self, moving: Moving) -> None:
        source = moving.csv(
            someone(email="same@example.kg", phone="none"), someone(email="same@example.kg")
        )
        assert await moving.reason(source, line=2) == "phone_invalid"
        assert await moving.reason(source, line=3) == "email_twice"

    async def test_email_of_one_user_and_phone_of_another(self, moving: Moving) -> None:
        row = someone()
        await moving.user(email=row["email"], **CONFIRMED)
        await moving.user(phone=row["phone"], **PHONE_CONFIRMED)
        assert await moving.reason(moving.csv(row)) == "contacts_of_two_users"

    async def test_id_of_one_user_and_email_of_another(self, moving: Moving) -> None:
        user_id = await moving.user(email="one@example.kg", **CONFIRMED)
        await moving.user(email="two@example.kg", **CONFIRMED)
        row = someone(user_id, email="two@example.kg")
        assert await moving.reason(moving.csv(row)) == "id_and_contact_of_two_users"

    async def test_two_rows_of_one_user(self, moving: Moving) -> None:
        first, second = someone(), someone()
        await moving.user(
            email=first["email"], phone=second["phone"], **CONFIRMED, **PHONE_CONFIRMED
        )
        source = moving.csv(first | {"phone": ""}, second | {"email": ""})
        assert await moving.reason(source, 2) == await moving.reason(source, 3)
        assert await moving.reason(source, 2) == "user_of_two_rows"

    async def test_a_number_that_has_a_new_owner(self, moving: Moving) -> None:
        row = someone()
        await moving.user(
            phone=row["phone"], email="new-owner@example.kg", **CONFIRMED, **PHONE_CONFIRMED
        )
        assert await moving.reason(moving.csv(row)) == "contacts_disagree"
        without_email = moving.csv(row | {"email": ""})
        assert await moving.reason(without_email) is None

    async def test_another_contact_that_is_only_typed_does_not_disagree(
        self, moving: Moving
    ) -> None:
        row = someone()
        user = await moving.user(
            email=row["email"], user_metadata={"phone": "+996700000001"}, **CONFIRMED
        )
        await moving.run(moving.csv(row))
        assert list((await moving.named()).values()) == [user]


class TestKnown:
    async def test_a_user_who_was_another_old_client(self, moving: Moving) -> None:
        row = someone("a")
        await moving.user(email=row["email"], **CONFIRMED)
        await moving.run(moving.csv(row))
        again = someone("b", email=row["email"])
        assert await moving.reason(moving.csv(again)) == "user_has_another_old_id"

    async def test_a_closed_client_stays_closed(self, moving: Moving) -> None:
        row, old = someone("a"), uuid4()
        user = await moving.user(email=row["email"], **CONFIRMED)
        await known(moving, user, status="closed")
        await known(moving, old, status="closed")
        source = moving.csv(row, someone(old))
        assert await moving.reason(source, 2) == await moving.reason(source, 3) == "client_closed"

    async def test_a_deleted_user_is_no_one(self, moving: Moving) -> None:
        user = await moving.user(email="gone@example.kg", **CONFIRMED)
        await moving.there.execute("update auth.users set deleted_at = now() where id = $1", user)
        assert await moving.reason(moving.csv(someone(user))) == "user_deleted"

    async def test_a_client_without_a_user_gets_one_when_nothing_speaks_against_it(
        self, moving: Moving
    ) -> None:
        same, other = uuid4(), uuid4()
        row = someone(same)
        await known(moving, same, email=row["email"])
        await known(moving, other, email="other@example.kg")
        source = moving.csv(row, someone(other))
        assert await moving.reason(source, 2) is None
        assert await moving.reason(source, 3) == "client_with_other_contacts"

    async def test_the_old_row_of_the_project_itself_does_not_speak_against_its_client(
        self, moving: Moving
    ) -> None:
        old = uuid4()
        row = someone(old)
        await profile(moving, old, email=row["email"], phone=row["phone"])
        done = await moving.run(moving.csv(row))
        assert done.done == 1
        assert await moving.named() == {str(old): old}

    async def test_an_id_tag_of_another_client(self, moving: Moving) -> None:
        await moving.run(moving.csv(someone("a", id_tags="AA")))
        linked = someone("c", id_tags="aa")
        await moving.user(email=linked["email"], **CONFIRMED)
        source = moving.csv(someone("b", id_tags="aa"))
        assert await moving.reason(source) == "id_tag_taken"
        assert await moving.reason(moving.csv(linked)) == "id_tag_taken"

    async def test_no_one_without_a_contact(self, moving: Moving) -> None:
        assert await moving.reason(moving.csv(someone(email="", phone=""))) == "no_contact"


class TestDecision:
    async def test_a_person_settles_a_conflict(self, moving: Moving) -> None:
        row = someone("old-1", balance="12.50", id_tags="AA")
        user = await moving.user(email=row["email"], **UNVERIFIED)
        source = moving.csv(row)
        assert (await moving.run(source)).conflicts == 1
        async with moving.db.transaction() as connection:
            await client_migration.decide(
                connection, "old-1", user, actor="Aizada", reason="came with a passport"
            )
        done = await moving.run(source)
        assert (done.done, done.conflicts) == (1, 0)
        assert await moving.named() == {"old-1": user}
        assert await moving.balance(user) == 1_250
        audited = await moving.owner.fetchval(
            "select reason from identity.audit where action = 'identity.decide'"
        )
        assert audited == "came with a passport"

    async def test_a_decision_for_no_one_is_none(self, moving: Moving) -> None:
        row = someone("old-1")
        await moving.user(email=row["email"], **UNVERIFIED)
        await moving.run(moving.csv(row))
        async with moving.db.transaction() as connection:
            await client_migration.decide(
                connection, "old-1", uuid4(), actor="Aizada", reason="guessed"
            )
        assert await moving.reason(moving.csv(row)) == "decided_user_missing"

    async def test_what_is_no_conflict_needs_no_decision(self, moving: Moving) -> None:
        async with moving.db.transaction() as connection:
            with pytest.raises(RowRefused, match="no run has met"):
                await client_migration.decide(connection, "x", uuid4(), actor="Aizada", reason="so")
            with pytest.raises(RowRefused, match="reason"):
                await client_migration.decide(connection, "x", uuid4(), actor="Aizada", reason=" ")

    async def test_two_old_clients_of_one_person_keep_both_balances_apart(
        self, moving: Moving
    ) -> None:
        first = someone("a", balance="10")
        user = await moving.user(email=first["email"], **CONFIRMED)
        await moving.run(moving.csv(first))
        second = someone("b", email=first["email"], balance="10")
        await moving.run(moving.csv(second))
        async with moving.db.transaction() as connection:
            await client_migration.decide(
                connection, "b", user, actor="Aizada", reason="same person"
            )
        done = await moving.run(moving.csv(second))
        assert (done.done, done.conflicts) == (0, 1)  # the same amount is not the same money
        assert await moving.balance(user) == 1_000
        assert await moving.named() == {"a": user}


def test_every_reason_has_its_words() -> None:
    folder = Path(client_migration.__file__).parent
    reasons: set[str] = set()
    for path in folder.glob("*.py"):
        text = path.read_text()
        for pattern in (
            r"NotMoved\(\s*\"(\w+)\"",
            r"bad\(\"(\w+)\"",
            r"reason = '(\w+)'",
            r"\"(\w+_twice)\"",
            r"why = \"(\w+)\"",
        ):
            reasons |= set(re.findall(pattern, text))
    assert len(reasons) >= 30
    assert reasons - set(REASONS) - {"moved_before"} == set()

"""`evpower sign-in` and `evpower sign-in-keys`: what an administrator does at a terminal."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from evpower.cli.doctor_sign_in import look_at_sign_in
from evpower.config import Settings
from evpower.foundation.db import Connection
from tests.cli.test_commands import GOOD, evpower

Run = Callable[..., subprocess.CompletedProcess[str]]
SECRET = "a sign-in secret of the tests, 32 bytes and more"
PHONE = "+996555123456"
WAITING = """
insert into identity.phone_reviews (phone, reason, claimants, opened_at, last_at)
values ($1, 'claim_with_money', $2, now(), now())
"""


@pytest.fixture
def run(tmp_path: Path, dsn: str) -> Run:
    env = {**GOOD, "EVPOWER_DATABASE_URL": dsn, "EVPOWER_SIGN_IN_SECRET": SECRET}

    def work(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return evpower(tmp_path, *words, env=env | more)

    return work


@pytest.fixture
async def claimant(owner: Connection, client_id: UUID) -> UUID:
    """A client that claims the phone, which waits for a decision."""
    await owner.execute(WAITING, PHONE, [client_id])
    return client_id


async def test_a_key_is_rotated_and_listed_without_its_private_half(
    run: Run, owner: Connection
) -> None:
    for _ in range(2):
        done = run("sign-in-keys", "rotate", "--operator", "aida")
        assert done.returncode == 0, done.stderr
    keys = json.loads(run("sign-in-keys", "list", "--json").stdout)
    assert [sorted(key["public"]) for key in keys] == [
        ["alg", "crv", "kid", "kty", "use", "x", "y"]
    ] * 2
    lines = run("sign-in-keys", "list").stdout.splitlines()
    assert ["signs" in line for line in lines] == [True, False]
    actors = await owner.fetch("select actor from identity.audit where action like 'signing_key%'")
    assert [row["actor"] for row in actors] == ["aida", "aida"]


async def test_after_a_leak_older_keys_are_revoked(run: Run) -> None:
    run("sign-in-keys", "rotate")
    run("sign-in-keys", "rotate", "--revoke-older")
    keys = json.loads(run("sign-in-keys", "list", "--json").stdout)
    assert [key["revoked_at"] is None for key in keys] == [True, False]


async def test_without_the_secret_no_key_is_made(run: Run) -> None:
    done = run("sign-in-keys", "rotate", EVPOWER_SIGN_IN_SECRET="")
    assert done.returncode == 1
    assert "EVPOWER_SIGN_IN_SECRET" in done.stderr


async def test_phones_that_wait_are_shown_and_decided(run: Run, claimant: UUID) -> None:
    [row] = json.loads(run("sign-in", "reviews", "--json").stdout)
    assert (row["phone"], row["claimants"]) == (PHONE, [str(claimant)])
    assert PHONE in run("sign-in", "reviews").stdout
    done = run("sign-in", "decide", PHONE, "--new-account", "--reason", "another person")
    assert done.returncode == 0, done.stderr
    assert run("sign-in", "reviews").stdout.strip() == "no phone waits for a decision"


@pytest.mark.parametrize("choice", [[], ["--new-account", "--owner", str(UUID(int=7))]])
@pytest.mark.usefixtures("claimant")
async def test_a_decision_names_one_owner(run: Run, choice: list[str]) -> None:
    done = run("sign-in", "decide", PHONE, *choice, "--reason", "why")
    assert done.returncode == 1
    assert "--owner" in done.stderr


async def test_an_operator_gets_a_phone_and_loses_it(run: Run, owner: Connection) -> None:
    user = str(uuid4())
    run("operators", "add", user, "Aida", "--role", "support")
    stored = "select phone from identity.operators"
    assert run("operators", "phone", user, "0555 123456").returncode == 0
    assert await owner.fetchval(stored) == PHONE
    assert run("operators", "phone", user).returncode == 0
    assert await owner.fetchval(stored) is None


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"EVPOWER_SIGN_IN_SENDER": "console"}, "EVPOWER_SIGN_IN_SENDER is console"),
        (
            {"EVPOWER_SIGN_IN_SENDER": "nikita", "EVPOWER_SIGN_IN_SECRET": ""},
            "EVPOWER_SIGN_IN_SECRET is missing",
        ),
        ({"EVPOWER_SIGN_IN_SENDER": "nikita"}, "EVPOWER_SMS_PASSWORD is missing"),
        ({"EVPOWER_OLD_TOKEN_SECRET": "short"}, "EVPOWER_OLD_TOKEN_SECRET is shorter"),
    ],
    ids=["console", "no secret", "no password", "short old secret"],
)
async def test_production_does_not_start_without_what_sign_in_needs(
    run: Run, settings: dict[str, str], text: str
) -> None:
    done = run("serve", **settings)
    assert done.returncode == 1
    assert text in done.stderr


async def test_each_line_of_doctor_is_bad_by_its_own_fault_alone(
    run: Run, owner: Connection, client_id: UUID, dsn: str
) -> None:
    def settings(secret: str = SECRET, sender: str = "console") -> Settings:
        return Settings.model_construct(
            database_url=SecretStr(dsn), sign_in_sender=sender, sign_in_secret=SecretStr(secret)
        )

    async def bad(of: Settings) -> dict[str, str]:
        lines = await look_at_sign_in(of)
        assert [line.name for line in lines] == ["signing key", "phones to decide"]
        return {line.name: line.detail + line.fix for line in lines if line.ok is not True}

    assert await look_at_sign_in(settings(sender="")) == []
    assert await bad(settings()) == {}  # no key yet
    assert run("sign-in-keys", "rotate").returncode == 0
    assert await bad(settings()) == {}
    other = await bad(settings("another secret of the tests, of 32 bytes and more"))
    assert list(other) == ["signing key"]
    assert "encrypted with another EVPOWER_SIGN_IN_SECRET" in other["signing key"]
    await owner.execute("update identity.signing_keys set created_at = now() - interval '366 days'")
    old = await bad(settings())
    assert list(old) == ["signing key"]
    assert "366 days old" in old["signing key"]
    assert "evpower sign-in-keys rotate" in old["signing key"]
    await owner.execute("update identity.signing_keys set created_at = now()")
    await owner.execute(WAITING, PHONE, [client_id])
    waiting = await bad(settings())
    assert list(waiting) == ["phones to decide"]
    assert "1 phone" in waiting["phones to decide"]
    assert "evpower sign-in decide" in waiting["phones to decide"]

"""Commands print one line a thing, and texts as they are, whatever reads them."""

import json
from collections.abc import Callable
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from evpower.cli.app import app

Run = Callable[..., Result]
NAMES = ["[/]", "[red]Aida[/blue]", "[bold]", ":bomb:", "more than " + "80 " * 27 + "."]


@pytest.fixture
def run(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("EVPOWER_ENV", "development")
    monkeypatch.setenv("EVPOWER_DATABASE_URL", dsn)
    return lambda *words: CliRunner().invoke(app, words)


def test_keys_are_listed_and_revoked_by_whatever_name_they_have(run: Run) -> None:
    for name in NAMES:
        assert run("keys", "create", name).exit_code == 0
    listed = run("keys", "list").stdout.splitlines()
    assert len(listed) == len(NAMES)
    for line, name in zip(listed, NAMES, strict=True):
        assert line.startswith(name)
        assert run("keys", "revoke", name).stdout == f"{name} is revoked\n"


def test_operators_are_listed_by_whatever_name_they_have(run: Run) -> None:
    for name in NAMES:
        added = run("operators", "add", str(uuid4()), name)
        assert added.stdout == f"{name} is an operator with the role viewer\n"
    listed = run("operators", "list").stdout.splitlines()
    assert [line.split("  ")[-1].strip() for line in listed] == NAMES


def test_keys_and_operators_are_listed_for_programs(run: Run) -> None:
    user = str(uuid4())
    assert run("keys", "create", "partner").exit_code == 0
    assert run("operators", "add", user, "Aida", "--role", "operator").exit_code == 0
    [key] = json.loads(run("keys", "list", "--json").stdout)
    assert (key["name"], key["revoked_at"], key["last_used_at"]) == ("partner", None, None)
    assert run("keys", "revoke", "partner").exit_code == 0
    [key] = json.loads(run("keys", "list", "--json").stdout)
    assert key["revoked"]
    assert key["revoked_at"].endswith("+00:00")
    listed = json.loads(run("operators", "list", "--json").stdout)
    assert listed == [{"user_id": user, "role": "operator", "name": "Aida"}]


def test_an_error_repeats_what_was_typed(run: Run) -> None:
    refused = run("operators", "add", str(uuid4()), "Aida", "--role", "[/]")
    assert refused.exit_code == 1
    assert "there is no role '[/]'" in refused.stderr

"""`evpower clients without-token`, and what `evpower doctor` says of the switches."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr, ValidationError

from evpower.cli.doctor_old_api import look_at_old_api
from evpower.config import Settings
from evpower.foundation.db import Connection
from tests.cli.test_commands import GOOD, evpower

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, dsn: str) -> Run:
    def work(*words: str) -> subprocess.CompletedProcess[str]:
        variables = {**GOOD, "EVPOWER_DATABASE_URL": dsn}
        return evpower(tmp_path, "clients", "without-token", *words, env=variables)

    return work


async def test_a_list_is_added_shown_and_shortened(
    run: Run, tmp_path: Path, owner: Connection, client_id: UUID
) -> None:
    ids = tmp_path / "seen.txt"
    ids.write_text(f"# proxy, 14 to 28 November\n{client_id}\n\n{client_id}  # twice\nunknown-1\n")
    added = run("add", str(ids), "--reason", "proxy log", "--operator", "aida", "--json")
    assert added.returncode == 1, "an id that no client has"
    assert json.loads(added.stdout) == {"new": 1, "known": 0, "unknown": ["unknown-1"]}
    [row] = json.loads(run("list", "--json").stdout)
    assert (row["client_id"], row["actor"]) == (str(client_id), "aida")
    again = run("add", str(ids), "--reason", "proxy log", "--json")
    assert json.loads(again.stdout)["known"] == 1
    assert run("remove", str(client_id), "--reason", "has the new app").returncode == 0
    assert json.loads(run("list", "--json").stdout) == []
    acts = await owner.fetch("select actor, action, reason from identity.audit order by id")
    assert [tuple(act)[1:] for act in acts] == [
        ("client.add_without_token", "proxy log"),
        ("client.remove_without_token", "has the new app"),
    ]


@pytest.mark.parametrize("words", [("add", "/nowhere"), ("remove", str(UUID(int=7)))])
def test_what_is_not_there_is_one_line(run: Run, words: tuple[str, str]) -> None:
    result = run(*words, "--reason", "x")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


class TestDoctor:
    def settings(self, dsn: str, mobile: str = "", v1: str = "") -> Settings:
        return Settings(
            _env_file=None, without_token_mobile=mobile, without_token_v1=v1,
            database_url=SecretStr(dsn),
        )  # fmt: skip

    async def test_off_is_said(self, dsn: str) -> None:
        [finding] = await look_at_old_api(self.settings(dsn))
        assert (finding.ok, finding.detail) == (True, "refused: every call needs a token")

    async def test_what_is_on_is_shown_with_the_length_of_the_list(
        self, dsn: str, owner: Connection, client_id: UUID
    ) -> None:
        settings = self.settings(dsn, "stop, read,start", "read")
        [finding] = await look_at_old_api(settings)
        assert finding.ok is False, "a start for listed clients, and none is listed"
        await owner.execute(
            "insert into identity.clients_without_token (client_id, actor) values ($1, 'test')",
            client_id,
        )
        [finding] = await look_at_old_api(settings)
        assert (finding.ok, finding.detail) == (
            True, "allowed: /api read, start, stop; /api/v1 read; 1 clients listed",
        )  # fmt: skip

    async def test_without_a_database_it_says_so(self) -> None:
        [finding] = await look_at_old_api(self.settings("", "read"))
        assert finding.ok is None

    @pytest.mark.parametrize("words", ["reads", "read;stop", "start,everything"])
    def test_a_word_that_is_no_operation_is_refused(self, words: str) -> None:
        with pytest.raises(ValidationError, match="is no operation"):
            self.settings("", words)


async def test_a_list_cannot_name_a_client_that_is_not_there(owner: Connection) -> None:
    from evpower import identity

    added = await identity.add_without_token(
        owner, [str(uuid4()), "x" * 300, ""], actor="test", reason="x"
    )
    assert (added.new, len(added.unknown)) == (0, 3)

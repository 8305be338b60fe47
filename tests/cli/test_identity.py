"""`evpower identity` refuses what makes no sense before it asks anybody."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from evpower.cli.app import app


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--source", "nowhere.csv"), "is no file"),
        (("--source", "postgres://x@h/x", "--table", "a;b"), "is no table"),
        (("--source", "FILE", "--map", "nothing=id"), "say field=column"),
        (("--source", "FILE", "--map", "old_id"), "say field=column"),
        (("--source", "FILE", "--unconfirmed", "name"), "--unconfirmed is email or phone"),
        (("--source", "FILE", "--trust-auth", "name"), "--trust-auth is email or phone"),
        (("--source", "[/red]old[bold].csv"), "[/red]old[bold].csv is no file"),
        (("--source", "FILE", "--map", "[/x]=id"), "say field=column"),
    ],
)
def test_a_source_that_makes_no_sense_is_one_line(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    file = tmp_path / "old.csv"
    file.write_text("id\n1\n")
    line = [str(file) if word == "FILE" else word for word in words]
    done = CliRunner().invoke(app, ["identity", "migrate", *line])
    assert done.exit_code == 1
    assert says in done.stderr


def test_an_address_of_another_kind_is_not_printed() -> None:
    line = ["identity", "migrate", "--source", "Postgres://me:s3cret@host/db"]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 1
    assert "s3cret" not in done.output


def test_every_step_has_its_command() -> None:
    done = CliRunner().invoke(app, ["identity", "--help"])
    for name in ("migrate", "status", "conflicts", "decide", "revert", "confirm"):
        assert name in done.stdout

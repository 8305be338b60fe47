"""`evpower identity` refuses what makes no sense before it asks anybody."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from evpower.cli.app import app
from evpower.cli.identity_report import print_troubles, tell
from evpower.client_migration import CsvSource, RunSummary, Trouble, TroubleCount


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


def test_each_row_stands_under_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    print_troubles(
        [TroubleCount("invalid", "no_contact", 1), TroubleCount("retained", "wallet_used", 2)],
        [
            Trouble(1, "a", "retained", "wallet_used", None),
            Trouble(2, "b", "invalid", "no_contact", None),
            Trouble(3, "c", "retained", "wallet_used", None),
        ],
    )
    assert capsys.readouterr().out.splitlines() == [
        "invalid 1: it has neither email nor phone, and Supabase Auth wants one",
        "    line 2  b: no_contact",
        "retained 2: its wallet was used",
        "    line 1  a: wallet_used",
        "    line 3  c: wallet_used",
    ]


@pytest.mark.parametrize(
    ("conflicts", "invalid", "text"),
    [
        (1, 0, "error: 1 row needs a decision\n"),
        (2, 1, "error: 2 rows need a decision, 1 row is invalid\n"),
        (0, 3, "error: 3 rows are invalid\n"),
    ],
)
def test_the_end_of_a_run_says_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], conflicts: int, invalid: int, text: str
) -> None:
    (tmp_path / "old.csv").write_text("id\n1\n")
    done = RunSummary(
        run=1, moved=0, done=0, failed=0, conflicts=conflicts, invalid=invalid, skipped=0
    )
    with pytest.raises(SystemExit):
        tell(CsvSource(tmp_path / "old.csv"), None, done, dry_run=False, as_json=False)
    assert text in capsys.readouterr().err


def test_every_step_has_its_command() -> None:
    done = CliRunner().invoke(app, ["identity", "--help"])
    for name in ("migrate", "status", "conflicts", "decide", "revert", "confirm"):
        assert name in done.stdout

"""The examples of docs/tariffs.md cost what is written there."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evpower.cli.app import app
from evpower.tariffs import check, read_tariff

PAGE = (Path(__file__).parents[2] / "docs" / "tariffs.md").read_text("utf-8")


def blocks(kind: str, fence: str) -> dict[str, str]:
    pairs = re.findall(rf"<!-- {kind}: ([a-z-]+) -->\n```{fence}\n(.*?)```", PAGE, re.DOTALL)
    return dict(pairs)


EXAMPLES, SAMPLES, COSTS = blocks("example", "json"), blocks("samples", "json"), blocks("cost", "")
[COMMANDS] = re.findall(r"<!-- commands -->\n```\n(.*?)```", PAGE, re.DOTALL)
QUOTES = re.findall(r"evpower tariff quote (([a-z-]+)\.json .*)", PAGE)


def test_every_example_has_a_quote() -> None:
    assert sorted(EXAMPLES) == sorted(COSTS) == sorted(name for _, name in QUOTES)
    assert len(EXAMPLES) == PAGE.count('"plan": ')


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_can_be_saved_without_a_warning(name: str) -> None:
    document = json.loads(EXAMPLES[name])
    assert document.pop("plan") == name
    assert check(read_tariff(document)) == []


@pytest.mark.parametrize(("words", "name"), QUOTES, ids=lambda text: text)
def test_a_quote_prints_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{name}.json").write_text(EXAMPLES[name])
    if name in SAMPLES:
        (tmp_path / "samples.json").write_text(SAMPLES[name])
    done = CliRunner().invoke(app, ["tariff", "quote", *shlex.split(words)])
    assert done.exit_code == 0, done.stderr
    assert done.stdout == COSTS[name]


def test_the_commands_run_as_they_are_written(tmp_path: Path, dsn: str) -> None:
    for name, text in EXAMPLES.items():
        (tmp_path / f"{name}.json").write_text(text)
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", COMMANDS],
        cwd=tmp_path,
        env=env | {"EVPOWER_DATABASE_URL": dsn},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing changed" not in done.stdout
    for line in (
        "saved: day-night  version 2  planned from 2036-01-31T18:00:00Z",
        "fast  version 1  valid from",
        "total 350.00 KGS",
    ):
        assert line in done.stdout

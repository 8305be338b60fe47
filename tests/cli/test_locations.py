"""`evpower location`, as an operator runs it."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from typer.testing import CliRunner, Result

from evpower.cli.app import app

Command = Callable[..., Result]


@pytest.fixture
def run(dsn: str) -> Command:
    """A command in a thread, as each runs an event loop of its own."""

    def work(*words: str) -> Result:
        env = {"EVPOWER_DATABASE_URL": dsn}
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(CliRunner().invoke, app, words, env=env).result()

    return work


def test_a_location_is_listed_and_changed(run: Command) -> None:
    assert "station add" in run("location", "list").stdout
    run("station", "add", "S1", "--location", "Mall", "--power-kw", "22", "--no-auth")
    [row] = json.loads(run("location", "list", "--json").stdout)
    place = ("--latitude", "42.8755", "--longitude", "74.5902")
    done = run("location", "change", "mall", "--name", "Bishkek Park", "--city", "Bishkek", *place)
    assert done.exit_code == 0, done.stderr
    shown = f"{row['id']}  Bishkek Park  Bishkek, KGZ  42.875500 74.590200  Asia/Bishkek\n"
    assert run("location", "list").stdout == shown


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("Mall",), "nothing to change"),
        (("Mall", "--latitude", "north"), "'north' is no number"),
        (("Mall", "--name", "X"), "there is no location"),
    ],
)
def test_what_can_not_be_is_said(run: Command, words: tuple[str, ...], why: str) -> None:
    done = run("location", "change", *words)
    assert done.exit_code == 1
    assert why in done.stderr

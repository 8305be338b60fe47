"""`evpower station`: what an operator does at a terminal."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from evpower import stations, tariffs
from evpower.cli.app import app
from evpower.foundation.db import Connection, Database

Command = Callable[..., Result]
MALL = ("--location", "Mall", "--power-kw", "22")


@pytest.fixture
def run(dsn: str) -> Command:
    """A command in a thread, as each runs an event loop of its own."""

    def invoke(*words: str) -> Result:
        env = {"EVPOWER_DATABASE_URL": dsn, "EVPOWER_PUBLIC_URL": "https://ocpp.example"}
        return CliRunner().invoke(app, ["station", *words], env=env)

    def work(*words: str) -> Result:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(invoke, *words).result()

    return work


def answer(done: Result) -> Any:
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_a_station_is_added_with_its_address_and_its_password_once(run: Command) -> None:
    added = answer(run("add", "EVP/1 [x]", *MALL, "--connectors", "2", "--json"))
    assert added["address"] == "wss://ocpp.example/ocpp/EVP%2F1%20%5Bx%5D"
    assert bytes.fromhex(added["password_hex"]).decode() == added["password"]
    shown = answer(run("show", "evp/1 [X]", "--json"))
    assert [row["number"] for row in shown["connectors"]] == [1, 2]
    assert (shown["id"], shown["no_auth"], shown["password_waits"]) == ("EVP/1 [x]", False, True)
    for text in (run("show", added["post_code"]).stdout, run("list").stdout, json.dumps(shown)):
        assert "EVP/1 [x]" in text
        assert added["password"] not in text


def test_without_authentication_there_is_no_password(run: Command) -> None:
    done = run("add", "S1", *MALL, "--no-auth", "--simulator")
    assert done.exit_code == 0
    assert "password " not in done.stdout
    shown = answer(run("show", "S1", "--json"))
    assert (shown["no_auth"], shown["simulated"], shown["has_password"]) == (True, True, False)


async def test_a_price_is_a_tariff_of_this_station(run: Command, db: Database) -> None:
    added = answer(
        await asyncio.to_thread(run, "add", "S1", *MALL, "--price-som", "13.50", "--json")
    )
    assert added["tariff"] == f"station-{added['post_code']}"
    async with db.connection() as connection:
        prices = [
            await tariffs.find_tariff(connection, tariffs.Place(station=station), datetime.now(UTC))
            for station in ("S1", "S2")
        ]
    assert prices[0] is not None
    assert prices[0].tariff.elements[0].prices[0][1].price_micro == 13_500_000
    assert prices[1] is None


async def test_an_unknown_station_is_listed_and_accepted(run: Command, db: Database) -> None:
    async with db.transaction() as connection:
        now = datetime.now(UTC)
        attempt = stations.UnknownStation("SN-1\x1b", "10.0.0.1", 1, now, now)
        await stations.record_attempts(connection, [attempt])
    [row] = answer(await asyncio.to_thread(run, "list", "--unknown", "--json"))
    assert (row["name"], row["attempts"], row["address"]) == ("SN-1?", 1, "10.0.0.1")
    assert row["reason"] == "station_not_found"
    assert answer(await asyncio.to_thread(run, "accept", "sn-1?", *MALL, "--json"))["id"] == "SN-1?"
    assert (
        "no unknown or refused station"
        in (await asyncio.to_thread(run, "list", "--unknown")).stdout
    )


def test_it_is_renamed_pinned_secured_and_retired(run: Command) -> None:
    first = answer(run("add", "S1", *MALL, "--json"))["password"]
    renamed = answer(run("rename", "S1", "S-NEW", "--json"))
    assert {"name": "S-NEW", "kind": "ocpp"} in renamed["names"]
    assert answer(run("pin", "s-new", "ocpp1.6", "--json"))["pinned_version"] == "ocpp1.6"
    assert answer(run("pin", "s-new", "none", "--json"))["pinned_version"] is None
    second = answer(run("secure", "s-new", "--json"))
    assert second["id"] == "S1"
    assert second["password"] != first
    assert "counts until it connects" in run("secure", "S1").stderr
    assert answer(run("retire", "S1", "--json"))["retired_at"] is not None
    assert answer(run("list", "--json")) == []
    assert [row["id"] for row in answer(run("list", "--retired", "--json"))] == ["S1"]
    assert answer(run("retire", "S1", "--undo", "--json"))["retired_at"] is None


@pytest.mark.parametrize("name", ["all.csv", "all.json"])
def test_an_export_is_imported_again_unchanged(run: Command, tmp_path: Path, name: str) -> None:
    for station in ("A", 'Б, "x"'):
        assert run("add", station, *MALL).exit_code == 0
    file = tmp_path / name
    assert run("export", str(file)).exit_code == 0
    done = answer(run("import", str(file), "--json"))
    assert done == {"added": [], "unchanged": ["A", 'Б, "x"'], "without_password": []}
    words = ("--json",) if name.endswith("json") else ()
    assert run("export", *words).stdout == file.read_text()


def test_a_bad_file_is_named_by_line_and_nothing_is_written(run: Command, tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    file.write_text("station,location_name,power_kw\nA,Mall,22\nB,Mall,x\nC,,22\n")
    done = run("import", str(file))
    assert done.exit_code == 1
    for line in ("line 3: power_kw must be a number", "line 4: the location has no name"):
        assert line in done.stderr
    refused = run("import", str(file), "--json")
    assert refused.exit_code == 1
    assert [row["where"] for row in json.loads(refused.stdout)["errors"]] == ["line 3", "line 4"]
    assert answer(run("list", "--json")) == []


def test_what_an_import_can_not_connect_is_said(run: Command, tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    file.write_text("station,location_name,power_kw,no_auth\nA,Mall,22,\nB,Mall,22,yes\n")
    done = run("import", str(file))
    assert "2 added, 0 there already" in done.stdout
    assert "without a password these can't connect: A" in done.stderr


async def test_the_audit_has_who_and_why(run: Command, owner: Connection) -> None:
    about = ("--operator", "aida", "--reason", "a new post")
    done = await asyncio.to_thread(run, "add", "S1", *MALL, *about)
    assert done.exit_code == 0
    row = await owner.fetchrow("select actor, action, subject, reason from identity.audit")
    assert row is not None
    assert tuple(row) == ("aida", "station.add", "S1", "a new post")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("add", "A", "--location", "Mall", "--power-kw", "many"), "power_kw must be a number"),
        (("add", "A", "--location", "Mall", "--power-kw", "0"), "its power must be above 0"),
        (("add", "A", *MALL, "--price-som", "much"), "amount"),
        (("add", "A", *MALL, "--standard", "TYPE2"), "there is no standard"),
        (("add", " ", *MALL), "is empty"),
        (("add", "A", "--location", "", "--power-kw", "22"), "the location has no name"),
        (("accept", "A", *MALL), "no unknown station 'A' tried to connect"),
        (("show", "A"), "there is no station 'A'"),
        (("rename", "A", "B"), "there is no station 'A'"),
        (("rename", "A", "B", "--kind", "post_code"), "there is no kind"),
        (("pin", "A", "ocpp1.5"), "there is no version"),
        (("secure", "A"), "there is no station 'A'"),
        (("retire", "A"), "there is no station 'A'"),
        (("list", "--location", "Park"), "there is no location 'Park'"),
        (("import", "/nowhere.csv"), "can't be read"),
        (("export", "/nowhere/all.csv"), "can't be written"),
    ],
)
def test_what_makes_no_sense_is_one_line(run: Command, words: tuple[str, ...], why: str) -> None:
    done = run(*words)
    assert done.exit_code == 1
    assert why in done.stderr
    assert isinstance(done.exception, SystemExit)


def test_an_empty_list_says_what_to_do(run: Command) -> None:
    assert "evpower station add ID" in run("list").stdout
    assert answer(run("list", "--json")) == []

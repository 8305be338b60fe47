"""`evpower tariff`: what an operator does at a terminal."""

import json
from pathlib import Path

import pytest

from evpower.cli.doctor_database import look_at_database
from evpower.foundation.db import Connection
from tests.cli.tariff_command import Command, answer, tariff_command, written

PLAN = {
    "plan": "day",
    "name": "Day [price]",
    "elements": [
        {"prices": {"energy_per_kwh": "10"}, "if": {"from": "22:00", "to": "06:00"}},
        {"prices": {"energy_per_kwh": 14, "flat": "5"}},
    ],
}


@pytest.fixture
def run(dsn: str) -> Command:
    return tariff_command(dsn)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path, PLAN)


def test_a_plan_is_saved_assigned_quoted_listed_and_shown(
    run: Command, file: Path, tmp_path: Path
) -> None:
    saved = answer(run("save", str(file), "--operator", "aida", "--json"))
    assert (saved["plan"], saved["version"], saved["state"]) == ("day", 1, "valid")
    assert (saved["is_new"], saved["warnings"], saved["actor"]) == (True, [], "aida")
    assert "nothing changed: day  version 1  valid from" in run("save", str(file)).stdout

    assigned = answer(run("assign", "day", "--connector", "EVP-001/1", "--json"))
    assert (assigned["scope"], assigned["scope_id"]) == ("connector", "EVP-001/1")
    assert "there is no station EVP-001 yet" in run("assign", "day", "--station", "EVP-001").stderr
    ended = run("assign", "--none", "--connector", "EVP-001/1", "--from", "2036-01-01T00:00")
    assert "connector EVP-001/1: no plan of its own from 2035-12-31T18:00:00Z" in ended.stdout
    assert run("assign", "day", "--everywhere").exit_code == 0

    priced = answer(
        run("quote", "day", "--energy", "2", "--minutes", "20", "--start", "2036-01-07T21:50",
            "--json")
    )  # fmt: skip
    assert (priced["plan"], priced["version"], priced["total"]) == ("day", 1, "29.00")
    assert priced["parts"] == [
        {"kind": "flat", "amount": "5.00", "element": 2, "price": "5"},
        {"kind": "energy", "amount": "10.00", "element": 1, "price": "10", "energy_kwh": "1"},
        {"kind": "energy", "amount": "14.00", "element": 2, "price": "14", "energy_kwh": "1"},
    ]
    assert priced["periods"][0] == {
        "start": "2036-01-07T15:50:00Z", "end": "2036-01-07T16:00:00Z", "kind": "charging",
        "energy_kwh": "1", "elements": {"energy": 2},
    }  # fmt: skip

    draft = written(tmp_path, PLAN | {"elements": [{"prices": {"energy_per_kwh": 16}}]})
    assert answer(run("save", str(draft), "--draft", "--json"))["state"] == "draft"
    listed = answer(run("list", "--json"))
    assert [(plan["version"], plan["state"]) for plan in listed["plans"]] == [
        (1, "valid"), (2, "draft"),
    ]  # fmt: skip
    assert [(row["scope"], row["plan"]) for row in listed["assignments"]] == [
        ("everything", "day"), ("station", "day"), ("connector", "day"), ("connector", None),
    ]  # fmt: skip
    assert [row["has_place"] for row in listed["assignments"]] == [True, False, False, True]
    lines = run("list").stdout
    assert ", but there is no such station" in lines
    assert "day  version 1  valid from" in lines
    assert "day  version 2  draft  Day [price]" in lines
    assert answer(run("quote", "day", "--energy", "1", "--version", "2", "--json"))["total"] == (
        "16.00"
    )

    begins = ("--from", "2036-01-01T00:00+06:00", "--json")
    active = answer(run("activate", "day", "2", *begins))
    assert (active["state"], active["valid_from"]) == ("planned", "2035-12-31T18:00:00Z")
    at = ("--energy", "1", "--start", "2036-01-01T00:00", "--json")
    assert answer(run("quote", "day", *at))["version"] == 2

    shown = answer(run("show", "day", "--version", "1", "--json"))
    assert [version["version"] for version in shown["versions"]] == [2, 1]
    printed = run("show", "day", "--version", "1")
    assert json.loads(printed.stdout) == shown["document"]
    assert "day  version 2  planned from" in printed.stderr
    again = written(tmp_path, printed.stdout, "again.json")
    assert answer(run("save", str(again), "--json"))["version"] == 3


async def test_the_audit_has_who_and_why(run: Command, file: Path, owner: Connection) -> None:
    about = ("--operator", "aida", "--reason", "new price list")
    assert run("save", str(file), *about).exit_code == 0
    row = await owner.fetchrow("select actor, action, subject, reason from identity.audit")
    assert row is not None
    assert tuple(row) == ("aida", "tariff.save", "day", "new price list")


def test_everything_that_is_wrong_in_a_file_is_printed(run: Command, tmp_path: Path) -> None:
    elements = [
        {"prices": {"energy_per_kwh": "1,5"}, "if": {"from": "22:00"}},
        {"prices": {"parking_per_hour": 5}},
    ]
    file = str(written(tmp_path, PLAN | {"elements": elements}))
    done = run("save", file)
    assert done.exit_code == 1
    for line in (
        "elements[1].prices.energy_per_kwh: must be a price",
        "elements[1].if.to: must be HH:MM; from and to go together (tariff_time_invalid)",
    ):
        assert line in done.stderr
    refused = run("save", file, "--json")
    assert refused.exit_code == 1
    assert [error["code"] for error in json.loads(refused.stdout)["errors"]] == [
        "tariff_price_invalid", "tariff_time_invalid",
    ]  # fmt: skip


def test_what_a_session_is_not_billed_for_is_neither_saved_nor_quoted(
    run: Command, tmp_path: Path
) -> None:
    prices = {"energy_per_kwh": 14, "reservation_per_hour": 5}
    file = str(written(tmp_path, PLAN | {"elements": [{"prices": prices}]}))
    why = "elements[1].prices.reservation_per_hour: is not billed by this version"
    for words, head in (
        (("save", file), "the tariff can't be saved:"),
        (("quote", file, "--energy", "1"), "the tariff can't be quoted:"),
    ):
        done = run(*words)
        assert done.exit_code == 1
        assert head in done.stderr
        assert why in done.stderr


def test_a_hole_is_refused_and_a_doubt_is_printed(run: Command, tmp_path: Path) -> None:
    holed = written(tmp_path, PLAN | {"elements": PLAN["elements"][:1]})
    assert (
        "energy_per_kwh: has no price for 06:00-22:00 (tariff_hole)"
        in run("save", str(holed)).stderr
    )
    cheap = written(tmp_path, PLAN | {"elements": [{"prices": {"energy_per_kwh": "0.14"}}]})
    done = run("save", str(cheap))
    assert done.exit_code == 0
    assert "warning: elements[1].prices.energy_per_kwh: is low for a kWh" in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "can't be read"),
        ("[]", "is no JSON object"),
        ('{"name": "x"}', "names no plan"),
        ('{"plan": "a", "plan": "b"}', "the member 'plan' occurs twice"),
        ("[" * 100_000, "can't be read"),
        (b"\xff".decode("latin-1"), "can't be read"),
    ],
)
def test_a_file_that_is_none_is_one_line(
    run: Command, tmp_path: Path, content: str, words: str
) -> None:
    done = run("save", str(written(tmp_path, content)))
    assert done.exit_code == 1
    assert words in done.stderr
    assert isinstance(done.exception, SystemExit)
    assert run("save", str(tmp_path / "none.json")).exit_code == 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("save", "FILE", "--draft", "--from", "2036-01-01"), "a draft does not begin"),
        (("save", "FILE", "--from", "2020-01-01T00:00"), "can't begin in the past"),
        (("save", "FILE", "--from", "tomorrow"), "is no ISO 8601 time"),
        (("assign", "day"), "one place is needed"),
        (("assign", "day", "--everywhere", "--station", "a"), "one place is needed"),
        (("assign", "--everywhere"), "either a plan or --none"),
        (("assign", "day", "--none", "--everywhere"), "either a plan or --none"),
        (("assign", "day", "--everywhere"), "there is no plan 'day'"),
        (("activate", "day", "1"), "no version 1"),
        (("show", "day"), "there is no plan 'day'"),
        (("quote", "day", "--energy", "1"), "there is no plan 'day'"),
        (("quote", "FILE"), "either an energy or samples"),
        (("quote", "FILE", "--energy", "1,5"), "is no energy"),
        (("quote", "FILE", "--energy", "1001"), "at most 1000 kWh"),
        (("quote", "FILE", "--energy", "1", "--start", "noon"), "is no ISO 8601 time"),
        (("quote", "FILE", "--samples", "FILE"), "a list of 1 to"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    run: Command, file: Path, words: tuple[str, ...], why: str
) -> None:
    done = run(*(str(file) if word == "FILE" else word for word in words))
    assert done.exit_code == 1
    assert why in done.stderr
    assert isinstance(done.exception, SystemExit)


@pytest.mark.parametrize(
    ("sample", "why"),
    [
        (7, "samples[1] must be an object"),
        ({"at": "2036-01-01T00:00", "kwh": 1}, "there is no field 'kwh'"),
        ({"at": "2036-01-01T00:00"}, "samples[1].energy_kwh must be"),
        ({"at": "2036-01-01T00:00", "energy_kwh": -1}, "samples[1].energy_kwh must be"),
        ({"at": 5, "energy_kwh": 1}, "samples[1].at is no ISO 8601 time"),
        ({"at": "2036-01-01T00:00", "energy_kwh": 1, "parked": 1}, "must be true or false"),
        ({"at": "2036-01-01T00:00", "energy_kwh": 1, "power_kw": "x"}, "samples[1].power_kw"),
    ],
)
def test_a_sample_that_is_wrong_is_named(
    run: Command, file: Path, tmp_path: Path, sample: object, why: str
) -> None:
    samples = written(tmp_path, [sample], "samples.json")
    done = run("quote", str(file), "--samples", str(samples))
    assert done.exit_code == 1
    assert why in done.stderr


def test_an_empty_list_says_what_to_do(run: Command) -> None:
    assert "evpower tariff save FILE" in run("list").stdout
    assert answer(run("list", "--json")) == {"plans": [], "assignments": []}


async def test_doctor_names_a_tariff_of_no_place_until_it_is_ended(
    run: Command, file: Path, dsn: str
) -> None:
    run("save", str(file))
    answer(run("assign", "day", "--station", "EVP-009", "--json"))
    name = "tariffs of no place"
    [listed] = [finding for finding in await look_at_database(dsn) if finding.name == name]
    assert listed.detail == "1: station EVP-009 (evpower tariff assign --none ends one)"
    ended = run("assign", "--none", "--station", "EVP-009")
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert name not in {finding.name for finding in await look_at_database(dsn)}

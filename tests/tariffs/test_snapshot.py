"""What a session stores can be read for as long as its bill may be asked about."""

import json
from pathlib import Path
from typing import Any

import pytest

from evpower.foundation.errors import Invalid
from evpower.tariffs import (
    InvalidTariff,
    Sample,
    Snapshot,
    price,
    read_snapshot,
    read_tally,
    write_snapshot,
)
from evpower.tariffs.snapshot import NEWEST_FORMAT
from tests.tariffs.examples import START, after, tariff

STORED = Path(__file__).parent / "snapshots"


@pytest.mark.parametrize("file", sorted(STORED.glob("*.json")), ids=lambda path: path.name)
def test_a_snapshot_of_any_format_is_priced_as_on_its_day(file: Path) -> None:
    """One file a format; none of them is ever written anew."""
    stored = json.loads(file.read_text("utf-8"))
    snapshot = read_snapshot(stored["snapshot"])
    samples = [
        Sample(after(minute), wh, current_ma=current_ma)
        for minute, wh, current_ma in stored["samples"]
    ]
    assert price(snapshot.tariff, START, samples).cost.total_minor == stored["total_minor"]


def test_every_format_has_its_file() -> None:
    assert len(list(STORED.glob("*.json"))) == NEWEST_FORMAT


def test_an_older_format_goes_through_each_later_step() -> None:
    """As they will be: format 2 renames a member, format 3 gives it another form."""

    def rename(document: dict[str, Any]) -> dict[str, Any]:
        rest = {name: value for name, value in document.items() if name != "plan"}
        return rest | {"code": document["plan"]}

    def reform(document: dict[str, Any]) -> dict[str, Any]:
        rest = {name: value for name, value in document.items() if name != "code"}
        return rest | {"plan": document["code"].upper()}

    stored = write_snapshot(Snapshot("a", 1, tariff({"energy_per_kwh": 14})))
    assert read_snapshot(stored, steps=(rename, reform)).plan == "A"
    assert stored["plan"] == "a"
    second = rename(stored) | {"format": 2}
    assert read_snapshot(second, steps=(rename, reform)).plan == "A"
    third = reform(second) | {"format": 3}
    assert read_snapshot(third, steps=(rename, reform)).plan == "A"


@pytest.mark.parametrize("number", [0, NEWEST_FORMAT + 1, None, "1", -1])
def test_an_unknown_format_is_refused(number: object) -> None:
    stored = write_snapshot(Snapshot("a", 1, tariff({"energy_per_kwh": 14}))) | {"format": number}
    with pytest.raises(Invalid) as error:
        read_snapshot(stored)
    assert error.value.code == "tariff_snapshot_unknown"


def test_a_snapshot_may_have_holes_and_what_is_not_sold() -> None:
    holed = tariff({"parking_per_hour": 14, "if": {"from_kw": 50}})
    assert read_snapshot(write_snapshot(Snapshot("a", 1, holed))).tariff == holed


def test_a_damaged_snapshot_is_refused() -> None:
    stored = write_snapshot(Snapshot("a", 1, tariff({"energy_per_kwh": 14})))
    with pytest.raises(InvalidTariff):
        read_snapshot({name: stored[name] for name in stored if name != "elements"})
    with pytest.raises(Invalid):
        read_snapshot({name: stored[name] for name in stored if name != "plan"})


def test_a_tally_of_another_format_is_refused() -> None:
    with pytest.raises(Invalid):
        read_tally({"format": 2})

"""What a station answers to GetConfiguration, compared with what is wanted."""

from typing import Any

import pytest

from evpower.stations import USUAL_PROFILE, SetupKey
from evpower.stations.setup_keys import compare_keys


def compared(*keys: dict[str, Any], has_dc: bool = False) -> dict[str, SetupKey]:
    listed = compare_keys({"configurationKey": list(keys)}, USUAL_PROFILE, has_dc=has_dc)
    return {key.key: key for key in listed}


def test_a_state_of_charge_is_asked_for_at_dc_only() -> None:
    key = {"key": "MeterValuesSampledData", "value": ""}
    assert "SoC" in (compared(key, has_dc=True)["MeterValuesSampledData"].wanted or "")
    assert "SoC" not in (compared(key)["MeterValuesSampledData"].wanted or "")


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ("30", "as_wanted"), ("10", "as_wanted"), (" 15 ", "as_wanted"), ("15.0", "as_wanted"),
        ("31", "to_write"), ("0", "to_write"), ("", "to_write"), (None, "to_write"),
        ("often", "to_write"), ("9" * 400, "to_write"), ([], "to_write"),
    ],
)  # fmt: skip
def test_an_interval_is_at_most_what_is_wanted(value: object, outcome: str) -> None:
    key = {"key": "MeterValueSampleInterval", "value": value}
    assert compared(key)["MeterValueSampleInterval"].outcome == outcome


@pytest.mark.parametrize("readonly", [True, "true", "1", 1])
def test_a_read_only_key_is_not_written(readonly: object) -> None:
    key = {"key": "LocalPreAuthorize", "value": "true", "readonly": readonly}
    assert compared(key)["LocalPreAuthorize"].outcome == "read_only"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({}, id="empty"),
        pytest.param({"configurationKey": None}, id="null"),
        pytest.param({"configurationKey": "x"}, id="text"),
        pytest.param({"configurationKey": [None, 1, {}, {"key": 1}, {"key": " "}]}, id="no-keys"),
    ],
)
def test_an_answer_without_keys_has_nothing_to_write(answer: dict[str, Any]) -> None:
    keys = compare_keys(answer, USUAL_PROFILE, has_dc=True)
    assert {key.outcome for key in keys} == {"absent"}


def test_one_key_in_place_of_the_list_is_read() -> None:
    answer = {"configurationKey": {"key": "LocalPreAuthorize", "value": "true"}}
    keys = compare_keys(answer, USUAL_PROFILE, has_dc=True)
    assert [key.key for key in keys if key.outcome == "to_write"] == ["LocalPreAuthorize"]


def test_a_station_with_thousands_of_keys_fills_no_table() -> None:
    keys = [{"key": f"AutoStart{number}", "value": "x" * 10_000} for number in range(6_000)]
    listed = compared(*keys, {"key": "LocalPreAuthorize", "value": "true"})
    assert len(listed) == 100
    assert all(len(key.actual or "") <= 500 for key in listed.values())
    assert listed["LocalPreAuthorize"].outcome == "to_write"

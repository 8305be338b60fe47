"""What drivers read."""

from typing import Any, get_args
from uuid import UUID

import pytest

from evpower.api import sentence
from evpower.push.model import PushEvent, PushLanguage, PushMessage
from evpower.push.texts import text_of
from tests.charging.place import NOON

FACTS: dict[str, Any] = {
    "station_id": "EVP-1", "connector_id": 2, "location": "Mall", "state": "settled",
    "energy_wh": 12_345, "cost_minor": 16_666, "held_minor": 20_000, "limit_energy_wh": 15_000,
    "limit_amount_minor": 50_000, "end_reason": "remote",
}  # fmt: skip


def message(event: PushEvent, language: PushLanguage = "en", **facts: Any) -> PushMessage:
    return PushMessage(
        1, UUID(int=1), event, {**FACTS, **facts}, NOON, 1, 1, "https://a.example/1", "a.example",
        None, None, language,
    )  # fmt: skip


@pytest.mark.parametrize("event", get_args(PushEvent))
@pytest.mark.parametrize("language", get_args(PushLanguage))
def test_every_event_has_its_text_in_every_language(
    event: PushEvent, language: PushLanguage
) -> None:
    title, body = text_of(message(event, language, start_failure="station_refused"), sentence)
    assert title
    assert body
    assert "{" not in body
    assert "None" not in body


@pytest.mark.parametrize(
    ("event", "facts", "body"),
    [
        ("started", {}, "Mall, EVP-1/2."),
        ("started", {"location": None}, "EVP-1/2."),
        ("limit_near", {}, "12.35 kWh for 166.66 som. The limit: 15.00 kWh, 500.00 som."),
        ("hold_near", {}, "166.66 of 200.00 som are used. Top up, or charging will stop."),
        ("stopped", {}, "12.35 kWh, 166.66 som. Charging was stopped."),
        ("stopped", {"is_quarantined": True}, None),
        ("start_failed", {"start_failure": "not_plugged_in"}, None),
        ("start_failed", {"start_failure": "a word without a text", "state": "failed"}, None),
    ],
)
def test_texts_say_what_happened(event: PushEvent, facts: dict[str, Any], body: str | None) -> None:
    text = text_of(message(event, **facts), sentence).body
    if body is not None:
        assert text == body
    elif event == "stopped":
        assert "being checked" in text
    else:
        assert text.startswith("Mall, EVP-1/2. ")
        assert text.endswith("Nothing was charged.")


@pytest.mark.parametrize(
    ("energy_wh", "shown"),
    [
        (0, "0.00"),
        (4, "0.00"),
        (5, "0.01"),
        (1_005, "1.01"),
        (1_325, "1.33"),
        (12_345, "12.35"),
        (1_324, "1.32"),
    ],
)
def test_energy_is_rounded_half_up_as_decimals(energy_wh: int, shown: str) -> None:
    body = text_of(message("stopped", energy_wh=energy_wh), sentence).body
    assert body.startswith(f"{shown} kWh, ")


def test_numbers_are_written_as_the_language_writes_them() -> None:
    assert text_of(message("stopped", "ru"), sentence).body.startswith("12,35 кВт·ч, 166,66 сом.")

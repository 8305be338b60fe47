"""Each setting EVPOWER_CHARGING_* changes the rule of its name, and no other."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest

from evpower.charging.rules import DEFAULT_RULES, configured_rules
from evpower.config import Settings

# Of the sockets and of commands, not of charging's own rules.
OTHERS = {
    "charging_first_frame_wait_s",
    "charging_settle_after_connect_s",
    "charging_command_reply_s",
}
NAMES = sorted({name for name in Settings.model_fields if name.startswith("charging_")} - OTHERS)


def rules(**values: Any) -> dict[str, Any]:
    return asdict(configured_rules(Settings(**values)))


def test_without_settings_the_defaults_count() -> None:
    assert rules() == asdict(DEFAULT_RULES)
    assert len(NAMES) == len(rules()), "each rule is a setting"


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_changes_the_rule_of_its_name(name: str) -> None:
    rule = name.removeprefix("charging_")
    changed: dict[str, Any] = {rule.removesuffix("_s"): timedelta(seconds=77)}
    if rule.endswith("_som"):
        changed = {rule.removesuffix("_som") + "_minor": 7_700}
    assert rules(**{name: 77}) == rules() | changed

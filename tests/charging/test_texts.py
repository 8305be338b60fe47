"""Every reason why a session did not start, was stopped or ended has a text in each language."""

from typing import get_args

import pytest

from evpower.api.messages import LANGUAGES
from evpower.charging.model import StopReason
from evpower.charging.unstarted import StartFailure

REFUSALS = (
    "client_blocked", "client_deleted", "station_offline", "connector_not_found",
    "connector_occupied", "unplug_first", "session_already_active", "insufficient_balance",
    "zero_balance", "amount_exceeds_balance", "tariff_missing", "station_unavailable",
)  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_has_a_text(language: str) -> None:
    codes = {
        *(f"failed_{failure}" for failure in get_args(StartFailure)),
        *(f"ended_{reason}" for reason in get_args(StopReason)),
        *REFUSALS,
    }
    assert codes - set(LANGUAGES[language]) == set()

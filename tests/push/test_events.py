"""Which events are true of which session."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from evpower.push.events import events_of, is_done, messages_of
from evpower.push.model import SessionFacts
from tests.charging.place import NOON

CHARGING = SessionFacts(
    session_id=UUID(int=1), client_id=UUID(int=2), station_id="S1", connector_id=1, location="Mall",
    state="charging", start_failure=None, end_reason=None, is_quarantined=False,
    is_station_lost=False, energy_wh=1_000, cost_minor=1_200, limit_energy_wh=None,
    limit_amount_minor=None, held_minor=20_000, updated_at=NOON,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "events"),
    [
        ({"state": "requested"}, []),
        ({"state": "starting"}, []),
        ({}, ["started"]),
        ({"cost_minor": 17_999}, ["started"]),
        ({"cost_minor": 18_000}, ["started", "hold_near"]),
        ({"limit_energy_wh": 1_250}, ["started", "limit_near"]),
        ({"limit_energy_wh": 1_251}, ["started"]),
        ({"limit_amount_minor": 1_500}, ["started", "limit_near"]),
        ({"limit_amount_minor": 1_501, "limit_energy_wh": 1_250}, ["started", "limit_near"]),
        # The hold of a limit is the limit, or its estimate: no second message.
        ({"limit_amount_minor": 20_000, "cost_minor": 19_000}, ["started", "limit_near"]),
        ({"limit_energy_wh": 100_000, "cost_minor": 19_000}, ["started"]),
        ({"held_minor": None, "cost_minor": 19_000}, ["started"]),
        ({"is_station_lost": True}, ["started", "station_lost"]),
        ({"state": "stopping", "is_station_lost": True, "cost_minor": 19_000}, ["started"]),
        ({"state": "finished"}, []),
        ({"state": "settled", "end_reason": "remote"}, ["stopped"]),
        ({"state": "expired", "start_failure": "not_plugged_in"}, ["start_failed"]),
        ({"state": "refused", "start_failure": "station_refused"}, ["start_failed"]),
        ({"state": "failed", "start_failure": "connector_taken"}, ["start_failed"]),
        ({"state": "cancelled", "start_failure": "cancelled_by_operator"}, ["start_failed"]),
        ({"state": "cancelled", "start_failure": "cancelled_by_driver"}, []),
    ],
)
def test_events_follow_from_the_stored_facts(changed: dict[str, Any], events: list[str]) -> None:
    assert events_of(replace(CHARGING, **changed)) == events


def test_an_event_is_written_once() -> None:
    facts = replace(CHARGING, is_station_lost=True, events=["started"])
    assert [message.event for message in messages_of(facts)] == ["station_lost"]


@pytest.mark.parametrize(
    ("state", "hours"), [("settled", 0), ("expired", 24), ("refused", 30), ("cancelled", 24)]
)
def test_a_session_is_watched_until_no_message_can_follow(state: Any, hours: int) -> None:
    assert is_done(replace(CHARGING, state=state), timedelta(hours=hours))


@pytest.mark.parametrize(("state", "hours"), [("expired", 23), ("charging", 99), ("finished", 99)])
def test_a_session_is_watched_while_one_can(state: Any, hours: int) -> None:
    assert not is_done(replace(CHARGING, state=state), timedelta(hours=hours))

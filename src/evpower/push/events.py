"""Which messages follow from what is stored of a session."""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

from evpower.push.model import NewMessage, PushEvent, SessionFacts

_LIMIT_PERCENT: Final = 80  # of the energy or money that the driver chose
# Of a hold that could not grow: it grows by itself from 80 % on while the balance has more.
_HOLD_PERCENT: Final = 90
_ALL_PERCENT: Final = 100
_NOT_CHARGING: Final = frozenset({"expired", "refused", "cancelled", "failed"})
_CHARGING: Final = frozenset({"charging", "stopping"})
# A start that comes late may still make it a charge.
_AFTER_FAILURE: Final = timedelta(hours=24)
_NEWS: Final = timedelta(hours=24)
# The driver did it, and has read the answer.
_OWN: Final = frozenset({"cancelled_by_driver"})
LIVES: Final[Mapping[PushEvent, timedelta]] = MappingProxyType({
    "started": timedelta(minutes=15),
    "start_failed": timedelta(minutes=30),
    "limit_near": timedelta(minutes=15),
    "hold_near": timedelta(minutes=15),
    "station_lost": timedelta(hours=2),
    "stopped": timedelta(hours=24),
})  # fmt: skip


def events_of(facts: SessionFacts) -> list[PushEvent]:
    """Returns what is true of a session now, in the order in which it came to be."""
    if facts.state in _NOT_CHARGING:
        return [] if facts.start_failure in _OWN else ["start_failed"]
    if facts.state == "settled":
        return ["stopped"]
    if facts.state not in _CHARGING:
        return []
    events: list[PushEvent] = ["started"]
    if facts.state == "charging":
        if _is_limit_near(facts):
            events.append("limit_near")
        elif _is_hold_near(facts):
            events.append("hold_near")
        if facts.is_station_lost:
            events.append("station_lost")
    return events


def messages_of(facts: SessionFacts) -> list[NewMessage]:
    """Returns the messages that are true now and were not written before."""
    return [
        NewMessage(facts.session_id, facts.client_id, event, _text_facts(facts), LIVES[event])
        for event in events_of(facts)
        if event not in facts.events
    ]


def is_done(facts: SessionFacts, age: timedelta) -> bool:
    """Returns whether no further message can follow; `age`: since the session changed last."""
    return facts.state == "settled" or (facts.state in _NOT_CHARGING and age >= _AFTER_FAILURE)


def is_news(facts: SessionFacts, age: timedelta) -> bool:
    """Returns whether a message about it is worth sending: not of what ended a day ago."""
    return facts.state in _CHARGING or age < _NEWS


def _is_limit_near(facts: SessionFacts) -> bool:
    return _has_used(facts.energy_wh, facts.limit_energy_wh, _LIMIT_PERCENT) or _has_used(
        facts.cost_minor, facts.limit_amount_minor, _LIMIT_PERCENT
    )


def _is_hold_near(facts: SessionFacts) -> bool:
    """Returns whether a session that runs on its hold has nearly used it."""
    has_limit = facts.limit_energy_wh is not None or facts.limit_amount_minor is not None
    return not has_limit and _has_used(facts.cost_minor, facts.held_minor, _HOLD_PERCENT)


def _has_used(amount: int, limit: int | None, percent: int) -> bool:
    return bool(limit) and amount * _ALL_PERCENT >= (limit or 0) * percent


def _text_facts(facts: SessionFacts) -> dict[str, Any]:
    """Returns what the texts are made of."""
    known = {
        "station_id": facts.station_id,
        "connector_id": facts.connector_id,
        "location": facts.location,
        "state": facts.state,
        "energy_wh": facts.energy_wh,
        "cost_minor": facts.cost_minor,
        "limit_energy_wh": facts.limit_energy_wh,
        "limit_amount_minor": facts.limit_amount_minor,
        "held_minor": facts.held_minor,
        "start_failure": facts.start_failure,
        "end_reason": facts.end_reason,
        "is_quarantined": facts.is_quarantined or None,
    }
    return {name: value for name, value in known.items() if value is not None}

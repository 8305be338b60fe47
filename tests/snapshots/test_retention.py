"""The documented retention is that of the code."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from evpower.alerts import upkeep as alerts_upkeep
from evpower.charging import jobs as charging_jobs
from evpower.charging import partitions
from evpower.config import Settings
from evpower.foundation import idempotency, loop_rounds
from evpower.identity import jobs as identity_jobs
from evpower.identity.sign_in import upkeep as sign_in_upkeep
from evpower.ocpp import store as ocpp_store
from evpower.payments import jobs as payment_jobs
from evpower.push import upkeep as push_upkeep
from evpower.stations import jobs as station_jobs
from evpower.sync.inbound import pull
from evpower.sync.reconciliation import scheduler
from evpower.sync.webhook import receive

PAGE: Final = Path(__file__).parents[2] / "docs" / "deploy.md"
HEADING: Final = "## What is kept, and how long"
FRAME_DAYS: Final = Settings.model_fields["ocpp_keep_frames_days"].default
RETENTIONS: Final = {
    "meter values of a day, in a partition of its own": timedelta(days=partitions.KEEP_DAYS),
    "starts that could not be handled: the number that the station was answered": (
        charging_jobs.UNHANDLED_STARTS_STAY
    ),
    "frames of a day, both ways": timedelta(days=FRAME_DAYS),
    "answers to stations, by which a repeated message is known": ocpp_store.ANSWERS_STAY,
    "statuses and connections of stations": station_jobs.RETENTION,
    "messages of alerts that were sent or given up": alerts_upkeep.KEEP_MESSAGES,
    "events of no payment of ours (`unknown_payment`)": payment_jobs.UNKNOWN_EVENTS_RETENTION,
    "registrations that ended: email, phone, name": identity_jobs.RETENTION,
    "codes and tries of signing in by phone": sign_in_upkeep.CODES_STAY,
    "addresses that signed in": sign_in_upkeep.ADDRESSES_STAY,
    "refresh tokens, after their end": sign_in_upkeep.TOKENS_STAY,
    "push messages": push_upkeep.KEEP_MESSAGES,
    "sessions that push messages follow, after their end": push_upkeep.KEEP_SESSIONS,
    "devices that were not registered again": push_upkeep.KEEP_DEVICES,
    "stored responses to an `Idempotency-Key`": idempotency.KEPT_FOR,
    "notifications of Supabase (`sync.inbox`)": receive.RETENTION,
    "finished reconciliations and their drift": timedelta(days=scheduler.KEEP_DAYS),
    "applied changes in Supabase": timedelta(days=pull.KEEP_DAYS),
    "rounds of the background loops": timedelta(seconds=loop_rounds.KEEP_S),
}


def documented() -> dict[str, str]:
    """What is kept, and for how long, as the page says."""
    [_, section] = PAGE.read_text().split(HEADING)
    return dict(
        re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", section.split("\n## ")[0], re.MULTILINE)
    )


@pytest.mark.parametrize("rows", RETENTIONS)
def test_the_page_says_how_long(rows: str) -> None:
    days, rest = divmod(RETENTIONS[rows], timedelta(days=1))
    written = documented()[rows]
    if rest:
        assert re.match(rf"({RETENTIONS[rows] // timedelta(hours=1)} hours|an hour)\b", written)
    else:
        assert re.match(rf"({days} days|{24 * days} hours)\b", written)

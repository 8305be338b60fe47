"""The module of the push messages: its routes, the writer, the delivery, its gauges."""

from datetime import timedelta
from typing import Final, get_args

from evpower.config import Settings
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.language import ChooseLanguage, Sentence
from evpower.foundation.module import Job, Module, Shared
from evpower.identity import Access
from evpower.push import metrics
from evpower.push.delivery import PushDelivery
from evpower.push.derive import MessageWriter
from evpower.push.keys import PushSettings, push_settings
from evpower.push.model import DeviceKind
from evpower.push.store_devices import push_states
from evpower.push.upkeep import upkeep_loop

_DAY: Final = timedelta(days=1)


def module(
    settings: Settings,
    shared: Shared,
    *,
    access: Access,
    sentence: Sentence,
    choose_language: ChooseLanguage,
) -> Module:
    """Returns the slice. Raises ValueError for unusable settings.

    `sentence` writes the sentence of a session's code in a language.
    """
    from evpower.push.endpoints import PLAIN_ERRORS, PushCalls, push_router

    db, clock = shared.db, shared.clock
    configured = push_settings(settings)
    calls = PushCalls(db, access, configured, sentence, choose_language, clock)
    return Module(
        "push",
        routers=[push_router(calls)],
        jobs=[
            Job(lambda: upkeep_loop(db, clock)),
            *([] if configured is None else _sending(shared, configured, sentence)),
        ],
        collectors=[lambda: measure(db, clock)],
        plain_errors=PLAIN_ERRORS,
    )


def _sending(shared: Shared, configured: PushSettings, sentence: Sentence) -> list[Job]:
    from evpower.push.web_push import WebPush

    db, clock = shared.db, shared.clock
    return [
        Job(lambda: MessageWriter(db, configured.keys.public, clock).loop()),
        Job(
            lambda: PushDelivery(
                db, WebPush(shared.http, configured, sentence, clock), clock
            ).loop()
        ),
    ]


async def measure(db: Database, clock: Clock) -> None:
    """Refreshes the gauges."""
    now = clock()
    async with db.connection() as connection:
        states = await push_states(connection, get_args(DeviceKind), now, _DAY)
    for state in states:
        age_s = 0.0 if state.oldest_at is None else (now - state.oldest_at).total_seconds()
        metrics.DEVICES.labels(state.kind).set(state.devices)
        metrics.WAITING.labels(state.kind).set(state.waiting)
        metrics.OLDEST_SECONDS.labels(state.kind).set(max(age_s, 0.0))

"""Builds the slice: its route and jobs."""

from evpower.config import Settings
from evpower.foundation.language import ChooseLanguage, Sentence
from evpower.foundation.module import Job, Module, Shared
from evpower.foundation.roles import SERVING
from evpower.identity import Access
from evpower.realtime.hub import Hub


def module(
    settings: Settings,
    shared: Shared,
    *,
    access: Access,
    sentence: Sentence,
    choose_language: ChooseLanguage,
) -> Module:
    """Returns the slice; `sentence` writes the message of a session in the app's language."""
    from evpower.realtime.endpoints import MAX_MESSAGE_BYTES, router

    hub = Hub(shared.db, shared.bus, settings, shared.clock, sentence, choose_language)
    return Module(
        "realtime",
        routers=[router(access, hub, settings)],
        socket_message_bytes=MAX_MESSAGE_BYTES,
        jobs=[
            Job(hub.read_loop, SERVING),
            Job(hub.timer_loop, SERVING),
            Job(hub.sweep_loop, SERVING),
        ],
    )

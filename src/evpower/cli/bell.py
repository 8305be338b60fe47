"""Tells running nodes what a command changed, where a bus between nodes is configured."""

import asyncio
from uuid import UUID

from evpower.cli.out import errors
from evpower.config import Settings
from evpower.foundation.bus import Topic
from evpower.foundation.nats_bus import announce


def ring(settings: Settings, topic: Topic, key: UUID) -> None:
    """Publish one change, after its commit. Best effort: the nodes also look by themselves."""
    urls = settings.nats_url.get_secret_value()
    if not urls:
        return
    try:
        trouble = asyncio.run(announce(urls, topic, key, prefix=settings.nats_prefix))
    except ValueError as error:
        trouble = str(error)
    if trouble:
        errors.print(f"the nodes see it a few seconds later: NATS: {trouble}", soft_wrap=True)

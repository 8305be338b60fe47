"""Nodes on a bus over a real NATS server, and what their listeners hear."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from prometheus_client import REGISTRY

from evpower.charging import SESSION_CHANGED
from evpower.devstack.nats import LocalNats
from evpower.foundation.bus import EVERYTHING, Topic
from evpower.foundation.bus.nats_bus import NatsBus, topics_by_code
from evpower.foundation.bus.nats_keys import NatsFiles
from evpower.identity import CLIENT_CHANGED
from evpower.sync.model import SUPABASE_CHANGED
from tests.waiting import WAIT_LIMIT_S, until

Change = tuple[Topic, UUID]
TOPICS = (CLIENT_CHANGED, SESSION_CHANGED, SUPABASE_CHANGED)
BY_CODE = topics_by_code(TOPICS)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"evpower_bus_{name}", labels) or 0.0


class Node:
    """A bus, what its listener heard, and how often it was to look at everything."""

    def __init__(self, url: str, prefix: str = "evpower", files: NatsFiles | None = None) -> None:
        self.bus = NatsBus(
            url, prefix=prefix, files=files or NatsFiles(), check_s=0.1, jitter=lambda: 0.0
        )
        self.bus.use_topics(TOPICS, missed=CLIENT_CHANGED)
        self.heard: list[Change] = []
        self.looks = 0
        self.bus.subscribe(self._hear)

    def _hear(self, topic: Topic, key: UUID) -> None:
        if (topic, key) == (CLIENT_CHANGED, EVERYTHING):
            self.looks += 1
        else:
            self.heard.append((topic, key))

    async def has_heard(self, *changes: Change) -> None:
        await until(lambda: set(changes) <= set(self.heard), f"never heard {changes[:3]}")


@asynccontextmanager
async def nodes(*urls: str, connected: bool = True) -> AsyncIterator[list[Node]]:
    made = [Node(url) for url in urls]
    try:
        for node in made:
            await node.bus.start()
        if connected:
            for node in made:
                assert await node.bus.wait_connected(WAIT_LIMIT_S)
        yield made
    finally:
        await asyncio.gather(*(node.bus.close() for node in made))


@asynccontextmanager
async def serving(server: LocalNats) -> AsyncIterator[LocalNats]:
    await server.start()
    try:
        yield server
    finally:
        await server.stop()

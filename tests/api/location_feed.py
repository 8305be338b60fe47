"""A message of the location feed, and the loop that sends its pings."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from evpower.api.legacy import LocationFeed

UPDATE = {
    "type": "location_status_update",
    "location_id": "7",
    "status": "available",
    "timestamp": "2026-01-01T00:00:00Z",
}


@contextlib.asynccontextmanager
async def pinging(feed: LocationFeed) -> AsyncIterator[None]:
    """Ping as a process does."""
    stop = asyncio.Event()
    running = asyncio.create_task(feed.loop().run(stop))
    yield
    stop.set()
    await running

"""Work done again and again until the process stops; what fails is logged and tried next time."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog

from evpower.foundation.errors import Unavailable

log: Final = structlog.get_logger()


async def every(
    period_s: float, name: str, work: Callable[[], Awaitable[object]], stop: asyncio.Event
) -> None:
    """Run `work` at once and then each `period_s` seconds. Nothing that fails ends it."""
    while not stop.is_set():
        try:
            await work()
        except Unavailable as error:
            log.warning("job_waits", job=name, code=error.code)
        except Exception:
            log.exception("job_failed", job=name)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), period_s)


async def revive(
    name: str, work: Callable[[], Awaitable[object]], stop: asyncio.Event, pause_s: float = 1.0
) -> None:
    """Run a loop that should end only by `stop`; one that dies is logged and begun anew."""
    while not stop.is_set():
        try:
            await work()
        except Exception:
            log.exception("loop_died", loop=name)
        if not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)

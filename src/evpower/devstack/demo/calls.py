"""What every part of the demo does: calls, commands, a step for each driver, waiting."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from evpower.devstack import children
from evpower.devstack.demo.driver import Driver
from evpower.devstack.local import LocalEvPower
from evpower.foundation.http import HttpClient
from evpower.foundation.json_reader import read_handwritten_json, read_object

_AT_ONCE: Final = 8
_WAIT_LIMIT_S: Final = 60.0  # on a busy machine; what does not arrive by then never will
_TIMEOUT_S: Final = 30.0


class DemoFailed(Exception):
    """The demo found something wrong; the text says what."""


class Calls:
    """The running stack as the demo uses it: by its HTTP API and its commands."""

    def __init__(self, evpower: LocalEvPower, console: Console, http: HttpClient) -> None:
        self.evpower = evpower
        self.console = console
        self.fetch = partial(http.fetch, "devstack", timeout_s=_TIMEOUT_S)

    async def api(
        self,
        method: str,
        path: str,
        driver: Driver | None = None,
        *,
        body: dict[str, Any] | None = None,
        service: bool = False,
        expect: int = 200,
    ) -> Any:  # noqa: ANN401 - JSON
        """Calls EvPower as a driver, as the devstack's service, or as no one. Returns the JSON."""
        key = driver.token if driver else self.evpower.urls().service_key if service else ""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = self.evpower.api_url + path
        answer = await self.fetch(method, url, json=body, headers=headers)
        require(
            answer.status_code == expect,
            f"{method} {path} answered {answer.status_code}: {answer.text[:300]}",
        )
        return answer.json()

    async def command(self, *words: str) -> dict[str, Any]:
        """Runs a command that prints an object as JSON."""
        return read_object(await self._run(*words))

    async def list_of(self, *words: str) -> list[dict[str, Any]]:
        """Runs a command that prints a list as JSON."""
        return cast("list[dict[str, Any]]", read_handwritten_json(await self._run(*words)))

    async def _run(self, *words: str) -> str:
        command = [sys.executable, "-m", "evpower", *words]
        done = await children.run(command, env=self.evpower.environment(), fold=False)
        require(
            bool(done.stdout.strip()), f"evpower {' '.join(words)} failed: {done.stderr[-400:]}"
        )
        return done.stdout

    async def each(
        self,
        drivers: Sequence[Driver],
        title: str,
        step: Callable[[Driver], Awaitable[None]],
        *,
        at_once: int = _AT_ONCE,
    ) -> None:
        """Does it for every driver, some at once, with a progress bar."""
        gate = asyncio.Semaphore(at_once)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        live = self.console.is_terminal
        with Progress(*columns, console=self.console, disable=not live) as bar:
            task = bar.add_task(title, total=len(drivers))

            async def run_step(driver: Driver) -> None:
                async with gate:
                    await step(driver)
                bar.advance(task)

            await run_all([run_step(driver) for driver in drivers])
        if not live:
            self.say(f"{title}: {len(drivers)} of {len(drivers)}")

    def say(self, text: str) -> None:
        """Prints a line."""
        self.console.print(text)


async def run_all(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Runs them together; the first that fails ends the others and is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def wait_until(done: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    """Waits until it is so. Raises DemoFailed with `otherwise`."""
    deadline = time.monotonic() + _WAIT_LIMIT_S
    while not await done():
        require(time.monotonic() < deadline, otherwise)
        await asyncio.sleep(0.1)


def require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as an assertion
    """Raises DemoFailed with `otherwise` unless it holds."""
    if not holds:
        raise DemoFailed(otherwise)

"""The parts of a stack: they start, show whether they run, and stop."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from evpower.devstack import children
from evpower.devstack.children import Child
from evpower.devstack.errors import DevstackError
from evpower.foundation.http import HttpClient, HttpError


class Service(Protocol):
    """A part of the stack; `stop` does nothing if it does not run."""

    @property
    def name(self) -> str:
        """Its name for users."""
        ...

    @property
    def running(self) -> bool:
        """False before the start, after the stop, and when it ended by itself."""
        ...

    async def start(self) -> None:
        """Returns once it is ready for use."""
        ...

    async def stop(self) -> None:
        """Ends it in good order."""
        ...


class ProcessService:
    """A child process that is ready once `ready_url` responds 200."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        ready_url: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        start_timeout_s: float = 60.0,
        stop_timeout_s: float = 10.0,
    ) -> None:
        self.name = name
        self.log = log
        self._argv = argv
        self._ready_url = ready_url
        self._env = env
        self._cwd = cwd
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._child: Child | None = None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._child is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._child.pid

    async def start(self) -> None:
        """Spawns it and waits until it responds; `DevstackError` quotes its last log lines."""
        if self.running:
            return
        child = children.spawn(self.name, self._argv, log=self.log, env=self._env, cwd=self._cwd)
        try:
            await self._wait_ready(child)
        except BaseException:
            child.kill()
            raise
        self._child = child

    async def stop(self) -> None:
        """Stops it, and kills it after the time-out."""
        child, self._child = self._child, None
        if child is not None:
            await child.stop(timeout_s=self._stop_timeout_s)

    def kill(self) -> None:
        """Ends it as a crash would."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()

    async def _wait_ready(self, child: Child) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        async with HttpClient() as http:
            while child.running and time.monotonic() < deadline:
                if await _is_ready(http, self._ready_url):
                    return
                await asyncio.sleep(0.02)
        problem = f"was not ready in {self._start_timeout_s:.0f} s" if child.running else "ended"
        last_lines = " | ".join(child.log_tail(4).splitlines())
        raise DevstackError(f"{self.name} {problem}: {last_lines}", f"The log is {self.log}.")


async def _is_ready(http: HttpClient, url: str) -> bool:
    with suppress(HttpError):
        answer = await http.fetch("devstack", "GET", url, timeout_s=2.0)
        return answer.status_code == HTTPStatus.OK
    return False

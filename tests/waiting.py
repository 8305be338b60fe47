"""Waiting for facts. A bound only ends a hang: no test says how quick a machine is."""

import asyncio
import inspect
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from evpower.foundation.db import Connection
from evpower.foundation.http import HttpClient, HttpResponse, Target

WAIT_LIMIT_S = 60.0  # far beyond what any machine takes, short enough to wait for in vain
COMMAND_S = 240.0  # of a command in a process of its own
_TLS = httpx.create_ssl_context(trust_env=False)  # to read the authorities takes 15 ms
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.01, 0.1
Fact = Callable[[], object | Awaitable[object]]


async def until(
    fact: Fact,
    description: str = "",
    *,
    within_s: float = WAIT_LIMIT_S,
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Look until it is true; fails with `description`, or the fact's own text, when it never was.

    However long a look takes, it is looked at again after the time is over. What has to ask a
    process for the fact takes time from what is waited for, so it asks ever less often.
    """
    deadline = now() + within_s
    pause_s = _FIRST_PAUSE_S
    while True:
        is_last = now() > deadline
        holds = fact()
        if inspect.isawaitable(holds):
            holds = await holds
            pause_s = min(pause_s * 1.2, _LAST_PAUSE_S)
        if holds:
            return
        assert not is_last, f"in vain for {within_s:.0f} s: {description or _text(fact)}"
        await asyncio.sleep(pause_s)


async def freeze(pid: int) -> None:
    """Stop a process (SIGSTOP) and wait until it does nothing any more.

    The signal returns at once, while a thread that runs on another core still goes on.
    """
    os.kill(pid, signal.SIGSTOP)

    def stands_still() -> bool:
        states: set[str] = set()
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it ended while it was looked at
                states.add((thread / "stat").read_text().rpartition(")")[2].split()[0])
        return states == {"T"}

    await until(stands_still, f"process {pid} does not stop")


class PatientHttp(httpx.AsyncClient, HttpClient):
    """What the code under test calls out with, and what a test asks its own questions with.

    It waits for a busy machine: a call that says itself how long it waits may use all of that to
    connect; `always`: every call waits for the machine, whatever it says.
    """

    def __init__(self, *, always: bool = False) -> None:
        super().__init__(timeout=WAIT_LIMIT_S, follow_redirects=False, trust_env=False, verify=_TLS)
        self._always = always
        patient = httpx.Timeout(WAIT_LIMIT_S).as_dict()
        lifted = patient if always else {name: patient[name] for name in ("connect", "pool")}

        async def be_patient(request: httpx.Request) -> None:
            request.extensions["timeout"] = request.extensions.get("timeout", {}) | lifted

        self.event_hooks = {"request": [be_patient], "response": []}

    async def fetch(self, *args: Any, timeout_s: float, **how: Any) -> HttpResponse:
        total_s = WAIT_LIMIT_S if self._always else timeout_s
        return await HttpClient.fetch(self, *args, timeout_s=total_s, **how)

    def _slots(self, _target: Target) -> asyncio.Semaphore:
        return asyncio.Semaphore()

    def _client(self, _target: Target) -> httpx.AsyncClient:
        return self


def patient_http(*, always: bool = False) -> PatientHttp:
    """The HTTP client of a process, but one that waits for a busy machine."""
    return PatientHttp(always=always)


async def deadlocks(connection: Connection) -> int:
    """How many the connection's database has had; connections count their own when they end."""
    await connection.execute("select pg_stat_clear_snapshot()")
    return await connection.fetchval(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )


async def are_alone(connection: Connection) -> bool:
    """Whether no other connection is open to the same database."""
    return await connection.fetchval(
        "select count(*) = 1 from pg_stat_activity where datname = current_database()"
    )


def _text(fact: Fact) -> str:
    """What was waited for, as it is written in the test."""
    try:
        return " ".join(inspect.getsource(fact).split())
    except (OSError, TypeError):
        return repr(fact)

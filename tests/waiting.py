"""Waiting for facts. A bound only ends a hang: no test says how quick a machine is."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

import httpx

from evpower.foundation.http import new_http_client

PATIENCE_S = 60.0  # far beyond what any machine takes, short enough to wait for in vain
COMMAND_S = 240.0  # of a command in a process of its own
Fact = Callable[[], object | Awaitable[object]]


async def until(
    fact: Fact,
    what: str = "",
    *,
    within_s: float = PATIENCE_S,
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Look until it is true; fails with `what`, or the fact's own text, when it never was.

    However long a look takes, it is looked at again after the time is over.
    """
    deadline = now() + within_s
    while True:
        is_last = now() > deadline
        holds = fact()
        if inspect.isawaitable(holds):
            holds = await holds
        if holds:
            return
        assert not is_last, f"in vain for {within_s:.0f} s: {what or _text(fact)}"
        await asyncio.sleep(0.01)


def patient_http(*, always: bool = False) -> httpx.AsyncClient:
    """The HTTP client of a process, but one that waits for a busy machine.

    A call that says itself how long it waits is given longer to connect; `always`: for everything.
    """
    http = new_http_client()
    http.timeout = httpx.Timeout(PATIENCE_S)
    patient = http.timeout.as_dict()
    lifted = patient if always else {name: patient[name] for name in ("connect", "pool")}

    async def be_patient(request: httpx.Request) -> None:
        request.extensions["timeout"] = request.extensions.get("timeout", {}) | lifted

    http.event_hooks = {"request": [be_patient], "response": []}
    return http


def _text(fact: Fact) -> str:
    """What was waited for, as it is written in the test."""
    try:
        return " ".join(inspect.getsource(fact).split())
    except (OSError, TypeError):
        return repr(fact)

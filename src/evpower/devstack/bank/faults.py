"""The sandbox bank's faults, armed on demand: error (500), slow, lost (done, but answered 500)."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

from evpower.devstack.bank.requests import BadRequest, number

_CALLS: Final = ("create", "status", "cancel", "refund", "history")
_MODES: Final = ("error", "slow", "lost")


@dataclass(slots=True)
class Fault:
    """The fault of the next `times` calls."""

    mode: str
    times: int
    slow_s: float


class ArmedFaults:
    """The armed fault of each call."""

    def __init__(self) -> None:
        self._armed: dict[str, Fault] = {}

    def arm(self, body: dict[str, Any]) -> None:
        """Arms {"create": {"mode": "error" | "slow" | "lost", "times": 3, "slow_s": 2}}.

        Faults that were armed before end. Raises BadRequest.
        """
        armed: dict[str, Fault] = {}
        for call, how in body.items():
            if call not in _CALLS or not isinstance(how, dict):
                raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_fault")
            given = cast("dict[str, Any]", how)
            if given.get("mode") not in _MODES:
                raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_fault")
            times = int(number(given, "times", 1, 1_000_000))
            armed[call] = Fault(given["mode"], times, number(given, "slow_s", 10.0, 600))
        self._armed = armed

    async def fail(self, call: str) -> bool:
        """Fails as armed. Returns True when the work is to be done and its response lost."""
        fault = self._armed.get(call)
        if fault is None or fault.times <= 0:
            return False
        fault.times -= 1
        if fault.mode == "error":
            raise BadRequest(HTTPStatus.INTERNAL_SERVER_ERROR, "fault")
        if fault.mode == "slow":
            await asyncio.sleep(fault.slow_s)
            return False
        return True


def lose_response(*, lost: bool) -> None:
    """Raises BadRequest (500) in place of the response of work that is done."""
    if lost:
        raise BadRequest(HTTPStatus.INTERNAL_SERVER_ERROR, "fault")

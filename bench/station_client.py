"""`python -m bench.station_client PLAN.json`: one station that sends a request as soon as it may.

Each request waits for its answer, as OCPP-J demands. Prints how many were answered, in how long.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import orjson
import uvloop
from websockets.asyncio.client import ClientConnection, connect

_TIME: Final = "2026-11-29T10:00:00Z"
_ENERGY: Final = "Energy.Active.Import.Register"
_SAMPLES: Final = (
    (_ENERGY, "Wh", None), ("Power.Active.Import", "W", None), ("Current.Import", "A", "L1"),
    ("Voltage", "V", "L1-N"), ("SoC", "Percent", None), ("Temperature", "Celsius", None),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to connect, what to send, and for how long."""

    url: str
    action: str
    seconds: float
    sockets: int = 1


@dataclass(frozen=True, slots=True)
class Sent:
    """How it went."""

    answered: int
    seconds: float


def payload(action: str, number: int) -> dict[str, Any]:
    """The request number `number` of an action, each with another register."""
    if action == "Heartbeat":
        return {}
    if action == "StartTransaction":
        return {
            "connectorId": 1, "idTag": "A1B2C3D4E5F6", "meterStart": number, "timestamp": _TIME
        }  # fmt: skip
    if action == "MeterValues":
        sampled = [
            {
                "value": f"{number + place}.5", "context": "Sample.Periodic",
                "measurand": measurand, "unit": unit, **({"phase": phase} if phase else {}),
            }
            for place, (measurand, unit, phase) in enumerate(_SAMPLES)
        ]  # fmt: skip
        value = {"timestamp": _TIME, "sampledValue": sampled}
        return {"connectorId": 1, "transactionId": 7, "meterValue": [value]}
    raise ValueError(action)


async def _send(socket: ClientConnection, action: str, until_s: float) -> int:
    answered = 0
    while time.monotonic() < until_s:
        request = [2, str(uuid4()), action, payload(action, answered)]
        await socket.send(orjson.dumps(request).decode())
        answer = orjson.loads(await socket.recv())
        if answer[0] != 3 or answer[1] != request[1]:
            raise RuntimeError(f"not the answer of {action}: {answer}")
        answered += 1
    return answered


async def _run(plan: Plan) -> Sent:
    sockets = [
        await connect(
            plan.url.format(number=number), subprotocols=["ocpp1.6"],  # pyright: ignore[reportArgumentType]
            compression=None, ping_interval=None,
        )
        for number in range(plan.sockets)
    ]  # fmt: skip
    try:
        began_s = time.monotonic()
        counts = await asyncio.gather(
            *(_send(socket, plan.action, began_s + plan.seconds) for socket in sockets)
        )
        return Sent(sum(counts), time.monotonic() - began_s)
    finally:
        for socket in sockets:
            await socket.close()


def main() -> int:
    """Run the plan; print what was sent as JSON."""
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text()))
    print(json.dumps(asdict(uvloop.run(_run(plan)))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

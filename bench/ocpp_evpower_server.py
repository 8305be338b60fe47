"""`python -m bench.ocpp_evpower_server PORT`: EvPower's stations' sockets in front of stubs.

Frames are repaired, validated, read tolerantly and encoded for the log as ever; what would go to
PostgreSQL and to charging goes to functions that answer a constant.
"""

import socket
import sys
from collections.abc import Sequence
from datetime import timedelta
from importlib import import_module
from typing import Any, NamedTuple, cast

import uvicorn
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from evpower import charging, stations
from evpower.charging import Changes, StationReadings
from evpower.charging.events import StartAnswer
from evpower.config import Settings
from evpower.devstack.ports import LOOPBACK
from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.foundation.http import HttpClient
from evpower.foundation.module import Shared
from evpower.foundation.websocket import SocketProtocol
from evpower.ocpp import store
from evpower.ocpp.endpoint import MESSAGE_BYTES, StationSockets
from evpower.ocpp.handshake import Handshake
from evpower.ocpp.socket import Identity, StationSocket

_stored: list[object] = []


class _NoTransaction:
    """A transaction that begins and commits nothing."""

    async def __aenter__(self) -> None:
        """Begin."""

    async def __aexit__(self, *_: object) -> None:
        """Commit."""


class _NoDatabase:
    """Transactions without a database."""

    def transaction(self) -> _NoTransaction:
        """Return one."""
        return _NoTransaction()


async def _claim_answer(_connection: object, key: bytes, answer: str, frames: object) -> bool:
    _stored[:] = [key, answer, frames]
    return True


async def _nothing(*_arguments: object, **_how: object) -> None:
    return None


async def _start(*_arguments: object, **_how: object) -> StartAnswer:
    return StartAnswer(7, "accepted", Changes())


class _Draft(NamedTuple):
    """What a frame writes: nothing."""

    changes: Changes = Changes()


class _Station(NamedTuple):
    """A station, as far as it is looked at."""

    paid_only: bool = False


class _Values:
    """Takes meter values, and keeps none."""

    def __init__(self, _rules: object) -> None:
        """Take them by no rules."""

    async def draft(
        self, _connection: object, events: Sequence[StationReadings], **_how: object
    ) -> list[_Draft]:
        """Return a draft of each frame."""
        return [_Draft() for _ in events]

    async def write(self, _connection: object, drafts: object) -> None:
        """Write nothing."""
        _stored[:] = [drafts]


async def _claim_answers(_connection: object, answered: Sequence[store.AnsweredCall]) -> set[bytes]:
    _stored[:] = [answered]
    return {call.key for call in answered}


async def _lock_free(_connection: object, ids: Sequence[str]) -> dict[str, bool]:
    return dict.fromkeys(ids, False)


async def _lock(_connection: object, _name: str) -> _Station:
    return _Station()


class _Endpoint(StationSockets):
    """Admits every station."""

    async def _admit(self, handshake: Handshake) -> Identity:
        now = utc_now()
        return Identity(
            station_id=handshake.names[0], epoch=1, opened_at=now, booted_at=now,
            is_authenticated=True, first_frame_wait=timedelta(0), settle=timedelta(0),
        )  # fmt: skip

    async def _close(self, socket: StationSocket) -> None:
        del socket


def _app() -> ASGIApp:
    stubs: Any = store
    stubs.claim_answer, stubs.insert_frames, stubs.answer_of = _claim_answer, _nothing, _nothing
    stubs.claim_answers = _claim_answers
    used: Any = charging
    used.start_transaction = _start
    locks: Any = stations
    locks.lock_free_stations, locks.lock_station = _lock_free, _lock
    sharing: Any = import_module("evpower.ocpp.shared_frames")
    sharing.SharedValues = _Values
    slice_module: Any = import_module("evpower.ocpp.module")
    slice_module.StationSockets = _Endpoint
    shared = Shared(cast("Database", _NoDatabase()), HttpClient(), LocalBus(), utc_now)
    served = slice_module.build(Settings.model_construct(), shared).endpoint

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await served(scope, receive, send)

    return app


class _Server(uvicorn.Server):
    """Says when it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then print `ready`."""
        await super().startup(sockets)
        print("ready", flush=True)


async def _serve(port: int) -> None:
    config = uvicorn.Config(
        _app(), host=LOOPBACK, port=port, ws=SocketProtocol, ws_max_size=MESSAGE_BYTES,
        ws_ping_interval=None, ws_per_message_deflate=False, lifespan="off", log_config=None,
        access_log=False,
    )  # fmt: skip
    await _Server(config).serve()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))

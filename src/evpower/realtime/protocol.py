"""Every message the server sends, as encoded WebSocket frames.

A server's frames have no mask (RFC 6455 5.1), so one encoding serves all sockets of a client.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from websockets.frames import Frame, Opcode

from evpower.charging import SessionView, flat_status
from evpower.foundation.clock import to_z
from evpower.foundation.money import to_som
from evpower.realtime.model import BalanceState


def _frame(message: dict[str, Any]) -> bytes:
    return Frame(Opcode.TEXT, orjson.dumps(message)).serialize(mask=False)


PING: Final = _frame({"type": "ping"})
PONG: Final = _frame({"type": "pong"})


def connected(client_id: UUID, expires_at: datetime, ping_s: float) -> bytes:
    """The token is valid; the socket stays open until it expires or a newer one is sent."""
    return _frame(
        {
            "type": "connection",
            "status": "connected",
            "client_id": str(client_id),
            "expires_at": to_z(expires_at),
            "ping_s": ping_s,
        }
    )


def balance(now: BalanceState, kind: str = "balance_update") -> bytes:
    """The current balance, in som. Kind `ready`: the app has this version already."""
    return _frame(
        {
            "type": kind,
            "client_id": str(now.client_id),
            "balance": to_som(now.balance_minor, now.currency),
            "held": to_som(now.held_minor, now.currency),
            "available": to_som(now.balance_minor - now.held_minor, now.currency),
            "currency": now.currency,
            "version": now.version,
            "revision": now.revision,
            "timestamp": to_z(now.updated_at),
        }
    )


def session(now: SessionView, at: datetime, message: str) -> bytes:
    """The current state of a session: HTTP's flat status, but `error` where nothing was charged."""
    return _frame(
        {
            "type": "charging_update",
            **flat_status(now, at, message),
            "status": now.status,
            "total_cost": to_som(now.cost_minor),
            "end_time": None if now.ended_at is None else to_z(now.ended_at),
            "revision": now.revision,
            "timestamp": to_z(now.changed_at),
        }
    )


def error(code: str, text: str) -> bytes:
    """A message of the app was refused; `code` is stable."""
    return _frame({"type": "error", "error": code, "message": text})

"""The messages of stations: version and action, its schema, its handler, its answer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

import jsonschema_rs

from evpower.charging import StationReadings
from evpower.foundation.db import Connection
from evpower.ocpp.model import VERSION, Frame, Handled, OcppPayload
from evpower.ocpp.schemas import known_actions, validator
from evpower.ocpp.times import read_station_time
from evpower.ocpp.v16 import (
    authorize,
    boot_notification,
    data_transfer,
    diagnostics_status_notification,
    firmware_status_notification,
    heartbeat,
    meter_values,
    start_transaction,
    status_notification,
    stop_transaction,
)

# Runs inside the frame's transaction.
Handle = Callable[[Connection, Frame, datetime], Awaitable[Handled]]
# Reads meter values.
ReadValues = Callable[[Frame, datetime], StationReadings]
# Answers without the database.
Respond = Callable[[Frame, datetime], OcppPayload]
# Answers what could not be handled, with the database.
Rescue = Callable[[Connection, Frame], Awaitable[OcppPayload]]
# Which bytes of a request make it the same as an earlier one, beside its station and action; None:
# it is no retry of any.
Same = Callable[[Frame, bytes], bytes | None]
_KEY_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Route:
    """How one action is served: by `reply` alone, or by `handle` in a transaction.

    With `read_values` instead the transaction may be shared with other stations.

    `is_empty`: whether its answer always is. `fallback`: the answer if the handler fails
    unexpectedly, `rescue`: the same with the database; without either it is a CALLERROR.
    """

    action: str
    validator: jsonschema_rs.Validator | None  # None: the handler checks
    reply: Respond | None = None
    handle: Handle | None = None
    read_values: ReadValues | None = None
    same: Same | None = None
    is_empty: bool = False
    fallback: Respond | None = None
    rescue: Rescue | None = None


def _if_timed(frame: Frame, message: bytes) -> bytes | None:
    """A retry, if its time says so: ids may count anew from each boot, and news look like old."""
    time = read_station_time(
        frame.payload.get("timestamp"), since=frame.since, now=frame.received_at, notes=set(),
        zone=frame.zone,
    )  # fmt: skip
    return None if time.at is None else message


def _by_boot(frame: Frame, message: bytes) -> bytes:
    """A retry, without a time only since the same boot: ids may count anew from each.

    Of those of an earlier boot `charging` finds the retries, by what has ended meanwhile.
    """
    timed = _if_timed(frame, message)
    return timed or message + b"\0" + frame.since.isoformat().encode()


def _by_content(_frame: Frame, message: bytes) -> bytes:
    """A retry, also under a new message id.

    Also on another connection: lower values of a queue that is sent again would begin a segment of
    the register, and bill its energy twice. One that is lost costs nothing, the next has it.
    """
    return message[max(message.find(b"{"), 0) :]


def _nothing(_frame: Frame, _now: datetime) -> OcppPayload:
    return {}


def key_of(route: Route, frame: Frame, message: bytes) -> bytes | None:
    """Returns the key under which the request's answer is stored; None: it is handled each time."""
    if route.same is None:
        return None
    same = route.same(frame, message)
    if same is None:
        return None
    parts = (frame.station_id.encode(), route.action.encode(), same)
    return blake2b(b"\0".join(parts), digest_size=_KEY_BYTES).digest()


def _routes_16() -> list[Route]:
    return [
        Route("Heartbeat", validator("Heartbeat"), reply=heartbeat.reply),
        Route(
            "BootNotification", validator("BootNotification"), handle=boot_notification.handle,
            fallback=boot_notification.accepted,
        ),
        Route(
            "StatusNotification", validator("StatusNotification"),
            handle=status_notification.handle, same=_if_timed, is_empty=True, fallback=_nothing,
        ),
        Route(
            "Authorize", validator("Authorize"), handle=authorize.handle,
            fallback=authorize.refused,
        ),
        Route(
            "StartTransaction", validator("StartTransaction"), handle=start_transaction.handle,
            same=_by_boot, rescue=start_transaction.unhandled,
        ),
        Route(
            "MeterValues", None, read_values=meter_values.read, same=_by_content,
            is_empty=True, fallback=_nothing,
        ),
        Route(
            "StopTransaction", validator("StopTransaction"), handle=stop_transaction.handle,
            same=_by_boot, fallback=_nothing,
        ),
        Route("DataTransfer", validator("DataTransfer"), reply=data_transfer.reply),
        Route(
            "FirmwareStatusNotification", validator("FirmwareStatusNotification"),
            reply=firmware_status_notification.reply,
        ),
        Route(
            "DiagnosticsStatusNotification", validator("DiagnosticsStatusNotification"),
            reply=diagnostics_status_notification.reply,
        ),
    ]  # fmt: skip


class Router:
    """The table; built once a process, since the schemas are compiled for it."""

    def __init__(self) -> None:
        self._routes: Mapping[tuple[str, str], Route] = {
            (VERSION, route.action): route for route in _routes_16()
        }
        self._folded = {(v, action.lower()): action for v, action in self._routes}
        self._known = known_actions()

    def find(self, version: str, frame: Frame) -> Route | str:
        """Returns the route, or the CALLERROR's code for an action that is not served."""
        route = self._routes.get((version, frame.action))
        if route is not None:
            return route
        action = self._folded.get((version, frame.action.strip().lower()))
        if action is not None:
            frame.notes.add("action_form")
            return self._routes[(version, action)]
        return "NotSupported" if frame.action in self._known else "NotImplemented"

    @property
    def actions(self) -> list[str]:
        """Every action that is served."""
        return sorted({action for _, action in self._routes})


def check(route: Route, payload: Mapping[str, Any]) -> bool:
    """Returns whether the payload is valid by the protocol's schema, as far as it is known yet."""
    return route.validator is None or route.validator.is_valid(payload)

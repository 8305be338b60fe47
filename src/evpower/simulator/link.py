"""One WebSocket to the CSMS: requests with their replies, both ways."""

import asyncio
import base64
import contextlib
import socket as sockets
from collections.abc import Awaitable, Callable
from typing import Final, Literal
from urllib.parse import quote

import websockets
from websockets.asyncio.client import ClientConnection

from evpower.foundation.clock import Sleep
from evpower.simulator import frames
from evpower.simulator.faults import Faults, Malformed
from evpower.simulator.frames import CallFrame, ErrorFrame, Payload, ResultFrame
from evpower.simulator.model import StationConfig

_CLOSE_TIMEOUT_S: Final = 1.0
_MAX_FRAME_BYTES: Final = 1024 * 1024
_MAX_VIOLATIONS: Final = 100
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404

ConnectReason = Literal[
    "url", "no_host", "refused", "no_answer", "unauthorized", "unknown_station", "speed",
    "handshake",
]  # fmt: skip
OnCall = Callable[[CallFrame], Awaitable[None]]


class SimulatorError(Exception):
    """What a simulated station could not do.

    SimulatorError
    ├── ConnectFailed   no connection to the CSMS, with the reason
    ├── StationOffline  the station has no connection, or lost it before the reply
    ├── NoReply         the CSMS did not reply in time
    ├── CallRefused     the CSMS replied with a CALLERROR
    └── NotPossible     the state of the connector does not allow it
    """


class ConnectFailed(SimulatorError):
    """No connection to the CSMS: `reason` is stable, the text is for people."""

    def __init__(self, reason: ConnectReason, text: str) -> None:
        super().__init__(text)
        self.reason: ConnectReason = reason


class StationOffline(SimulatorError):
    """The station has no connection, or lost it before the reply."""


class NoReply(SimulatorError):
    """The CSMS did not reply in time."""


class CallRefused(SimulatorError):
    """The CSMS replied with a CALLERROR."""


class NotPossible(SimulatorError):
    """The state of the connector does not allow it."""


async def open_socket(
    config: StationConfig, password: str | None, subprotocols: tuple[str, ...]
) -> ClientConnection:
    """Connects to `url`/`id`. Raises ConnectFailed."""
    url, station = config.url, config.id
    headers: dict[str, str] = {}
    if password is not None:
        secret = base64.b64encode(f"{station}:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {secret}"
    if config.speed > 1:
        headers["X-Simulated-Speed"] = f"{config.speed:g}"
    address = f"{url.rstrip('/')}/{quote(station, safe='')}"
    try:
        return await websockets.connect(
            address,
            subprotocols=[websockets.Subprotocol(name) for name in subprotocols] or None,
            additional_headers=headers,
            compression=None,
            proxy=None,
            ping_interval=None,
            open_timeout=config.open_timeout_s,
            close_timeout=_CLOSE_TIMEOUT_S,
            max_size=_MAX_FRAME_BYTES,
        )
    except websockets.InvalidStatus as error:
        if config.speed > 1 and error.response.status_code == _FORBIDDEN:
            text = f"the server gives {station} no --speed (HTTP {_FORBIDDEN})"
            raise ConnectFailed("speed", text) from error
        raise _refused_handshake(error.response.status_code, station, password) from error
    except (websockets.InvalidURI, ValueError) as error:
        raise ConnectFailed("url", f"{url} is no address such as ws://host:port/ocpp") from error
    except sockets.gaierror as error:
        raise ConnectFailed("no_host", f"no such host: {url}") from error
    except TimeoutError as error:
        text = f"{url} did not answer in {config.open_timeout_s:g} s"
        raise ConnectFailed("no_answer", text) from error
    except OSError as error:
        text = f"{url} can't be reached: {error.strerror or error}"
        raise ConnectFailed("refused", text) from error
    except websockets.InvalidHandshake as error:
        raise ConnectFailed("handshake", f"{url} is no server of OCPP: {error}") from error


def _refused_handshake(status: int, station: str, password: str | None) -> ConnectFailed:
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        sent = "without a password" if password is None else "with this password"
        text = f"the server refuses {station} {sent} (HTTP {status})"
        return ConnectFailed("unauthorized", text)
    if status == _NOT_FOUND:
        return ConnectFailed("unknown_station", f"the server knows no station {station} (HTTP 404)")
    return ConnectFailed("handshake", f"the server answers HTTP {status} to {station}")


class Link:
    """A connection. Frames of the CSMS that break the schemas are listed in `violations`."""

    def __init__(
        self,
        socket: ClientConnection,
        *,
        faults: Faults,
        sleep: Sleep,
        reply_timeout_s: float,
        on_call: OnCall,
        violations: list[str],
    ) -> None:
        self.was_closed_by_peer = False
        self.is_abandoned = False
        self._socket = socket
        self._faults = faults
        self._sleep = sleep
        self._reply_timeout_s = reply_timeout_s
        self._on_call = on_call
        self._violations = violations
        self._waiting: dict[str, tuple[str, asyncio.Future[Payload]]] = {}
        self._abandoned = asyncio.Event()

    async def read(self) -> None:
        """Reads frames until the connection ends or is abandoned."""
        reading = asyncio.create_task(self._read_frames())
        abandonment = asyncio.create_task(self._abandoned.wait())
        try:
            await asyncio.wait({reading, abandonment}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        finally:
            reading.cancel()
            abandonment.cancel()
            for _, reply in self._waiting.values():
                if not reply.done():
                    reply.set_exception(StationOffline("the connection ended before the reply"))

    async def call(
        self, action: str, payload: Payload, message_id: str, malformed: Malformed | None = None
    ) -> Payload:
        """Sends a request. Returns the reply; raises StationOffline, NoReply, CallRefused."""
        reply: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
        self._waiting[message_id] = (action, reply)
        await self._write(frames.encode_call(CallFrame(message_id, action, payload), malformed))
        timer = asyncio.ensure_future(self._sleep(self._reply_timeout_s))
        try:
            await asyncio.wait({reply, timer}, return_when=asyncio.FIRST_COMPLETED)
            if not reply.done():
                raise NoReply(f"no reply to {action} in {self._reply_timeout_s:g} s")
            return reply.result()
        finally:
            timer.cancel()
            self._waiting.pop(message_id, None)
            reply.cancel()

    async def answer(self, message_id: str, payload: Payload) -> None:
        """Sends a good reply."""
        with contextlib.suppress(StationOffline):
            await self._write(frames.encode_result(message_id, payload))

    async def refuse(self, message_id: str, code: str, text: str = "") -> None:
        """Sends an error reply."""
        with contextlib.suppress(StationOffline):
            await self._write(frames.encode_error(message_id, code, text))

    def drop(self) -> None:
        """Ends the connection without a close frame, as a lost network does."""
        self._socket.transport.abort()

    def abandon(self) -> None:
        """Reads no more; the connection stays open."""
        self.is_abandoned = True
        self._abandoned.set()

    async def close(self) -> None:
        """Ends the connection with a close frame."""
        await self._socket.close()

    async def _write(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except websockets.ConnectionClosed as error:
            raise StationOffline("the connection ended") from error

    async def _read_frames(self) -> None:
        try:
            while True:
                await self._receive(await self._socket.recv())
        except websockets.ConnectionClosed as error:
            self.was_closed_by_peer = error.rcvd is not None

    async def _receive(self, text: str | bytes) -> None:
        try:
            frame = frames.decode(text)
        except frames.InvalidFrame as error:
            self._report(str(error))
            return
        if isinstance(frame, CallFrame):
            violation = frames.find_violation(frames.CALL, frame.action, frame.payload)
            if violation:
                self._report(violation)
                await self.refuse(frame.id, "FormationViolation", violation)
            else:
                await self._on_call(frame)
            return
        action, reply = self._waiting.get(frame.id, ("", None))
        if reply is None or reply.done():
            self._report(f"a reply to no request: {frame.id}")
        elif self._faults.lose_replies.get(action, 0) > 0:
            self._faults.lose_replies[action] -= 1
        elif isinstance(frame, ErrorFrame):
            reply.set_exception(CallRefused(f"{action}: {frame.code} {frame.text}"))
        else:
            self._accept(action, frame, reply)

    def _accept(self, action: str, frame: ResultFrame, reply: asyncio.Future[Payload]) -> None:
        violation = frames.find_violation(frames.CALL_RESULT, action, frame.payload)
        if violation:
            self._report(violation)
        reply.set_result(frame.payload)

    def _report(self, violation: str) -> None:
        if len(self._violations) < _MAX_VIOLATIONS:
            self._violations.append(violation)

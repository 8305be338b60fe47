"""The socket of a station: /ocpp/{id}, /ws/{id}, and what else stations make of such an address.

Which station it is, whether it may connect, and the life of its connection.
"""

import asyncio
import os
import socket as sockets_of_system
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, NamedTuple

import structlog
from starlette.types import Receive, Scope, Send

from evpower import alerts, charging, stations
from evpower.config import Settings
from evpower.foundation.addresses import ClientAddresses, parse_networks
from evpower.foundation.db import Connection
from evpower.foundation.errors import (
    Conflict,
    EvPowerError,
    Forbidden,
    Invalid,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from evpower.foundation.logging import RateLimitedLogger
from evpower.foundation.module import Shared
from evpower.foundation.websocket import EXTENSION, SocketProtocol
from evpower.ocpp import metrics, store
from evpower.ocpp.admission import Admissions, Lane
from evpower.ocpp.forward import Forwarder
from evpower.ocpp.forwarded_socket import ForwardedHandshake
from evpower.ocpp.handshake import Handshake, choose, may_speak, read_handshake
from evpower.ocpp.model import STATION_PING, VERSION
from evpower.ocpp.process import Processor
from evpower.ocpp.socket import Identity, StationSocket
from evpower.ocpp.sockets import Living, Sockets

MESSAGE_BYTES: Final = 1024 * 1024
OLD_SOCKET_S: Final = 5.0  # how long an old socket without authentication has to answer a ping
_OLD_SOCKET_FRESH: Final = timedelta(seconds=40)  # one of another node: a ping, its storing, some
_ENDED_BY_STATION: Final = frozenset({"station", "lost", "replaced"})
_LOOK_AGAIN_S: Final = 0.2
log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Candidate:
    station: stations.Station
    admission: str
    profile: stations.StationProfile = field(default_factory=stations.StationProfile)
    name: str = ""  # the one of its names that it came with, if it is forwarded


class _Opened(NamedTuple):
    identity: Identity
    changes: charging.Changes


class StationSockets:
    """The endpoint, an ASGI application."""

    def __init__(  # noqa: PLR0913 - the parts it hands a socket to
        self,
        settings: Settings,
        shared: Shared,
        sockets: Sockets,
        processor: Processor,
        forwarder: Forwarder,
        admissions: Admissions,
        rules: charging.Rules,
        *,
        now_s: Callable[[], float] = time.monotonic,
        old_socket_s: float = OLD_SOCKET_S,
    ) -> None:
        """`old_socket_s`: how long the old socket of a station without a password may answer."""
        self._db = shared.db
        self._bus = shared.bus
        self._clock = shared.clock
        self._sockets = sockets
        self._processor = processor
        self._forwarder = forwarder
        self._rules = rules
        self._now_s = now_s
        # Of this process, not of one that imported the module and then forked it.
        self._node = f"{sockets_of_system.gethostname()[:60]}:{os.getpid()}"
        self._old_socket_s = old_socket_s
        self._first_frame_wait = timedelta(seconds=settings.charging_first_frame_wait_s)
        self._settle = timedelta(seconds=settings.charging_settle_after_connect_s)
        self._addresses = ClientAddresses(parse_networks(settings.trusted_proxies))
        self._admissions = admissions
        self._checks: dict[str, asyncio.Future[bool]] = {}  # by station
        self._log = RateLimitedLogger(log, now_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one socket until it ends. Raises EvPowerError instead of accepting it."""
        wire: SocketProtocol | None = scope.get("extensions", {}).get(EXTENSION)
        if wire is None:
            raise RuntimeError("this server was not given SocketProtocol as its `ws`")
        handshake = read_handshake(scope, self._addresses)
        await receive()
        try:
            identity = await self._admit(handshake)
            if isinstance(identity, ForwardedHandshake):
                await self._forwarder.serve(identity, wire, send, node=self._node)
                return
        except EvPowerError as error:
            metrics.REFUSED.labels(error.code).inc()
            self._log.info(
                "station_refused", code=error.code,
                station=(handshake.names or ("",))[0][:80], address=handshake.address,
            )  # fmt: skip
            if not isinstance(error, Unauthenticated):
                raise
            await _ask_for_password(send, error)
            return
        socket = StationSocket(wire, identity, self._sockets, clock=self._clock, now_s=self._now_s)
        try:
            await self._serve(socket, scope, send, handshake.offered)
        finally:
            await self._close(socket)

    async def _serve(
        self, socket: StationSocket, scope: Scope, send: Send, offered: tuple[str, ...]
    ) -> None:
        wire = socket.wire
        wire.owner = socket
        try:
            with self._sockets.joined(socket):
                await send({"type": "websocket.accept", "subprotocol": choose(offered)})
                wire.forget_handshake()
                wire.deliver_to(socket)
                del scope, send
                log.info(
                    "station_connected", station=socket.station_id, epoch=socket.epoch,
                    authenticated=socket.is_authenticated,
                )  # fmt: skip
                await socket.run(self._processor.serve)
        except OSError:
            socket.ended("lost")  # before it was accepted
        finally:
            wire.owner = wire.receiver = None

    # Admission

    async def _admit(self, handshake: Handshake) -> Identity | ForwardedHandshake:
        """Returns whose socket it is, the newest from now on; or that another CSMS answers it.

        Raises NotFound, Unauthenticated, Forbidden, Conflict, Invalid, Unavailable, and
        EvPowerError("too_many_requests").
        """
        if self._sockets.is_stopping:
            raise Unavailable("shutting_down", "the server stops", retry_after_s=5)
        lane = await self._admissions.lane(handshake)
        try:
            admitted = await self._admit_in(lane, handshake)
        except EvPowerError as error:
            self._admissions.refused(handshake, lane, error)
            raise
        self._admissions.admitted(handshake, lane)
        return admitted

    async def _admit_in(self, lane: Lane, handshake: Handshake) -> Identity | ForwardedHandshake:
        async with lane.slots:
            station_id = await self._station_of(lane, handshake)
            async with self._db.transaction() as connection:
                candidate = await self._candidate(connection, station_id, handshake)
                opened = None
                if candidate.admission == "authenticated":
                    opened = await self._open(connection, candidate, handshake)
        if candidate.admission == "forwarded":
            if lane.known is None or lane.known.is_open:  # perhaps the other CSMS asks no password
                await self._check_old_socket(candidate.station.id)
            return _forwarded(candidate, handshake)
        if candidate.admission == "open":
            await self._check_old_socket(candidate.station.id)
            async with lane.slots, self._db.transaction() as connection:
                opened = await self._open(connection, candidate, handshake)
        if opened is None:
            raise _refusal(candidate.admission)
        opened.changes.publish(self._bus)
        return opened.identity

    async def _station_of(self, lane: Lane, handshake: Handshake) -> str:
        """Returns the id of the one station of the names. Raises NotFound, Conflict."""
        if lane.known is not None:
            return lane.known.station_id
        async with self._db.connection() as connection:
            ids = await stations.stations_named(connection, handshake.whole, handshake.names)
        if len(ids) > 1:
            raise Conflict("station_ambiguous", "this address names two stations", status=404)
        if not ids:
            self._admissions.unknown(handshake)
            raise NotFound("station_not_found", "no station has this name")
        return ids.pop()

    async def _candidate(
        self, connection: Connection, station_id: str, handshake: Handshake
    ) -> _Candidate:
        """Returns how the station may connect. Raises Invalid."""
        station = await stations.lock_station(connection, station_id)
        if station.forward_url is not None and station.retired_at is None:
            # The other CSMS checks version and password. It gets the name that was found here: else
            # who knows this station could connect there as another one.
            presented = [name for name in (handshake.whole, *handshake.names) if name.strip("./")]
            name = await stations.name_of(connection, station.id, presented)
            return _Candidate(station, "forwarded", name=name or station.id)
        if handshake.is_sped_up and not station.is_simulated:
            raise Forbidden("station_not_simulated", "add it with --simulator to give it a speed")
        if handshake.offered and not may_speak(handshake.offered):
            raise Invalid(
                "version_not_served", "OCPP 1.6 is spoken here: offer ocpp1.6", status=400
            )
        known = await stations.station_profile(connection, station.id)
        pinned = station.pinned_version or known.profile.version_pin
        if pinned not in (None, VERSION):
            raise Invalid("version_pinned", f"it is pinned to {pinned}", status=400)
        admission = await stations.admit(connection, station, handshake.password)
        return _Candidate(station, admission, known)

    async def _open(
        self, connection: Connection, candidate: _Candidate, handshake: Handshake
    ) -> "_Opened":
        now = self._clock()
        opened = await stations.open_connection(
            connection,
            candidate.station.id,
            address=handshake.address,
            version=VERSION,
            is_authenticated=candidate.admission == "authenticated",
            node=self._node,
            now=now,
        )
        changes = charging.Changes(stations={candidate.station.id})
        for command in opened.timed_out:
            changes.merge(
                await charging.command_ended(connection, command, now=now, rules=self._rules)
            )
        profile, settle_s = candidate.profile.profile, candidate.profile.profile.settle_s
        changes.merge(await charging.station_reconnected(connection, candidate.station.id, now=now))
        return _Opened(
            Identity(
                station_id=candidate.station.id,
                epoch=opened.epoch,
                opened_at=now,
                booted_at=candidate.station.booted_at,
                is_authenticated=candidate.admission == "authenticated",
                first_frame_wait=self._first_frame_wait,
                settle=self._settle if settle_s is None else timedelta(seconds=settle_s),
                profile=profile,
                zone=candidate.profile.zone,
            ),
            changes,
        )

    async def _check_old_socket(self, station_id: str) -> None:
        """Returns if no other socket lives of a station whose password was not checked here.

        Anybody could connect under its name: an alert is opened. One check of a station runs at a
        time, and its sign of life is one for all who wait. Raises Conflict.
        """
        while (running := self._checks.get(station_id)) is not None:
            await asyncio.wait({running})
            if running.result():
                raise _connected()
        check: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._checks[station_id] = check
        is_alive = False
        try:
            is_alive = await self._has_living_socket(station_id)
            if is_alive:
                async with self._db.transaction() as connection:
                    await alerts.open_alert(
                        connection, "second_socket", station_id,
                        {"hint": "give the station a password: evpower station secure"},
                        self._clock(),
                    )  # fmt: skip
        finally:
            del self._checks[station_id]
            check.set_result(is_alive)
        if is_alive:
            raise _connected()

    async def _has_living_socket(self, station_id: str) -> bool:
        old: Living | None = self._sockets.get(station_id) or self._forwarder.get(station_id)
        if old is not None and not old.is_over:
            return await old.answers_ping(self._old_socket_s)
        return await self._lives_elsewhere(station_id)

    async def _lives_elsewhere(self, station_id: str) -> bool:
        """Asks the node that has the station's socket for a sign of life."""
        async with self._db.connection() as connection:
            latest = await stations.list_connections(connection, station_id, 1)
            before = await store.socket_of(connection, station_id)
        if before is None or not latest or latest[0].closed_at is not None:
            return False
        if before.node == self._node or before.last_frame_at < self._clock() - _OLD_SOCKET_FRESH:
            return False
        self._bus.publish(STATION_PING, stations.station_key(station_id))
        until_s = self._now_s() + self._old_socket_s
        while self._now_s() < until_s:
            await asyncio.sleep(_LOOK_AGAIN_S)
            async with self._db.connection() as connection:
                now = await store.socket_of(connection, station_id)
            if now is not None and now.last_frame_at > before.last_frame_at:
                return True
        return False

    # The end

    async def _close(self, socket: StationSocket) -> None:
        """Writes down the end; the state of a newer socket is not touched."""
        reason = socket.close_reason or "lost"
        metrics.CLOSED.labels(reason).inc()
        log.info(
            "station_disconnected", station=socket.station_id, epoch=socket.epoch, reason=reason
        )
        now = self._clock()
        if not socket.had_first_frame and reason in _ENDED_BY_STATION:
            self._sockets.note(
                socket.station_id, {"connection_unused"}, socket.opened_at.isoformat(), now
            )
        try:
            changes = charging.Changes(stations={socket.station_id})
            async with self._db.transaction() as connection:
                await stations.lock_station(connection, socket.station_id)
                for command in await stations.close_connection(
                    connection, socket.station_id, socket.epoch, reason, now=now
                ):
                    changes.merge(
                        await charging.command_ended(
                            connection, command, now=now, rules=self._rules
                        )
                    )
            changes.publish(self._bus)
        except Unavailable as error:  # its next connection, or the job for lost commands, does it
            log.warning("station_close_failed", station=socket.station_id, code=error.code)


def _forwarded(candidate: _Candidate, handshake: Handshake) -> ForwardedHandshake:
    return ForwardedHandshake(
        station_id=candidate.station.id,
        target_url=candidate.station.forward_url or "",
        name=candidate.name,
        authorization=handshake.authorization,
        offered=handshake.offered,
        address=handshake.address,
    )


def _connected() -> Conflict:
    return Conflict("station_connected", "another socket of this station is in use")


def _refusal(admission: str) -> EvPowerError:
    if admission == "retired":
        return Forbidden("station_retired", "this station is retired")
    if admission == "no_password":
        return Unauthenticated("no_password", "no password came")
    return Unauthenticated("wrong_password", "the password is wrong")


async def _ask_for_password(send: Send, error: Unauthenticated) -> None:
    """Refuses with the scheme that stations know (RFC 7617)."""
    body = error.detail.encode()
    headers = [
        (b"www-authenticate", b'Basic realm="ocpp"'),
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})

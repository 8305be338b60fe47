"""Which sockets of the old live feed see which station or location, and what is sent to them.

The client_id in the URL proves nothing, so `push` sends public facts only and refuses everything
else. A session is sent by `push_own`, to sockets that have signed in with its client's token.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

import orjson
from websockets.frames import Frame, Opcode

from evpower.api.legacy import metrics
from evpower.foundation.loops import Loop, Pause, Round

ALL: Final = "all"
# The old server's internal names of its channels; apps could subscribe by them too.
_INNER: Final = {"location_updates:": "location:", "station_updates:": "station:"}
_PUBLIC: Final = ("location:", "location_stations:", "station:", "connector_updates:")
_OWN: Final = ("client_sessions:", "station_sessions:")
_OWN_TYPE: Final = "charging_session_update"
_PUBLIC_TYPES: Final = frozenset(
    {"location_status_update", "station_status_update", "connector_status_update"}
)
_MAX_CHANNELS: Final = 50  # of one socket
_MAX_CHANNEL_LENGTH: Final = 128
_PER_CLIENT: Final = 10  # sockets that have signed in
_SHORTEST_PAUSE_S: Final = 0.05  # pings of one moment are sent together


class Wire(Protocol):
    """The server's side of a socket: writes never wait; `slow` shows a peer that does not read."""

    @property
    def slow(self) -> bool:
        """Whether the peer has not read what it was sent."""
        ...

    def write(self, frame: bytes) -> bool:
        """Writes a complete frame. Returns False when the connection is closing."""
        ...

    def abort(self) -> None:
        """Disconnects now."""
        ...

    def forget_handshake(self) -> None:
        """Frees the request of the handshake."""
        ...


def encode(message: Mapping[str, Any]) -> bytes:
    """Returns the bytes of one text frame of a server."""
    return Frame(Opcode.TEXT, orjson.dumps(message)).serialize(mask=False)


_PING: Final = encode({"type": "ping"})
_EXPIRED: Final = encode({"type": "error", "message": "token_expired"})
_CLOSED: Final = encode({"type": "error", "message": "client_closed"})


class Viewer:
    """One open socket, its channels, and the client whose token it has shown."""

    __slots__ = ("channels", "client_id", "expires_at", "old_words", "wire")

    def __init__(self, wire: Wire, *, old_words: bool) -> None:
        self.wire = wire
        self.old_words = old_words  # for an app that calls a free station active
        self.channels: set[str] = set()
        self.client_id: UUID | None = None
        self.expires_at: datetime | None = None  # of its token

    def write(self, frame: bytes) -> bool:
        """Writes it now; a peer that does not read is disconnected, and may reconnect."""
        if self.wire.slow:
            metrics.REFUSED.labels("slow").inc()
            self.wire.abort()
            return False
        return self.wire.write(frame)


class LocationFeed:
    """The open sockets by channel; one loop pings them all."""

    def __init__(
        self, *, ping_s: float = 20.0, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._ping_s = ping_s
        self._now_s = now_s
        self._viewers: dict[str, set[Viewer]] = {}
        self._clients: dict[UUID, set[Viewer]] = {}  # those that have signed in
        self._ping_at: OrderedDict[Viewer, float] = OrderedDict()  # soonest first
        self.joined: Callable[[], None] = lambda: None  # called when a socket has joined

    def __len__(self) -> int:
        return len(self._ping_at)

    def join(self, wire: Wire, *, old_words: bool = False) -> Viewer:
        """Adds a socket, which is subscribed to "all" until it subscribes to another channel."""
        viewer = Viewer(wire, old_words=old_words)
        self._ping_at[viewer] = self._now_s() + self._ping_s
        self.subscribe(viewer, ALL)
        metrics.SOCKETS.set(len(self))
        self.joined()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Removes a socket."""
        self._sign_out(viewer)
        for channel in tuple(viewer.channels):
            self._remove(viewer, channel)
        self._ping_at.pop(viewer, None)
        metrics.SOCKETS.set(len(self))

    @property
    def clients(self) -> Sequence[UUID]:
        """The clients of the sockets that have signed in."""
        return tuple(self._clients)

    @property
    def has_clients(self) -> bool:
        """Whether any socket has signed in."""
        return bool(self._clients)

    def has_client(self, client_id: UUID) -> bool:
        """Whether a socket has signed in as this client."""
        return client_id in self._clients

    def sign_in(self, viewer: Viewer, client_id: UUID, expires_at: datetime) -> str:
        """Gives a socket its client's own updates until its token ends, or the error code.

        Returns "" when it may. Another token of the same client extends the time.
        """
        if viewer.client_id not in (None, client_id):
            return "other_client"
        viewers = self._clients.setdefault(client_id, set())
        if viewer not in viewers and len(viewers) >= _PER_CLIENT:
            return "too_many_sockets"
        viewers.add(viewer)
        is_new = viewer.client_id is None
        viewer.client_id, viewer.expires_at = client_id, expires_at
        return self.subscribe(viewer, f"client_sessions:{client_id}") if is_new else ""

    def close_client(self, client_id: UUID) -> None:
        """Sends no more of a client to its sockets; what is public goes on."""
        for viewer in tuple(self._clients.get(client_id, ())):
            self._sign_out(viewer)
            viewer.write(_CLOSED)

    def _sign_out(self, viewer: Viewer) -> None:
        client_id, viewer.client_id = viewer.client_id, None
        viewers = self._clients.get(client_id) if client_id is not None else None
        if client_id is not None and viewers is not None:
            viewers.discard(viewer)
            if not viewers:
                del self._clients[client_id]

    def subscribe(self, viewer: Viewer, channel: str) -> str:
        """Subscribes a socket to a channel. Returns "", or the error code."""
        name = canonical(channel)
        if not 0 < len(name) <= _MAX_CHANNEL_LENGTH:
            return "invalid_channel"
        if name not in viewer.channels:
            if len(viewer.channels) >= _MAX_CHANNELS:
                return "too_many_channels"
            viewer.channels.add(name)
            self._viewers.setdefault(name, set()).add(viewer)
        return ""

    def unsubscribe(self, viewer: Viewer, channel: str) -> None:
        """Ends the subscription; without one nothing happens."""
        name = canonical(channel)
        if name in viewer.channels:
            self._remove(viewer, name)

    def push(self, channel: str, payload: Mapping[str, Any]) -> int:
        """Writes a status update to every socket of a channel now. Returns how many.

        Channels: all, location:{id}, location_stations:{id}, station:{id},
        connector_updates:{station}:{number}. Raises ValueError for another one, and for a payload
        that is no public status update.
        """
        return self.push_once([channel], payload)

    def push_once(
        self,
        channels: Iterable[str],
        payload: Mapping[str, Any],
        old_payload: Mapping[str, Any] | None = None,
    ) -> int:
        """Writes as `push`, once to a socket that has several of the channels.

        `old_payload`: the same in the older words, if it differs there.
        """
        if payload.get("type") not in _PUBLIC_TYPES:
            raise ValueError(f"a {payload.get('type')} does not belong on an open socket")
        viewers: set[Viewer] = set()
        for channel in channels:
            name = canonical(channel)
            if name != ALL and not name.startswith(_PUBLIC):
                raise ValueError(f"{channel} is not a public channel")
            viewers |= self._viewers.get(name, set())
        if not viewers:
            return 0
        frame = encode(payload)
        old_frame = frame if old_payload is None else encode(old_payload)
        written = sum(viewer.write(old_frame if viewer.old_words else frame) for viewer in viewers)
        metrics.PUSHED.inc(written)
        return written

    def push_own(
        self, client_id: UUID, channels: Iterable[str], payload: Mapping[str, Any], now: datetime
    ) -> int:
        """Writes a client's session to those of its own sockets that have one of the channels.

        Returns how many. A socket whose token has ended gets a message that says so, and nothing
        else. Raises ValueError for another channel than client_sessions:{id} or
        station_sessions:{id}, and for another payload than a session.
        """
        if payload.get("type") != _OWN_TYPE:
            raise ValueError(f"a {payload.get('type')} is no session")
        names = {canonical(channel) for channel in channels}
        if not all(name.startswith(_OWN) for name in names):
            raise ValueError(f"{sorted(names)} are not all channels of sessions")
        frame, written = encode(payload), 0
        for viewer in tuple(self._clients.get(client_id, ())):
            if viewer.expires_at is None or viewer.expires_at <= now:
                self._sign_out(viewer)
                viewer.write(_EXPIRED)
            elif not names.isdisjoint(viewer.channels):
                written += viewer.write(frame)
        metrics.PUSHED.inc(written)
        return written

    def _remove(self, viewer: Viewer, channel: str) -> None:
        viewer.channels.discard(channel)
        viewers = self._viewers[channel]
        viewers.discard(viewer)
        if not viewers:
            del self._viewers[channel]

    def loop(self) -> Loop:
        """Returns the loop that pings. A socket that joins is due after `ping_s`."""

        async def ping(_: Round) -> Pause | None:
            return self._ping()

        return Loop("old_socket_pings", ping, period_s=self._ping_s)

    def _ping(self) -> Pause | None:
        """Pings the sockets that are due. Returns the pause until the next one is."""
        now = self._now_s()
        while self._ping_at:
            viewer, at = next(iter(self._ping_at.items()))
            if at > now:
                return Pause(max(_SHORTEST_PAUSE_S, at - now))
            self._ping_at[viewer] = now + self._ping_s
            self._ping_at.move_to_end(viewer)
            viewer.write(_PING)
        return None


def canonical(channel: str) -> str:
    """Returns the canonical name of a channel.

    location_updates:7 is location:7, location_updates:all is all.
    """
    for inner, outer in _INNER.items():
        if channel.startswith(inner):
            rest = channel.removeprefix(inner)
            return ALL if rest == ALL else outer + rest
    return channel

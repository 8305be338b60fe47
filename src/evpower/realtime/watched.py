"""A client somebody watches: the newest state, kept once whatever the number of sockets."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from evpower.charging import STATUS_OF
from evpower.identity import Claims
from evpower.realtime import metrics, protocol
from evpower.realtime.connection import Socket
from evpower.realtime.model import BalanceState, LiveSession

_KEPT: Final = 8  # sessions of a client: those the sweep compares, and some more
_RECENT: Final = timedelta(hours=1)  # an app that comes back is told what ended meanwhile


@dataclass(frozen=True, slots=True)
class _Shown:
    """A session and its frame."""

    session: LiveSession
    frame: bytes


class Watched:
    """One client and all its sockets on this node."""

    __slots__ = ("_frame", "balance", "claims", "id", "sessions", "sockets")

    def __init__(self, client_id: UUID) -> None:
        self.id = client_id
        self.sockets: list[Socket] = []  # the oldest first
        self.claims: Claims | None = None  # until it is known that the client exists
        self.balance: BalanceState | None = None
        self.sessions: dict[UUID, _Shown] | None = None
        self._frame = b""

    def keep_balance(self, found: BalanceState) -> None:
        """Remember it if it is newer. Encoded here, once for all sockets."""
        self.claims = None
        if self.balance is None or found.revision > self.balance.revision:
            self.balance = found
            self._frame = protocol.balance(found)

    def keep_session(self, found: LiveSession) -> None:
        """Remember it if it is newer; the oldest are forgotten."""
        if self.sessions is None:
            self.sessions = {}
        known = self.sessions.get(found.id)
        if known is None or found.revision > known.session.revision:
            self.sessions[found.id] = _Shown(found, protocol.session(found))

    def forget_old_sessions(self) -> None:
        """Keep the newest few, those that the sweep compares among them."""
        if self.sessions is None or len(self.sessions) <= _KEPT:
            return
        ages = sorted(self.sessions.values(), key=lambda one: one.session.created_at)
        for shown in ages[:-_KEPT]:
            del self.sessions[shown.session.id]
        for socket in self.sockets:
            if socket.told is not None:
                socket.told = {id_: at for id_, at in socket.told.items() if id_ in self.sessions}

    def open(self, socket: Socket, now: datetime) -> None:
        """Let a socket be told from now on; of sessions only what still matters."""
        socket.open = True
        if self.sessions:
            socket.told = {
                one.session.id: one.session.revision
                for one in self.sessions.values()
                if STATUS_OF[one.session.state] != "started"
                and one.session.changed_at < now - _RECENT
            }

    def tell(self, socket: Socket, now_s: float) -> None:
        """Send the socket what it does not have. One that does not read gets the newest later."""
        left = False
        if self.balance is not None and socket.revision < self.balance.revision:
            left = not self._tell_balance(socket, self.balance)
        for shown in self._untold(socket):
            left = left or not self._tell_session(socket, shown)
        if left and socket.unread_since is None:
            socket.unread_since = now_s
        elif left:
            metrics.SUPERSEDED.inc()

    def _tell_balance(self, socket: Socket, balance: BalanceState) -> bool:
        is_known = socket.had_version == balance.version
        if not socket.write(protocol.balance(balance, "ready") if is_known else self._frame):
            return False
        socket.had_version = None
        socket.revision = balance.revision
        (metrics.READIES_SENT if is_known else metrics.BALANCES_SENT).inc()
        return True

    def _tell_session(self, socket: Socket, shown: _Shown) -> bool:
        if not socket.write(shown.frame):
            return False
        if socket.told is None:
            socket.told = {}
        socket.told[shown.session.id] = shown.session.revision
        metrics.SESSIONS_SENT.inc()
        return True

    def _untold(self, socket: Socket) -> list[_Shown]:
        if not self.sessions:
            return []
        told = socket.told or {}
        return [
            one
            for one in self.sessions.values()
            if told.get(one.session.id, 0) < one.session.revision
        ]

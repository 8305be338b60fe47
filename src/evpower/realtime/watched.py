"""A client with open sockets: its newest state, stored once for all of them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from evpower.charging import SessionView
from evpower.foundation.language import Sentence
from evpower.identity import Claims
from evpower.realtime import metrics, protocol
from evpower.realtime.connection import Socket
from evpower.realtime.model import BalanceState

_MAX_SESSIONS: Final = 8  # of a client: those the sweep compares, and some more
_RECENT: Final = timedelta(hours=1)  # sessions that ended within it are sent to a new socket


@dataclass(frozen=True, slots=True)
class _Shown:
    """A session as it stood at a moment, and its frame in each language that is read."""

    session: SessionView
    at: datetime
    sentence: Sentence
    frames: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def frame(self, language: str) -> bytes:
        frame = self.frames.get(language)
        if frame is None:
            message = self.sentence(self.session.message_codes(self.at), language)
            frame = self.frames[language] = protocol.session(self.session, self.at, message)
        return frame


class Watched:
    """One client and all its sockets on this node."""

    __slots__ = ("_frame", "balance", "claims", "id", "sessions", "sockets")

    def __init__(self, client_id: UUID) -> None:
        self.id = client_id
        self.sockets: list[Socket] = []  # the oldest first
        self.claims: Claims | None = None  # None once the client is known to exist
        self.balance: BalanceState | None = None
        self.sessions: dict[UUID, _Shown] | None = None
        self._frame = b""

    def store_balance(self, balance: BalanceState) -> None:
        """Stores a balance if it is newer, encoded once for all sockets."""
        self.claims = None
        if self.balance is None or balance.revision > self.balance.revision:
            self.balance = balance
            self._frame = protocol.balance(balance)

    def store_session(self, session: SessionView, now: datetime, sentence: Sentence) -> None:
        """Stores a session if it is newer."""
        if self.sessions is None:
            self.sessions = {}
        known = self.sessions.get(session.id)
        if known is None or session.revision > known.session.revision:
            shown = _Shown(session, now, sentence)
            for language in {socket.language for socket in self.sockets}:
                shown.frame(language)  # raised here, not while others are sent theirs
            self.sessions[session.id] = shown

    def delete_old_sessions(self) -> None:
        """Deletes all but the newest sessions; those the sweep compares are among them."""
        if self.sessions is None or len(self.sessions) <= _MAX_SESSIONS:
            return
        ages = sorted(self.sessions.values(), key=lambda shown: shown.session.created_at)
        for shown in ages[:-_MAX_SESSIONS]:
            del self.sessions[shown.session.id]
        for socket in self.sockets:
            if socket.sent_sessions is not None:
                socket.sent_sessions = {
                    id_: at for id_, at in socket.sent_sessions.items() if id_ in self.sessions
                }

    def open(self, socket: Socket, now: datetime) -> None:
        """Starts sending to a socket; sessions that ended long ago are not sent."""
        socket.open = True
        if self.sessions:
            socket.sent_sessions = {
                shown.session.id: shown.session.revision
                for shown in self.sessions.values()
                if shown.session.status != "started" and shown.session.updated_at < now - _RECENT
            }

    def send_changes(self, socket: Socket, now_s: float) -> None:
        """Sends the socket what it lacks; an app that does not read gets the newest state later."""
        is_incomplete = False
        if self.balance is not None and socket.revision < self.balance.revision:
            is_incomplete = not self._send_balance(socket, self.balance)
        for shown in self._unsent(socket):
            is_incomplete = is_incomplete or not self._send_session(socket, shown)
        if is_incomplete and socket.unread_since is None:
            socket.unread_since = now_s
        elif is_incomplete:
            metrics.SUPERSEDED.inc()

    def _send_balance(self, socket: Socket, balance: BalanceState) -> bool:
        is_known = socket.had_version == balance.version
        if not socket.write(protocol.balance(balance, "ready") if is_known else self._frame):
            return False
        socket.had_version = None
        socket.revision = balance.revision
        (metrics.READIES_SENT if is_known else metrics.BALANCES_SENT).inc()
        return True

    def _send_session(self, socket: Socket, shown: _Shown) -> bool:
        if not socket.write(shown.frame(socket.language)):
            return False
        if socket.sent_sessions is None:
            socket.sent_sessions = {}
        socket.sent_sessions[shown.session.id] = shown.session.revision
        metrics.SESSIONS_SENT.inc()
        return True

    def _unsent(self, socket: Socket) -> list[_Shown]:
        if not self.sessions:
            return []
        sent_sessions = socket.sent_sessions or {}
        return [
            shown
            for shown in self.sessions.values()
            if sent_sessions.get(shown.session.id, 0) < shown.session.revision
        ]

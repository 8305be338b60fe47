"""Idempotency-Key: the first request runs, repeats wait for its response and get the same."""

import asyncio
import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evpower.api import metrics
from evpower.foundation import idempotency
from evpower.foundation.backoff import Backoff
from evpower.foundation.clock import Clock, Sleep
from evpower.foundation.db import Database
from evpower.foundation.errors import Conflict, EvPowerError, Forbidden, Invalid
from evpower.foundation.idempotency import (
    Answered,
    IdempotencyKey,
    KeyReused,
    OwnsKey,
    RequestOutcome,
    Running,
)

logger = structlog.get_logger(__name__)

_PRINTABLE: Final = re.compile(rb"[\x21-\x7e]{1,255}")
_POLL: Final = Backoff(0.02, 0.5)


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Whose keys they are, the role that an operator has now, and how many repeats may wait."""

    name: str
    role: str | None
    most_waiting: int = 32


class Replay:
    """Runs a request at most once per caller, key and body."""

    def __init__(
        self, db: Database, clock: Clock, *, wait_s: float = 10.0, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._db = db
        self._clock = clock
        self._wait_s = wait_s
        self._sleep = sleep
        self._waiting: Counter[str] = Counter()  # repeats, by owner

    async def run(
        self,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        owner: KeyOwner,
        key: bytes,
    ) -> None:
        """Responds from the app, or with the stored response.

        An operator who lost the role that the first request took gets nothing of its response.
        Raises Invalid, Conflict, Forbidden.
        """
        if not _PRINTABLE.fullmatch(key):
            raise Invalid("invalid_idempotency_key", "1 to 255 printable ASCII characters")
        body = await _read(receive)
        if body is None:
            return  # the caller closed the connection
        digest = hashlib.sha256()
        for part in (scope["method"].encode(), scope["path"].encode(), scope["query_string"], body):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        stored_key = IdempotencyKey(owner.name[:200], key.decode(), digest.digest())
        claimed = await self._claim(stored_key, owner)
        if isinstance(claimed, Answered):
            if claimed.roles is not None and owner.role not in claimed.roles:
                raise Forbidden("forbidden", "the role that this request takes is not yours now")
            metrics.REPLAYED.inc()
            await _replay(claimed, send)
            return
        await self._run_first(app, scope, receive, send, body, (stored_key, claimed))

    async def _claim(self, key: IdempotencyKey, owner: KeyOwner) -> Answered | OwnsKey:
        state = await self._look(key)
        if not isinstance(state, Running):
            return state
        if self._waiting[owner.name] >= owner.most_waiting:
            raise _in_progress()
        self._waiting[owner.name] += 1
        try:
            return await self._wait(key)
        finally:
            self._waiting[owner.name] -= 1
            if not self._waiting[owner.name]:
                del self._waiting[owner.name]

    async def _wait(self, key: IdempotencyKey) -> Answered | OwnsKey:
        waited_s, polls = 0.0, 0
        while waited_s < self._wait_s:
            polls += 1
            pause_s = _POLL.pause_s(polls)
            await self._sleep(pause_s)
            waited_s += pause_s
            state = await self._look(key)
            if not isinstance(state, Running):
                return state
        raise _in_progress()

    async def _look(self, key: IdempotencyKey) -> Answered | OwnsKey | Running:
        async with self._db.connection() as connection:
            state = await idempotency.claim(connection, key, self._clock())
        if isinstance(state, KeyReused):
            raise Conflict("idempotency_conflict", "this Idempotency-Key came with another request")
        return state

    async def _run_first(
        self,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        body: bytes,
        claimed: tuple[IdempotencyKey, OwnsKey],
    ) -> None:
        answer = _Captured(send)
        state: idempotency.KeyState = scope.setdefault("state", {})
        idempotency.set_key(state, claimed[0].key)
        try:
            await app(scope, _replayed_body(body, receive), answer.send)
        except EvPowerError as error:
            await self._settle(claimed, idempotency.outcome_of(state, error.http_status), None)
            raise
        except BaseException:
            await self._settle(claimed, "unknown", None)
            raise
        done = answer.to_store(idempotency.roles_of(state))
        await self._settle(claimed, idempotency.outcome_of(state, answer.status), done)
        await answer.flush()

    async def _settle(
        self,
        claimed: tuple[IdempotencyKey, OwnsKey],
        outcome: RequestOutcome,
        done: Answered | None,
    ) -> None:
        """Stores the response or frees the key; a failure here does not undo the request."""
        key, lease = claimed
        try:
            async with self._db.connection() as connection:
                if outcome == "unknown":
                    await idempotency.release(connection, key, lease, self._clock())
                elif outcome == "refused" or done is None:
                    await idempotency.free(connection, key, lease)
                elif not await idempotency.finish(connection, key, lease, done):
                    logger.warning("idempotency_lease_lost")
        except EvPowerError as error:
            logger.warning("idempotency_response_not_stored", code=error.code)


def _in_progress() -> Conflict:
    return Conflict(
        "idempotency_in_progress", "the first request with this key still runs", retry_after_s=5
    )


class _Captured:
    """Withholds a response until it is stored; one too large to store passes through at once."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._messages: list[Message] = []
        self._size = 0
        self._passing = False
        self._status = 500

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        if self._passing:
            await self._send(message)
            return
        self._messages.append(message)
        self._size += len(message.get("body", b""))
        if self._size > idempotency.MAX_BODY_BYTES:
            self._passing = True
            await self.flush()

    async def flush(self) -> None:
        messages, self._messages = self._messages, []
        for message in messages:
            await self._send(message)

    @property
    def status(self) -> int:
        """The status of the response; that of an internal error when none came."""
        return self._status

    def to_store(self, roles: frozenset[str] | None) -> Answered | None:
        """Returns the response to store; None for one that is too large."""
        if self._passing or not self._messages:
            return None
        start, *parts = self._messages
        media_type = next(
            (value.decode() for name, value in start["headers"] if name == b"content-type"), None
        )
        body = b"".join(part.get("body", b"") for part in parts)
        return Answered(start["status"], media_type, body, roles)


async def _read(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed_body(body: bytes, receive: Receive) -> Receive:
    """Returns a `receive` that yields the body that was read, then only a disconnect."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


async def _replay(answer: Answered, send: Send) -> None:
    headers = [
        (b"content-length", str(len(answer.body)).encode()),
        (b"idempotent-replayed", b"true"),
    ]
    if answer.media_type:
        headers.append((b"content-type", answer.media_type.encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})

"""The sandbox bank's webhooks: signed anew each time, retried until the merchant responds 2xx."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog

from evpower.devstack.bank.state import BankState, Delivery
from evpower.foundation.clock import Clock
from evpower.foundation.http import HttpClient, HttpError

log = structlog.get_logger()
RETRIES_S: Final = (1, 2, 5, 10, 20, 30) + (60,) * 60
_AT_ONCE: Final = 16
_TIMEOUT_S: Final = 10.0


class Courier:
    """Sends what is due; undelivered webhooks stay in the state for the next start."""

    def __init__(
        self,
        state: BankState,
        secret: str,
        webhook_url: str,
        clock: Clock,
        retries_s: Sequence[float] = RETRIES_S,
    ) -> None:
        self._state = state
        self._key = secret_bytes(secret)
        self._url = webhook_url
        self._clock = clock
        self._retries_s = retries_s
        self._wake = asyncio.Event()
        self._busy: set[int] = set()
        self._loop: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Starts to send; a second call does nothing."""
        if self._loop is None or self._loop.done():
            self._loop = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stops sending."""
        tasks = [*self._sending, *([self._loop] if self._loop else [])]
        self._loop = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """Announces a new webhook to send."""
        self.start()
        self._wake.set()

    async def _run(self) -> None:
        async with HttpClient() as http:
            while True:
                self._wake.clear()
                now_s = self._clock().timestamp()
                room = _AT_ONCE - len(self._busy)
                for delivery in self._state.due(now_s, busy=self._busy, limit=room):
                    self._busy.add(delivery.id)
                    task = asyncio.create_task(self._send(http, delivery))
                    self._sending.add(task)
                    task.add_done_callback(self._sending.discard)
                await self._rest(now_s)

    async def _rest(self, now_s: float) -> None:
        next_s = self._state.next_due_s(busy=self._busy) if len(self._busy) < _AT_ONCE else None
        timeout = None if next_s is None else max(0.0, next_s - now_s)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), timeout)

    async def _send(self, http: HttpClient, delivery: Delivery) -> None:
        lost = delivery.lose > 0
        try:
            if not lost and await self._delivered(http, delivery):
                self._state.delivered(delivery.id)
                return
            tries = delivery.attempts
            wait_s = self._retries_s[tries] if tries < len(self._retries_s) else None
            next_s = None if wait_s is None else self._clock().timestamp() + wait_s
            self._state.failed(delivery.id, next_s=next_s, lost=lost)
        finally:
            self._busy.discard(delivery.id)
            self._wake.set()

    async def _delivered(self, http: HttpClient, delivery: Delivery) -> bool:
        timestamp = int(self._clock().timestamp())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": delivery.event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._key, delivery.event_id, timestamp, delivery.body),
        }
        try:
            answer = await http.fetch(
                "devstack",
                "POST",
                self._url,
                content=delivery.body,
                headers=headers,
                timeout_s=_TIMEOUT_S,
            )
        except HttpError as error:
            log.info(
                "sandbox_webhook_failed", event_id=delivery.event_id, reason=type(error).__name__
            )
            return False
        if not answer.is_success:
            log.info(
                "sandbox_webhook_refused", event_id=delivery.event_id, status=answer.status_code
            )
        return answer.is_success


def secret_bytes(secret: str) -> bytes:
    """Returns the bytes of a Standard Webhooks secret: base64 after "whsec_", else its text."""
    if secret.startswith("whsec_"):
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return secret.encode()


def signature(key: bytes, event_id: str, timestamp: int, body: bytes) -> str:
    """Returns the header: "v1," and the base64 HMAC-SHA256 of id.timestamp.body."""
    mac = hmac.digest(key, b"%s.%d.%s" % (event_id.encode(), timestamp, body), hashlib.sha256)
    return "v1," + base64.b64encode(mac).decode()

"""Sends alerts to a webhook, signed as Standard Webhooks (standardwebhooks.com)."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final

import orjson

from evpower.alerts.kinds import Language, facts_of
from evpower.alerts.model import AlertMessage, Attempt
from evpower.foundation.clock import Clock, to_z
from evpower.foundation.http import HttpClient, HttpError
from evpower.foundation.standard_webhooks import key_bytes, sign

TIMEOUT_S: Final = 10.0  # of one call
_LAST_BEGINS_S: Final = 60.0  # no later call of a batch begins
_MAX_RESPONSE_BYTES: Final = 65_536  # an answer is read to its end, and not looked at


class WebhookChannel:
    """POSTs each message on its own; those of one alert in their order.

    Any 2xx is an acceptance. Everything else is tried again with the same `webhook-id`.
    """

    gathers = False
    batch = 50

    def __init__(
        self, http: HttpClient, url: str, keys: Sequence[bytes], language: Language, clock: Clock
    ) -> None:
        """`keys`: each signs, so that a receiver may know either while a secret is replaced."""
        self._http = http
        self._url = url
        self._keys = keys
        self._language: Language = language
        self._clock = clock

    async def send(self, messages: Sequence[AlertMessage]) -> list[Attempt]:
        """Sends messages; one that is not accepted holds back the later ones of its alert."""
        by_alert: dict[int, list[AlertMessage]] = {}
        for message in messages:
            by_alert.setdefault(message.alert_id, []).append(message)
        until = asyncio.get_running_loop().time() + _LAST_BEGINS_S
        done = await asyncio.gather(
            *(self._send_in_order(same, until) for same in by_alert.values())
        )
        return [attempt for attempts in done for attempt in attempts]

    async def _send_in_order(self, messages: Sequence[AlertMessage], until: float) -> list[Attempt]:
        attempts: list[Attempt] = []
        last: Attempt | None = None
        for message in messages:
            if last is not None and last.error is not None:
                last = Attempt(message, last.error, last.pause_s)
            elif asyncio.get_running_loop().time() > until:
                last = Attempt(message, "the receiver is slow")
            else:
                last = await self._post(message)
            attempts.append(last)
        return attempts

    async def _post(self, message: AlertMessage) -> Attempt:
        """Returns how it ended; its error is without the address, which may hold a secret."""
        body = orjson.dumps(payload(message, self._language))
        message_id, timestamp = str(message.id), int(self._clock().timestamp())
        signatures = [sign(key, message_id, timestamp, body) for key in self._keys]
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signatures),
        }
        try:
            response = await self._http.fetch(
                "alert_webhook",
                "POST",
                self._url,
                headers=headers,
                content=body,
                timeout_s=TIMEOUT_S,
                max_bytes=_MAX_RESPONSE_BYTES,
            )
        except HttpError as error:
            return Attempt(message, f"{type(error).__name__}: {error}")
        if response.is_success:
            return Attempt(message, None)
        pause_s = response.retry_after_s(self._clock())
        return Attempt(message, f"HTTP {response.status_code}", pause_s)


def payload(message: AlertMessage, language: Language) -> dict[str, Any]:
    """Returns what a receiver gets: docs/alerts.md describes each member."""
    facts = facts_of(message.kind)
    return {
        "type": f"alert.{message.event}",
        "timestamp": to_z(message.created_at),
        "data": {
            "alert_id": message.alert_id,
            "kind": message.kind,
            "severity": facts.severity,
            "subject": message.subject,
            "title": facts.title[language],
            "act": facts.act[language],
            "detail": dict(message.detail),
            "count": message.count,
            "opened_at": to_z(message.opened_at),
            "last_seen_at": to_z(message.last_seen_at),
            "closed_at": message.closed_at and to_z(message.closed_at),
        },
    }


def read_secrets(text: str) -> list[bytes]:
    """Returns the keys of secrets that a `|`, comma or space separates. Raises ValueError."""
    return [key_bytes(secret) for secret in re.split(r"[|,\s]+", text) if secret]

"""Sends messages by Web Push (RFC 8030), encrypted for the browser (RFC 8291)."""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, cast
from urllib.parse import urlsplit

import http_ece
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec

from evpower.foundation.cache import TtlCache
from evpower.foundation.clock import Clock, to_z
from evpower.foundation.errors import Invalid
from evpower.foundation.http import HttpClient, HttpError, HttpResponse, RequestNotSent
from evpower.foundation.language import Sentence
from evpower.foundation.money import to_som
from evpower.push.keys import PushSettings, to_base64url
from evpower.push.model import DeviceKind, PushEvent, PushMessage, PushOutcome
from evpower.push.texts import text_of

TIMEOUT_S: Final = 10.0  # of one call
_MAX_RESPONSE_BYTES: Final = 16_384  # an answer is read to its end, and not looked at
_TOKEN_LIVES: Final = timedelta(hours=12)  # 24 at most
_TOKEN_USED_FOR_S: Final = 6 * 3600.0
_MAX_TOKENS: Final = 1_000  # origins whose token is remembered
_TOPIC_CHARACTERS: Final = 32  # at most
_UNSUBSCRIBED: Final = frozenset({404, 410})
_PASSING: Final = frozenset({408, 425, 429})  # and every 5xx
_SERVER_ERROR: Final = 500
_MOST_RETRY_AFTER_S: Final = 3600.0
# What a phone that saves its battery shows at once.
_URGENT: Final[frozenset[PushEvent]] = frozenset({"start_failed", "hold_near", "stopped"})
_encrypt: Final = cast("Callable[..., bytes]", http_ece.encrypt)  # the library has no types


class WebPush:
    """Sends to browsers' subscriptions. The push service can't read what it passes on."""

    kind: DeviceKind = "web"

    def __init__(
        self, http: HttpClient, settings: PushSettings, sentence: Sentence, clock: Clock
    ) -> None:
        self._http = http
        self._settings = settings
        self._sentence = sentence
        self._clock = clock
        self._tokens = TtlCache[str, str](_MAX_TOKENS, lambda: clock().timestamp())

    async def send(self, message: PushMessage) -> PushOutcome:
        """Sends a message, in 10 s at most; only an answer says that it was not accepted."""
        try:
            endpoint = self._settings.hosts.check(message.address)
        except Invalid as error:  # the setting was changed since it was registered
            return PushOutcome("refused", error.detail)
        if message.p256dh is None or message.auth is None:
            return PushOutcome("refused", "the subscription has no keys")
        now = self._clock()
        body = encrypted(
            orjson.dumps(payload(message, self._sentence)), message.p256dh, message.auth
        )
        try:
            response = await self._http.fetch(
                "devstack" if endpoint.is_local else "push",
                "POST",
                endpoint.url,
                headers=self._headers(message, now),
                content=body,
                timeout_s=TIMEOUT_S,
                max_bytes=_MAX_RESPONSE_BYTES,
            )
        except RequestNotSent as error:
            return PushOutcome("failed", str(error))
        except HttpError as error:
            return PushOutcome("unknown", str(error))
        return outcome_of(response, self._clock())

    def _headers(self, message: PushMessage, now: datetime) -> dict[str, str]:
        lives_s = max(0, int((message.expires_at - now).total_seconds()))
        return {
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            "TTL": str(lives_s),
            "Urgency": "high" if message.event in _URGENT else "normal",
            "Topic": topic_of(message),
            "Authorization": self._authorization(message.address, now),
        }

    def _authorization(self, endpoint: str, now: datetime) -> str:
        parts = urlsplit(endpoint)
        origin = f"{parts.scheme}://{parts.netloc}"
        token = self._tokens.get(origin)
        if token is None:
            claims = {
                "aud": origin,
                "exp": int((now + _TOKEN_LIVES).timestamp()),
                "sub": self._settings.contact,
            }
            token = jwt.encode(claims, self._settings.keys.private, algorithm="ES256")
            self._tokens.put(origin, token, expires_at=now.timestamp() + _TOKEN_USED_FOR_S)
        return f"vapid t={token}, k={self._settings.keys.public}"


def outcome_of(response: HttpResponse, now: datetime) -> PushOutcome:
    """Returns what a push service's answer means."""
    status = response.status_code
    if response.is_success:
        return PushOutcome("sent")
    if status in _UNSUBSCRIBED:
        return PushOutcome("unsubscribed", f"HTTP {status}")
    if status in _PASSING or status >= _SERVER_ERROR:
        pause_s = response.retry_after_s(now)
        pause_s = None if pause_s is None else min(pause_s, _MOST_RETRY_AFTER_S)
        return PushOutcome("failed", f"HTTP {status}", pause_s)
    return PushOutcome("refused", f"HTTP {status}")


def encrypted(
    content: bytes,
    p256dh: bytes,
    auth: bytes,
    *,
    salt: bytes | None = None,
    sender: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """Returns the body of a message. `salt` and `sender` are new for each, but in tests."""
    return _encrypt(
        content,
        salt=salt,
        private_key=sender or ec.generate_private_key(ec.SECP256R1()),
        dh=p256dh,
        auth_secret=auth,
        version="aes128gcm",
    )


def payload(message: PushMessage, sentence: Sentence) -> dict[str, Any]:
    """Returns what a service worker gets: docs/push.md describes each member."""
    title, body = text_of(message, sentence)
    facts = message.facts
    data: dict[str, Any] = {
        "session_id": str(message.session_id),
        "station_id": facts.get("station_id"),
        "connector_id": facts.get("connector_id"),
        "energy_kwh": facts.get("energy_wh", 0) / 1000,
        "cost": to_som(facts.get("cost_minor", 0)),
        "expires_at": to_z(message.expires_at),
    }
    for name in ("start_failure", "end_reason"):
        if name in facts:
            data[name] = facts[name]
    return {
        "type": f"charging_{message.event}",
        "title": title,
        "body": body,
        "tag": topic_of(message),
        "lang": message.language,
        "data": data,
    }


def topic_of(message: PushMessage) -> str:
    """Returns the name by which a newer copy replaces an older one, on its way and on a screen."""
    text = f"{message.session_id}:{message.event}"
    return to_base64url(hashlib.sha256(text.encode()).digest())[:_TOPIC_CHARACTERS]

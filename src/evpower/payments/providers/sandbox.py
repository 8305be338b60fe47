"""The sandbox bank's client side. It exists in development only; amounts are tyiyn integers."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, ClassVar, Final, Literal, cast

import orjson

from evpower.foundation import standard_webhooks
from evpower.foundation.clock import read_time
from evpower.foundation.errors import Invalid
from evpower.foundation.http import HttpClient, HttpError
from evpower.foundation.json_reader import NotAnObject, NotJson, read_json, read_object
from evpower.foundation.money import MAX_MINOR
from evpower.foundation.text import flaw
from evpower.payments.errors import ProviderRefused, ProviderUnavailable, UnknownToProvider
from evpower.payments.model import STATUSES, Event
from evpower.payments.providers.protocol import Invoice

_MAX_ID: Final = 128
# 4xx that say nothing about the invoice: the same request may succeed later.
_TRANSIENT: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
_MAX_RESPONSE_BYTES: Final = 256 * 1024
_MAX_TEXT: Final = 4096


def merchant_key(secret: str) -> str:
    """What the API shows the bank to be let in: derived, so the webhooks' secret never travels."""
    return hmac.digest(standard_webhooks.key_bytes(secret), b"merchant api", hashlib.sha256).hex()


class SandboxProvider:
    """The provider `sandbox`. `secrets`: the first is ours now, the others are still accepted."""

    name: ClassVar[str] = "sandbox"
    method: ClassVar[Literal["qr", "card"]] = "qr"

    def __init__(
        self, url: str, secrets: Sequence[str], http: HttpClient, *, timeout_s: float = 5.0
    ) -> None:
        if not secrets or not all(secrets):
            raise ValueError("the sandbox provider needs a secret")
        self._url = url.rstrip("/")
        self._keys = [standard_webhooks.key_bytes(secret) for secret in secrets]
        self._headers = {"X-Merchant-Key": merchant_key(secrets[0])}
        self._http = http
        self._timeout_s = timeout_s

    def to_unit(self, amount_minor: int) -> int:
        """Tyiyn, as they are."""
        return amount_minor

    def from_unit(self, amount: object) -> int:
        """Tyiyn, as they are: a whole number that is not negative."""
        if isinstance(amount, bool) or not isinstance(amount, int) or not 0 <= amount <= MAX_MINOR:
            raise Invalid("invalid_webhook", "an amount must be whole tyiyn")
        return amount

    async def create_invoice(
        self,
        *,
        order_id: str,
        amount_minor: int,
        currency: str,
        description: str,
        expires_at: datetime,
    ) -> Invoice:
        """Make a bill; the same order twice is the same bill."""
        answer = await self._ask(
            "POST",
            "/v1/invoices",
            {
                "order_id": order_id,
                "amount": self.to_unit(amount_minor),
                "currency": currency,
                "description": description,
                "expires_at": expires_at.isoformat(),
            },
        )
        names = ("ref", "qr_code", "qr_code_url", "app_link")
        found = [value for name in names if isinstance(value := answer.get(name), str) and value]
        if len(found) != len(names) or any(flaw(value, most=_MAX_TEXT) for value in found):
            raise ProviderUnavailable("the bank's answer has no invoice")
        return Invoice(*found)

    def verify_webhook(self, headers: Mapping[str, str], raw: bytes, now: datetime) -> Event:
        """Check the signature of the raw bytes, then read them."""
        event_id = standard_webhooks.verify(self._keys, headers, raw, now)
        try:
            body = read_json(raw)
        except NotJson as error:
            raise Invalid("invalid_webhook", "the webhook is not JSON") from error
        return self._event(event_id, hashlib.sha256(raw).digest(), body)

    async def ask_status(self, *, order_id: str, provider_ref: str | None) -> Event:
        """Ask by the order, which the bank has even when its answer with the ref was lost."""
        del provider_ref
        body = await self._ask("GET", f"/v1/orders/{order_id}")
        try:
            told = self._event("poll", b"", body)
        except Invalid as error:
            raise ProviderUnavailable(f"the bank's answer makes no sense: {error}") from error
        facts = f"{told.provider_ref}:{told.status}:{told.paid_minor}:{told.refunded_minor}"
        return Event(
            provider=self.name,
            event_id=f"poll:{facts}",
            body_sha256=hashlib.sha256(f"{order_id}:{told.currency}:{facts}".encode()).digest(),
            order_id=order_id,
            provider_ref=told.provider_ref,
            status=told.status,
            paid_minor=told.paid_minor,
            currency=told.currency,
            refunded_minor=told.refunded_minor,
            occurred_at=told.occurred_at,
        )

    def _event(self, event_id: str, digest: bytes, body: object) -> Event:
        if not isinstance(body, dict):
            raise Invalid("invalid_webhook", "the webhook is not an object")
        given = cast("dict[str, Any]", body)
        status = given.get("status")
        if status not in STATUSES:
            raise Invalid("invalid_webhook", "the status is unknown")
        paid, refunded = given.get("paid"), given.get("refunded")
        return Event(
            provider=self.name,
            event_id=event_id,
            body_sha256=digest,
            order_id=_text(given, "order_id"),
            provider_ref=_text(given, "ref"),
            status=status,
            paid_minor=None if paid is None else self.from_unit(paid),
            currency=_text(given, "currency"),
            refunded_minor=None if refunded is None else self.from_unit(refunded),
            occurred_at=_at(given.get("occurred_at")),
        )

    async def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        try:
            answer = await self._http.fetch(
                "payment_provider",
                method,
                self._url + path,
                content=None if body is None else orjson.dumps(body),
                headers=self._headers | {"Content-Type": "application/json"},
                timeout_s=self._timeout_s,
                max_bytes=_MAX_RESPONSE_BYTES,
            )
        except HttpError as error:
            raise ProviderUnavailable(f"no answer: {error}") from error
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise UnknownToProvider(path)
        if answer.status_code in _TRANSIENT:
            raise ProviderUnavailable(f"answered {answer.status_code}")
        if answer.is_client_error:
            raise ProviderRefused(f"answered {answer.status_code}")
        if not answer.is_success:
            raise ProviderUnavailable(f"answered {answer.status_code}")
        try:
            return read_object(answer.content)
        except NotAnObject as error:
            raise ProviderUnavailable("the answer is not an object") from error
        except NotJson as error:
            raise ProviderUnavailable("the answer is not JSON") from error


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_ID or not value.isprintable():
        raise Invalid("invalid_webhook", f"{name} must be a short text")
    return value


def _at(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return read_time(value)
    except ValueError:
        return None

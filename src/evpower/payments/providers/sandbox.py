"""The client of the sandbox bank, for development only. Amounts are integers in tyiyn."""

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
# 4xx that are no decision about the invoice: the same request may succeed later.
_TRANSIENT: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
_MAX_RESPONSE_BYTES: Final = 256 * 1024
_MAX_TEXT: Final = 4096


def merchant_key(secret: str) -> str:
    """Returns the key of the bank's API, derived from the webhook secret, which is never sent."""
    return hmac.digest(standard_webhooks.key_bytes(secret), b"merchant api", hashlib.sha256).hex()


class SandboxProvider:
    """The provider `sandbox`. `secrets`: the first is current, the others are still accepted."""

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
        """Returns the amount unchanged: the bank's unit is tyiyn."""
        return amount_minor

    def from_unit(self, amount: object) -> int:
        """Returns the amount unchanged. Raises Invalid unless it is a whole number from 0 on."""
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
        """Creates an invoice; the same order again returns the same one."""
        body = await self._request(
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
        values = [value for name in names if isinstance(value := body.get(name), str) and value]
        if len(values) != len(names) or any(flaw(value, most=_MAX_TEXT) for value in values):
            raise ProviderUnavailable("the bank's response has no invoice")
        return Invoice(*values)

    def verify_webhook(self, headers: Mapping[str, str], raw: bytes, now: datetime) -> Event:
        """Verifies the signature of the raw bytes, then parses them."""
        event_id = standard_webhooks.verify(self._keys, headers, raw, now)
        try:
            body = read_json(raw)
        except NotJson as error:
            raise Invalid("invalid_webhook", "the webhook is not JSON") from error
        return self._event(event_id, hashlib.sha256(raw).digest(), body)

    async def fetch_status(self, *, order_id: str, provider_ref: str | None) -> Event:
        """Fetches by the order id, which the bank has even if its response with the ref is lost."""
        del provider_ref
        body = await self._request("GET", f"/v1/orders/{order_id}")
        try:
            state = self._event("poll", b"", body)
        except Invalid as error:
            raise ProviderUnavailable(f"the bank's response is invalid: {error}") from error
        facts = f"{state.provider_ref}:{state.status}:{state.paid_minor}:{state.refunded_minor}"
        return Event(
            provider=self.name,
            event_id=f"poll:{facts}",
            body_sha256=hashlib.sha256(f"{order_id}:{state.currency}:{facts}".encode()).digest(),
            order_id=order_id,
            provider_ref=state.provider_ref,
            status=state.status,
            paid_minor=state.paid_minor,
            currency=state.currency,
            refunded_minor=state.refunded_minor,
            occurred_at=state.occurred_at,
        )

    def _event(self, event_id: str, digest: bytes, body: object) -> Event:
        if not isinstance(body, dict):
            raise Invalid("invalid_webhook", "the webhook is not an object")
        fields = cast("dict[str, Any]", body)
        status = fields.get("status")
        if status not in STATUSES:
            raise Invalid("invalid_webhook", "the status is unknown")
        paid, refunded = fields.get("paid"), fields.get("refunded")
        return Event(
            provider=self.name,
            event_id=event_id,
            body_sha256=digest,
            order_id=_text(fields, "order_id"),
            provider_ref=_text(fields, "ref"),
            status=status,
            paid_minor=None if paid is None else self.from_unit(paid),
            currency=_text(fields, "currency"),
            refunded_minor=None if refunded is None else self.from_unit(refunded),
            occurred_at=_at(fields.get("occurred_at")),
        )

    async def _request(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        try:
            response = await self._http.fetch(
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
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise UnknownToProvider(path)
        if response.status_code in _TRANSIENT:
            raise ProviderUnavailable(f"answered {response.status_code}")
        if response.is_client_error:
            raise ProviderRefused(f"answered {response.status_code}")
        if not response.is_success:
            raise ProviderUnavailable(f"answered {response.status_code}")
        try:
            return read_object(response.content)
        except NotAnObject as error:
            raise ProviderUnavailable("the response is not an object") from error
        except NotJson as error:
            raise ProviderUnavailable("the response is not JSON") from error


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_ID or not value.isprintable():
        raise Invalid("invalid_webhook", f"{name} must be a short text")
    return value


def _at(value: object) -> datetime | None:
    """Returns the time; None if there is none or it can't be read: it is informative only."""
    if not isinstance(value, str):
        return None
    try:
        return read_time(value)
    except ValueError:
        return None

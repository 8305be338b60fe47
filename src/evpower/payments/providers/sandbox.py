"""The client of the sandbox bank, for development only. Amounts are integers in tyiyn."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
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
from evpower.payments.providers.protocol import (
    BillStatus,
    HistoryItem,
    Invoice,
    NoticeAnswer,
    NoticeRequest,
    NoticeResult,
)

_MAX_ID: Final = 128
# 4xx that are no decision about the invoice: the same request may succeed later.
_TRANSIENT: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
_MAX_RESPONSE_BYTES: Final = 256 * 1024
_MAX_TEXT: Final = 4096
_LINKS: Final = ("qr_code", "qr_code_url", "app_link", "page_url")


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
        bill: int = 1,
    ) -> Invoice:
        """Creates an invoice; the same order again returns the same one."""
        del bill
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
        ref = body.get("ref")
        links = {name: value for name in _LINKS if (value := body.get(name)) is not None}
        if not isinstance(ref, str) or not all(
            isinstance(value, str) and value and not flaw(value, most=_MAX_TEXT)
            for value in (ref, *links.values())
        ):
            raise ProviderUnavailable("the bank's response has no invoice")
        return Invoice(ref, **links)

    def read_notice(self, request: NoticeRequest, now: datetime) -> Event:
        """Verifies the signature of the raw bytes, then parses them."""
        event_id = standard_webhooks.verify(self._keys, request.headers, request.raw, now)
        try:
            body = read_json(request.raw)
        except NotJson as error:
            raise Invalid("invalid_webhook", "the webhook is not JSON") from error
        return self._event(event_id, hashlib.sha256(request.raw).digest(), body)

    def answer(self, request: NoticeRequest, result: NoticeResult) -> NoticeAnswer:
        """Returns the invoice's id and the outcome; the bank reads only the status."""
        del request
        body = {"status": "payment_not_found"}
        if result.invoice_id is not None:
            body = {"status": "received", "invoice_id": result.invoice_id}
        return NoticeAnswer(orjson.dumps(body | {"provider": self.name, "outcome": result.outcome}))

    async def fetch_status(
        self, *, order_id: str, provider_ref: str | None, bills: int = 1
    ) -> BillStatus:
        """Fetches by the order id, which the bank has even if its response with the ref is lost."""
        del provider_ref, bills
        body = await self._request("GET", f"/v1/orders/{order_id}")
        attempts = body.get("attempts")
        if not isinstance(attempts, list) or not isinstance(ref := body.get("ref"), str):
            raise ProviderUnavailable("the bank's response has no attempts")
        try:
            events = tuple(
                self._polled(order_id, attempt) for attempt in cast("list[object]", attempts)
            )
        except Invalid as error:
            raise ProviderUnavailable(f"the bank's response is invalid: {error}") from error
        return BillStatus(events, ref)

    async def cancel(
        self, *, order_id: str, provider_ref: str
    ) -> Literal["canceled", "already_paid"]:
        """Makes the invoice unpayable, unless it is paid."""
        del provider_ref
        body = await self._request("POST", f"/v1/orders/{order_id}/cancel")
        result = body.get("result")
        if result not in ("canceled", "already_paid"):
            raise ProviderUnavailable("the bank's response is no result of a cancellation")
        return result

    async def refund(
        self, *, transaction_ref: str, amount_minor: int, paid_minor: int, key: str
    ) -> None:
        """Returns money of a transaction; the bank knows no keys, as real ones do."""
        del paid_minor, key
        body = {"transaction_ref": transaction_ref, "amount": self.to_unit(amount_minor)}
        await self._request("POST", "/v1/refunds", body)

    async def fetch_history(self, *, since: datetime, until: datetime) -> Sequence[HistoryItem]:
        """Returns what was paid in a period, by the time of its last change."""
        period = f"since={since.timestamp()}&until={until.timestamp()}"
        body = await self._request("GET", f"/v1/transactions?{period}")
        listed = body.get("transactions")
        if not isinstance(listed, list):
            raise ProviderUnavailable("the bank's response has no transactions")
        try:
            return [self._transaction(entry) for entry in cast("list[object]", listed)]
        except Invalid as error:
            raise ProviderUnavailable(f"the bank's response is invalid: {error}") from error

    def _transaction(self, entry: object) -> HistoryItem:
        event = self._event("list", b"", entry)
        paid_s = cast("dict[str, Any]", entry).get("paid_s")
        return HistoryItem(
            order_id=event.order_id,
            transaction_ref=event.provider_ref,
            status=event.status,
            amount_minor=event.paid_minor or 0,
            currency=event.currency,
            refunded_minor=event.refunded_minor,
            at=datetime.fromtimestamp(paid_s, UTC) if isinstance(paid_s, float | int) else None,
        )

    def _polled(self, order_id: str, attempt: object) -> Event:
        """Returns the event of an attempt; its id is made of the facts in it."""
        state = self._event("poll", b"", attempt)
        facts = f"{state.provider_ref}:{state.status}:{state.paid_minor}:{state.refunded_minor}"
        digest = hashlib.sha256(f"{order_id}:{state.currency}:{facts}".encode()).digest()
        return replace(state, event_id=f"poll:{facts}", body_sha256=digest, order_id=order_id)

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

"""The sandbox bank: makes invoices, shows a checkout page, sends signed webhooks, fails on demand.

For development only: any caller can make money out of nothing. It knows EvPower only by its webhook
address. Amounts between the merchant and the bank are tyiyn; on the page and in `approve` and
`refund` they are som, as in every user interface.
"""

import argparse
import hashlib
import hmac
import io
import os
import re
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from evpower.devstack.bank import page
from evpower.devstack.bank.delivery import RETRIES_S, Courier, secret_bytes
from evpower.devstack.bank.faults import ArmedFaults, lose_response
from evpower.devstack.bank.requests import BadRequest, number, read_body, refuse, respond, to_tyiyn
from evpower.devstack.bank.state import BankInvoice, BankState, Delivery
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.money import MAX_MINOR

PAYABLE_FOR_S: Final = 24 * 3600.0  # an app may hide a QR after minutes; it can still be paid
_MAX_REPEAT: Final = 100
_ID: Final = re.compile(r"[\x21\x22\x24-\x7e]{6,128}")  # "#" begins the number of an attempt
_PICTURES: Final = {"png": "image/png", "svg": "image/svg+xml"}


class Sandbox:
    """The bank and its ASGI app. `start` resumes undelivered webhooks when the app is mounted."""

    def __init__(
        self,
        secret: str,
        webhook_url: str,
        state_dir: Path | None = None,
        clock: Clock = utc_now,
        *,
        public_url: str = "",
        retries_s: Sequence[float] = RETRIES_S,
    ) -> None:
        if not secret:
            raise ValueError("the sandbox bank needs a secret")
        self._merchant_key = hmac.digest(
            secret_bytes(secret), b"merchant api", hashlib.sha256
        ).hex()
        self._clock = clock
        self._public_url = public_url.rstrip("/")
        self._state = BankState(state_dir)
        self._courier = Courier(self._state, secret, webhook_url, clock, retries_s)
        self._faults = ArmedFaults()
        self.app = Starlette(
            routes=[
                Route("/v1/invoices", self._create, methods=["POST"]),
                Route("/v1/orders/{order_id}", self._status),
                Route("/v1/orders/{order_id}/cancel", self._cancel_order, methods=["POST"]),
                Route("/v1/refunds", self._return_money, methods=["POST"]),
                Route("/v1/transactions", self._transactions),
                Route("/pay/{ref}", self._page),
                Route("/pay/{ref}/qr.{kind}", self._qr),
                Route("/pay/{ref}/events", self._events),
                Route("/pay/{ref}/{action}", self._act, methods=["POST"]),
                Route("/faults", self._set_faults, methods=["POST"]),
                Route("/health", _healthy),
            ],
            exception_handlers={BadRequest: refuse},
            lifespan=self._lifespan,
        )

    def start(self) -> None:
        """Resumes webhooks that were not delivered."""
        self._courier.start()

    async def stop(self) -> None:
        """Stops sending and closes the file."""
        await self._courier.stop()
        self._state.close()

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        self.start()
        yield
        await self.stop()

    async def _create(self, request: Request) -> Response:
        self._know_merchant(request)
        lost = await self._faults.fail("create")
        body = await read_body(request)
        order_id, amount, currency = body.get("order_id"), body.get("amount"), body.get("currency")
        if not isinstance(order_id, str) or not _ID.fullmatch(order_id) or currency != "KGS":
            raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_order")
        if isinstance(amount, bool) or not isinstance(amount, int) or not 0 < amount <= MAX_MINOR:
            raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_amount")
        invoice = self._state.by_order(order_id)
        if invoice is None:
            now_s = self._now_s()
            invoice = BankInvoice(
                ref=secrets.token_hex(10),
                order_id=order_id,
                amount=amount,
                currency=currency,
                description=str(body.get("description") or "")[:500],
                status="processing",
                paid=0,
                refunded=0,
                created_s=now_s,
                payable_until_s=now_s + PAYABLE_FOR_S,
                changed_s=now_s,
            )
            self._state.add(invoice)
        elif invoice.amount != amount:
            raise BadRequest(HTTPStatus.CONFLICT, "order_reused")
        lose_response(lost=lost)
        link = self._link(request, invoice.ref)
        return respond(
            {
                "ref": invoice.ref,
                "qr_code": link,
                "qr_code_url": f"{link}/qr.png",
                "app_link": link,
                "page_url": link,
            }
        )

    async def _status(self, request: Request) -> Response:
        self._know_merchant(request)
        lose_response(lost=await self._faults.fail("status"))
        invoice = self._ordered(request)
        attempts = [self._facts(attempt) for attempt in self._state.attempts(invoice.order_id)]
        tried = [attempt for attempt in attempts if attempt["status"] != "processing"]
        return respond({"ref": invoice.ref, "attempts": tried})

    async def _cancel_order(self, request: Request) -> Response:
        """Cancels for the merchant, without a webhook."""
        self._know_merchant(request)
        lost = await self._faults.fail("cancel")
        invoice = self._ordered(request)
        is_open = invoice.status in ("processing", "canceled")
        if is_open:
            self._state.change(self._cancel(invoice), [])
        lose_response(lost=lost)
        return respond({"result": "canceled" if is_open else "already_paid"})

    async def _return_money(self, request: Request) -> Response:
        """Returns money of a paid attempt for the merchant; a second call returns it again."""
        self._know_merchant(request)
        lost = await self._faults.fail("refund")
        body = await read_body(request)
        ref, amount = body.get("transaction_ref"), body.get("amount")
        invoice = self._state.by_transaction(ref) if isinstance(ref, str) else None
        if invoice is None:
            raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, "unknown_transaction")
        if isinstance(amount, bool) or not isinstance(amount, int):
            raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_amount")
        self._tell(self._returned(invoice, amount), {})
        lose_response(lost=lost)
        return respond({"success": True})

    async def _transactions(self, request: Request) -> Response:
        """Returns what was paid in a period, by the time of its last change."""
        self._know_merchant(request)
        lose_response(lost=await self._faults.fail("history"))
        try:
            since_s, until_s = (float(request.query_params[name]) for name in ("since", "until"))
        except (KeyError, ValueError) as error:
            raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_period") from error
        return respond(
            {
                "transactions": [
                    self._facts(invoice) | {"paid_s": invoice.changed_s}
                    for invoice in self._state.paid_between(since_s, until_s)
                ]
            }
        )

    def _ordered(self, request: Request) -> BankInvoice:
        invoice = self._state.by_order(request.path_params["order_id"])
        if invoice is None:
            raise BadRequest(HTTPStatus.NOT_FOUND, "unknown_order")
        return invoice

    async def _page(self, request: Request) -> Response:
        invoice = self._invoice(request)
        language = page.choose_language(
            request.query_params.get("lang"), request.headers.get("accept-language", "")
        )
        status = invoice.status_at(self._now_s())
        html = page.page(invoice, status, self._link(request, invoice.ref), language)
        return HTMLResponse(html, headers=page.HEADERS)

    async def _qr(self, request: Request) -> Response:
        code = page.qr_code(self._link(request, self._invoice(request).ref))
        kind = request.path_params["kind"]
        if kind not in _PICTURES:
            raise BadRequest(HTTPStatus.NOT_FOUND, "unknown_picture")
        picture = io.BytesIO()
        code.save(picture, kind=kind, scale=8, border=4)
        return Response(picture.getvalue(), media_type=_PICTURES[kind])

    async def _events(self, request: Request) -> Response:
        return respond(self._state.deliveries(self._invoice(request).ref))

    async def _act(self, request: Request) -> Response:
        invoice = self._invoice(request)
        by_hand = request.headers.get("content-type", "").startswith("application/x-www-form")
        body = {} if by_hand else await read_body(request)
        try:
            changed = self._do(request.path_params["action"], invoice, body)
        except BadRequest as refused:
            if by_hand and refused.status is HTTPStatus.CONFLICT:
                return _back_to_page(request)  # it shows the present state
            raise
        event_id = self._tell(changed, body)
        if by_hand:
            return _back_to_page(request)
        return respond({"success": True, "event_id": event_id, **self._facts(changed)})

    def _do(self, action: str, invoice: BankInvoice, body: dict[str, Any]) -> BankInvoice:
        if action == "approve":
            return self._approve(invoice, body)
        if action == "cancel":
            return self._cancel(invoice)
        if action == "refund":
            return self._refund(invoice, body)
        raise BadRequest(HTTPStatus.NOT_FOUND, "unknown_action")

    def _approve(self, invoice: BankInvoice, body: dict[str, Any]) -> BankInvoice:
        """Pays an invoice, also an expired, canceled or paid one: real banks do so."""
        if invoice.status in ("refunded", "partial_refund"):
            raise BadRequest(HTTPStatus.CONFLICT, "already_refunded")
        paid = to_tyiyn(body["amount"]) if body.get("amount") is not None else invoice.amount
        if body.get("again") is True and invoice.status == "approved":
            invoice = self._state.add_attempt(invoice)  # paid once more, as two phones can
        return replace(invoice, status="approved", paid=paid, changed_s=self._now_s())

    def _cancel(self, invoice: BankInvoice) -> BankInvoice:
        if invoice.status not in ("processing", "canceled"):
            raise BadRequest(HTTPStatus.CONFLICT, "already_paid")
        return replace(invoice, status="canceled", changed_s=self._now_s())

    def _refund(self, invoice: BankInvoice, body: dict[str, Any]) -> BankInvoice:
        given = body.get("amount")
        return self._returned(invoice, to_tyiyn(given) if given is not None else None)

    def _returned(self, invoice: BankInvoice, amount: int | None) -> BankInvoice:
        left = invoice.paid - invoice.refunded
        amount = left if amount is None else amount
        if invoice.status not in ("approved", "partial_refund") or not 0 < amount <= left:
            raise BadRequest(HTTPStatus.CONFLICT, "nothing_to_refund")
        status = "refunded" if amount == left else "partial_refund"
        return replace(
            invoice, status=status, refunded=invoice.refunded + amount, changed_s=self._now_s()
        )

    def _tell(self, invoice: BankInvoice, body: dict[str, Any]) -> str:
        """Stores the new state and its webhooks: delayed, repeated or lost as requested."""
        delay_s = number(body, "delay_s", 0.0, 86_400)
        repeat = int(number(body, "repeat", 1, _MAX_REPEAT))
        lose = int(number(body, "lose_first", 0, len(RETRIES_S)))
        # The same fact sent again is the same event, as with real banks.
        event_id = f"evt_{invoice.ref}_{invoice.status}_{invoice.paid}_{invoice.refunded}"
        fact = orjson.dumps({"type": f"invoice.{invoice.status}", **self._facts(invoice)})
        due_s = self._now_s() + delay_s
        self._state.change(
            invoice,
            [
                Delivery(0, event_id, fact, due_s, 0, lose if number == 0 else 0)
                for number in range(max(1, repeat))
            ],
        )
        self._courier.wake()
        return event_id

    def _facts(self, invoice: BankInvoice) -> dict[str, Any]:
        """Returns an invoice as the merchant gets it: the same in webhooks and in responses."""
        return {
            "ref": invoice.transaction_ref,
            "order_id": invoice.merchant_order,
            "status": invoice.status_at(self._now_s()),
            "amount": invoice.amount,
            "paid": invoice.paid,
            "refunded": invoice.refunded,
            "currency": invoice.currency,
        }

    async def _set_faults(self, request: Request) -> Response:
        self._faults.arm(await read_body(request))
        return respond({"success": True})

    def _know_merchant(self, request: Request) -> None:
        given = request.headers.get("x-merchant-key", "")
        if not hmac.compare_digest(given.encode(), self._merchant_key.encode()):
            raise BadRequest(HTTPStatus.UNAUTHORIZED, "unknown_merchant")

    def _invoice(self, request: Request) -> BankInvoice:
        invoice = self._state.by_ref(request.path_params["ref"])
        if invoice is None:
            raise BadRequest(HTTPStatus.NOT_FOUND, "unknown_invoice")
        return invoice

    def _link(self, request: Request, ref: str) -> str:
        base = self._public_url
        if not base:
            url = request.url
            base = f"{url.scheme}://{url.netloc}{request.scope.get('root_path', '')}"
        return f"{base}/pay/{ref}"

    def _now_s(self) -> float:
        return self._clock().timestamp()


def create_sandbox(
    secret: str,
    webhook_url: str,
    state_dir: Path | None = None,
    clock: Clock = utc_now,
    *,
    public_url: str = "",
    retries_s: Sequence[float] = RETRIES_S,
) -> Starlette:
    """Returns the bank as an ASGI app of its own; its lifespan sends undelivered webhooks.

    `webhook_url` is EvPower's /api/v1/payment/webhook/sandbox; without `state_dir` nothing is
    stored.
    """
    bank = Sandbox(
        secret, webhook_url, state_dir, clock, public_url=public_url, retries_s=retries_s
    )
    return bank.app


def _back_to_page(request: Request) -> Response:
    """Redirects to the same host: the page's policy allows no other (form-action 'self')."""
    language = request.query_params.get("lang", "ru")[:2]
    page = f"../{request.path_params['ref']}?lang={language}"
    return RedirectResponse(page, HTTPStatus.SEE_OTHER)


async def _healthy(_: Request) -> Response:
    return respond({"status": "ok"})


def main() -> None:
    """Serves the bank alone; the secret comes from EVPOWER_SANDBOX_SECRET only."""
    import uvicorn

    env = os.environ
    evpower = env.get("EVPOWER_PUBLIC_URL", "http://127.0.0.1:9210").rstrip("/")
    parser = argparse.ArgumentParser(
        prog="python -m evpower.devstack.bank.server", description=__doc__
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=int(env.get("SANDBOX_PORT", "9211")))
    parser.add_argument("--webhook-url", default=f"{evpower}/api/v1/payment/webhook/sandbox")
    parser.add_argument("--public-url", default=env.get("SANDBOX_PUBLIC_URL", ""))
    parser.add_argument("--state-dir", default=env.get("SANDBOX_STATE_DIR", ""))
    arguments = parser.parse_args()
    app = create_sandbox(
        env.get("EVPOWER_SANDBOX_SECRET", "").split(",")[0].strip(),
        arguments.webhook_url,
        Path(arguments.state_dir) if arguments.state_dir else None,
        public_url=arguments.public_url,
    )
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()

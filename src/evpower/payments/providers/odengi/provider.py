"""O!Dengi as a payment provider. Amounts at the bank are integers in tyiyn."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Literal

import orjson
import structlog

from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.errors import Invalid
from evpower.foundation.http import HttpClient
from evpower.foundation.money import CURRENCY
from evpower.payments.errors import ProviderError, ProviderRefused, ProviderUnavailable
from evpower.payments.model import Event
from evpower.payments.providers.elqr import NotElqr, verified_elqr
from evpower.payments.providers.odengi import metrics
from evpower.payments.providers.odengi.answers import (
    ZONE,
    BankAttempt,
    BankError,
    BillState,
    NewBill,
    NotAnAnswer,
    read_amount,
    read_bill,
    read_bill_state,
)
from evpower.payments.providers.odengi.client import Merchant, NothingSent, OdengiClient
from evpower.payments.providers.odengi.history import fetch_history
from evpower.payments.providers.odengi.notice import bank_order, read_notice
from evpower.payments.providers.odengi.signing import safe_text
from evpower.payments.providers.protocol import (
    BillStatus,
    HistoryItem,
    Invoice,
    NoticeAnswer,
    NoticeRequest,
    NoticeResult,
    Question,
)
from evpower.payments.providers.report import ReportColumns

log = structlog.get_logger()
# A bank's clock that is 10 minutes fast would end a bill of 5 minutes before it can be paid.
LONGER: Final = timedelta(minutes=15)
ALREADY_PAID: Final = "45"
NONE_PAID: Final = "63"
_MAX_ORDER: Final = 64  # characters, as is the bank's
_MAX_DESCRIPTION: Final = 1000
_MAX_BILLS: Final = 8
_CREATE_S: Final = 12.0
_STATUS_S: Final = 8.0
_CANCEL_S: Final = 8.0
_REFUND_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Reports:
    """Files of history: the hosts they are fetched from, host[:port], and their columns."""

    hosts: frozenset[str] = frozenset()
    columns: ReportColumns = field(default_factory=ReportColumns)


class OdengiProvider:
    """The provider `odengi`."""

    name: ClassVar[str] = "odengi"
    method: ClassVar[Literal["qr", "card"]] = "qr"

    def __init__(
        self,
        merchant: Merchant,
        http: HttpClient,
        *,
        notice_url: str = "",
        return_url: str = "",
        reports: Reports | None = None,
        clock: Clock = utc_now,
    ) -> None:
        """`notice_url`, `return_url`: "" leaves it out."""
        self._merchant = merchant
        self._http = http
        self._reports = reports or Reports()
        self._client = OdengiClient(merchant, http, clock)
        self._notice_url = notice_url
        self._return_url = return_url

    def to_unit(self, amount_minor: int) -> int:
        """Returns the amount unchanged: the bank's unit is tyiyn."""
        return amount_minor

    def from_unit(self, amount: object) -> int:
        """Returns whole tyiyn, of a number or of its digits. Raises Invalid."""
        minor = read_amount(amount)
        if minor is None:
            raise Invalid("invalid_webhook", "an amount must be whole tyiyn")
        return minor

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
        """Creates a bill; the order of a further one gets its number. Raises ProviderError."""
        order = bank_order(order_id, bill)
        if len(order) > _MAX_ORDER or amount_minor <= 0 or currency != CURRENCY:
            raise ProviderRefused("the bank takes som, and orders of 64 characters")
        data: dict[str, Any] = {
            "order_id": order,
            "desc": safe_text(description, most=_MAX_DESCRIPTION) or order,
            "amount": self.to_unit(amount_minor),
            "currency": currency,
            "test": int(self._merchant.is_test),
            "long_term": 0,
            "date_life": f"{(expires_at + LONGER).astimezone(ZONE):%Y-%m-%d %H:%M:%S}",
            "send_push": 0,
            "send_sms": 0,
        }
        if self._notice_url:
            data["result_url"] = self._notice_url
        if self._return_url:
            data |= {"success_url": self._return_url, "fail_url": self._return_url}
        try:
            answer = await self._client.call("createInvoice", data, timeout_s=_CREATE_S)
            return _invoice(read_bill(answer), amount_minor)
        except BankError as error:
            raise ProviderRefused(str(error)) from error
        except NotAnAnswer as error:
            raise ProviderUnavailable(f"the answer {error}") from error

    def read_notice(self, request: NoticeRequest, now: datetime) -> Question:
        """Returns the question that a notice causes: its amount and status are never used."""
        del now
        return read_notice(self._merchant, request)

    def answer(self, request: NoticeRequest, result: NoticeResult) -> NoticeAnswer:
        """Returns a body for people: the bank reads only the status."""
        del request
        status = "payment_not_found" if result.invoice_id is None else "received"
        return NoticeAnswer(orjson.dumps({"status": status, "provider": self.name}))

    async def fetch_status(
        self, *, order_id: str, provider_ref: str | None, bills: int = 1
    ) -> BillStatus:
        """Returns the attempts of every bill of the order.

        Raises ProviderRefused when the bank answers an error: none certainly means "no such order".
        """
        results = await asyncio.gather(
            *(self._ask(data) for data in _questions(order_id, provider_ref, bills))
        )
        states = [result for result in results if isinstance(result, BillState)]
        errors = [result for result in results if isinstance(result, ProviderError)]
        events = {
            event.event_id: event
            for state in states
            for event in _events(order_id, state, is_test=self._merchant.is_test)
        }
        # What is known to be paid is reported even if another bill's answer is missing.
        lost = [error for error in errors if not isinstance(error, ProviderRefused)]
        if not events and (lost or not states):
            raise (lost or errors)[0]
        references = [state.invoice_id for state in states if state.invoice_id]
        return BillStatus(tuple(events.values()), references[-1] if references else None)

    async def cancel(
        self, *, order_id: str, provider_ref: str
    ) -> Literal["canceled", "already_paid"]:
        """Makes a bill unpayable. Raises ProviderError."""
        del order_id
        data = {"invoice_id": provider_ref}
        try:
            answer = await self._client.call("invoiceCancel", data, timeout_s=_CANCEL_S)
        except BankError as error:
            if error.code == ALREADY_PAID:
                return "already_paid"
            raise ProviderRefused(str(error)) from error
        if answer.get("success") is not True:
            raise ProviderUnavailable("the answer does not say that the bill is canceled")
        return "canceled"

    async def refund(
        self, *, transaction_ref: str, amount_minor: int, paid_minor: int, key: str
    ) -> None:
        """Returns all of a payment, or a part of it to the payer's wallet.

        The bank knows no key: a call whose outcome is unknown must not be repeated.
        """
        del key
        if not 0 < amount_minor <= paid_minor:
            raise ProviderRefused("no such amount was paid")
        command, data = "voidPayment", dict[str, Any](trans_id=transaction_ref)
        if amount_minor != paid_minor:
            command = "refundPaymentToEwallet"
            data["amount"] = self.to_unit(amount_minor)
        try:
            answer = await self._client.call(command, data, timeout_s=_REFUND_S)
        except (BankError, NothingSent) as error:
            raise ProviderRefused(str(error)) from error
        if answer.get("success", True) is not True:
            raise ProviderUnavailable("the answer does not say that the money is returned")

    async def fetch_history(self, *, since: datetime, until: datetime) -> Sequence[HistoryItem]:
        """Returns the transactions from `since` to before `until`. Raises ProviderError."""
        return await fetch_history(
            self._client,
            self._http,
            hosts=self._reports.hosts,
            columns=self._reports.columns,
            since=since,
            until=until,
        )

    async def _ask(self, data: dict[str, Any]) -> BillState | ProviderError:
        try:
            answer = await self._client.call("statusPayment", data, timeout_s=_STATUS_S)
            return read_bill_state(answer)
        except BankError as error:
            if error.code == NONE_PAID:
                return BillState(None, is_canceled=False, is_approved=False, attempts=())
            return ProviderRefused(str(error))
        except NotAnAnswer as error:
            return ProviderUnavailable(f"the answer {error}")
        except ProviderError as error:
            return error


def _invoice(bill: NewBill, amount_minor: int) -> Invoice:
    text: str | None = None
    flaws: list[str] = []
    for candidate in bill.texts:
        try:
            text = verified_elqr(candidate, amount_minor=amount_minor)
            break
        except NotElqr as error:
            flaws.append(str(error))
    if text is None and flaws:
        log.warning("odengi_elqr_refused", invoice=bill.invoice_id, reason=flaws[0])
    metrics.ELQR.labels("verified" if text else "refused" if flaws else "missing").inc()
    return Invoice(bill.invoice_id, text, bill.picture, bill.app_link, bill.page)


def _questions(order_id: str, provider_ref: str | None, bills: int) -> list[dict[str, Any]]:
    """Returns the data of each question: by both ids where one bill has both."""
    if bills <= 1:
        known = {"invoice_id": provider_ref} if provider_ref else {}
        return [{**known, "order_id": order_id}]
    numbers = range(max(1, bills - _MAX_BILLS + 1), bills + 1)
    questions: list[dict[str, Any]] = [
        {"order_id": bank_order(order_id, number)} for number in numbers
    ]
    return [*questions, {"invoice_id": provider_ref}] if provider_ref else questions


def _events(order_id: str, state: BillState, *, is_test: bool) -> list[Event]:
    """Returns what is decided about a bill. While an attempt runs, canceled ones say nothing.

    What was paid comes first: a canceled attempt means something else after it.
    """
    states = {attempt.state for attempt in state.attempts}
    undecided = {"processing", "canceled"} if "processing" in states else {"processing"}
    events = [
        _attempt_event(order_id, attempt, is_test=is_test)
        for attempt in sorted(state.attempts, key=lambda attempt: attempt.state == "canceled")
        if attempt.state not in undecided
    ]
    if state.is_approved and "approved" not in states:
        events.append(_bill_event(order_id, "approved"))
    if state.is_canceled and not states & {"approved", "processing"}:
        events.append(_bill_event(order_id, "canceled"))
    return events


def _attempt_event(order_id: str, attempt: BankAttempt, *, is_test: bool) -> Event:
    """Returns the event of an attempt; its id is made of the facts in it."""
    is_paid = attempt.state != "canceled"
    doubt: Literal["test_payment", "contradictory"] | None = None
    if attempt.is_contradictory:
        doubt = "contradictory"
    elif is_paid and attempt.is_test and not is_test:
        doubt = "test_payment"
    elif is_paid and attempt.trans_id is None:
        doubt = "contradictory"  # paid, and by no attempt that has an id
    paid_minor = attempt.paid_minor if is_paid else None
    facts = f"{attempt.trans_id or order_id}:{attempt.state}"
    return Event(
        provider=OdengiProvider.name,
        event_id=f"{facts}:{'' if paid_minor is None else paid_minor}:{doubt or ''}",
        body_sha256=hashlib.sha256(f"{order_id}:{facts}".encode()).digest(),
        order_id=order_id,
        provider_ref=attempt.trans_id,
        status=attempt.state,
        paid_minor=paid_minor,
        currency=attempt.currency or CURRENCY,
        refunded_minor=None,
        occurred_at=attempt.paid_at,
        doubt=doubt,
    )


def _bill_event(order_id: str, status: Literal["approved", "canceled"]) -> Event:
    """Returns the event of a bill's own state, which names no attempt."""
    return Event(
        provider=OdengiProvider.name,
        event_id=f"{order_id}:{status}",
        body_sha256=hashlib.sha256(f"{order_id}::{status}".encode()).digest(),
        order_id=order_id,
        provider_ref=None,
        status=status,
        paid_minor=None,
        currency=CURRENCY,
        refunded_minor=None,
    )

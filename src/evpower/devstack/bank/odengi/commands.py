"""The commands of json.php. Fields and codes as merchants' code shows them."""

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from evpower.devstack.bank.odengi.behaviour import Behaviour
from evpower.devstack.bank.odengi.state import (
    APPROVED,
    CANCELED,
    PARTLY_RETURNED,
    PROCESSING,
    OdengiState,
    SimulatedAttempt,
    SimulatedBill,
    new_invoice_id,
    new_trans_id,
)
from evpower.devstack.bank.odengi.wire import elqr

_ZONE: Final = ZoneInfo("Asia/Bishkek")
_WORDS: Final = {
    PROCESSING: "processing",
    CANCELED: "canceled",
    APPROVED: "approved",
    PARTLY_RETURNED: "approved",
}
_REPORTED: Final = {**_WORDS, PARTLY_RETURNED: "partial_refund"}
# A bank's other word for a number: what a contradiction looks like.
_OTHER: Final = {
    PROCESSING: APPROVED,
    CANCELED: APPROVED,
    APPROVED: CANCELED,
    PARTLY_RETURNED: CANCELED,
}
_MAX_ORDER: Final = 64
_MAX_DESCRIPTION: Final = 1000
_MAX_REPORTS: Final = 100
BAD_REQUEST: Final = 10
BAD_HASH: Final = 11
UNKNOWN_COMMAND: Final = 12
ORDER_USED: Final = 20
USER_UNKNOWN: Final = 26
ALREADY_PAID: Final = 45
NO_SUCH_BILL: Final = 50
NO_SUCH_PAYMENT: Final = 51


class Refused(Exception):
    """The bank answers an error: its code and words."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(description)
        self.code = code


class Commands:
    """Carries out commands; `base_url` is where phones and browsers reach the bank."""

    def __init__(self, state: OdengiState, base_url: Callable[[], str]) -> None:
        self._state = state
        self._base_url = base_url
        self.behaviour = Behaviour()
        self.reports: dict[str, str] = {}
        self._all: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "createInvoice": self._create,
            "statusPayment": self._status,
            "invoiceCancel": self._cancel,
            "voidPayment": self._void,
            "refundPaymentToEwallet": self._refund,
            "getHistoryCsv": self._history,
        }

    def now_s(self) -> float:
        """Returns the bank's time: its clock may be wrong."""
        return time.time() + self.behaviour.clock_ahead_s

    def run(self, command: str, data: dict[str, Any]) -> dict[str, Any]:
        """Returns the answer's data. Raises Refused."""
        work = self._all.get(command)
        if work is None:
            raise Refused(UNKNOWN_COMMAND, "Неизвестная команда")
        return work(data)

    def _create(self, data: dict[str, Any]) -> dict[str, Any]:
        order_id, amount, test = data.get("order_id"), data.get("amount"), data.get("test")
        if not isinstance(order_id, str) or not 0 < len(order_id) <= _MAX_ORDER:
            raise Refused(BAD_REQUEST, "order_id")
        if not isinstance(amount, int) or isinstance(amount, bool) or amount <= 0:
            raise Refused(BAD_REQUEST, "amount")
        if test not in (0, 1) or data.get("currency") != "KGS":
            raise Refused(BAD_REQUEST, "test, currency")
        description = data.get("desc")
        if not isinstance(description, str) or len(description) > _MAX_DESCRIPTION:
            raise Refused(BAD_REQUEST, "desc")
        if data.get("user_to"):
            raise Refused(USER_UNKNOWN, "Пользователь не найден")
        earlier = self._state.bills(order_id)
        if earlier and self.behaviour.same_order == "refused":
            raise Refused(ORDER_USED, "Заказ уже существует")
        if earlier and self.behaviour.same_order == "same":
            return self._links(earlier[0])
        bill = SimulatedBill(
            new_invoice_id(),
            order_id,
            amount,
            description,
            test,
            str(data.get("result_url") or ""),
            _local_s(data.get("date_life")),
            self.now_s(),
        )
        self._state.save_bill(bill)
        return self._links(bill)

    def _links(self, bill: SimulatedBill) -> dict[str, Any]:
        how = self.behaviour
        known: dict[str, Any] = {"invoice_id": bill.id, "order_id": bill.order_id}
        if how.links == "none":
            return known
        amount = bill.amount + (100 if how.elqr == "wrong_amount" else 0)
        text = elqr(
            bill.id,
            amount,
            "EvPower Эл",
            editable=how.elqr == "editable",
            damaged=how.elqr == "damaged",
        )
        base = self._base_url()
        picture = f"{base}/qr/{bill.id}.png"
        texts: dict[str, Any] = {}
        if how.elqr != "missing":
            texts = {"emv_qr_data": text, "qr_url": f"https://api.dengi.o.kg/#{text}"}
        return {
            **known,
            "qr": picture,
            "emv_qr": picture,
            "emv_qr_img": None,
            "paylink_url": f"{base}/pay/{bill.id}",
            "link_app": f"{base}/pay/{bill.id}?app=1",
            **texts,
        }

    def _status(self, data: dict[str, Any]) -> dict[str, Any]:
        invoice_id, order_id = data.get("invoice_id"), data.get("order_id")
        if isinstance(invoice_id, str):
            bill = self._state.bill(invoice_id)
            bills = [bill] if bill is not None and order_id in (None, bill.order_id) else []
        else:
            bills = self._state.bills(order_id) if isinstance(order_id, str) else []
        if not bills:
            raise Refused(NO_SUCH_BILL, "Счет не найден")
        last = bills[-1]
        word = "canceled" if last.is_over(self.now_s()) else "processing"
        known = {"invoice_id": last.id, "order_id": last.order_id}
        attempts = [item for bill in bills for item in self._state.attempts(bill.id)]
        if not attempts:
            return {**known, "status": word}
        listed = [self._item(last.order_id, attempt) for attempt in attempts]
        shape = {"status": word} if self.behaviour.shape == "both" else {}
        return {**known, **shape, "payments": listed}

    def _item(self, order_id: str, attempt: SimulatedAttempt) -> dict[str, Any]:
        how = self.behaviour
        word = _WORDS[attempt.state]
        states: dict[str, dict[str, Any]] = {
            "word": {"status": word},
            "number": {"status_pay": attempt.state},
            "both": {"status": word, "status_pay": attempt.state},
            "contradictory": {"status": word, "status_pay": _OTHER[attempt.state]},
        }
        form = states["both" if attempt.state == PARTLY_RETURNED else how.status]
        if attempt.state == PARTLY_RETURNED:
            form = {"status_pay": attempt.state}
        write = str if how.amount == "text" else int
        item: dict[str, Any] = {
            "trans_id": attempt.id,
            **form,
            "amount": write(attempt.amount),
            "fee": write(attempt.amount - attempt.paid),
            "order_id": order_id,
            "date_pay": f"{datetime.fromtimestamp(attempt.at_s, _ZONE):%Y-%m-%d %H:%M:%S.%f}",
            "test": attempt.test,
            "description": "Оплата",
            "mobile": "996555000111",
            "fname": "Айгүл",
            "lname": "Асанова",
        }
        if attempt.amount_old is not None:
            item["amount_old"] = write(attempt.amount_old)
        elif how.amount_old_absent:
            item["amount_old"] = write(0)
        return item

    def _cancel(self, data: dict[str, Any]) -> dict[str, Any]:
        bill = self._state.bill(str(data.get("invoice_id")))
        if bill is None:
            raise Refused(NO_SUCH_BILL, "Счет не найден")
        if any(item.state == APPROVED for item in self._state.attempts(bill.id)):
            raise Refused(ALREADY_PAID, "Счет уже оплачен")
        bill.canceled = True
        self._state.save_bill(bill)
        return {"success": True}

    def _void(self, data: dict[str, Any]) -> dict[str, Any]:
        attempt = self._approved(data)
        attempt.returned = attempt.paid
        if self.behaviour.void == "in_place":
            attempt.state = CANCELED
        else:
            self._state.save_attempt(
                SimulatedAttempt(
                    new_trans_id(), attempt.bill, CANCELED, attempt.amount, attempt.amount_old,
                    attempt.test, self.now_s(),
                )
            )  # fmt: skip
        self._state.save_attempt(attempt)
        return {"success": True, "trans_id": attempt.id}

    def _refund(self, data: dict[str, Any]) -> dict[str, Any]:
        attempt, amount = self._approved(data), data.get("amount")
        left = attempt.paid - attempt.returned
        if not isinstance(amount, int) or isinstance(amount, bool) or not 0 < amount <= left:
            raise Refused(BAD_REQUEST, "amount")
        attempt.returned += amount
        attempt.state = CANCELED if attempt.returned == attempt.paid else PARTLY_RETURNED
        self._state.save_attempt(attempt)
        return {"success": True, "trans_id": attempt.id}

    def _approved(self, data: dict[str, Any]) -> SimulatedAttempt:
        attempt = self._state.attempt(str(data.get("trans_id")))
        if attempt is None or attempt.state not in (APPROVED, PARTLY_RETURNED):
            raise Refused(NO_SUCH_PAYMENT, "Платеж не найден")
        return attempt

    def _history(self, data: dict[str, Any]) -> dict[str, Any]:
        first, last = _day(data.get("date_from")), _day(data.get("date_to"))
        lines = ["trans_id;order_id;invoice_id;status;amount;fee;date_pay;test;refunded"]
        for item in self._state.attempts():
            at = datetime.fromtimestamp(item.at_s, _ZONE)
            bill = self._state.bill(item.bill)
            if bill is None or not first <= at < last + timedelta(days=1):
                continue
            cells = (
                item.id, bill.order_id, bill.id, _REPORTED[item.state], item.paid,
                item.amount - item.paid, f"{at:%Y-%m-%d %H:%M:%S}", item.test, item.returned,
            )  # fmt: skip
            lines.append(";".join(map(str, cells)))
        token = secrets.token_hex(8)
        while len(self.reports) >= _MAX_REPORTS:
            self.reports.pop(next(iter(self.reports)))
        self.reports[token] = "\r\n".join([*lines, ""])
        return {"link": f"{self._base_url()}/report/{token}.csv"}


def _day(value: object) -> datetime:
    try:
        return datetime.strptime(str(value), "%Y-%m-%d").replace(tzinfo=_ZONE)
    except ValueError as error:
        raise Refused(BAD_REQUEST, "date_from, date_to") from error


def _local_s(value: object) -> float | None:
    """Returns a time of the bank's zone in Unix seconds; None: the bill never ends."""
    if value is None:
        return None
    try:
        at = datetime.strptime(str(value), "%Y-%m-%d %H:%M:%S").replace(tzinfo=_ZONE)
    except ValueError as error:
        raise Refused(BAD_REQUEST, "date_life") from error
    return at.astimezone(UTC).timestamp()

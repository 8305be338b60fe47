"""The old API's responses about payments: the same members, money as numbers, times ending in Z."""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from evpower.foundation.clock import to_z
from evpower.foundation.money import to_som
from evpower.payments import STATUSES, TOP_UP_LIFETIME, Payment, StartedTopUp, TopUpFailure

_LIFETIME_S: Final = int(TOP_UP_LIFETIME.total_seconds())
_ASK_AGAIN: Final = timedelta(seconds=15)


def topping_up(begun: StartedTopUp) -> dict[str, Any]:
    """Returns a QR to pay. It has no null members: the oldest app refuses them."""
    payment, invoice = begun.payment, begun.invoice
    expires = to_z(payment.expires_at)
    picture = invoice.qr_code_url or ""
    link = invoice.app_link or invoice.page_url or ""
    return {
        "success": True,
        "invoice_id": payment.invoice_id,
        "order_id": payment.order_id,
        "qr_code": invoice.qr_code or picture,
        "qr_code_url": picture,
        "app_link": link,
        "payment_url": link,  # where the oldest app looks for it
        "amount": to_som(payment.amount_minor),
        "client_id": str(payment.client_id),
        "current_balance": to_som(begun.balance_minor),
        "qr_expires_at": expires,
        "invoice_expires_at": expires,
        "qr_lifetime_seconds": _LIFETIME_S,
        "invoice_lifetime_seconds": _LIFETIME_S,
    }


def not_begun(refused: TopUpFailure, client_id: UUID) -> dict[str, Any]:
    """Returns the members beside a refusal; with the invoice's id when it may still be made."""
    members: dict[str, Any] = {"client_id": str(client_id)}
    if refused.payment is not None:
        members["invoice_id"] = refused.payment.invoice_id
        members["amount"] = to_som(refused.payment.amount_minor)
    if refused.balance_minor is not None:
        members["current_balance"] = to_som(refused.balance_minor)
    return members


def status(payment: Payment, now: datetime) -> dict[str, Any]:
    """Returns a payment as the app polls it. What is unknown is absent."""
    shown = payment.shown_status(now)
    expired = now >= payment.expires_at
    checked = payment.last_checked_at
    expires = to_z(payment.expires_at)
    answer: dict[str, Any] = {
        "success": True,
        "status": STATUSES.index(shown),
        "status_text": shown,
        "amount": to_som(payment.amount_minor),
        "invoice_id": payment.invoice_id,
        "can_proceed": shown == "approved",
        "can_start_charging": False,
        "qr_expired": expired,
        "invoice_expired": expired,
        "qr_expires_at": expires,
        "invoice_expires_at": expires,
        "needs_callback_check": shown == "processing"
        and (checked is None or now - checked >= _ASK_AGAIN),
    }
    if payment.paid_minor is not None:
        answer["paid_amount"] = to_som(payment.paid_minor)
    if checked is not None:
        answer["last_status_check_at"] = to_z(checked)
    return answer


def unknown_payment(invoice_id: str, message: str) -> dict[str, Any]:
    """Returns that the caller has no payment of this id: as canceled, which ends the polling."""
    return {
        "success": True,
        "status": STATUSES.index("canceled"),
        "status_text": "canceled",
        "amount": 0.0,
        "invoice_id": invoice_id,
        "can_proceed": False,
        "can_start_charging": False,
        "qr_expired": True,
        "invoice_expired": True,
        "needs_callback_check": False,
        "error_code": "payment_not_found",
        "message": message,
    }

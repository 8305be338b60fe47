"""Cancels a bill at its provider, so that it can't be paid any more."""

from typing import Final

from evpower.foundation import failpoints
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.errors import Conflict, NotFound, Unavailable
from evpower.foundation.failpoints import Failpoint
from evpower.identity import record_act
from evpower.payments import metrics, store, store_bank_refunds
from evpower.payments.confirm import Confirmer
from evpower.payments.errors import ProviderError
from evpower.payments.model import Payment
from evpower.payments.provider_call import call_provider
from evpower.payments.providers.registry import Providers
from evpower.payments.recheck import check, late_check

_RETRY_S: Final = 5


async def cancel(
    db: Database,
    providers: Providers,
    confirmer: Confirmer,
    *,
    invoice_id: str,
    clock: Clock,
    operator: str = "",
    reason: str = "",
) -> Payment:
    """Returns the payment: canceled, or approved if it was paid already.

    A payment that arrives nevertheless is credited. With an `operator` there is an audit row.
    Raises NotFound("payment_not_found"), Conflict("cannot_cancel", status), and
    Unavailable("payment_provider_error"): the bill may still be payable.
    """
    payment = await _find(db, invoice_id)
    provider = providers.get(payment.provider)
    if provider is None or payment.status != "processing" or payment.closed_at is not None:
        raise Conflict(
            "cannot_cancel", f"it is {payment.status}", params={"status": payment.status}
        )
    if payment.provider_ref is None:  # the answer to its creation was lost
        await check(db, provider, confirmer, payment, clock)
        payment = await _find(db, invoice_id)
    if payment.provider_ref is None:
        raise _unavailable()
    if payment.status != "processing":
        return payment
    try:
        result = await call_provider(
            provider.name,
            "cancel",
            provider.cancel(order_id=payment.order_id, provider_ref=payment.provider_ref),
        )
    except ProviderError as error:
        raise _unavailable() from error
    failpoints.hit(Failpoint.CANCEL_CALLED)
    if result == "already_paid":
        await check(db, provider, confirmer, payment, clock, hurry=True)
        return await _find(db, invoice_id)
    now = clock()
    async with db.transaction() as connection:
        canceled = await store_bank_refunds.cancel(
            connection, payment.id, now, late_check(payment, now)
        )
        if operator:
            await record_act(
                connection,
                actor=operator,
                action="payments.cancel",
                subject=f"payment:{payment.invoice_id}",
                reason=reason,
            )
    if canceled:
        metrics.STATES.labels(provider.name, "canceled").inc()
    return await _find(db, invoice_id)


async def _find(db: Database, invoice_id: str) -> Payment:
    async with db.connection() as connection:
        payment = await store.find_by_invoice(connection, invoice_id)
    if payment is None:
        raise NotFound("payment_not_found", f"there is no payment {invoice_id}")
    return payment


def _unavailable() -> Unavailable:
    return Unavailable(
        "payment_provider_error", "the provider did not answer", retry_after_s=_RETRY_S
    )

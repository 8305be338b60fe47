"""Cancels the open bills of clients who leave, and reports money that arrives nevertheless."""

import asyncio
from typing import Any, Final

import structlog

from evpower import alerts, identity
from evpower.foundation.clock import Clock, to_z
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError
from evpower.foundation.money import to_text
from evpower.payments import store_closed_clients
from evpower.payments.cancel import cancel
from evpower.payments.confirm import Confirmer
from evpower.payments.providers.registry import Providers
from evpower.payments.recheck import BATCH, LEASE

_MOST_CLIENTS: Final = 1_000
log = structlog.get_logger()


async def cancel_bills(
    db: Database, providers: Providers, confirmer: Confirmer, clock: Clock
) -> int:
    """Cancels open bills of clients that are closed or asked for deletion, at their providers.

    Returns how many were tried. A bill that could not be canceled is tried again after a minute;
    one that is paid already is credited.
    """
    async with db.transaction() as connection:
        invoices = await store_closed_clients.claim_bills(
            connection, providers=providers.names, now=clock(), lease=LEASE, limit=BATCH
        )

    async def end(invoice_id: str) -> None:
        try:
            payment = await cancel(db, providers, confirmer, invoice_id=invoice_id, clock=clock)
        except EvPowerError as error:
            log.warning("closed_clients_bill_open", invoice_id=invoice_id, code=error.code)
        else:
            log.info("closed_clients_bill_ended", invoice_id=invoice_id, status=payment.status)

    await asyncio.gather(*(end(invoice_id) for invoice_id in invoices))
    return len(invoices)


async def watch_money(db: Database, clock: Clock) -> None:
    """Opens an alert for each closed client that was credited since; closes it when it has none.

    Money from before the client asked for deletion, or was closed, is not reported.
    """
    async with db.transaction() as connection:
        balances = await store_closed_clients.closed_balances(connection, _MOST_CLIENTS)
        since = await identity.closed_since(connection, [entry.client_id for entry in balances])
        causes: dict[str, dict[str, Any]] = {
            str(entry.client_id): {
                "som": to_text(entry.balance_minor),
                "credited_at": to_z(entry.credited_at),
                "invoice_id": entry.invoice_id,
            }
            for entry in balances
            if entry.credited_at > since[entry.client_id]
        }
        await alerts.set_alerts(connection, "closed_client_credited", causes, clock())

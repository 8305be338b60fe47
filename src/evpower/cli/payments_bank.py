"""`evpower payments refund|refunds|resolve-refund|cancel`: what is done at the provider itself."""

import getpass
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Literal, TypeVar, cast

import typer

from evpower import payments as money
from evpower.cli.notify import notify
from evpower.cli.out import console, fail
from evpower.cli.payments import AMOUNT, OPERATOR, REASON, payments, read_amount
from evpower.cli.settings import load, outgoing_http, with_database
from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import to_z, utc_now
from evpower.foundation.db import Database
from evpower.foundation.money import to_text

T = TypeVar("T")
_INVOICE = typer.Option(..., "--invoice", help="The payment's invoice id.")


def _at_bank(work: Callable[[money.RefundDesk], Awaitable[T]]) -> T:
    """Runs `work` with the providers of the settings."""
    settings = load()

    async def run(database: Database) -> T:
        async with outgoing_http(settings) as http:
            bus = LocalBus()
            confirmer = money.Confirmer(database, bus)
            providers = money.configured_providers(settings, http)
            try:
                return await work(money.RefundDesk(database, bus, providers, confirmer, utc_now))
            finally:
                await confirmer.close()

    return with_database(run)


@payments.command()
def refund(
    invoice: str = _INVOICE,
    amount: str = AMOUNT,
    key: str = typer.Option(
        ..., "--key", help="Makes it happen once: the number of the driver's request."
    ),
    reason: str = REASON,
    operator: str = OPERATOR,
) -> None:
    """Return money to the driver's bank, and take it from the wallet."""

    async def work(desk: money.RefundDesk) -> money.BankRefund:
        return await money.refund_at_bank(
            desk,
            invoice_id=invoice,
            amount_minor=read_amount(amount),
            operator=operator or getpass.getuser(),
            reason=reason,
            key=key,
        )

    _tell(_at_bank(work))


@payments.command("resolve-refund")
def resolve_refund(
    decision: str = typer.Argument(help="returned or refused, as the bank's cabinet shows it."),
    key: str = typer.Option(..., "--key", help="The refund's key."),
    reason: str = REASON,
    operator: str = OPERATOR,
) -> None:
    """End a refund whose outcome is unknown: the bank is not called again."""
    if decision not in {"returned", "refused"}:
        fail(f"there is no decision {decision!r}", "returned or refused")

    async def work(desk: money.RefundDesk) -> money.BankRefund:
        return await money.decide_refund(
            desk,
            key=key,
            decision=cast("Literal['returned', 'refused']", decision),
            operator=operator or getpass.getuser(),
            reason=reason,
        )

    _tell(_at_bank(work))


@payments.command()
def refunds(limit: int = typer.Option(100, min=1, max=1000, help="How many are listed.")) -> None:
    """List refunds at the bank that have no outcome yet."""

    async def work(database: Database) -> list[money.BankRefund]:
        async with database.connection() as connection:
            return await money.open_refunds(connection, utc_now() + timedelta(minutes=1), limit)

    orders = with_database(work)
    for order in orders:
        console.print(
            f"{order.key}  {order.invoice_id}  {to_text(order.amount_minor)} som  {order.state}"
            f"  since {to_z(order.requested_at)}, by {order.actor}: {order.reason}"
        )
    console.print(f"{len(orders)} open")


@payments.command()
def cancel(invoice: str = _INVOICE, reason: str = REASON, operator: str = OPERATOR) -> None:
    """Make an unpaid bill unpayable at the provider."""

    async def work(desk: money.RefundDesk) -> money.Payment:
        return await money.cancel(
            desk.db,
            desk.providers,
            desk.confirmer,
            invoice_id=invoice,
            clock=desk.clock,
            operator=operator or getpass.getuser(),
            reason=reason,
        )

    payment = _at_bank(work)
    if payment.status == "approved":
        notify(payment.client_id)
    console.print(f"{payment.invoice_id} is {payment.status}")


def _tell(order: money.BankRefund) -> None:
    """Prints the outcome; one that is unknown or refused is an error for a script."""
    text = f"refund {order.key}: {to_text(order.amount_minor)} som of {order.invoice_id}"
    if order.state == "returned":
        notify(order.client_id)
        console.print(f"{text} returned")
        return
    hint = {
        "refused": "the bank returned nothing",
        "unknown": "look in the bank's cabinet, then evpower payments resolve-refund",
        "requested": "another process is calling the bank: the same command again in 2 minutes",
    }[order.state]
    fail(f"{text} {order.state}", hint)

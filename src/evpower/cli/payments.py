"""`evpower payments`: cash at a desk, refunds, and what a person must look at."""

import getpass
from decimal import Decimal, InvalidOperation
from typing import Literal, cast
from uuid import UUID

import typer

from evpower import payments as money
from evpower.cli.bell import ring
from evpower.cli.out import console, fail
from evpower.cli.settings import with_database
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.foundation.errors import Invalid
from evpower.foundation.money import to_minor, to_text

payments = typer.Typer(help="Money in and out by hand.", no_args_is_help=True)
_OPERATOR = typer.Option("", "--operator", help="Who does this; the login name by default.")
_REASON = typer.Option(..., "--reason", help="Why, for the audit.")
_AMOUNT = typer.Option(..., "--amount", help="Som, at most 2 decimals.")


@payments.command()
def cash(
    client: UUID = typer.Option(..., "--client", help="The client's id."),
    amount: str = _AMOUNT,
    receipt: str = typer.Option(
        ..., "--receipt", help="The receipt's number: makes it happen once."
    ),
    reason: str = _REASON,
    operator: str = _OPERATOR,
) -> None:
    """Credit cash taken at a desk."""

    async def work(database: Database) -> money.Posted:
        async with database.transaction() as connection:
            return await money.cash(
                connection,
                client_id=client,
                amount_minor=_minor(amount),
                operator=operator or getpass.getuser(),
                reason=reason,
                receipt=receipt,
                now=utc_now(),
            )

    _tell(with_database(work))


@payments.command("refund-charge")
def refund_charge(
    settlement: int = typer.Option(..., "--settlement", help="The settlement that was charged."),
    amount: str = _AMOUNT,
    reference: str = typer.Option(..., "--reference", help="Makes it happen once."),
    reason: str = _REASON,
    operator: str = _OPERATOR,
) -> None:
    """Give back to the wallet, at most what the charge took."""

    async def work(database: Database) -> money.Posted:
        async with database.transaction() as connection:
            return await money.refund_charge(
                connection,
                settlement_id=settlement,
                amount_minor=_minor(amount),
                operator=operator or getpass.getuser(),
                reason=reason,
                reference=reference,
            )

    _tell(with_database(work))


@payments.command("refund-payment")
def refund_payment(
    invoice: str = typer.Option(..., "--invoice", help="The payment's invoice id."),
    amount: str = _AMOUNT,
    reference: str = typer.Option(..., "--reference", help="The bank's reference of the return."),
    reason: str = _REASON,
    operator: str = _OPERATOR,
) -> None:
    """Take from the wallet what the bank already returned to the driver."""

    async def work(database: Database) -> money.Posted:
        async with database.transaction() as connection:
            return await money.refund_payment(
                connection,
                invoice_id=invoice,
                amount_minor=_minor(amount),
                operator=operator or getpass.getuser(),
                reason=reason,
                reference=reference,
            )

    _tell(with_database(work))


@payments.command()
def review(limit: int = typer.Option(100, min=1, max=1000)) -> None:
    """List payments that want a person's eyes."""

    async def work(database: Database) -> list[money.Payment]:
        async with database.connection() as connection:
            return await money.in_review(connection, limit=limit)

    found = with_database(work)
    for payment in found:
        paid = to_text(payment.paid_minor) if payment.paid_minor is not None else "?"
        console.print(
            f"{payment.invoice_id}  {payment.review}: asked {to_text(payment.amount_minor)}, "
            f"paid {paid}, {payment.provider}, {payment.status}, client {payment.client_id}",
            soft_wrap=True,
        )
    console.print(f"{len(found)} in review")


@payments.command()
def resolve(
    invoice: str = typer.Option(..., "--invoice", help="The payment's invoice id."),
    decision: str = typer.Argument(help="accept (credit what was paid) or dismiss."),
    reason: str = _REASON,
    operator: str = _OPERATOR,
) -> None:
    """Decide about a payment in review."""
    if decision not in {"accept", "dismiss"}:
        fail(f"there is no decision {decision!r}", "accept or dismiss")

    async def work(database: Database) -> money.Posted | None:
        async with database.transaction() as connection:
            return await money.resolve(
                connection,
                invoice_id=invoice,
                decision=cast("Literal['accept', 'dismiss']", decision),
                operator=operator or getpass.getuser(),
                reason=reason,
                now=utc_now(),
            )

    done = with_database(work)
    if done is None:
        console.print("closed, nothing was credited")
    else:
        _tell(done)


def _minor(amount: str) -> int:
    try:
        minor = to_minor(Decimal(amount))
    except (InvalidOperation, Invalid):
        fail(f"{amount!r} is not an amount in som", "for example --amount 250.50")
    if minor <= 0:
        fail("the amount must be more than 0")
    return minor


def _tell(done: money.Posted) -> None:
    if done.new:
        ring(done.client_id)
    how = "done" if done.new else "it was done before, nothing changed"
    console.print(
        f"{how}: client {done.client_id} has {to_text(done.balance_minor)} som", soft_wrap=True
    )

"""`evpower payments`: cash at a desk, refunds, and what a person must look at."""

import getpass
import json
from typing import Literal, cast
from uuid import UUID

import typer

from evpower import identity
from evpower import payments as money
from evpower.cli.notify import notify
from evpower.cli.out import console, fail
from evpower.cli.settings import MAX_NUMBER, with_database
from evpower.foundation.clock import to_z, utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Invalid
from evpower.foundation.money import read_som, to_minor, to_text

payments = typer.Typer(help="Money in and out by hand.", no_args_is_help=True)
OPERATOR = typer.Option("", "--operator", help="Who does this; the login name by default.")
REASON = typer.Option(..., "--reason", help="Why, for the audit.")
AMOUNT = typer.Option(..., "--amount", help="Som, at most 2 decimals.")


@payments.command()
def cash(
    client: str = typer.Option(
        ..., "--client", help="The client's id, old id, or an email or phone they verified."
    ),
    amount: str = AMOUNT,
    receipt: str = typer.Option(
        ...,
        "--receipt",
        help="Makes it happen once. At a desk: the receipt's number. Through a bank: our invoice id"
        " if there is one (after a restore, too), else the bank's reference.",
    ),
    reason: str = REASON,
    operator: str = OPERATOR,
) -> None:
    """Credit cash taken at a desk, or money of a bank that no payment of ours credits."""

    async def work(database: Database) -> money.ManualPosting:
        async with database.transaction() as connection:
            return await money.cash(
                connection,
                client_id=await _whose(connection, client.strip()),
                amount_minor=read_amount(amount),
                operator=operator or getpass.getuser(),
                reason=reason,
                receipt=receipt,
                now=utc_now(),
            )

    _tell(with_database(work))


@payments.command("refund-charge")
def refund_charge(
    settlement: int = typer.Option(
        ..., "--settlement", min=1, max=MAX_NUMBER, help="The settlement that was charged."
    ),
    amount: str = AMOUNT,
    reference: str = typer.Option(..., "--reference", help="Makes it happen once."),
    reason: str = REASON,
    operator: str = OPERATOR,
) -> None:
    """Give back to the wallet, at most what the charge took."""

    async def work(database: Database) -> money.ManualPosting:
        async with database.transaction() as connection:
            return await money.refund_charge(
                connection,
                settlement_id=settlement,
                amount_minor=read_amount(amount),
                operator=operator or getpass.getuser(),
                reason=reason,
                reference=reference,
            )

    _tell(with_database(work))


@payments.command("refund-payment")
def refund_payment(
    invoice: str = typer.Option(..., "--invoice", help="The payment's invoice id."),
    amount: str = AMOUNT,
    reference: str = typer.Option(..., "--reference", help="The bank's reference of the return."),
    reason: str = REASON,
    operator: str = OPERATOR,
) -> None:
    """Take from the wallet what the bank already returned to the driver."""

    async def work(database: Database) -> money.ManualPosting:
        async with database.transaction() as connection:
            return await money.refund_payment(
                connection,
                invoice_id=invoice,
                amount_minor=read_amount(amount),
                operator=operator or getpass.getuser(),
                reason=reason,
                reference=reference,
            )

    _tell(with_database(work))


@payments.command()
def review(
    limit: int = typer.Option(100, min=1, max=1000, help="How many of each kind are listed."),
    as_json: bool = typer.Option(False, "--json", help="One JSON line."),
) -> None:
    """List payments in review with their events, and events about money for no payment."""

    async def work(database: Database) -> tuple[list[money.Review], list[money.RecordedEvent]]:
        async with (
            database.connection() as connection
        ):  # one more than is listed, to know whether there are more
            return (
                await money.in_review(connection, limit=limit + 1),
                await money.events_of_no_payment(connection, limit=limit + 1),
            )

    reviews, strays = with_database(work)
    if as_json:
        row = {
            "reviews": [_review_row(review) for review in reviews[:limit]],
            "events_of_no_payment": [_event_row(event) for event in strays[:limit]],
            "more": max(len(reviews), len(strays)) > limit,
        }
        typer.echo(json.dumps(row))
        return
    for review in reviews[:limit]:
        payment = review.payment
        console.print(
            f"{payment.invoice_id}  {payment.review}: asked {to_text(payment.amount_minor)}, "
            f"{payment.provider}, {payment.status}"
            f"{_named(' by', payment.credited_ref)}, client {payment.client_id}",
        )
        for event in review.events:
            console.print(f"  {_line(event)}")
    console.print(_counted(len(reviews), limit, "in review"))
    if strays:
        console.print("events about money for no payment of ours, newest first:")
    for event in strays[:limit]:
        console.print(f"  {_line(event)}{_named(', order', event.order_id)}")
    if len(strays) > limit:
        console.print(_counted(len(strays), limit, "of no payment"))


def _counted(count: int, limit: int, noun: str) -> str:
    return f"{count} {noun}" if count <= limit else f"more than {limit} {noun}: --limit lists more"


def _review_row(review: money.Review) -> dict[str, object]:
    payment = review.payment
    return {
        "invoice_id": payment.invoice_id,
        "reason": payment.review,
        "amount": to_text(payment.amount_minor),
        "provider": payment.provider,
        "status": payment.status,
        "credited_reference": payment.credited_ref,
        "client_id": str(payment.client_id),
        "events": [_event_row(event) for event in review.events],
    }


def _event_row(event: money.RecordedEvent) -> dict[str, object]:
    return {
        "received_at": to_z(event.received_at),
        "event_id": event.event_id,
        "order_id": event.order_id,
        "status": event.status,
        "paid": None if event.paid_minor is None else to_text(event.paid_minor),
        "returned": None if event.refunded_minor is None else to_text(event.refunded_minor),
        "currency": event.currency,
        "reference": event.provider_ref,
        "outcome": event.outcome,
        "review": event.review,
        "decided_at": None if event.resolved_at is None else to_z(event.resolved_at),
    }


def _line(event: money.RecordedEvent) -> str:
    """Returns an event as one line: when, what it says, and its outcome."""
    meant = f"{event.outcome}{_named(':', event.review)}"
    decided = ", decided" if event.resolved_at else ""
    return (
        f"{to_z(event.received_at)}  {event.status}, paid {_amount(event.paid_minor)}, "
        f"returned {_amount(event.refunded_minor)} {event.currency or '?'}, "
        f"reference {event.provider_ref or 'none'}, event {event.event_id}  -> {meant}{decided}"
    )


def _amount(minor: int | None) -> str:
    return "?" if minor is None else to_text(minor)


def _named(before: str, text: str | None) -> str:
    return f"{before} {text}" if text else ""


@payments.command()
def resolve(
    invoice: str = typer.Option(..., "--invoice", help="The payment's invoice id."),
    decision: str = typer.Argument(help="accept (credit what was paid) or dismiss."),
    reason: str = REASON,
    reference: str = typer.Option("", "--reference", help="Only what was paid by this reference."),
    amount: str = typer.Option("", "--amount", help="Which amount, where the events name several."),
    operator: str = OPERATOR,
) -> None:
    """Decide about a payment in review; prints each amount that is credited."""
    if decision not in {"accept", "dismiss"}:
        fail(f"there is no decision {decision!r}", "accept or dismiss")
    if amount and decision == "dismiss":
        fail("--amount says what to accept", "leave it out, or accept")

    async def work(database: Database) -> money.ReviewResult:
        async with database.transaction() as connection:
            return await money.resolve(
                connection,
                invoice_id=invoice,
                decision=cast("Literal['accept', 'dismiss']", decision),
                operator=operator or getpass.getuser(),
                reason=reason,
                now=utc_now(),
                reference=reference or None,
                amount_minor=read_amount(amount) if amount else None,
            )

    done = with_database(work)
    for credit in done.credits:
        console.print(
            f"credited {to_text(credit.amount_minor)} som, reference {credit.reference or 'none'}",
        )
        _tell(credit.posting)
    if not done.credits:
        console.print("nothing was credited")
    console.print("closed" if done.is_closed else "still in review: see evpower payments review")


async def _whose(connection: Connection, text: str) -> UUID:
    """Returns the client of an id or a verified contact; a claimed contact identifies no client."""
    client_id = await identity.resolve(connection, text)
    if client_id is None:
        claimants = await identity.find_claimants(connection, text)
        verified = await identity.find_verified(connection, text)
        if verified is None and claimants:
            ids = "\n  ".join(
                f"{claimant.id}  {claimant.status}  verified no" for claimant in claimants
            )
            fail(
                f"no client has verified {text!a}; these claim it:\n  {ids}",
                "make sure whose it is, and say --client ID",
            )
        client_id = verified.id if verified is not None else None
    if client_id is None:
        fail(f"there is no client {text!a}", "evpower clients find EMAIL-OR-PHONE")
    return client_id


def read_amount(amount: str) -> int:
    """Returns tyiyn of som; ends the command if it is no amount more than 0."""
    try:
        minor = to_minor(read_som(amount))
    except Invalid as error:
        fail(
            f"{amount[:40]!a} is not an amount in som: {error.detail}",
            "for example --amount 250.50",
        )
    if minor <= 0:
        fail("the amount must be more than 0")
    return minor


def _tell(done: money.ManualPosting) -> None:
    if done.new:
        notify(done.client_id)
    how = "done" if done.new else "it was done before, nothing changed"
    console.print(f"{how}: client {done.client_id} has {to_text(done.balance_minor)} som")

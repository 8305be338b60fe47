"""`evpower payments review` and `resolve`: what an operator reads, and what is credited by name."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest

from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.payments.confirm import Confirmer
from tests.cli.test_commands import GOOD, evpower
from tests.payments.conftest import SECRET, Scenario, payment
from tests.payments.test_confirm import balance, event

Run = Callable[..., Awaitable[str]]


@pytest.fixture
def run(dsn: str, tmp_path: Path) -> Run:
    """A command against this test's database; returns what it printed, errors after."""

    async def run(*words: str, fails: bool = False, **settings: str) -> str:
        env = {**GOOD, "EVPOWER_DATABASE_URL": dsn, **settings}
        done = await asyncio.to_thread(evpower, tmp_path, "payments", *words, env=env)
        assert done.returncode == int(fails), done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return run


async def test_partial_payments_are_listed_and_credited_by_name(
    db: Database, owner: Connection, client_id: UUID, run: Run
) -> None:
    order = await payment(owner, client_id)
    invoice = order.replace("order-", "inv-")
    confirmer = Confirmer(db, LocalBus())
    await confirmer.confirm(event(order, "evt-1", provider_ref="r1", paid_minor=6_000))
    await confirmer.confirm(event(order, "evt-2", provider_ref="r2", paid_minor=4_000))
    await confirmer.confirm(event("no-such-order", "evt-3"))
    shown = await run("review")
    for words in (
        f"{invoice}  several_amounts: asked 100.00",
        "paid 60.00, returned 0.00 KGS, reference r1, event evt-1  -> review: amount_mismatch",
        "paid 40.00, returned 0.00 KGS, reference r2, event evt-2  -> review: several_amounts",
        "1 in review",
        "order no-such-order",
    ):
        assert words in shown
    about = ("--invoice", invoice, "--reason", "called the bank")
    refused = await run("resolve", "accept", *about, "--amount", "60", fails=True)
    assert "r1 60.00" in refused
    first = await run("resolve", "accept", *about, "--reference", "r2")
    assert "credited 40.00 som, reference r2" in first
    assert "still in review" in first
    rest = await run("resolve", "accept", *about)
    assert "credited 60.00 som, reference r1" in rest
    assert "closed" in rest
    assert await balance(owner, client_id) == 10_000
    assert "0 in review" in await run("review")


async def test_what_is_not_listed_is_said(
    db: Database, owner: Connection, client_id: UUID, run: Run
) -> None:
    confirmer = Confirmer(db, LocalBus())
    for number in range(3):
        order = await payment(owner, client_id)
        await confirmer.confirm(event(order, f"evt-{number}", provider_ref="r", paid_minor=1))
        await confirmer.confirm(event(f"no-such-order-{number}", f"stray-{number}"))
    part = await run("review", "--limit", "2")
    assert "more than 2 in review: --limit lists more" in part
    assert "more than 2 of no payment: --limit lists more" in part
    assert (part.count("asked "), part.count(", order no-such")) == (2, 2)
    whole = await run("review", "--limit", "3")
    assert ("3 in review" in whole, "more" in whole) == (True, False)
    page = json.loads(await run("review", "--json", "--limit", "2"))
    assert [len(page["reviews"]), len(page["events_of_no_payment"]), page["more"]] == [2, 2, True]
    first = page["reviews"][0]
    assert (first["reason"], first["amount"]) == ("amount_mismatch", "100.00")
    assert (first["events"][0]["paid"], first["events"][0]["reference"]) == ("0.01", "r")


@pytest.mark.parametrize("decision", ["returned", "refused"])
async def test_a_refund_of_unknown_outcome_is_listed_and_decided(
    db: Database, owner: Connection, client_id: UUID, run: Run, decision: str
) -> None:
    order = await payment(owner, client_id)
    await Confirmer(db, LocalBus()).confirm(event(order))
    await owner.execute(
        "insert into payments.bank_refunds (payment_id, key, amount_minor, refunded_before_minor,"
        " actor, reason, state, requested_at) select id, 'request-88', 2_500, 0, 'Aida', 'asked',"
        " 'unknown', now() from payments.payments"
    )
    invoice = order.replace("order-", "inv-")
    assert f"request-88  {invoice}  25.00 som  unknown" in await run("refunds")
    how = ("--key", "request-88", "--reason", "as the cabinet shows")
    shown = await run("resolve-refund", decision, *how, fails=decision == "refused")
    assert f"refund request-88: 25.00 som of {invoice} {decision}" in shown
    assert await balance(owner, client_id) == (7_500 if decision == "returned" else 10_000)
    assert "0 open" in await run("refunds")


async def test_a_refund_needs_a_provider_of_the_settings(
    db: Database, owner: Connection, client_id: UUID, run: Run
) -> None:
    order = await payment(owner, client_id)
    await Confirmer(db, LocalBus()).confirm(event(order))
    invoice = order.replace("order-", "inv-")
    about = ("--invoice", invoice, "--reason", "asked")
    refused = await run("refund", *about, "--amount", "25", "--key", "k", fails=True)
    assert "no provider's money was credited" in refused
    assert "it is approved" in await run("cancel", *about, fails=True)


async def test_a_bank_returns_money_and_ends_a_bill_by_command(
    db: Database, client_id: UUID, run: Run, tmp_path: Path
) -> None:
    scenario = Scenario(db, client_id, tmp_path / "bank")
    await scenario.start()
    bank = {
        "EVPOWER_ENV": "development", "EVPOWER_SANDBOX_URL": scenario.bank.url,
        "EVPOWER_SANDBOX_SECRET": SECRET,
    }  # fmt: skip
    try:
        paid = await scenario.top_up(100)
        await scenario.pay(paid)
        await scenario.until_approved(paid)
        about = ("--invoice", paid["invoice_id"], "--reason", "asked")
        shown = await run("refund", *about, "--amount", "30.50", "--key", "request-88", **bank)
        assert f"refund request-88: 30.50 som of {paid['invoice_id']} returned" in shown
        assert await scenario.balance() == 6_950
        begun = await scenario.top_up(100)
        about = ("--invoice", begun["invoice_id"], "--reason", "asked")
        assert f"{begun['invoice_id']} is canceled" in await run("cancel", *about, **bank)
    finally:
        await scenario.stop()

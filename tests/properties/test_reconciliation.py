"""The sums of a reconciliation are the ledger's, and its differences explain every tyiyn."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict
from evpower.payments import resolve
from evpower.payments.model import Event
from evpower.payments.providers.protocol import HistoryItem
from evpower.payments.providers.registry import Providers
from evpower.payments.reconciliation import store
from evpower.payments.reconciliation.model import Difference, Reconciliation
from evpower.payments.reconciliation.reconcile import Reconciler
from evpower.payments.store import confirm_many
from tests.payments.listed_provider import ListedProvider
from tests.payments.test_confirm import event

T = TypeVar("T")
HOUR = timedelta(hours=1)
LEDGER = """
with mine as (
  select p.id from payments.payments p where p.provider = $1
  union select e.credited_by from payments.events e where e.provider = $1
) select coalesce((select sum(t.amount_minor) from wallet.transactions t
                    where t.payment_id in (select id from mine)), 0)::bigint as paid,
         coalesce((select sum(r.amount_minor) from wallet.refunds r
                    where r.payment_id in (select id from mine) and r.posted_at is not null),
                  0)::bigint as returned
"""


@dataclass(frozen=True)
class Attempt:
    """What happened to a bill at the bank, and what became of it in the bank's list."""

    due: int
    paid: int  # more or less than due
    returned: int
    currency: str
    is_notified: bool  # its notice arrived
    is_accepted: bool  # an operator credits what is in review
    listed: str  # as it was, not at all, ...
    is_answered: bool  # the bank knows it when asked about it


ATTEMPTS = st.builds(
    Attempt,
    due=st.sampled_from([500, 1_000]),
    paid=st.sampled_from([0, 0, 0, 300, -200]),
    returned=st.sampled_from([0, 0, 0, 100, 10_000]),
    currency=st.sampled_from(["KGS"] * 7 + ["KZT"]),
    is_notified=st.sampled_from([True, True, True, False]),
    is_accepted=st.booleans(),
    listed=st.sampled_from(
        [
            "same",
            "same",
            "same",
            "absent",
            "more",
            "canceled",
            "twice",
            "nameless",
            "two_lines",
            "amountless",
        ]
    ),
    is_answered=st.booleans(),
)


class Books:
    """One provider of its own for an example, with a client."""

    def __init__(self, db: Database, owner: Connection) -> None:
        self.db, self.owner = db, owner
        self.client: UUID = uuid4()
        self.provider = ListedProvider(f"bank-{uuid4().hex[:8]}")
        self.reconciler = Reconciler(
            db,
            Providers([self.provider]),
            lambda: utc_now() + HOUR,  # all is settled
        )

    async def live(self, attempts: list[Attempt], strays: int) -> None:
        await self.owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", self.client
        )
        for number, attempt in enumerate(attempts):
            await self.bill(attempt, number)
        self.provider.items += [
            HistoryItem(f"stray-{n}", f"stray-{n}", "approved", 77, "KGS", 0, utc_now())
            for n in range(strays)
        ]

    async def bill(self, attempt: Attempt, number: int) -> None:
        order = f"{self.provider.name}-{number}"
        await self.owner.execute(
            "insert into payments.payments (invoice_id, order_id, client_id, provider, method,"
            " amount_minor, expires_at) values ($1, $1, $2, $3, 'qr', $4, now())",
            order,
            self.client,
            self.provider.name,
            attempt.due,
        )
        paid = attempt.due + attempt.paid
        returned = min(attempt.returned, paid)
        events = [self.event(order, attempt, paid, 0)]
        if returned:
            events.append(self.event(order, attempt, paid, returned))
        if attempt.is_notified:
            async with self.db.connection() as connection:
                for notice in events:
                    await confirm_many(connection, [notice])
        if attempt.is_accepted:
            async with self.db.transaction() as connection:
                with suppress(Conflict):
                    await resolve(
                        connection, invoice_id=order, decision="accept", operator="aida",
                        reason="called the bank", now=utc_now(),
                    )  # fmt: skip
        if attempt.is_answered:
            self.provider.statuses[order] = (events[-1],)
        self.provider.items += _listed(events[-1], attempt)

    def event(self, order: str, attempt: Attempt, paid: int, returned: int) -> Event:
        status: Any = "approved"
        if returned:
            status = "refunded" if returned == paid else "partial_refund"
        return replace(
            event(order, f"{order}:{returned}", provider_ref=f"{order}-t", paid_minor=paid),
            provider=self.provider.name,
            status=status,
            currency=attempt.currency,
            refunded_minor=returned or None,
        )

    async def reconcile(self, since: datetime, until: datetime) -> Reconciliation:
        return await self.reconciler.run(self.provider.name, since, until, actor="aida")

    async def differences(self) -> list[Difference]:
        async with self.db.connection() as connection:
            return await store.list_differences(
                connection, provider=self.provider.name, state="open", before_id=None, limit=1_000
            )


def _listed(last: Event, attempt: Attempt) -> list[HistoryItem]:
    item = HistoryItem(
        order_id=last.order_id,
        transaction_ref=last.provider_ref,
        status=last.status,
        amount_minor=last.paid_minor or 0,
        currency=last.currency,
        refunded_minor=last.refunded_minor or 0,
        at=utc_now(),
    )
    paid = replace(item, status="approved", refunded_minor=0)
    forms = {
        "absent": [],
        "more": [replace(item, amount_minor=item.amount_minor + 13)],
        "canceled": [replace(item, status="canceled")],
        "twice": [paid, paid, *([item] if item.refunded_minor else [])],
        "nameless": [replace(item, transaction_ref=None)],
        "amountless": [replace(item, refunded_minor=None)],
        "two_lines": [paid, item] if item.refunded_minor else [paid],
    }
    return forms.get(attempt.listed, [item])


async def check(
    db: Database, owner: Connection, attempts: list[Attempt], strays: int, cut: int
) -> None:
    books = Books(db, owner)
    begins = utc_now() - HOUR
    await books.live(attempts, strays)
    ends = utc_now() + HOUR / 2
    times = await owner.fetch(
        "select distinct confirmed_at as at from payments.payments where provider = $1"
        " and confirmed_at is not null order by at",
        books.provider.name,
    )
    middle = times[cut % len(times)]["at"] if times else utc_now()
    runs = [await books.reconcile(begins, middle), await books.reconcile(middle, ends)]
    ledger = await owner.fetchrow(LEDGER, books.provider.name)
    assert ledger is not None
    assert sum(run.ours_minor for run in runs) == ledger["paid"]
    assert sum(run.ours_returned_minor for run in runs) == ledger["returned"]

    differing = await books.differences()
    for run in runs:
        of_run = [row for row in differing if row.last_run == run.id]
        assert len(of_run) == run.difference_count
        assert run.ours_minor - run.theirs_minor == sum(
            row.ours_minor - row.theirs_minor for row in of_run
        )
        assert run.ours_returned_minor - run.theirs_returned_minor == sum(
            row.ours_returned_minor - (row.theirs_returned_minor or 0) for row in of_run
        )
    if not strays and all(_is_equal(attempt) for attempt in attempts):
        assert differing == []

    again = await books.reconcile(begins, ends)  # the whole period finds the same ones
    assert again.difference_count == len(differing)
    after = await books.differences()
    assert {row.id for row in after} == {row.id for row in differing}
    assert sum(run.theirs_minor for run in runs) == again.theirs_minor


def _is_equal(attempt: Attempt) -> bool:
    """Whether both sides have the same: notified, paid in full in our currency, and listed so."""
    is_whole = attempt.paid == 0 or (attempt.is_accepted and not attempt.returned)
    return (
        attempt.is_notified
        and is_whole
        and attempt.currency == "KGS"
        and attempt.listed in {"same", "two_lines", "nameless", "amountless"}
    )


async def test_the_sums_are_the_ledgers_and_each_tyiyn_is_explained(
    db: Database, owner: Connection
) -> None:
    loop = asyncio.get_running_loop()

    def run(work: Awaitable[T]) -> T:
        async def whole() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(whole(), loop).result()

    @settings(max_examples=min(settings().max_examples, 200), deadline=None)
    @given(
        attempts=st.lists(ATTEMPTS, max_size=6),
        strays=st.integers(0, 2),
        cut=st.integers(0, 5),
    )
    def examples(attempts: list[Attempt], strays: int, cut: int) -> None:
        run(check(db, owner, attempts, strays, cut))

    await asyncio.to_thread(examples)

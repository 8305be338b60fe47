"""Any events in any order: each reference is credited once and no money is dropped."""

import asyncio
import hashlib
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID, uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database, Record
from evpower.foundation.errors import Conflict, NotFound
from evpower.payments import refund_payment, resolve
from evpower.payments.model import Confirmation, Event
from evpower.payments.store import confirm_many

T = TypeVar("T")
DUE = 1_000
STATUSES = ("processing", "approved", "canceled", "refunded", "partial_refund")
# Mostly plausible values, sometimes ones that a provider should never send.
PAID = st.sampled_from([DUE, DUE, DUE, None, 0, 400, 600, DUE + 1])
RETURNED = st.sampled_from([0, 0, None, 300, 700, DUE, DUE + 1])
CURRENCIES = st.sampled_from(["KGS"] * 7 + ["KZT"])
MAX_PAYMENTS = 4


class Crashed(Exception):
    """The process crashed before the commit."""


def _crash_if(crash: bool) -> None:  # noqa: FBT001
    if crash:
        raise Crashed


class PaymentsMachine(RuleBasedStateMachine):
    """One client, a few payments, a provider that sends anything, and an operator who decides."""

    loop: asyncio.AbstractEventLoop  # set by the test
    db: Database
    owner: Connection

    orders = Bundle("orders")
    sent = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        self.client = uuid4()
        self.count = 0
        self.run(
            self.owner.execute(
                "insert into identity.clients (id, origin) values ($1, 'import')", self.client
            )
        )

    def run(self, work: Awaitable[T]) -> T:
        async def whole() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(whole(), self.loop).result()

    @initialize(target=orders)
    def first(self) -> str:
        return self.begin(None)

    @precondition(lambda self: self.count < MAX_PAYMENTS)
    @rule(target=orders, known=st.booleans())
    def top_up(self, known: bool) -> str:  # noqa: FBT001
        """An invoice with the provider's reference, or without: the response was lost."""
        return self.begin(f"{self.client}:invoice:{self.count}" if known else None)

    def begin(self, provider_ref: str | None) -> str:
        self.count += 1
        order = f"order-{uuid4().hex}"
        self.run(
            self.owner.execute(
                "insert into payments.payments (invoice_id, order_id, client_id, provider, method,"
                " amount_minor, expires_at, provider_ref)"
                " values ($1, $1, $2, 'sandbox', 'qr', $3, now(), $4)",
                order,
                self.client,
                DUE,
                provider_ref,
            )
        )
        return order

    @rule(
        target=sent,
        order=orders,
        named=st.sampled_from(["order", "order", "order", "reference"]),
        reference=st.sampled_from(["a", "a", "a", "b", "c", "invoice:1", None]),
        status=st.sampled_from(["approved", "approved", *STATUSES]),
        paid=PAID,
        returned=RETURNED,
        currency=CURRENCIES,
    )
    def event(
        self,
        order: str,
        named: str,
        reference: str | None,
        status: Any,
        paid: int | None,
        returned: int | None,
        currency: str,
    ) -> Event:
        """One reference may come with several orders: providers make such mistakes."""
        facts = (order, reference, status, paid, returned, currency)
        ref = None if reference is None else f"{self.client}:{reference}"
        if reference == "a":
            ref = f"{order}:a"
        event = Event(
            provider="sandbox",
            event_id=uuid4().hex,
            body_sha256=hashlib.sha256(repr(facts).encode()).digest(),
            order_id=order if named == "order" or ref is None else None,
            provider_ref=ref,
            status=status,
            paid_minor=paid,
            currency=currency,
            refunded_minor=returned,
        )
        self.apply([event])
        return event

    @rule(order=orders, back=st.sampled_from([0, 300, DUE]))
    def honest(self, order: str, back: int) -> None:
        """A provider's correct events: the payment is paid, and perhaps returned."""
        ref = f"{order}:a"
        facts = [("approved", 0)]
        if back:
            facts.append(("refunded" if back == DUE else "partial_refund", back))
        self.apply([_event(order, ref, status, returned) for status, returned in facts])

    @rule(events=st.lists(sent, min_size=1, max_size=4), crash=st.booleans())
    def again(self, events: list[Event], crash: bool) -> None:  # noqa: FBT001
        """Events sent again, in any order, several at once; perhaps after a crash."""
        if crash:
            before = self.money()
            self.apply(events, crash=True)
            assert self.money() == before
        for event, done in zip(events, self.apply(events), strict=True):
            assert done.outcome in {"repeated", "event_reused", *_LATE}, (event, done)

    @rule(event=sent, paid=PAID, status=st.sampled_from(STATUSES))
    def id_of_another(self, event: Event, paid: int | None, status: Any) -> None:
        """The same id with another body never moves money."""
        before = self.money()
        other = Event(
            provider="sandbox",
            event_id=event.event_id,
            body_sha256=hashlib.sha256(repr((event, paid, status)).encode()).digest(),
            order_id=event.order_id,
            provider_ref=event.provider_ref,
            status=status,
            paid_minor=paid,
            currency="KGS",
            refunded_minor=0,
        )
        known = self.row("select payment_id from payments.events where event_id = $1", [event])
        [done] = self.apply([other])
        if known is not None and known["payment_id"] is not None:
            assert done.outcome in {"event_reused", "repeated"}
            assert self.money() == before

    @rule(
        order=orders,
        decision=st.sampled_from(["accept", "accept", "dismiss"]),
        reference=st.sampled_from([None, None, "a", "b"]),
        amount=st.sampled_from([None, None, 400, 600, DUE]),
        attempt=st.sampled_from(["", "", "/2"]),
    )
    def decide(
        self, order: str, decision: Any, reference: str | None, amount: int | None, attempt: str
    ) -> None:
        """Accepting moves exactly the amounts it returns; dismissing moves nothing."""
        before = self.money()
        ref = None
        if reference is not None:
            ref = f"{order}:a" if reference == "a" else f"{self.client}:{reference}"
        try:
            result = self.run(
                self.resolve(
                    order + attempt, decision, ref, amount if decision == "accept" else None
                )
            )
        except (Conflict, NotFound):
            assert self.money() == before
            return
        credited = sum(credit.amount_minor for credit in result.credits)
        assert self.money() == before + credited
        assert decision == "accept" or not result.credits

    @rule(
        order=orders,
        amount=st.sampled_from([100, DUE]),
        attempt=st.sampled_from(["", "", "/2"]),
    )
    def returned_by_hand(self, order: str, amount: int, attempt: str) -> None:
        """The operator enters a refund that was made in the provider's web interface."""
        before = self.money()
        try:
            self.run(self.refund(order + attempt, amount))
        except (Conflict, NotFound):
            assert self.money() == before
            return
        assert self.money() == before - amount

    async def resolve(
        self, order: str, decision: Any, reference: str | None, amount: int | None
    ) -> Any:
        async with self.db.transaction() as connection:
            return await resolve(
                connection,
                invoice_id=order,
                decision=decision,
                operator="model",
                reason="property",
                now=utc_now(),
                reference=reference,
                amount_minor=amount,
            )

    async def refund(self, order: str, amount: int) -> None:
        async with self.db.transaction() as connection:
            await refund_payment(
                connection,
                invoice_id=order,
                amount_minor=amount,
                operator="model",
                reason="property",
                reference=uuid4().hex,
            )

    def apply(self, events: list[Event], *, crash: bool = False) -> list[Confirmation]:
        async def work() -> list[Confirmation]:
            with suppress(Crashed):
                async with self.db.transaction() as connection:
                    done = await confirm_many(connection, events)
                    _crash_if(crash)
                return done
            return []

        return self.run(work())

    def money(self) -> int:
        """The balance less the debts: returns may exceed the balance."""
        row = self.row(
            "select balance_minor - debt_minor as money from wallet.wallets where client_id = $1"
        )
        assert row is not None
        return row["money"]

    def row(self, query: str, about: list[Event] | None = None) -> Record | None:
        key: UUID | str = self.client if about is None else about[0].event_id
        return self.run(self.owner.fetchrow(query, key))

    def rows(self, query: str) -> list[Record]:
        return self.run(self.owner.fetch(query, self.client))

    @invariant()
    def the_wallet_has_what_payments_say(self) -> None:
        row = self.row(
            "select coalesce(sum(credited_minor), 0) - sum(refunded_minor) as money"
            " from payments.payments where client_id = $1"
        )
        assert row is not None
        assert self.money() == (row["money"] or 0)

    @invariant()
    def each_reference_is_credited_once(self) -> None:
        credited = self.rows(
            "select credited_ref, count(*) as times from payments.payments where client_id = $1"
            " and credited_ref is not null group by 1 having count(*) > 1"
        )
        assert credited == []
        # The total credited for a reference: by its payment, and by operators who accepted it.
        totals = self.rows(
            "select e.provider_ref, max(e.paid_minor) as reported,"
            "  (select coalesce(sum(m.amount_minor), 0) from payments.payments m where m.id in ("
            "    select s.credited_by from payments.events s where s.payment_id = p.id"
            "     and s.provider_ref is not distinct from e.provider_ref)) as accepted,"
            "  case when p.credited_ref = e.provider_ref then p.credited_minor else 0 end as own"
            "  from payments.payments p join payments.events e on e.payment_id = p.id"
            " where p.client_id = $1 and e.currency = 'KGS' group by p.id, e.provider_ref"
        )
        for row in totals:
            by_itself = row["own"] if row["own"] and row["accepted"] < row["own"] else 0
            assert max(row["accepted"], by_itself) <= (row["reported"] or 0), row

    @invariant()
    def no_event_about_money_is_dropped(self) -> None:
        events = self.rows(
            "select e.*, p.review as payment_review, p.credited_ref, p.credited_minor,"
            "  p.provider_ref as invoice_ref, p.refunded_minor as returned, p.amount_minor,"
            "  p.paid_minor as payment_paid"
            "  from payments.payments p join payments.events e on e.payment_id = p.id"
            " where p.client_id = $1"
        )
        for event in events:
            check = getattr(self, f"_{event['outcome']}")
            assert check(event, events), dict(event)

    def _confirmed(self, event: Record, events: list[Record]) -> bool:
        confirmed = [
            other
            for other in events
            if other["outcome"] == "confirmed" and other["payment_id"] == event["payment_id"]
        ]
        return (
            len(confirmed) == 1
            and event["paid_minor"] >= event["amount_minor"]
            and event["currency"] == "KGS"
            and event["credited_minor"] == event["amount_minor"]
            and event["credited_ref"] == (event["provider_ref"] or event["invoice_ref"])
        )

    def _refunded(self, event: Record, _: list[Record]) -> bool:
        return event["provider_ref"] == event["credited_ref"] and _back(event) <= event["returned"]

    def _review(self, event: Record, _: list[Record]) -> bool:
        return event["payment_review"] is not None or event["resolved_at"] is not None

    _event_reused = _review

    def _repeated(self, event: Record, events: list[Record]) -> bool:
        """Credited and returned already, or in review with the same facts already."""
        if event["provider_ref"] is None:
            return False
        if (
            event["provider_ref"] == event["credited_ref"]
            and event["currency"] == "KGS"
            and event["paid_minor"] in {None, event["payment_paid"]}
            and _back(event) <= event["returned"]
        ):
            return True
        return any(
            other["outcome"] == "review" and _fact(other) == _fact(event) for other in events
        )

    def _ignored(self, event: Record, _: list[Record]) -> bool:
        no_return = not event["refunded_minor"]
        return no_return and (event["status"] == "processing" or not event["paid_minor"])

    _canceled = _ignored


_LATE = {"confirmed", "review", "unknown_payment", "refunded", "ignored", "canceled"}
"""Outcomes of a repeated event that had no payment before, once its reference is known."""


def _event(order: str, ref: str, status: Any, returned: int) -> Event:
    event_id = f"{order}:{ref}:{status}:{returned}"
    return Event(
        provider="sandbox",
        event_id=event_id,
        body_sha256=hashlib.sha256(event_id.encode()).digest(),
        order_id=order,
        provider_ref=ref,
        status=status,
        paid_minor=DUE,
        currency="KGS",
        refunded_minor=returned,
    )


def _back(event: Record) -> int:
    if event["status"] == "refunded" and event["refunded_minor"] is None:
        return event["amount_minor"]
    return event["refunded_minor"] or 0


def _fact(event: Record) -> tuple[Any, ...]:
    names = ("payment_id", "provider_ref", "status", "paid_minor", "currency", "refunded_minor")
    return tuple(event[name] for name in names)


async def test_no_money_is_dropped_or_credited_twice(db: Database, owner: Connection) -> None:
    class Machine(PaymentsMachine):
        pass

    Machine.loop = asyncio.get_running_loop()
    Machine.db = db
    Machine.owner = owner
    bounds = settings(stateful_step_count=settings().stateful_step_count * 3 // 4)
    await asyncio.to_thread(run_state_machine_as_test, Machine, settings=bounds)

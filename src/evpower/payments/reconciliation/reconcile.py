"""Compares a period of a provider with what EvPower credited, and stores what differs.

The provider's side comes from its list, from a file, or, where there is no list, from the status of
each bill. It is read first: what is credited in the meantime is then no difference.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.payments import store_receipts
from evpower.payments.errors import ProviderError, ProviderRefused, UnknownToProvider
from evpower.payments.model import Event
from evpower.payments.provider_call import call_provider
from evpower.payments.providers.protocol import HasHistory, HistoryItem, Provider
from evpower.payments.providers.registry import Providers
from evpower.payments.receipts import entered_names
from evpower.payments.reconciliation import store
from evpower.payments.reconciliation.compare import (
    compare,
    completed,
    merge,
    notes_of_cash,
    ours_total,
    theirs_total,
    with_cash,
)
from evpower.payments.reconciliation.model import (
    OurMoney,
    Reconciliation,
    RunOrigin,
    Source,
    TheirMoney,
)
from evpower.payments.reconciliation.period import settled

# A provider's time of a payment and ours of its credit may lie on two sides of midnight.
_MARGIN: Final = timedelta(days=1)
_DAY: Final = timedelta(days=1)
_AT_ONCE: Final = 4  # questions to a provider
_MOST_QUESTIONS: Final = 500  # about what its list lacks
OnProgress = Callable[[int, int | None], None]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Bill:
    """What a provider is asked about."""

    order_id: str
    provider_ref: str | None
    bills: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class _Sides:
    """What is compared; `payments` has our payment of an order, `entered` what came by hand."""

    ours: dict[str, OurMoney]
    theirs: dict[str, TheirMoney]
    again: list[TheirMoney]
    payments: dict[str, int]
    entered: frozenset[str]


@dataclass(frozen=True, slots=True)
class Report:
    """A provider's transactions from a file."""

    name: str
    items: Sequence[HistoryItem]


class Reconciler:
    """Reconciles one period of one provider at a time; any number may run."""

    def __init__(self, db: Database, providers: Providers, clock: Clock) -> None:
        self._db = db
        self._providers = providers
        self._clock = clock

    async def run(
        self,
        name: str,
        since: datetime,
        until: datetime,
        *,
        actor: str,
        kind: RunOrigin = "on_demand",
        report: Report | None = None,
        on_progress: OnProgress = lambda _done, _total: None,
    ) -> Reconciliation:
        """Compares [since, until), without the last ten minutes. Returns the stored run.

        With `report` the provider's side is that file. Raises NotFound("provider_not_found"),
        Invalid("invalid_request"), ProviderError.
        """
        started_at = self._clock()
        until = settled(since, until, self._clock)
        provider = self._providers.get(name) if report else self._providers.named(name)
        items, source = await self._theirs(provider, report, since, until, on_progress)
        sides = await self._sides(name, items, since, until)
        inside, theirs, again = sides.ours, sides.theirs, sides.again
        if provider is not None and source != "status":
            lacking = [our for ref, our in sorted(inside.items()) if ref not in theirs]
            theirs |= await self._confirmed(provider, lacking[:_MOST_QUESTIONS], on_progress)
        theirs = completed(inside, theirs)
        differing = compare(inside, theirs, again, sides.payments, since)
        our_sums, their_sums = ours_total(inside.values()), theirs_total(theirs.values(), again)
        run = Reconciliation(
            id=0,
            provider=name,
            kind=kind,
            source=source,
            since=since,
            until=until,
            source_name=None if report is None else report.name[-200:],
            actor=actor,
            started_at=started_at,
            finished_at=self._clock(),
            ours_count=our_sums.count,
            ours_minor=our_sums.paid_minor,
            ours_returned_minor=our_sums.returned_minor,
            theirs_count=their_sums.count,
            theirs_minor=their_sums.paid_minor,
            theirs_returned_minor=their_sums.returned_minor,
            difference_count=len(differing),
        )
        async with self._db.transaction() as connection:
            run_id = await store.insert_run(connection, run)
            closed = await store.store_found(
                connection, name, run_id, differing, since=since, until=until, now=run.finished_at
            )
            notes = notes_of_cash(inside, theirs, sides.entered)
            await store.store_notes(connection, name, run_id, notes, run.finished_at)
        log.info(
            "provider_reconciled",
            provider=name,
            run=run_id,
            source=source,
            differences=len(differing),
            closed=closed,
        )
        return replace(run, id=run_id)

    async def _sides(
        self, name: str, items: Sequence[HistoryItem], since: datetime, until: datetime
    ) -> _Sides:
        """Returns both sides of a period: each transaction belongs to the time of our credit.

        One that is not credited, or was entered by hand, belongs to the provider's time.
        """
        async with self._db.connection() as connection:
            order_ids = [item.order_id for item in items if item.order_id is not None]
            known = await store.orders(connection, name, order_ids)
            credited = {
                row["order_id"]: row["credited_ref"] for row in known if row["credited_ref"]
            }
            theirs, again = merge(items, credited)
            references = await store.references_in(connection, name, since, until)
            ours = await store.ours(connection, name, [*references, *theirs])
            names = entered_names([their.order_id for their in theirs.values()], [*theirs])
            cash = await store_receipts.find_entered(connection, names)
        ours, entered = with_cash(ours, theirs, cash)
        inside = {ref: our for ref, our in ours.items() if since <= our.at < until}
        theirs = {
            ref: their
            for ref, their in _named_by_order(inside, theirs).items()
            if ref in inside or (ref not in ours and _is_in(their, since, until))
        }
        again = [line for line in again if line.reference in theirs]
        return _Sides(inside, theirs, again, {row["order_id"]: row["id"] for row in known}, entered)

    async def _theirs(
        self,
        provider: Provider | None,
        report: Report | None,
        since: datetime,
        until: datetime,
        on_progress: OnProgress,
    ) -> tuple[list[HistoryItem], Source]:
        if report is not None or provider is None:
            return list(report.items if report is not None else ()), "file"
        if isinstance(provider, HasHistory):
            begin, end = since - _MARGIN, min(until + _MARGIN, self._clock())
            return await _listed(provider, provider.name, begin, end, on_progress), "list"
        async with self._db.connection() as connection:
            rows = await store.bills_begun(connection, provider.name, since, until)
            references = await store.references_in(connection, provider.name, since, until)
            ours = await store.ours(connection, provider.name, references)
        bills = {
            row["order_id"]: _Bill(
                row["order_id"], row["provider_ref"], row["create_count"], row["created_at"]
            )
            for row in rows
        }
        credited = {our.order_id: _bill(our) for our in ours.values()}
        bills = credited | bills

        def is_of_none(bill: _Bill, error: ProviderError) -> bool:
            """A bill that is not credited and that the provider does not know has no money."""
            unknown = isinstance(error, UnknownToProvider)
            refused = isinstance(error, ProviderRefused) and bill.order_id not in credited
            return unknown or refused

        return await _ask(provider, list(bills.values()), on_progress, is_of_none), "status"

    async def _confirmed(
        self, provider: Provider, lacking: Sequence[OurMoney], on_progress: OnProgress
    ) -> dict[str, TheirMoney]:
        """Returns what the provider says about money that its list lacks, by our reference.

        A list may be late, and a payment that was found late is in the list of another day.
        """
        wanted = {our.reference for our in lacking}
        bills = {our.order_id: _bill(our) for our in lacking}
        items = await _ask(provider, list(bills.values()), on_progress, _whatever_failed)
        theirs, _ = merge(items, {})
        return {ref: their for ref, their in theirs.items() if ref in wanted}


def _whatever_failed(bill: _Bill, error: ProviderError) -> bool:
    """What only the list could confirm stays missing."""
    del bill, error
    return True


def _bill(our: OurMoney) -> _Bill:
    return _Bill(our.order_id, our.provider_ref, our.bills, our.at)


def _is_in(their: TheirMoney, since: datetime, until: datetime) -> bool:
    return their.at is None or since <= their.at < until


def _named_by_order(
    ours: dict[str, OurMoney], theirs: dict[str, TheirMoney]
) -> dict[str, TheirMoney]:
    """Names what neither side has a reference of: money of one order is the same money."""
    named = dict(theirs)
    for reference, our in ours.items():
        if reference.startswith("payment:") and f"order:{our.order_id}" in named:
            named[reference] = named.pop(f"order:{our.order_id}")
    return named


async def _listed(
    provider: HasHistory, name: str, begin: datetime, end: datetime, on_progress: OnProgress
) -> list[HistoryItem]:
    """Returns the provider's list of a period, fetched day by day. Raises ProviderError."""
    total = max(1, -(-(end - begin) // _DAY))
    items: list[HistoryItem] = []
    for number in range(total):
        start = begin + number * _DAY
        items += await call_provider(
            name,
            "history",
            provider.fetch_history(since=start, until=min(end, start + _DAY)),
        )
        on_progress(number + 1, total)
    return items


async def _ask(
    provider: Provider,
    bills: Sequence[_Bill],
    on_progress: OnProgress,
    is_of_none: Callable[[_Bill, ProviderError], bool],
) -> list[HistoryItem]:
    """Returns every attempt of these bills, asked about a few at a time.

    `is_of_none`: whether an error means that a bill has none; any other is raised.
    """
    items: list[HistoryItem] = []
    for start in range(0, len(bills), _AT_ONCE):
        answers = await asyncio.gather(
            *(_ask_one(provider, bill, is_of_none) for bill in bills[start : start + _AT_ONCE])
        )
        items += [item for answer in answers for item in answer]
        on_progress(min(len(bills), start + _AT_ONCE), len(bills))
    return items


async def _ask_one(
    provider: Provider, bill: _Bill, is_of_none: Callable[[_Bill, ProviderError], bool]
) -> list[HistoryItem]:
    try:
        status = await call_provider(
            provider.name,
            "status",
            provider.fetch_status(
                order_id=bill.order_id, provider_ref=bill.provider_ref, bills=bill.bills
            ),
        )
    except ProviderError as error:
        if is_of_none(bill, error):
            return []
        raise
    return list(to_items(status.events, bill.order_id, bill.created_at))


def to_items(
    events: Iterable[Event], order_id: str, at: datetime | None = None
) -> Iterable[HistoryItem]:
    """Yields what a provider's status says as lines of a list."""
    for event in events:
        if event.doubt is None:
            yield HistoryItem(
                order_id=order_id,
                transaction_ref=event.provider_ref,
                status=event.status,
                amount_minor=event.paid_minor or 0,
                currency=event.currency,
                refunded_minor=event.refunded_minor,
                at=event.occurred_at or at,
            )

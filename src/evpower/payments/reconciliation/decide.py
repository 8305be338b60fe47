"""An owner's decision about a difference. Money moves only as it does everywhere else.

ask: the provider is asked about the order now, and what it says is applied as in a recheck.
review: the provider's line becomes an event in review, for `payments.resolve` to credit or dismiss.
explained: nothing is to be done; the reason says why both sides are right as they are.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Final

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, NotFound
from evpower.identity import record_act
from evpower.payments import store_receipts
from evpower.payments.confirm import Confirmer
from evpower.payments.manual import check_texts
from evpower.payments.model import Event
from evpower.payments.provider_call import call_provider
from evpower.payments.providers.registry import Providers
from evpower.payments.receipts import entered_names
from evpower.payments.recheck import apply_events
from evpower.payments.reconciliation import store
from evpower.payments.reconciliation.compare import compare, completed, merge, with_cash
from evpower.payments.reconciliation.model import Decision, Difference, TheirMoney
from evpower.payments.reconciliation.reconcile import to_items

_REVIEWED: Final = frozenset({"review", "repeated"})


@dataclass(frozen=True, slots=True)
class Decided:
    """The difference after a decision, and the outcomes of the events that it caused."""

    difference: Difference
    outcomes: tuple[str, ...] = ()


async def decide(
    db: Database,
    providers: Providers,
    confirmer: Confirmer,
    *,
    difference_id: int,
    decision: Decision,
    operator: str,
    reason: str,
    clock: Clock,
) -> Decided:
    """Decides about an open difference, with an audit row.

    Raises NotFound("difference_not_found"), Conflict("difference_decided" | "difference_closed" |
    "order_unknown" | "nothing_to_review"), Invalid("reason_missing"), ProviderError.
    """
    check_texts(operator=operator, reason=reason)
    async with db.transaction() as connection:
        difference = await _lock_open(connection, difference_id)
        event = _event(difference) if decision == "review" else None
        await record_act(
            connection,
            actor=operator,
            action=f"payments.difference_{decision}",
            subject=f"difference:{difference.id}",
            reason=reason,
            details={
                "provider": difference.provider,
                "kind": difference.kind,
                "reference": difference.reference,
                "order_id": difference.order_id,
                "ours_minor": difference.ours_minor,
                "theirs_minor": difference.theirs_minor,
            },
        )
        if decision == "explained":
            await store.set_decision(
                connection, difference.id, decision, actor=operator, reason=reason, now=clock()
            )
    if decision == "ask":
        return await _ask(db, providers, confirmer, difference, clock)
    outcomes: tuple[str, ...] = ()
    if event is not None:
        outcomes = ((await confirmer.confirm(event)).outcome,)
        if outcomes == ("unknown_payment",):
            raise Conflict("order_unknown", "no payment of ours has this order to be reviewed")
    async with db.transaction() as connection:
        current = await store.lock_difference(connection, difference.id) or difference
        if _REVIEWED & set(outcomes) and current.decision is None and current.closed_at is None:
            await store.set_decision(
                connection, difference.id, decision, actor=operator, reason=reason, now=clock()
            )
        shown = await store.find_difference(connection, difference.id)
    return Decided(shown or difference, outcomes)


async def _lock_open(connection: Connection, difference_id: int) -> Difference:
    difference = await store.lock_difference(connection, difference_id)
    if difference is None:
        raise NotFound("difference_not_found", f"there is no difference {difference_id}")
    if difference.closed_at is not None:
        raise Conflict("difference_closed", "both sides agree, or the facts are others now")
    if difference.decision is not None:
        raise Conflict("difference_decided", f"{difference.decided_by} decided it")
    return difference


def _event(difference: Difference) -> Event:
    """Returns the provider's line as an event that waits for an operator, whatever its amounts."""
    if not difference.theirs_minor or difference.theirs_status is None:
        raise Conflict("nothing_to_review", "the provider has no money there")
    returned = difference.theirs_returned_minor
    facts = f"{difference.subject}:{difference.theirs_status}:{difference.theirs_minor}:{returned}"
    digest = hashlib.sha256(f"{difference.order_id}:{difference.theirs_currency}:{facts}".encode())
    return Event(
        provider=difference.provider,
        event_id=f"reported:{digest.hexdigest()}",
        body_sha256=digest.digest(),
        order_id=difference.order_id,
        provider_ref=difference.reference,
        status=difference.theirs_status,
        paid_minor=difference.theirs_minor,
        currency=difference.theirs_currency,
        refunded_minor=returned or None,
        occurred_at=difference.at,
        doubt="reported",
    )


async def _ask(
    db: Database,
    providers: Providers,
    confirmer: Confirmer,
    difference: Difference,
    clock: Clock,
) -> Decided:
    """Asks about the order, applies the answer, and closes the difference if it is none now."""
    provider = providers.named(difference.provider)
    async with db.connection() as connection:
        bill = await store.find_bill(connection, difference.provider, difference.order_id or "")
    if bill is None:
        raise Conflict("order_unknown", "no payment of ours has this order: nothing to ask about")
    status = await call_provider(
        provider.name,
        "status",
        provider.fetch_status(
            order_id=bill["order_id"],
            provider_ref=bill["provider_ref"],
            bills=bill["create_count"],
        ),
    )
    confirmations = await apply_events(confirmer, status.events)
    theirs, again = merge(to_items(status.events, bill["order_id"]), {})
    async with db.transaction() as connection:
        current = await store.lock_difference(connection, difference.id) or difference
        reference = difference.subject
        ours = await store.ours(connection, difference.provider, [reference])
        ours = {ref: our for ref, our in ours.items() if ref == reference}
        named = {
            ref: _with_known(their, difference) for ref, their in theirs.items() if ref == reference
        }
        names = entered_names([difference.order_id], [reference])
        ours, _ = with_cash(ours, named, await store_receipts.find_entered(connection, names))
        differing = compare(ours, completed(ours, named), again, {}, difference.at)
        is_equal = reference in theirs and reference in ours and not differing
        if is_equal and current.closed_at is None:
            await store.close_difference(connection, difference.id, clock())
        shown = await store.find_difference(connection, difference.id)
    outcomes = tuple(confirmation.outcome for confirmation in confirmations)
    return Decided(shown or difference, outcomes)


def _with_known(their: TheirMoney, difference: Difference) -> TheirMoney:
    """Returns it with the returned amount that a list named before: a status may lack it."""
    known = their.returned_minor or difference.theirs_returned_minor or their.returned_minor
    return replace(their, returned_minor=known)

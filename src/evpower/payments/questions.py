"""Asks a provider about the order that a notice names, because the notice itself proves nothing."""

import time
from datetime import timedelta
from typing import Final

import structlog

from evpower.foundation import failpoints
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.failpoints import Failpoint
from evpower.foundation.logging import RateLimitedLogger
from evpower.payments import metrics, store_recheck
from evpower.payments.confirm import Confirmer
from evpower.payments.errors import ProviderError
from evpower.payments.model import Confirmation
from evpower.payments.provider_call import call_provider
from evpower.payments.providers.protocol import NoticeResult, Provider, Question
from evpower.payments.recheck import LEASE, apply_events, check

APART: Final = timedelta(seconds=5)  # between two questions about one order
UNVERIFIED_PER_MINUTE: Final = 60
_MINUTE_S: Final = 60.0
_refusals: Final = RateLimitedLogger(structlog.get_logger(), time.monotonic)


class Questions:
    """Asks at once what a verified notice is about, and lets the recheck ask for the others."""

    def __init__(self, db: Database, confirmer: Confirmer, clock: Clock) -> None:
        self._db = db
        self._confirmer = confirmer
        self.clock = clock
        self._unverified = _PerMinute(UNVERIFIED_PER_MINUTE)
        self._unknown = _PerMinute(UNVERIFIED_PER_MINUTE)

    async def ask(self, provider: Provider, question: Question) -> NoticeResult:
        """Asks about a verified notice's order; returns what became of it, committed.

        Within 5 s of the last notice about it, or without an answer, the recheck asks again soon.
        """
        async with self._db.transaction() as connection:
            claimed = await store_recheck.claim_named(
                connection,
                provider.name,
                question.order_id,
                question.provider_ref,
                now=self.clock(),
                lease=LEASE,
                apart=APART,
            )
        failpoints.hit(Failpoint.QUESTION_CLAIMED)
        if claimed is None:
            return await self._ask_about_unknown(provider, question)
        payment, is_due = claimed
        done: list[Confirmation] = []
        if is_due:
            done = await check(self._db, provider, self._confirmer, payment, self.clock, hurry=True)
        return NoticeResult(payment.invoice_id, done[-1].outcome if done else "question")

    async def plan(self, provider: Provider, question: Question) -> str | None:
        """Has the recheck ask about an unverified notice's order, seldom; returns its invoice."""
        metrics.UNVERIFIED.labels(provider.name, question.refusal or "form").inc()
        if not self._unverified.allows(time.monotonic()):
            _refusals.warning("unverified_notices_limited", provider=provider.name)
            return None
        async with self._db.transaction() as connection:
            return await store_recheck.plan_named(
                connection,
                provider.name,
                question.order_id,
                question.provider_ref,
                now=self.clock(),
                apart=APART,
                per_minute=UNVERIFIED_PER_MINUTE,
            )

    async def _ask_about_unknown(self, provider: Provider, question: Question) -> NoticeResult:
        """Records what the provider says about an order that is not ours, for an operator."""
        outcome = "unknown_payment"
        if question.order_id is not None and self._unknown.allows(time.monotonic()):
            try:
                status = await call_provider(
                    provider.name,
                    "status",
                    provider.fetch_status(
                        order_id=question.order_id, provider_ref=question.provider_ref
                    ),
                )
            except ProviderError:
                return NoticeResult(None, outcome)
            for confirmation in await apply_events(self._confirmer, status.events):
                outcome = confirmation.outcome
        return NoticeResult(None, outcome)


class _PerMinute:
    """Allows at most `limit` calls in each minute of a clock."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._minute = -1
        self._count = 0

    def allows(self, now_s: float) -> bool:
        """Returns whether one more call fits into this minute."""
        minute = int(now_s // _MINUTE_S)
        if minute != self._minute:
            self._minute, self._count = minute, 0
        self._count += 1
        return self._count <= self._limit

"""Verifies a provider's notice and applies it; built for thousands of calls per second."""

import time
from typing import Final

import structlog

from evpower.foundation import failpoints
from evpower.foundation.errors import EvPowerError, Unauthenticated
from evpower.foundation.failpoints import Failpoint
from evpower.foundation.logging import RateLimitedLogger
from evpower.payments import metrics
from evpower.payments.confirm import Confirmer
from evpower.payments.model import Event
from evpower.payments.providers.protocol import (
    NoticeAnswer,
    NoticeRequest,
    NoticeResult,
    Provider,
    Question,
)
from evpower.payments.questions import Questions

_refusals: Final = RateLimitedLogger(structlog.get_logger(), time.monotonic)
MAX_BYTES: Final = 256 * 1024


async def receive(
    provider: Provider, confirmer: Confirmer, questions: Questions, request: NoticeRequest
) -> tuple[NoticeAnswer, bool]:
    """Verifies and applies a notice; returns the answer to it after the commit.

    False: the notice proved nothing, it only causes a question.

    Raises Unauthenticated("invalid_signature" | "stale_webhook"), Invalid("invalid_webhook"),
    Unavailable.
    """
    try:
        notice = provider.read_notice(request, questions.clock())
        failpoints.hit(Failpoint.WEBHOOK_VERIFIED)
        result = await _apply(provider, confirmer, questions, notice)
    except EvPowerError as error:
        metrics.WEBHOOKS.labels(provider.name, error.code).inc()
        _refusals.warning("webhook_refused", provider=provider.name, code=error.code)
        raise
    metrics.WEBHOOKS.labels(provider.name, result.outcome).inc()
    failpoints.hit(Failpoint.WEBHOOK_ANSWERED)
    is_verified = isinstance(notice, Event) or notice.trusted
    return provider.answer(request, result), is_verified


async def _apply(
    provider: Provider, confirmer: Confirmer, questions: Questions, notice: Event | Question
) -> NoticeResult:
    if isinstance(notice, Event):
        confirmation = await confirmer.confirm(notice)
        return NoticeResult(confirmation.invoice_id, confirmation.outcome)
    if notice.trusted and not notice.refusal:
        return await questions.ask(provider, notice)
    invoice_id = await questions.plan(provider, notice)
    if notice.refusal:
        raise Unauthenticated(notice.refusal, "the notice is not verified as the provider's")
    return NoticeResult(invoice_id, "question")

"""Verifies a provider's webhook and applies its event; built for thousands of calls per second."""

import time
from collections.abc import Mapping
from typing import Any, Final

import structlog

from evpower.foundation import failpoints
from evpower.foundation.clock import Clock
from evpower.foundation.errors import EvPowerError
from evpower.foundation.failpoints import Failpoint
from evpower.foundation.logging import RateLimitedLogger
from evpower.payments import metrics
from evpower.payments.confirm import Confirmer
from evpower.payments.providers.protocol import Provider

_refusals: Final = RateLimitedLogger(structlog.get_logger(), time.monotonic)
MAX_BYTES: Final = 256 * 1024


async def receive(
    provider: Provider, confirmer: Confirmer, headers: Mapping[str, str], raw: bytes, clock: Clock
) -> dict[str, Any]:
    """Verifies and applies a webhook; returns the response's members after the commit.

    Raises Unauthenticated("invalid_signature" | "stale_webhook"), Invalid("invalid_webhook"),
    Unavailable.
    """
    try:
        event = provider.verify_webhook(headers, raw, clock())
        failpoints.hit(Failpoint.WEBHOOK_VERIFIED)
        confirmation = await confirmer.confirm(event)
    except EvPowerError as error:
        metrics.WEBHOOKS.labels(provider.name, error.code).inc()
        _refusals.warning("webhook_refused", provider=provider.name, code=error.code)
        raise
    metrics.WEBHOOKS.labels(provider.name, confirmation.outcome).inc()
    failpoints.hit(Failpoint.WEBHOOK_ANSWERED)
    if confirmation.invoice_id is None:
        return {
            "status": "payment_not_found",
            "provider": provider.name,
            "outcome": confirmation.outcome,
        }
    return {
        "status": "received",
        "invoice_id": confirmation.invoice_id,
        "provider": provider.name,
        "outcome": confirmation.outcome,
    }

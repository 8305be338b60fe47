"""Calls a provider with metrics and logs, and turns every failure into a ProviderError."""

import time
from collections.abc import Awaitable
from typing import Final, Literal, TypeVar

import structlog

from evpower.payments import metrics
from evpower.payments.errors import (
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    UnknownToProvider,
)

log = structlog.get_logger()
T = TypeVar("T")
_RESULTS: Final[dict[type[ProviderError], str]] = {
    ProviderRefused: "refused",
    ProviderUnavailable: "unavailable",
    UnknownToProvider: "unknown",
}


async def call_provider(
    provider: str, call: Literal["create", "status"], response: Awaitable[T]
) -> T:
    """Await a provider's response.

    Raises ProviderError; an unexpected exception of the adapter becomes ProviderUnavailable.
    """
    started = time.perf_counter()
    result = "ok"
    try:
        return await response
    except ProviderError as error:
        result = _RESULTS.get(type(error), "unavailable")
        log.warning(
            "provider_call_failed", provider=provider, call=call, result=result, why=str(error)
        )
        raise
    except Exception as error:
        result = "unavailable"
        log.exception("provider_adapter_failed", provider=provider, call=call)
        raise ProviderUnavailable(f"the adapter failed: {type(error).__name__}") from error
    finally:
        metrics.PROVIDER_CALLS.labels(provider, call, result).inc()
        metrics.PROVIDER_SECONDS.labels(provider, call).observe(time.perf_counter() - started)

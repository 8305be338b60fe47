"""Calls a provider with metrics and logs, and turns every failure into a ProviderError."""

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Final, Literal, TypeVar

import structlog

from evpower.payments import metrics
from evpower.payments.errors import (
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    UnknownToProvider,
)

CALL_LIMIT_S: Final = 25.0  # a driver who waits for the answer waits 30 s at most
# Of one provider: calls that create hang first when it is slow, and must leave room for the others.
MAX_CREATES: Final = 30
log = structlog.get_logger()
T = TypeVar("T")
_RESULTS: Final[dict[type[ProviderError], str]] = {
    ProviderRefused: "refused",
    ProviderUnavailable: "unavailable",
    UnknownToProvider: "unknown",
}
_creating: Final[Counter[str]] = Counter()


async def call_provider(
    provider: str,
    call: Literal["create", "status", "cancel", "refund", "history"],
    response: Coroutine[Any, Any, T],
) -> T:
    """Awaits a provider's response, for 25 s at most.

    Raises ProviderError; an unexpected exception of the adapter becomes ProviderUnavailable. While
    30 creations are under way no other is begun: ProviderRefused.
    """
    started = time.perf_counter()
    result = "ok"
    _creating[provider] += call == "create"
    try:
        if call == "create" and _creating[provider] > MAX_CREATES:
            response.close()
            raise ProviderRefused(f"{MAX_CREATES} bills are being created")  # noqa: TRY301
        async with asyncio.timeout(CALL_LIMIT_S):
            return await response
    except ProviderError as error:
        result = _RESULTS.get(type(error), "unavailable")
        log.warning(
            "provider_call_failed", provider=provider, call=call, result=result, reason=str(error)
        )
        raise
    except TimeoutError as error:
        result = "unavailable"
        log.warning(
            "provider_call_failed", provider=provider, call=call, result=result, reason="slow"
        )
        raise ProviderUnavailable(f"no answer in {CALL_LIMIT_S:g} s") from error
    except Exception as error:
        result = "unavailable"
        log.exception("provider_adapter_failed", provider=provider, call=call)
        raise ProviderUnavailable(f"the adapter failed: {type(error).__name__}") from error
    finally:
        _creating[provider] -= call == "create"
        metrics.PROVIDER_CALLS.labels(provider, call, result).inc()
        metrics.PROVIDER_SECONDS.labels(provider, call).observe(time.perf_counter() - started)

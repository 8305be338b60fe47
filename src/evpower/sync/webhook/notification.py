"""Sends one change notification as a test and returns the response Supabase got."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from evpower.sync.supabase_rpc import Rpc
from evpower.sync.webhook.secrets import call_function

_POLL_S: Final = 0.25
_OURS: Final = '{"success":true'


@dataclass(frozen=True, slots=True)
class NotificationResult:
    """The response Supabase got for its call; `error` is pg_net's reason when it got none."""

    status: int | None
    error: str
    is_ours: bool  # the response is EvPower's, not another site's


async def send_notification(rpc: Rpc, *, wait_s: float) -> NotificationResult | None:
    """Makes Supabase call the webhook now; None: no response within `wait_s`.

    Raises SyncError when the functions are missing or Supabase does not respond.
    """
    sent = await call_function(rpc, "evpower_webhook_test", {})
    until = time.monotonic() + wait_s
    while True:
        result = await call_function(
            rpc, "evpower_webhook_result", {"request_id": sent.get("request_id")}
        )
        response = result.get("response")
        if isinstance(response, Mapping):
            return _result(cast("Mapping[str, object]", response))
        if time.monotonic() >= until:
            return None
        await asyncio.sleep(_POLL_S)


def _result(response: Mapping[str, object]) -> NotificationResult:
    status = response.get("status")
    return NotificationResult(
        status=status if isinstance(status, int) else None,
        error=str(response.get("error") or ""),
        is_ours=str(response.get("content") or "").startswith(_OURS),
    )

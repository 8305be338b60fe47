"""What people do by hand is written down for ever."""

from collections.abc import Mapping

from evpower.foundation.db import Connection
from evpower.identity import store_access


async def record_act(
    connection: Connection,
    *,
    actor: str,
    action: str,
    subject: str,
    reason: str | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Write who did what to whom and why, in the transaction that does it.

    No secrets in `details`.
    """
    await store_access.insert_audit(
        connection,
        actor=actor,
        action=action,
        subject=subject,
        reason=reason or None,
        details=details or {},
    )

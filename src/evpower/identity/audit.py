"""Writes and reads the audit: acts of operators and administrators, stored for ever."""

from collections.abc import Mapping
from typing import Final

from evpower.foundation.db import Connection
from evpower.foundation.text import checked
from evpower.identity import store_access
from evpower.identity.model import Act

_ACTOR_MAX: Final = 200
_REASON_MAX: Final = 500


async def record_act(
    connection: Connection,
    *,
    actor: str,
    action: str,
    subject: str,
    reason: str | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Writes an audit row (actor, action, subject, reason) in the transaction of the act.

    `details` must hold no secrets. Raises Invalid("invalid_request") for a text that no column can
    hold.
    """
    checked(actor, "operator", most=_ACTOR_MAX)
    checked(reason or "", "reason", most=_REASON_MAX, lines=True)
    await store_access.insert_audit(
        connection,
        actor=actor,
        action=action,
        subject=subject,
        reason=reason or None,
        details=details or {},
    )


async def list_acts(
    connection: Connection,
    *,
    subject: str | None = None,
    actor: str | None = None,
    action: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[Act]:
    """Returns acts, the newest first; of a subject, an actor or an action if it is given."""
    return await store_access.acts_before(connection, subject, actor, action, before, limit)

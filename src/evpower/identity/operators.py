"""Operators: Supabase users who may read every client, and act on clients if their role allows."""

from uuid import UUID

from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Connection
from evpower.foundation.errors import Invalid, NotFound
from evpower.identity import store_access
from evpower.identity.audit import record_act
from evpower.identity.contact import clean_name
from evpower.identity.model import Operator, OperatorRole
from evpower.identity.sign_in import store_refresh


async def add_operator(
    connection: Connection,
    *,
    user_id: UUID,
    name: str,
    actor: str,
    role: OperatorRole = "viewer",
    reason: str | None = None,
) -> None:
    """Makes a Supabase user an operator, or changes the name and role of one.

    Raises Invalid("invalid_name").
    """
    clean = clean_name(name)
    if clean is None:
        raise Invalid("invalid_name", "an operator needs a name")
    before = await store_access.active_operator(connection, user_id)
    await store_access.put_operator(connection, user_id, clean, role)
    await record_act(
        connection,
        actor=actor,
        action="operator.add",
        subject=str(user_id),
        reason=reason,
        details={"name": clean, "role": role, "role_before": before and before.role},
    )


async def remove_operator(
    connection: Connection,
    *,
    user_id: UUID,
    actor: str,
    reason: str | None = None,
    clock: Clock = utc_now,
) -> None:
    """Revokes the role, from the next request on, and the sign-in by phone as this operator.

    Raises NotFound("operator_not_found").
    """
    if not await store_access.revoke_operator(connection, user_id):
        raise NotFound("operator_not_found", "this user is no operator")
    await store_refresh.revoke_users(connection, [user_id], clock(), "operator", "admin")
    await record_act(
        connection, actor=actor, action="operator.remove", subject=str(user_id), reason=reason
    )


async def list_operators(connection: Connection) -> list[Operator]:
    """Returns the operators, oldest first."""
    return await store_access.active_operators(connection)

"""People of the operator: Supabase users who may read every client."""

from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.errors import Invalid, NotFound
from evpower.identity import store_access
from evpower.identity.audit import record_act
from evpower.identity.contact import clean_name
from evpower.identity.model import Operator


async def add_operator(
    connection: Connection, *, user_id: UUID, name: str, actor: str, reason: str | None = None
) -> None:
    """Give a Supabase user the role, or a new name. Raises Invalid("invalid_name")."""
    clean = clean_name(name)
    if clean is None:
        raise Invalid("invalid_name", "an operator needs a name")
    await store_access.put_operator(connection, user_id, clean)
    await record_act(
        connection,
        actor=actor,
        action="operator.add",
        subject=str(user_id),
        reason=reason,
        details={"name": clean},
    )


async def remove_operator(
    connection: Connection, *, user_id: UUID, actor: str, reason: str | None = None
) -> None:
    """Take the role away; nodes notice within 30 s. Raises NotFound("operator_not_found")."""
    if not await store_access.revoke_operator(connection, user_id):
        raise NotFound("operator_not_found", "this user is no operator")
    await record_act(
        connection, actor=actor, action="operator.remove", subject=str(user_id), reason=reason
    )


async def list_operators(connection: Connection) -> list[Operator]:
    """Who has the role, the first first."""
    return await store_access.active_operators(connection)

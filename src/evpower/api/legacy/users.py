"""A client and an operator as the app's sign-in, `me` and profile show them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from evpower import charging, payments, wallet
from evpower.foundation.clock import to_z
from evpower.foundation.db import Connection
from evpower.foundation.errors import Forbidden, NotFound, Unauthenticated
from evpower.foundation.money import to_som
from evpower.identity import Client, Operator, Principal, get_client, get_operator


async def clients_with_money(
    connection: Connection, client_ids: Sequence[UUID]
) -> Mapping[UUID, datetime | None]:
    """Returns the clients with a balance, money on hold, a debt or an open session.

    Each with the time at which its balance from before EvPower was imported; None: it had none.
    """
    opened_at = await payments.opened_at(connection, client_ids)
    return {
        client_id: opened_at.get(client_id)
        for client_id in client_ids
        if await _has_money(connection, client_id) or await is_charging(connection, client_id)
    }


async def _has_money(connection: Connection, client_id: UUID) -> bool:
    money = await wallet.get_wallet(connection, client_id)
    return money is not None and bool(money.balance_minor or money.held_minor or money.debt_minor)


async def is_charging(connection: Connection, client_id: UUID) -> bool:
    """Returns whether the client has a session that has not ended."""
    try:
        await charging.active_session(connection, client_id)
    except NotFound:
        return False
    return True


async def shown_client(connection: Connection, client_id: UUID) -> dict[str, Any]:
    """Returns the client's members; none is null.

    Raises Unauthenticated("invalid_token") for a closed client, whose sign-in ends with it.
    """
    client = await get_client(connection, client_id)
    if client.status == "closed":
        raise Unauthenticated("invalid_token", "the account is closed")
    money = await wallet.get_wallet(connection, client_id)
    return {
        "id": str(client.id),
        "phone": client.phone or "",
        "name": client.name or "",
        "email": client.email or "",
        "balance": to_som(0 if money is None else money.balance_minor),
        "status": status_word(client),
        "created_at": to_z(client.created_at),
    }


def status_word(client: Client) -> str:
    """Returns the status in the words of the app; `inactive` after a request for deletion."""
    if client.status == "active" and client.deletion_requested_at is not None:
        return "inactive"
    return "inactive" if client.status == "closed" else client.status


def shown_operator(operator: Operator, phone: str) -> dict[str, Any]:
    """Returns the operator's members."""
    return {
        "id": str(operator.user_id),
        "phone": phone,
        "email": "",
        "name": operator.name,
        "role": operator.role,
        "is_active": True,
        "created_at": to_z(operator.created_at),
    }


async def shown_caller(connection: Connection, caller: Principal) -> tuple[dict[str, Any], str]:
    """Returns the caller's members and the kind of user."""
    if caller.client_id is not None:
        return await shown_client(connection, caller.client_id), "client"
    operator = None if caller.user_id is None else await get_operator(connection, caller.user_id)
    if operator is None:
        raise Forbidden("forbidden", "a service key has no user")
    return shown_operator(*operator), "admin"


def client_of(principal: Principal) -> UUID:
    """Returns the caller's client. Raises Forbidden("forbidden")."""
    if principal.client_id is None:
        raise Forbidden("forbidden", "only a client may do this")
    return principal.client_id

"""Reads sessions as their drivers see them."""

from collections.abc import Sequence
from uuid import UUID

from evpower.charging import store_status
from evpower.charging.session_view import SessionView
from evpower.foundation.db import Connection
from evpower.foundation.errors import NotFound


async def session_status(connection: Connection, session_id: UUID) -> SessionView:
    """Returns a session. One round trip. Raises NotFound("session_not_found")."""
    view = await store_status.find_view(connection, session_id)
    if view is None:
        raise NotFound("session_not_found", "there is no such session")
    return view


async def active_session(connection: Connection, client_id: UUID) -> SessionView:
    """Returns a client's open session, the newest. Raises NotFound("no_active_session")."""
    view = await store_status.find_active(connection, client_id)
    if view is None:
        raise NotFound("no_active_session", "the client has no open session")
    return view


async def session_statuses(
    connection: Connection, session_ids: Sequence[UUID]
) -> list[SessionView]:
    """Returns sessions by their ids, in no order; unknown ids are left out."""
    return await store_status.views(connection, session_ids)


async def newest_sessions(
    connection: Connection, client_ids: Sequence[UUID], count: int
) -> list[SessionView]:
    """Returns the newest `count` sessions of each client, in no order."""
    return await store_status.newest_views(connection, client_ids, count)

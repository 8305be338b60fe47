"""Reads sessions as their drivers see them."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from evpower.charging import store_status
from evpower.charging.session_view import SessionView
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import NotFound
from evpower.foundation.shared_reads import SharedReads


async def session_status(connection: Connection, session_id: UUID) -> SessionView:
    """Returns a session. One round trip. Raises NotFound("session_not_found")."""
    view = await store_status.find_view(connection, session_id)
    if view is None:
        raise _session_not_found()
    return view


class SessionStatuses:
    """Reads sessions for callers that poll: those requested during a read share the next one."""

    def __init__(self, db: Database) -> None:
        self._shared = SharedReads[UUID, SessionView](db, _statuses_by_id)

    async def __call__(self, session_id: UUID) -> SessionView:
        """Returns a session. Raises NotFound("session_not_found") or Unavailable."""
        return await self._shared(session_id)


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
    if len(session_ids) == 1:  # its plan costs less
        view = await store_status.find_view(connection, session_ids[0])
        return [] if view is None else [view]
    return await store_status.views(connection, session_ids)


async def newest_sessions(
    connection: Connection, client_ids: Sequence[UUID], count: int
) -> list[SessionView]:
    """Returns the newest `count` sessions of each client, in no order."""
    return await store_status.newest_views(connection, client_ids, count)


async def _statuses_by_id(
    connection: Connection, session_ids: Sequence[UUID]
) -> Mapping[UUID, SessionView | Exception]:
    views = {view.id: view for view in await session_statuses(connection, session_ids)}
    return {each: views.get(each) or _session_not_found() for each in session_ids}


def _session_not_found() -> NotFound:
    return NotFound("session_not_found", "there is no such session")

"""Answers a station whether a tag may charge. It only answers: a start makes the session."""

from datetime import datetime
from uuid import UUID

from evpower import identity, stations, wallet
from evpower.charging import store_sessions
from evpower.charging.events import TagStatus
from evpower.charging.free_period import is_free
from evpower.charging.rules import DEFAULT_RULES, Rules
from evpower.charging.start_match import card_client, session_of_tag
from evpower.charging.states import OPEN
from evpower.charging.tags import fold_tag
from evpower.charging.technicians import find_card
from evpower.foundation.db import Connection
from evpower.foundation.errors import Forbidden, NotFound
from evpower.stations import Station


async def authorize(
    connection: Connection,
    station_id: str,
    id_tag: str,
    *,
    now: datetime,
    rules: Rules = DEFAULT_RULES,
) -> TagStatus:
    """Returns whether a tag may charge at a station.

    A one-time tag may while its session is open. A card may if its client may start, or has an open
    session here. A technician's card may until its cap. The one tag that a make always sends may
    while a session is open here. An unknown tag may where not only paid charging is allowed, and
    every tag while the station is free.
    """
    station = await stations.lock_station(connection, station_id)
    if await is_free(connection, station.id, now):
        return "accepted"
    session = await session_of_tag(connection, station.id, id_tag)
    if session is not None:
        return "accepted" if session.state in OPEN else "expired"
    client_id = await card_client(connection, station, id_tag)
    if client_id is None:
        return await _without_client(connection, station, id_tag, now)
    running = await store_sessions.open_of_client(connection, client_id)
    if any(session.station_id == station.id for session in running):
        return "accepted"
    return "accepted" if await may_start(connection, client_id, rules, now) else "blocked"


async def _without_client(
    connection: Connection, station: Station, id_tag: str, now: datetime
) -> TagStatus:
    card = await find_card(connection, id_tag, now)
    if card is not None:
        return "accepted" if card.left_wh > 0 else "blocked"
    if not station.paid_only:
        return "accepted"
    is_fixed = await _is_fixed_tag(connection, station.id, id_tag)
    is_used = is_fixed and await store_sessions.lock_open(connection, station.id)
    return "accepted" if is_used else "invalid"


async def _is_fixed_tag(connection: Connection, station_id: str, id_tag: str) -> bool:
    """Returns whether a station of this make sends this tag whatever it was asked to start with."""
    fixed = (await stations.vendor_profile(connection, station_id)).fixed_tag
    return fixed is not None and fold_tag(fixed) == fold_tag(id_tag)


async def may_start(connection: Connection, client_id: UUID, rules: Rules, now: datetime) -> bool:
    """Returns whether a card's client is active, owes nothing and has enough free money."""
    try:
        await identity.require_active(connection, client_id, clock=lambda: now)
    except (Forbidden, NotFound):
        return False
    stored = await wallet.get_wallet(connection, client_id)
    return (
        stored is not None
        and stored.debt_minor == 0
        and stored.available_minor >= rules.minimum_minor
    )

"""Which session a station means when it begins a transaction."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from evpower import identity, stations
from evpower.charging import remote, store_sessions, store_technicians, store_transactions
from evpower.charging.events import StationStart
from evpower.charging.learn_meter import register_kind
from evpower.charging.model import ChargingSession, StationTransaction
from evpower.charging.our_time import SKEW_LIMIT, right_time
from evpower.charging.states import WAITING
from evpower.charging.tags import TAG_LENGTH, fold_tag, is_echo_of, is_phone_tag, is_tag
from evpower.foundation.db import Connection
from evpower.stations import Station

_OLDEST: Final = timedelta(days=30)
_MAX_CONNECTOR: Final = 1_000
_MAX_REGISTER_WH: Final = Decimal(10) ** 15
_MAX_TEXT: Final = 255
# Q29, Q82: one that is sent again may be stamped anew, 2 min later as far as is known.
_STAMPED_AGAIN_WITHIN: Final = timedelta(minutes=10)
_BEGINS_ANEW: Final = frozenset({"per_transaction", "per_boot"})


class StartMatch(NamedTuple):
    """What a start means; without session and client it is unattributed."""

    session: ChargingSession | None = None
    card_client_id: UUID | None = None
    is_technician: bool = False
    same_as: StationTransaction | None = None  # it is this transaction, reported again


class FreeStart(NamedTuple):
    """Whether a start belongs to a free time: by an unknown tag, by a card that is known."""

    any_tag: bool = False
    known_card: bool = False


async def read_start(connection: Connection, station: Station, start: StationStart) -> StationStart:
    """Returns a start as it can be stored: whatever the station sent, none is refused.

    Connector 0 is the whole station: it means the only connector, or the one that a session waits
    for.
    """
    connector = start.connector if 0 <= start.connector <= _MAX_CONNECTOR else 0
    is_guessed = False
    if connector == 0:
        numbers = await store_sessions.connector_numbers(connection, station.id)
        is_guessed = len(numbers) != 1
        if len(numbers) > 1:
            opened = await store_sessions.lock_open(connection, station.id)
            numbers = [item.connector_id for item in opened if item.state in WAITING]
        connector = numbers[0] if len(numbers) == 1 else 0
    meter_wh = start.meter_wh
    if meter_wh is not None and not (meter_wh.is_finite() and abs(meter_wh) < _MAX_REGISTER_WH):
        meter_wh = None
    return start._replace(
        station_id=station.id,
        connector=connector,
        id_tag=_storable(start.id_tag),
        meter_wh=meter_wh,
        text_id=_storable(start.text_id or "") or None,
        time=start.time._replace(raw=_storable(start.time.raw) if start.time.raw else None),
        is_connector_guessed=is_guessed,
    )


def _storable(text: str) -> str:
    return text.replace("\x00", "").encode("utf-8", "replace").decode()[:_MAX_TEXT]


async def match_start(
    connection: Connection, station: Station, start: StationStart, free: FreeStart
) -> StartMatch:
    """Finds the session of a start: by its one-time tag, by a card, else by connector and time.

    A start of a free time is only that of a session whose own tag it has.
    """
    tag = fold_tag(start.id_tag)
    session = await _by_tag(connection, station.id, tag)
    if session is not None:
        return StartMatch(session)
    client_id = await card_client(connection, station, start.id_tag)
    running = await store_transactions.open_on_connector(connection, station.id, start.connector)
    if running is not None and await _is_repeat(connection, running, start):
        return StartMatch(same_as=running)
    is_technician = client_id is None and await store_technicians.find(connection, tag) is not None
    is_unknown = client_id is None and not is_technician
    if free.any_tag if is_unknown else free.known_card:
        return StartMatch()
    waiting = await _waiting(connection, station.id, start.connector)
    if waiting is not None:
        is_own_card = client_id == waiting.client_id
        if is_own_card or (is_unknown and await _was_sent(connection, waiting)):
            return StartMatch(waiting)
    if is_technician:
        return StartMatch(is_technician=True)
    return StartMatch(card_client_id=client_id)


async def session_of_tag(
    connection: Connection, station_id: str, id_tag: str
) -> ChargingSession | None:
    """Returns the session of a one-time tag, as a station echoes it, locked."""
    return await _by_tag(connection, station_id, fold_tag(id_tag))


async def card_client(connection: Connection, station: Station, id_tag: str) -> UUID | None:
    """Returns the client of a card; None: unknown, or cards don't count at this station.

    A phone number is no card, though the old backend knew it as a tag.
    """
    if is_phone_tag(id_tag):
        return None
    if station.no_auth and not station.cards_without_auth:
        return None
    return await identity.resolve_id_tag(connection, id_tag)


def start_key(start: StationStart) -> str:
    """Returns what is the same in each retry of a start."""
    meter = "" if start.meter_wh is None else f"{start.meter_wh.normalize():f}"
    parts = (start.station_id, str(start.connector), fold_tag(start.id_tag))
    return "\n".join((*parts, start.time.raw or "", meter))


def started_at(
    start: StationStart, not_before: datetime | None, skew_s: int | None = None
) -> datetime:
    """Returns when a transaction began: the station's time where it can be, else ours.

    `skew_s`: how far its clock is known to be off; it counts where the stamp can't be that of a
    clock that was set right since. A station can't begin before it was asked to, nor after its
    report was received.
    """
    at, right_at = start.time.at, right_time(start.time, skew_s).at
    if at is not None and right_at is not None:
        is_ahead = at > start.received_at + SKEW_LIMIT
        is_behind = at < start.received_at - SKEW_LIMIT and at < right_at
        if is_ahead or (is_behind and right_at <= start.received_at + SKEW_LIMIT):
            at = right_at
    if at is None or not start.received_at - _OLDEST <= at <= start.received_at:
        at = start.received_at
    return at if not_before is None else max(at, min(not_before, start.received_at))


async def _by_tag(connection: Connection, station_id: str, folded: str) -> ChargingSession | None:
    if is_tag(folded[:TAG_LENGTH]):
        return await store_sessions.lock_by_tag(connection, station_id, folded[:TAG_LENGTH])
    waiting = [
        session
        for session in await store_sessions.lock_open(connection, station_id)
        if session.id_tag is not None and is_echo_of(folded, session.id_tag)
    ]
    return waiting[0] if len(waiting) == 1 else None


async def _waiting(
    connection: Connection, station_id: str, connector: int
) -> ChargingSession | None:
    for session in await store_sessions.lock_open(connection, station_id):
        if session.connector_id == connector and session.state in WAITING:
            return session
    return None


async def _was_sent(connection: Connection, session: ChargingSession) -> bool:
    """Returns whether the station knows of a start: before that, another start is not its echo."""
    if session.start_command_id is None:
        return False
    command = await stations.get_command(connection, session.start_command_id)
    return remote.was_sent(command)


async def _is_repeat(
    connection: Connection, running: StationTransaction, start: StationStart
) -> bool:
    """Returns whether a start with another stamp is the one that runs, sent once more.

    Some stations stamp a retry anew and count from 0 again. Once energy flowed, the same tag may
    also begin a new transaction of which the stop before was lost: then only an equal register says
    that it is the same, or, where each transaction begins at that register, a stamp that is near.
    """
    if fold_tag(running.id_tag) != fold_tag(start.id_tag):
        return False
    if await store_transactions.energy_of(connection, running.id) == 0:
        return True
    if running.meter_start_wh != start.meter_wh:
        return False
    stamp, running_stamp = start.time.at, running.start_station_at
    if stamp is None or running_stamp is None or stamp - running_stamp <= _STAMPED_AGAIN_WITHIN:
        return True
    kind = await register_kind(connection, running.station_id, running.connector)
    return kind not in _BEGINS_ANEW

"""Starts a session for a driver's app: checks, hold and command in one transaction."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from evpower import identity, stations, tariffs, wallet
from evpower.charging import remote, store_sessions, store_start
from evpower.charging.facts import MAX_ENERGY_KWH
from evpower.charging.frozen_tariff import as_shown
from evpower.charging.hold_size import HoldSize, hold_size
from evpower.charging.model import ChargingSession, SessionState
from evpower.charging.rules import DEFAULT_RULES, REMOTE_START_EXPIRES_IN, Rules
from evpower.charging.start_window import window_of
from evpower.charging.store_start import BegunStart, StartBarriers, StartView
from evpower.charging.tags import new_tag
from evpower.foundation import failpoints
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, EvPowerError, Forbidden, Invalid, NotFound
from evpower.foundation.failpoints import Failpoint
from evpower.foundation.ids import new_uuid
from evpower.foundation.money import MAX_MINOR, to_text
from evpower.stations import ONLINE_FOR, Carrier, ClaimedCommand, StartFacts, Station
from evpower.tariffs import Snapshot
from evpower.wallet import Posting

_REPEATED_WITHIN: Final = timedelta(seconds=60)
_MAX_SOC: Final = 100
_ONE_START: Final = "sessions_one_start_per_client"
_FREE: Final = frozenset(
    {None, "available", "preparing"}
)  # a car that is plugged in is its driver's
_BROKEN: Final = frozenset({"unavailable", "faulted"})


class StartRequest(NamedTuple):
    """What a driver asks for; every given limit limits."""

    client_id: UUID
    station: str  # any of its names
    connector: int
    energy_wh: int | None = None
    amount_minor: int | None = None
    soc_percent: int | None = None
    vehicle_plate: str | None = None
    without_token: bool = False  # of an app of before, which sends none


@dataclass(frozen=True, slots=True)
class StartedSession:
    """A session that waits for its station, or runs already."""

    session_id: UUID
    client_id: UUID
    station_id: str
    connector: int
    state: SessionState
    snapshot: Snapshot  # the tariff it is billed by
    held_minor: int  # for this session
    balance_minor: int
    available_minor: int  # the balance less all that is on hold
    is_repeated: bool  # an earlier call made it
    is_online: bool  # the station
    claimed: ClaimedCommand | None = None  # the station's next command, to be sent by this process


async def start(
    connection: Connection,
    request: StartRequest,
    *,
    now: datetime,
    rules: Rules = DEFAULT_RULES,
    carrier: Carrier | None = None,
) -> StartedSession:
    """Makes a session with its tariff and hold, and queues the remote start. No money moves.

    After the commit the caller gives `claimed` to the carrier, and publishes the changes. A second
    call within 60 s with the same limits returns the same session. Raises
    NotFound("client_not_found" | "station_not_found" | "connector_not_found"),
    Forbidden("client_blocked" | "client_deleted"), Invalid("invalid_energy" | "invalid_amount" |
    "invalid_soc"), Conflict("session_already_active" | "station_offline" | "station_unavailable" |
    "station_free" | "unplug_first" | "plug_in_first" | "connector_occupied" | "tariff_missing" |
    "zero_balance" | "insufficient_balance" | "amount_exceeds_balance").
    """
    _check_limits(request)
    view = await store_start.lock_and_read(
        connection, request.client_id, request.station, request.connector, now
    )
    if view is None:
        await identity.get_client(connection, request.client_id)  # what is wrong first
        raise NotFound("station_not_found", f"there is no station {request.station!a:.80}")
    station, barriers = view.station, view.barriers
    _check_client(barriers, now)
    if station.retired_at is not None:
        raise NotFound("station_not_found", f"station {station.id!a:.80} is retired")
    if station.forward_url is not None:
        raise Conflict("station_unavailable", f"station {station.id!a:.80} answers another CSMS")
    if barriers.client_has_open:
        repeated = await _repeated(connection, station, request, now)
        if repeated is not None:
            return await _show(connection, repeated, is_repeated=True, now=now)
    if barriers.is_free:
        raise Conflict("station_free", f"station {station.id!a:.80} charges any tag for free now")
    facts = await _require_connector(connection, view, request.connector, now)
    snapshot = view.snapshot()
    if snapshot is None:
        raise Conflict("tariff_missing", "no tariff applies to this connector")
    snapshot = as_shown(snapshot, facts.profile)
    size = hold_size(
        rules,
        snapshot.tariff,
        energy_wh=request.energy_wh,
        amount_minor=request.amount_minor,
        rated_power_w=facts.rated_power_w,
        now=now,
    )
    _check_worth(request, size, rules)
    session = ChargingSession(
        id=new_uuid(),
        client_id=request.client_id,
        station_id=station.id,
        connector_id=request.connector,
        state="requested",
        started_by="app",
        id_tag=new_tag(),
        limit_energy_wh=request.energy_wh,
        limit_amount_minor=request.amount_minor,
        limit_soc_percent=request.soc_percent,
        vehicle_plate=request.vehicle_plate,
        without_token=request.without_token,
        start_command_id=None,
        start_window_ends_at=now + window_of(facts.connection_time_out, rules),
        start_failure=None,
        started_at=None,
        stop_requested_at=None,
        end_reason=None,
        created_at=now,
    )
    epoch = None if carrier is None else carrier.epoch_for(station.id)
    begun = await _begin(connection, session, snapshot, size, epoch=epoch)
    failpoints.hit(Failpoint.START_UNCOMMITTED)
    session = replace(session, start_command_id=begun.command_id)
    money = (begun.posting.balance_minor, begun.posting.available_minor)
    started = _started(
        session, snapshot, money, held_minor=begun.held_minor, is_repeated=False, is_online=True
    )
    if begun.claimed is None:
        return started
    return replace(started, claimed=ClaimedCommand(begun.claimed, facts.profile))


def _check_limits(request: StartRequest) -> None:
    energy_wh, amount_minor, soc = request.energy_wh, request.amount_minor, request.soc_percent
    if energy_wh is not None and not 0 < energy_wh <= MAX_ENERGY_KWH * 1000:
        raise Invalid("invalid_energy", f"the energy is above 0 and at most {MAX_ENERGY_KWH} kWh")
    if amount_minor is not None and not 0 < amount_minor <= MAX_MINOR:
        raise Invalid("invalid_amount", "the amount is above 0")
    if soc is not None and not 1 <= soc <= _MAX_SOC:
        raise Invalid("invalid_soc", "the state of charge is 1 to 100 percent")


def _check_worth(request: StartRequest, size: HoldSize, rules: Rules) -> None:
    """Refuses a limit that is worth less than the least amount a session may cost.

    A station that stops late would deliver more than that in any case.
    """
    if size.least_minor is not None or size.amount_minor >= rules.minimum_minor:
        return
    least = to_text(rules.minimum_minor)
    is_amount = request.amount_minor == size.amount_minor
    raise Invalid(
        "invalid_amount" if is_amount else "invalid_energy",
        f"the limit is worth {to_text(size.amount_minor)} som, and {least} is the least",
        params={"minimum": least, "maximum": to_text(MAX_MINOR)},
    )


def _check_client(barriers: StartBarriers, now: datetime) -> None:
    if barriers.client is None:
        raise NotFound("client_not_found", "there is no such client")
    try:
        identity.check_standing(barriers.client, now)
    except Forbidden as error:
        if error.code != "client_closed":
            raise
        raise Forbidden("client_deleted", "the client is closed") from error


async def _repeated(
    connection: Connection, station: Station, request: StartRequest, now: datetime
) -> ChargingSession | None:
    """Returns the session that an equal call made a moment ago."""
    for session in await store_sessions.open_of_client(connection, request.client_id):
        wanted = (request.energy_wh, request.amount_minor, request.soc_percent)
        limits = (session.limit_energy_wh, session.limit_amount_minor, session.limit_soc_percent)
        is_same = (session.station_id, session.connector_id, limits) == (
            station.id, request.connector, wanted,
        )  # fmt: skip
        # Whoever sends no token learns of no session that was begun with one.
        is_theirs = session.without_token or not request.without_token
        if session.state == "stopping":  # that one is about to end
            continue
        if is_same and is_theirs and session.created_at > now - _REPEATED_WITHIN:
            return session
        raise _already_active()
    return None


def _already_active() -> EvPowerError:
    return Conflict("session_already_active", "the client has another session")


async def _require_connector(
    connection: Connection, view: StartView, number: int, now: datetime
) -> StartFacts:
    """Returns a connector that may start."""
    station, facts = view.station, view.facts()
    if facts is None:
        raise NotFound("connector_not_found", f"station {station.id!a:.80} has no such connector")
    if facts.last_frame_at is None or facts.last_frame_at <= now - ONLINE_FOR:
        raise Conflict("station_offline", "the station is not connected")
    wanted = {station.wanted_availability, facts.wanted_availability, station.reported_availability}
    if "inoperative" in wanted or facts.reported_status in _BROKEN:
        raise Conflict("station_unavailable", "the connector is out of service")
    open_sessions: list[ChargingSession] = []
    if view.barriers.station_has_open:
        open_sessions = await store_sessions.lock_open(connection, station.id)
    if any(session.connector_id == number for session in open_sessions):
        raise Conflict("connector_occupied", "another session is on this connector")
    if facts.reported_status == "finishing":
        raise Conflict("unplug_first", "the cable has to be unplugged and plugged in again")
    if facts.reported_status not in _FREE:
        raise Conflict("connector_occupied", "the connector is in use")
    if facts.reported_status == "available" and facts.profile.plug_first:
        raise Conflict("plug_in_first", "this station starts only when the cable is plugged in")
    return facts


async def _begin(
    connection: Connection,
    session: ChargingSession,
    snapshot: Snapshot,
    size: HoldSize,
    *,
    epoch: int | None,
) -> BegunStart:
    """Writes a session, its command and its hold, and claims where the station is at hand."""
    try:
        begun = await store_start.begin(
            connection,
            session,
            snapshot,
            remote.start_payload(session),
            actor=f"client:{session.client_id}",
            expires_at=session.created_at + REMOTE_START_EXPIRES_IN,
            amount_minor=size.amount_minor,
            least_minor=size.least_minor,
            epoch=epoch,
        )
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != _ONE_START:
            raise
        raise _already_active() from error  # at another station at the same time
    _check_hold(session, size, begun.posting)
    if begun.charges is not False:
        raise _already_active()
    return begun


def _check_hold(session: ChargingSession, size: HoldSize, posting: Posting) -> None:
    try:
        wallet.judge_hold(posting)
    except Conflict as error:
        if error.code == "hold_refused":  # blocked since the check
            raise Forbidden("client_blocked", "the client may not spend") from error
        if error.code != "insufficient_balance":
            raise
        required = size.amount_minor if size.least_minor is None else size.least_minor
        amounts: dict[str, Any] = {
            "available": to_text(posting.available_minor),
            "required": to_text(required),
        }
        code = "insufficient_balance"
        if posting.available_minor <= 0 and posting.debt_minor == 0:
            code = "zero_balance"
        elif session.limit_amount_minor == required and posting.debt_minor == 0:
            code = "amount_exceeds_balance"
        raise Conflict(code, "the free balance is too small", params=amounts) from error


async def _show(
    connection: Connection,
    session: ChargingSession,
    *,
    is_repeated: bool,
    now: datetime,
) -> StartedSession:
    stored = await wallet.get_wallet(connection, session.client_id)
    assert stored is not None, "a client has a wallet"  # noqa: S101
    snapshot = await _stored_tariff(connection, session.id)
    is_online = await stations.is_online(connection, session.station_id, now)
    money = (stored.balance_minor, stored.available_minor)
    hold = await wallet.get_hold(connection, session.id)
    held_minor = hold.amount_minor if hold is not None and hold.state == "open" else 0
    return _started(
        session, snapshot, money,
        held_minor=held_minor, is_repeated=is_repeated, is_online=is_online,
    )  # fmt: skip


def _started(
    session: ChargingSession,
    snapshot: Snapshot,
    money: tuple[int, int],
    *,
    held_minor: int,
    is_repeated: bool,
    is_online: bool,
) -> StartedSession:
    """Returns a session with its hold; `money`: the balance, and what of it is free."""
    return StartedSession(
        session_id=session.id,
        client_id=session.client_id,
        station_id=session.station_id,
        connector=session.connector_id,
        state=session.state,
        snapshot=snapshot,
        held_minor=held_minor,
        balance_minor=money[0],
        available_minor=money[1],
        is_repeated=is_repeated,
        is_online=is_online,
    )


async def _stored_tariff(connection: Connection, session_id: UUID) -> Snapshot:
    stored = await store_sessions.find_snapshot(connection, session_id)
    assert stored is not None, "a session by app has its tariff"  # noqa: S101
    return tariffs.read_snapshot(stored)

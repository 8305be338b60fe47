"""Makes the session of a card when its station begins: same checks and hold as a start by app."""

from datetime import datetime
from uuid import UUID

from evpower import tariffs, wallet
from evpower.charging import store_sessions
from evpower.charging.authorize import may_start
from evpower.charging.frozen_tariff import frozen_tariff
from evpower.charging.model import ChargingSession
from evpower.charging.rules import Rules
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict
from evpower.foundation.ids import new_uuid
from evpower.stations import Station


async def begin_by_card(
    connection: Connection,
    station: Station,
    client_id: UUID,
    connector: int,
    *,
    began_at: datetime,
    rules: Rules,
    now: datetime,
) -> tuple[ChargingSession, bool]:
    """Inserts a session that charges already; returns it and whether it may go on.

    The station has begun, so nothing is refused: without a tariff the session is quarantined, and
    without enough money the caller stops it.
    """
    session = ChargingSession(
        id=new_uuid(),
        client_id=client_id,
        station_id=station.id,
        connector_id=connector,
        state="charging",
        started_by="card",
        id_tag=None,
        limit_energy_wh=None,
        limit_amount_minor=None,
        limit_soc_percent=None,
        vehicle_plate=None,
        without_token=False,
        start_command_id=None,
        start_window_ends_at=None,
        start_failure=None,
        started_at=began_at,
        stop_requested_at=None,
        end_reason=None,
        created_at=now,
    )
    is_allowed = await may_start(connection, client_id, rules, now)
    await store_sessions.insert_session(connection, session)
    snapshot = await frozen_tariff(connection, station, connector, client_id, began_at)
    if snapshot is None:  # nothing began then: its clock is behind
        snapshot = await frozen_tariff(connection, station, connector, client_id, now)
    if snapshot is None:
        await store_sessions.quarantine(connection, session.id, "tariff_missing", now)
    else:
        await store_sessions.insert_tariff(
            connection, session.id, snapshot.plan, snapshot.version,
            tariffs.write_snapshot(snapshot),
        )  # fmt: skip
    return session, is_allowed and await _hold(connection, session, rules)


async def _hold(connection: Connection, session: ChargingSession, rules: Rules) -> bool:
    amount_minor = max(rules.hold_minor, rules.minimum_minor)
    try:
        await wallet.hold(connection, session.id, amount_minor, least_minor=rules.minimum_minor)
    except Conflict:
        return False
    return True

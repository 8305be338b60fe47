"""The SQL of a start by app: one round trip that locks and reads, one that writes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from evpower import stations, tariffs, wallet
from evpower.charging.model import ChargingSession
from evpower.foundation.db import Connection, Record, fetch_one
from evpower.identity import Standing
from evpower.stations import Command, StartFacts, Station
from evpower.tariffs import Snapshot
from evpower.wallet import Posting

_READ: Final = f"""
select {stations.LOCKED_STATION}, b.*, t.*
  from stations.lock_for_start($2, $3, $4) l
 cross join lateral charging.start_barriers($1, (l.station).id, $5) b
  left join lateral tariffs.choose(
    (l.station).id || '/' || l.connector, (l.station).id, (l.station).location_id, $5, $1) t on true
"""
_BEGIN: Final = f"""
select b.command_id, b.charges, b.on_hold_minor, {wallet.POSTING}, {stations.CLAIMED}
  from charging.begin_start(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
    $21) b
"""


class StartBarriers(NamedTuple):
    """What may be in the way of a start."""

    client_has_open: bool  # sessions, as the station
    station_has_open: bool
    is_free: bool  # the station is free of charge now
    client: Standing | None  # None: there is no such client


class StartView(NamedTuple):
    """What a start is decided by."""

    station: Station  # locked until the transaction ends
    barriers: StartBarriers
    row: Record

    def facts(self) -> StartFacts | None:
        """Returns what is known of the connector; None: the station has no such one."""
        return stations.facts_of(self.row)

    def snapshot(self) -> Snapshot | None:
        """Returns the client's tariff at the connector; None: none applies.

        Raises Invalid("tariff_snapshot_unknown") for a version that this process can't read.
        """
        return tariffs.frozen_of(self.row)


class BegunStart(NamedTuple):
    """A session that was begun, unless its hold was refused or its client charges elsewhere."""

    command_id: int
    posting: Posting
    charges: bool | None  # the client charges elsewhere; None: the hold was refused
    held_minor: int  # for this session
    claimed: Command | None  # the station's next command


async def lock_and_read(
    connection: Connection, client_id: UUID, station: str, connector: int, now: datetime
) -> StartView | None:
    """Locks the station of a name and reads what a start needs; None: there is no such station."""
    key = stations.key_of(station)
    row = await connection.fetchrow(
        _READ, client_id, key, connector, stations.CONNECTION_TIME_OUT, now
    )
    if row is None:
        return None
    client = None
    if row["status"] is not None:
        client = Standing(**{name: row[name] for name in Standing._fields})
    barriers = StartBarriers(
        row["client_has_open"], row["station_has_open"], row["is_free"], client
    )
    return StartView(stations.locked_station(row), barriers, row)


async def begin(  # noqa: PLR0913 - what a start writes
    connection: Connection,
    session: ChargingSession,
    snapshot: Snapshot,
    payload: Mapping[str, Any],
    *,
    actor: str,
    expires_at: datetime,
    amount_minor: int,
    least_minor: int | None,
    epoch: int | None,
) -> BegunStart:
    """Queues the remote start, inserts the session with its tariff, and puts its money on hold.

    The station is locked. With `epoch` its next command is claimed for that socket. Where the hold
    is refused, or the client charges elsewhere, the transaction is not to be committed. Raises
    asyncpg.UniqueViolationError beside another open session.
    """
    row = await fetch_one(
        connection,
        _BEGIN,
        session.id,
        session.client_id,
        session.station_id,
        session.connector_id,
        session.id_tag,
        session.limit_energy_wh,
        session.limit_amount_minor,
        session.limit_soc_percent,
        session.vehicle_plate,
        session.without_token,
        session.start_window_ends_at,
        session.created_at,
        snapshot.plan,
        snapshot.version,
        tariffs.write_snapshot(snapshot),
        payload,
        actor,
        expires_at,
        epoch,
        amount_minor,
        least_minor,
    )
    return BegunStart(
        row["command_id"],
        wallet.posting_of(row),
        row["charges"],
        row["on_hold_minor"] or 0,
        stations.claimed_command(row),
    )

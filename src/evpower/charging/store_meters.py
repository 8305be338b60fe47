"""The SQL of what is learned of stations: how their registers count, how often they sample."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import read_row
from evpower.stations import RegisterKind


class LearnedMeter(NamedTuple):
    """What is known of a connector's meter."""

    connector: int
    register_kind: RegisterKind | None  # None: not known yet
    last_wh: Decimal | None  # the register at the end of the newest transaction,
    ended_at: datetime | None  # and when that was
    interval_s: int | None  # between two values


class StationFacts(NamedTuple):
    """What a station did beside its sessions."""

    skew_s: int | None  # our clock less the station's; None: right, or not known
    tail_wh: Decimal  # what flowed after its stops, never billed
    outside_charges: int  # of no client: a free mode, an unknown card
    outside_wh: int


class UnpaidEnergy(NamedTuple):
    """What a station gave in some time that no one paid."""

    station_id: str
    unbilled_tail_wh: int
    outside_charges: int
    outside_wh: int


_METER = "connector, register_kind, last_wh, ended_at, interval_s"


async def meter_of(connection: Connection, station_id: str, connector: int) -> LearnedMeter | None:
    """Returns what is known of a connector's meter."""
    row = await connection.fetchrow(
        f"select {_METER} from charging.meters where station_id = $1 and connector = $2",
        station_id,
        connector,
    )
    return None if row is None else read_row(LearnedMeter, row)


async def meters_of(connection: Connection, station_id: str) -> list[LearnedMeter]:
    """Returns what is known of a station's meters, by connector."""
    rows: list[Record] = await connection.fetch(
        f"select {_METER} from charging.meters where station_id = $1 order by connector",
        station_id,
    )
    return [read_row(LearnedMeter, row) for row in rows]


async def set_register_kind(
    connection: Connection, station_id: str, connector: int, kind: RegisterKind | None
) -> None:
    """Stores how a register counts."""
    await connection.execute(
        """
        update charging.meters set register_kind = $3 where station_id = $1 and connector = $2
        """,
        station_id,
        connector,
        kind,
    )


async def set_end(
    connection: Connection,
    station_id: str,
    connector: int,
    last_wh: Decimal | None,
    ended_at: datetime,
    interval_s: int | None,
) -> None:
    """Stores the register at the end of a transaction, and how often values came in it."""
    await connection.execute(
        """
        insert into charging.meters as m (station_id, connector, last_wh, ended_at, interval_s)
        values ($1, $2, $3, $4, $5)
        on conflict (station_id, connector) do update
           set last_wh = excluded.last_wh, ended_at = excluded.ended_at,
               interval_s = coalesce(excluded.interval_s, m.interval_s)
        """,
        station_id,
        connector,
        last_wh,
        ended_at,
        interval_s,
    )


async def facts_of(connection: Connection, station_id: str) -> StationFacts:
    """Returns what a station did beside its sessions."""
    row = await connection.fetchrow(
        """
        select (select k.skew_s from charging.clocks k where k.station_id = $1) as skew_s,
               coalesce(sum(p.tail_wh), 0) as tail_wh,
               count(*) filter (where t.purpose = 'unattributed')::int as outside_charges,
               coalesce(sum(p.energy_wh) filter (where t.purpose = 'unattributed'), 0)::bigint
                 as outside_wh
          from charging.transactions t
          join charging.progress p on p.transaction_id = t.id
         where t.station_id = $1
        """,
        station_id,
    )
    assert row is not None, "an aggregate has a row"  # noqa: S101
    return read_row(StationFacts, row)


async def unpaid_energy(
    connection: Connection, begins_at: datetime, ends_at: datetime
) -> list[UnpaidEnergy]:
    """Returns what stations gave that no one paid, of the charges that ended in this time."""
    rows: list[Record] = await connection.fetch(
        """
        select station_id, round(sum(tail_wh))::bigint as unbilled_tail_wh,
               sum(charges)::int as outside_charges, sum(outside_wh)::bigint as outside_wh
          from (
            select t.station_id, p.tail_wh, 0 as charges, 0 as outside_wh
              from charging.progress p
              join charging.transactions t on t.id = p.transaction_id
             where p.tail_wh > 0 and t.ended_at >= $1 and t.ended_at < $2
            union all
            select t.station_id, 0, 1, p.energy_wh
              from charging.transactions t
              join charging.progress p on p.transaction_id = t.id
             where t.purpose = 'unattributed' and t.ended_at >= $1 and t.ended_at < $2) given
         group by station_id order by station_id
        """,
        begins_at,
        ends_at,
    )
    return [read_row(UnpaidEnergy, row) for row in rows]


async def silent_transactions(
    connection: Connection,
    now: datetime,
    *,
    values_before: datetime,
    values_since: datetime,
    heard_since: datetime,
    limit: int,
) -> list[tuple[str, int]]:
    """Returns station and connector of charges whose newest value, or start, was between these.

    Only at stations that were heard since then, where something may flow, and where no stop is due
    before the answer would be there.
    """
    rows: list[Record] = await connection.fetch(
        """
        select t.station_id, t.connector
          from charging.transactions t
          join charging.progress p on p.transaction_id = t.id
          join stations.sockets_public o on o.station_id = t.station_id
         where t.ended_at is null and t.connector > 0 and t.purpose <> 'unattributed'
           and p.parked_since is null and p.stop_step is null
           and (p.stop_due_at is null or p.stop_due_at > $1)
           and greatest(t.received_at, p.last_value_at) between $3 and $2
           and o.last_frame_at >= $4
         order by t.id limit $5
        """,
        now + (now - values_before),
        values_before,
        values_since,
        heard_since,
        limit,
    )
    return [(row["station_id"], row["connector"]) for row in rows]

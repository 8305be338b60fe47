"""SQL of the operator's list of sessions. Each filter has an index that is in the list's order.

The text is put together from constants: a condition that is not asked for is not in it, so that the
plan is that of the index, also of a prepared statement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from evpower.charging.model import SessionState
from evpower.charging.session_filter import SessionFilter, SessionPlace
from evpower.charging.store_operator import SESSION_COLUMNS, SESSION_TABLES, SessionRow
from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import read_row

FIRST: Final = SessionPlace(datetime(9999, 1, 1, tzinfo=UTC), UUID(int=2**128 - 1))
# A state is written into the text: the planner must see that a partial index has it.
_STATES: Final[dict[SessionState, str]] = {
    "requested": "s.state = 'requested'",
    "starting": "s.state = 'starting'",
    "charging": "s.state = 'charging'",
    "stopping": "s.state = 'stopping'",
    "finished": "s.state = 'finished'",
    "settled": "s.state = 'settled'",
    "expired": "s.state = 'expired'",
    "refused": "s.state = 'refused'",
    "cancelled": "s.state = 'cancelled'",
    "failed": "s.state = 'failed'",
}


async def sessions_before(
    connection: Connection, wanted: SessionFilter, place: SessionPlace, limit: int
) -> list[SessionRow]:
    """Returns the next sessions of a list, the newest first."""
    text, values = page_statement(wanted, place, limit)
    rows: list[Record] = await connection.fetch(text, *values)
    return [read_row(SessionRow, row) for row in rows]


def page_statement(
    wanted: SessionFilter, place: SessionPlace, limit: int
) -> tuple[str, Sequence[Any]]:
    """Returns the statement of one page, and its values."""
    # Two upper ends would be one for the index, and the other one a filter of all rows between.
    if wanted.made_before is not None:
        place = min(place, SessionPlace(wanted.made_before, UUID(int=0)))
    values: list[Any] = [place.created_at, place.id, limit]

    def value(given: object) -> str:
        values.append(given)
        return f"${len(values)}"

    conditions = ["s.source = 'evpower'", "(s.created_at, s.id) < ($1, $2)"]
    if wanted.station_id is not None:
        conditions.append(f"s.station_id = {value(wanted.station_id)}")
    if wanted.client_id is not None:
        conditions.append(f"s.client_id = {value(wanted.client_id)}")
    if wanted.end_reason is not None:  # a finished session is settled in the same transaction
        conditions.append(f"s.state = 'settled' and s.end_reason = {value(wanted.end_reason)}")
    if wanted.start_failure is not None:
        conditions.append(f"s.start_failure = {value(wanted.start_failure)}")
    if wanted.in_quarantine:
        conditions.append("s.quarantined_at is not null")
    if wanted.made_from is not None:
        conditions.append(f"s.created_at >= {value(wanted.made_from)}")
    states = list(dict.fromkeys(wanted.states))
    each = [_select(conditions, _STATES[state]) for state in states] or [
        _select(conditions, "true")
    ]
    page = "\n union all\n".join(f"({part})" for part in each)
    text = f"""
        with page as materialized (
          select f.id from ({page}) f (id, created_at)
           order by f.created_at desc, f.id desc limit $3)
        select {SESSION_COLUMNS} from {SESSION_TABLES}
         where s.id in (select page.id from page)
         order by s.created_at desc, s.id desc
        """
    return text, values


def _select(conditions: Sequence[str], state: str) -> str:
    where = " and ".join((*conditions, state))
    return f"""
          select s.id, s.created_at from charging.sessions s
           where {where}
           order by s.created_at desc, s.id desc limit $3"""


@dataclass(frozen=True, slots=True)
class SessionCounts:
    """How many sessions are open, and how many were made since a time."""

    open: int
    made: int


async def count_sessions(connection: Connection, since: datetime) -> SessionCounts:
    """Counts the sessions that EvPower runs, and those that it began since then."""
    row = await connection.fetchrow(
        """
        select (select count(*) from charging.sessions s where s.source = 'evpower'
                   and s.state <> 'settled'
                   and s.state in ('requested', 'starting', 'charging', 'stopping')) as open,
               (select count(*) from charging.sessions s where s.source = 'evpower'
                   and s.created_at >= $1 and s.started_at is not null) as made
        """,
        since,
    )
    return SessionCounts(0, 0) if row is None else read_row(SessionCounts, row)


@dataclass(frozen=True, slots=True)
class ClientTotals:
    """What a client's finished sessions come to."""

    client_id: UUID
    sessions: int
    energy_wh: int
    cost_minor: int


async def client_totals(
    connection: Connection, client_ids: Sequence[UUID]
) -> dict[UUID, ClientTotals]:
    """Returns what clients have charged; those without a finished session are left out."""
    rows = await connection.fetch(
        """
        select s.client_id, count(*) as sessions, sum(s.energy_wh)::bigint as energy_wh,
               sum(s.cost_minor)::bigint as cost_minor
          from charging.sessions s
         where s.client_id = any ($1::uuid[]) and s.state in ('finished', 'settled')
         group by s.client_id
        """,
        list(client_ids),
    )
    return {row["client_id"]: read_row(ClientTotals, row) for row in rows}

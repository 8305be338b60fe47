"""The rounds of every node's loops, stored: `evpower sync status` reads them on any machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.loops import OVERDUE_S, Record, is_overdue

WRITE_S: Final = 15.0  # one statement of each process
KEEP_S: Final = 3600.0  # rows of a node that no longer writes
_MAX_TEXT: Final = 100
log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LoopRounds:
    """One loop of one node. `finished_at`: its last round; `seen_s`: since the node wrote this.

    `overdue`: it stands still; `lost`: its node has written nothing for a minute.
    """

    node: str
    loop: str
    finished_at: datetime | None
    idle_s: float
    error: str
    overdue: bool
    seen_s: float
    lost: bool


async def store(connection: Connection, node: str, records: Sequence[Record]) -> None:
    """Stores a node's rounds, and deletes the rows of nodes that wrote nothing for an hour.

    Times are those of the database's clock: the clocks of nodes may differ.
    """
    await connection.execute(
        """
        insert into foundation.loop_rounds as r
          (node, loop, period_s, idle_since, finished, running_since, error, seen_at)
        select $1, loop, period_s, clock_timestamp() - make_interval(secs => idle_s), finished,
               clock_timestamp() - make_interval(secs => running_s), error, clock_timestamp()
          from unnest($2::text[], $3::float8[], $4::float8[], $5::boolean[], $6::float8[],
                      $7::text[]) as given(loop, period_s, idle_s, finished, running_s, error)
        on conflict (node, loop) do update set
          period_s = excluded.period_s, idle_since = excluded.idle_since,
          finished = excluded.finished, running_since = excluded.running_since,
          error = excluded.error, seen_at = excluded.seen_at
        """,
        node[:_MAX_TEXT],
        [record.name for record in records],
        [record.period_s for record in records],
        [record.idle_s for record in records],
        [record.finished_at is not None for record in records],
        [record.running_s for record in records],
        [record.error[:_MAX_TEXT] for record in records],
    )
    await connection.execute(
        """
        delete from foundation.loop_rounds
        where seen_at < clock_timestamp() - make_interval(secs => $1)
        """,
        KEEP_S,
    )


async def stored(connection: Connection) -> list[LoopRounds]:
    """Returns the rounds of every loop of every node."""
    rows = await connection.fetch(
        """
        select node, loop, period_s, error,
               case when finished then idle_since end as finished_at,
               extract(epoch from clock_timestamp() - idle_since)::float8 as idle_s,
               extract(epoch from seen_at - running_since)::float8 as running_s,
               extract(epoch from clock_timestamp() - seen_at)::float8 as seen_s
          from foundation.loop_rounds order by loop, node
        """
    )
    return [
        LoopRounds(
            node=row["node"],
            loop=row["loop"],
            finished_at=row["finished_at"],
            idle_s=row["idle_s"],
            error=row["error"],
            # A round that ran when this was written may have ended since.
            overdue=is_overdue(row["period_s"], row["idle_s"], row["running_s"]),
            seen_s=row["seen_s"],
            lost=row["seen_s"] > OVERDUE_S,
        )
        for row in rows
    ]


async def forget(db: Database, node: str) -> None:
    """Deletes the rows of a node that stops."""
    try:
        async with db.connection() as connection:
            await connection.execute(
                "delete from foundation.loop_rounds where node = $1", node[:_MAX_TEXT]
            )
    except Unavailable as error:
        log.info("loop_rounds_not_deleted", error=error.for_operators)

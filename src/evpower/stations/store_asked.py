"""SQL of what stations were asked for by EvPower itself."""

from datetime import datetime

from evpower.foundation.db import Connection


async def is_let_be(
    connection: Connection,
    station_id: str,
    connector: int,
    actor: str,
    *,
    asked_since: datetime,
    since: datetime,
) -> bool:
    """Returns whether a station is not to be asked now.

    Something waits for it or for its answer, it was asked for this connector since `asked_since`,
    or it refused or left unanswered what this actor asked since `since`.
    """
    let_be: bool = await connection.fetchval(
        """
        select exists (select from stations.commands m
                        where m.station_id = $1 and m.state in ('queued', 'sent'))
            or exists (select from stations.commands m
                        where m.station_id = $1 and m.action = 'trigger' and m.actor = $3
                          and (m.connector = $2 and m.created_at > $4
                            or m.sent_at is not null and m.created_at > $5
                               and m.state in ('refused', 'timed_out')))
        """,
        station_id,
        connector,
        actor,
        asked_since,
        since,
    )
    return let_be

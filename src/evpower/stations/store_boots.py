"""SQL of the stations whose boot EvPower never heard."""

from collections.abc import Sequence
from datetime import datetime

from evpower.foundation.db import Connection, Record


async def stations_without(
    connection: Connection,
    actor: str,
    since: datetime,
    forbidding: Sequence[str],
    station_id: str | None = None,
) -> list[str]:
    """Returns stations connected since then that never sent a boot, and were not asked for it.

    An asking that was not sent counts only while it is queued. `forbidding`: the profiles whose
    stations take no TriggerMessage.
    """
    rows: list[Record] = await connection.fetch(
        """
        select t.id from stations.connections c
          join stations.stations t on t.id = c.station_id
          left join stations.profiles p on p.station_id = t.id
         where c.closed_at is null and c.opened_at <= $2
           and ($4::text is null or c.station_id = $4)
           and t.booted_at is null and t.retired_at is null and t.forward_url is null
           and coalesce(p.overrides -> 'trigger_allowed',
                 to_jsonb(p.profile is null or p.profile <> all ($3::text[]))) = 'true'
           and not exists (
             select from stations.commands m
              where m.station_id = t.id and m.action = 'trigger' and m.actor = $1
                and (m.state = 'queued' or m.sent_at is not null))
         order by t.id limit 100
        """,
        actor,
        since,
        list(forbidding),
        station_id,
    )
    return [row["id"] for row in rows]

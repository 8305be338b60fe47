"""The SQL of what counts for a transaction's price."""

from evpower import tariffs
from evpower.charging.spread import CountedSample
from evpower.foundation.db import Connection


async def samples(connection: Connection, transaction_id: int) -> list[CountedSample]:
    """Returns what counts for a transaction's price as it came; copies of quarantine, too."""
    rows = await connection.fetch(
        """
        with kept as (
          select received_at, priced_at, at, session_wh, power_w, current_ma, is_parked, is_timed,
                 outcome, energy_wh
            from charging.meter_values where transaction_id = $1
           union all
          select q.received_at, q.priced_at, q.at, q.session_wh, q.power_w, q.current_ma,
                 q.is_parked, q.is_timed, q.outcome, q.energy_wh
            from charging.transactions t
            join charging.quarantined_meter_values q
              on q.session_id = t.session_id and q.transaction_id = t.id
           where t.id = $1
        )
        select coalesce(priced_at, at) as priced_at, session_wh, power_w, current_ma, is_parked,
               is_timed, outcome, energy_wh is not null as is_metered
          from kept where session_wh is not null
         order by received_at, session_wh, coalesce(priced_at, at)
        """,
        transaction_id,
    )
    return [
        CountedSample(
            tariffs.Sample(
                row["priced_at"], row["session_wh"], row["power_w"], row["current_ma"],
                row["is_parked"], row["is_timed"],
            ),
            row["outcome"],
            row["is_metered"],
        )
        for row in rows
    ]  # fmt: skip

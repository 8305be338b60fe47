"""SQL of a session as Supabase shows it: while it charges, with the figures of its progress.

Its cost so far is at most the amount that its driver chose, as its bill is.

`limit_type` and `limit_value` (kWh or som) are null of a session that another system began. Of two
limits energy is the one that is named; a limit of the state of charge is none.
"""

from typing import Final

# A client `c` whom the project may have taken from its sessions and payments: it has an account to
# close, or closed it.
MAY_BE_UNLINKED: Final = "(c.status = 'closed' or c.deletion_requested_at is not null)"

# Reached by key through both views: a subquery without a limit is planned as part of its caller.
SHOWN_SESSIONS: Final = """
(select s.id, s.client_id, s.station_id, s.connector_id, s.status, s.start_time, s.ended_at,
        coalesce(p.energy_wh, s.energy_wh) as energy_wh,
        coalesce(p.energy_kwh, s.energy_kwh) as energy_kwh,
        case when p.session_id is null then s.cost_minor
             else least(p.cost_minor, s.limit_amount_minor) end as cost_minor,
        case when p.session_id is null then s.cost_som
             else least(p.cost_som, s.limit_amount_som) end as cost_som,
        s.revision + coalesce(r.revision, 0) as revision, s.created_at, s.updated_at, s.details,
        case when s.started_by is null then null when s.limit_energy_wh is not null then 'energy'
             when s.limit_amount_minor is not null then 'amount' else 'none' end as limit_type,
        case when s.started_by is not null
             then coalesce(s.limit_energy_kwh, s.limit_amount_som, 0) end as limit_value
   from charging.sessions_public s
   left join charging.progress_public r on r.session_id = s.id
   left join charging.progress_public p
     on p.session_id = s.id and s.state in ('charging', 'stopping'))
"""

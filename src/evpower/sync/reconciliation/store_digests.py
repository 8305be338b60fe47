"""SQL of EvPower's digests, character by character as evpower_digest builds Supabase's."""

from collections.abc import Mapping
from typing import Final

from evpower.sync.store_sessions import MAY_BE_UNLINKED, SHOWN_SESSIONS

# What identifies a transaction: its id; its time where Supabase assigns its own ids; nothing.
_FINGERPRINTS: Final = {
    "id": "t.id::text",
    "time": "(extract(epoch from t.created_at) * 1000000)::bigint::text",
    "none": "''",
}
_HISTORY: Final = """string_agg(concat_ws(':', t.version, t.kind, t.amount_minor,
    t.balance_before_minor, t.balance_after_minor, {fingerprint}{links}), ',' order by t.version)"""
# What a transaction is of, and its times as Supabase rounds them: `{units}` has the microseconds of
# a unit of each column; null: it is not compared there.
_LINKS: Final = """, coalesce(
      (select p.invoice_id from payments.payments_public p where p.id = t.payment_id), '~'),
      coalesce((select s.session_id::text from charging.settlements_public s
                 where s.id = t.settlement_id), '~'), {event_at}, {created_at}"""
_ROUNDED_LINK: Final = """case when ({units}::int[])[{nr}] is null then '-' else
      coalesce((((extract(epoch from t.{column}) * 1000000)::bigint
      + ({units}::int[])[{nr}] / 2) / ({units}::int[])[{nr}] * ({units}::int[])[{nr}])::text, '~')
      end"""


def _hashes(line: str, joins: str) -> str:
    """Returns the SQL of one hash per chunk, in the order of the ids (`$1`), `$2` ids a chunk."""
    return f"""
select encode(sha256(convert_to(string_agg(array_to_string(array[{line}], '|', '~'), e'\\n'
         order by k.nr), 'UTF8')), 'hex') as hash
  from (select id, nr, (nr - 1) / $2::int as part
          from unnest($1::uuid[]) with ordinality k (id, nr)) k
  {joins}
 group by k.part order by k.part
"""


_CLIENT_LINE: Final = """c.id::text, w.balance_minor::text, w.held_minor::text, w.version::text,
    case when c.status = 'active' and c.deletion_requested_at is not null then '-'
         else c.public_status end,
    (select {history} from wallet.transactions_public t where t.client_id = c.id){currency}"""
_SESSION_LINE: Final = """s.id::text, s.client_id::text, s.revision::text, s.status,
    s.energy_wh::text, s.cost_minor::text, s.station_id, s.connector_id::text,
    {start_time}, {ended_at}, {created_at},
    coalesce({details}, '{}')::text, 'true'"""
# A time as Supabase rounds it: `$3` has the microseconds of a unit of each column.
_ROUNDED: Final = """(((extract(epoch from s.{column}) * 1000000)::bigint
      + ($3::int[])[{nr}] / 2) / ($3::int[])[{nr}] * ($3::int[])[{nr}])::text"""
# Where Supabase has columns for what limits a session, it is compared as two more details.
_DETAILS: Final[Mapping[bool, str]] = {
    False: "s.details",
    True: """(s.details || case when s.limit_type is null then '{}' else jsonb_build_object(
      'limit_type', s.limit_type, 'limit_value', trim_scale(round(s.limit_value, 2))::text) end)""",
}
# A client that has a user in Supabase, no block from before EvPower, and one email everywhere.
_PROFILE_LINE: Final = """k.id::text, c.email, regexp_replace(c.phone, '\\D', '', 'g'), c.name,
    case when c.deletion_requested_at is null then 'u---' else 'ul--' end
    || case when c.email_verified then 'v' else '-' end
    || case when c.phone_verified then 'v' else '-' end
    || coalesce(floor(extract(epoch from c.banned_until))::bigint::text, '-')"""


def _session_line(details: str) -> str:
    line = _SESSION_LINE.replace("{details}", details)
    for nr, column in enumerate(("start_time", "ended_at", "created_at"), 1):
        line = line.replace(f"{{{column}}}", _ROUNDED.format(column=column, nr=nr))
    return line


def _of_each(sql: str) -> dict[str, str]:
    return {by: sql.replace("{fingerprint}", column) for by, column in _FINGERPRINTS.items()}


def _history(units: str, *, is_whole: bool) -> str:
    """Returns the SQL of a client's transactions; `units`: the parameter that has them."""
    links = ""
    if is_whole:
        links = _LINKS
        for nr, column in enumerate(("event_at", "created_at"), 1):
            text = _ROUNDED_LINK.format(column=column, nr=nr, units=units)
            links = links.replace(f"{{{column}}}", text)
    return _HISTORY.replace("{links}", links)


def _client_hashes(*, is_whole: bool) -> str:
    line = _CLIENT_LINE.replace("{history}", _history("$3", is_whole=is_whole))
    return _hashes(
        line.replace("{currency}", ", w.currency" if is_whole else ""),
        """
        left join identity.clients_public c on c.id = k.id
        left join wallet.balances w on w.client_id = k.id
        """,
    )


PROFILE_HASHES: Final = _hashes(_PROFILE_LINE, "left join identity.clients_public c on c.id = k.id")
# Of clients, whole and by what identifies a transaction. Whole: `$3` has the units.
CLIENT_HASHES: Final[Mapping[bool, Mapping[str, str]]] = {
    is_whole: _of_each(_client_hashes(is_whole=is_whole)) for is_whole in (False, True)
}

SESSION_HASHES: Final[Mapping[bool, str]] = {
    limits: _hashes(
        _session_line(details),
        f"left join {SHOWN_SESSIONS} s on s.id = k.id",
    )
    for limits, details in _DETAILS.items()
}

_CLIENTS: Final = """
select c.id::text as id, w.currency, w.balance_minor, w.held_minor, w.version,
       c.public_status as status, t.*
  from identity.clients_public c
  join wallet.balances w on w.client_id = c.id
 cross join lateral (
   select count(*) as count, coalesce(sum(t.amount_minor), 0)::bigint as sum_minor,
          coalesce(max(t.version), 0) as last,
          coalesce(sum(t.version::numeric * (t.amount_minor * 31 + t.balance_after_minor * 7
            + 100 * case t.kind when 'topup' then 1 when 'charge' then 2 when 'refund' then 3 end)),
            0)::text as moment,
          encode(sha256(convert_to({history}, 'UTF8')), 'hex') as history
     from wallet.transactions_public t where t.client_id = c.id) t
 where c.id = any ($1::uuid[])
"""
# The same; whole: `$2` has the units.
CLIENTS: Final[Mapping[bool, Mapping[str, str]]] = {
    is_whole: _of_each(_CLIENTS.replace("{history}", _history("$2", is_whole=is_whole)))
    for is_whole in (False, True)
}

SESSIONS: Final[Mapping[bool, str]] = {
    limits: f"""
select s.id::text as id, s.client_id::text as client_id, s.revision, s.status, s.energy_wh,
       s.cost_minor, {details} as details, s.station_id, s.connector_id::text as connector_id,
       s.start_time, s.ended_at as stop_time, s.created_at
  from {SHOWN_SESSIONS} s where s.id = any ($1::uuid[])
"""
    for limits, details in _DETAILS.items()
}

# Of which of these sessions EvPower knows what limits them: those begun here.
LIMITED: Final = """
select s.id::text as id from charging.sessions_public s
 where s.id = any ($1::uuid[]) and s.started_by is not null
"""

# Of which of these sessions the project may have taken the client, and which it is.
UNLINKABLE: Final = f"""
select s.id::text as id, c.id::text as client
  from charging.sessions_public s join identity.clients_public c on c.id = s.client_id
 where s.id = any ($1::uuid[]) and {MAY_BE_UNLINKED}
"""

# Of the transactions Supabase has, the first of each client that is a different one here.
DIVERGED: Final[Mapping[str, str]] = _of_each("""
select x.id, min(x.version) as version
  from unnest($1::text[], $2::bigint[], $3::text[]) as x (id, version, fingerprint)
  join wallet.transactions_public t on t.client_id = x.id::uuid and t.version = x.version
 where {fingerprint} <> x.fingerprint
 group by x.id
""")

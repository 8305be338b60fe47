"""The rules that match rows to users, as SQL over staged rows; the first rule that fits decides.

docs/migrate-ids.md has them as a table. All rules are set-based, so 100,000 rows take seconds, and
the tables are temporary, so a dry run leaves nothing behind.
"""

from typing import Final

from evpower.foundation.db import Connection

# ruff: noqa: E501 - SQL reads better whole

HOUR_S: Final = 3600.0
_FOR_EVERYTHING: Final = """
set local statement_timeout = 0; set local enable_seqscan = on; set local work_mem = '64MB'
"""

STAGE: Final = """
drop table if exists stage_rows, stage_users, stage_claims, stage_verified, stage_matches, stage_reopenable;
create temp table stage_rows (
  line bigint not null,
  old_id text not null,
  email text, phone text, name text,
  email_confirmed text not null, phone_confirmed text not null,
  id_tags text[] not null,
  password text not null,
  balance_minor bigint not null,
  digest bytea not null,
  plan text, reason text, detail text,
  own_id uuid,                 -- the old id as a UUID: kept if no other client has it
  begun boolean not null default false, -- an earlier run planned to create the user
  client_before boolean not null default false, -- EvPower had the client before any run
  client_id uuid, matched_by text
);
create temp table stage_users (id uuid not null, is_user boolean not null, deleted boolean not null);
create temp table stage_claims (
  kind text not null, value text not null, id uuid not null, verified boolean not null,
  typed boolean not null       -- in a profile, where any user may write it: it claims nothing
);
create temp table stage_verified (kind text not null, value text not null, id uuid not null);
"""

# Whether a rule depends on a verified contact: reading that needs another pass over all users.
IS_VERIFICATION_NEEDED: Final = """
select exists (select from stage_rows r join stage_claims c on c.kind = 'email' and c.value = r.email
                where c.verified and r.plan is null)
    or exists (select from stage_rows r join stage_claims c on c.kind = 'phone' and c.value = r.phone
                where c.verified and r.plan is null)
"""

KEEP_VERIFIED: Final = """
update stage_claims c set verified = false
 where c.verified and c.kind <> all ($1::text[])
   and not exists (select from stage_verified p where p.id = c.id and p.kind = c.kind and p.value = c.value)
"""

ROW_COLUMNS: Final = (
    "line", "old_id", "email", "phone", "name", "email_confirmed", "phone_confirmed", "id_tags",
    "password", "balance_minor", "digest", "plan", "reason", "detail", "own_id",
)  # fmt: skip

# A client that a revert of ours closed may be opened again; any other closed client may not.
_CLOSED: Final = """
exists (select from identity.clients c where c.id = {id} and c.status = 'closed'
          and not exists (select from stage_reopenable o where o.id = c.id))
"""
_TAG_TAKEN: Final = """
exists (select from unnest(r.id_tags) as t (tag)
          join identity.aliases a on a.kind = 'id_tag' and identity.folded_tag(a.alias) = t.tag
         where a.client_id is distinct from r.client_id)
"""


# Contacts of a row that only adds to a moved client are not compared.
_IF_NOT_MOVED: Final = "case when matched_by is distinct from 'moved' then {} end"


def _twice(match: str, value: str, source: str, reason: str) -> str:
    return f"""
with lines as (select {value} as value, line from {source} where plan is distinct from 'skip'),
twice as (
  select value, min(line) as first, max(line) as last from lines
   where value is not null and value <> ''
   group by value having count(distinct line) > 1
)
update stage_rows r set plan = 'conflict', reason = '{reason}',
       detail = 'also in line ' || case when t.first = r.line then t.last else t.first end
  from twice t where {match} and r.plan is null
"""


# Each updates rows whose plan is still open.
RULES: Final[tuple[str, ...]] = (
    "create index on stage_rows (line)",
    "create index on stage_rows (old_id)",
    "create index on stage_rows (email)",
    "create index on stage_rows (phone)",
    "analyze stage_rows",
    # A moved client stays moved. What this source has in addition is added: id tags, a balance.
    """
update stage_rows r set plan = 'skip', reason = 'moved_before', client_id = a.client_id, matched_by = 'moved',
       id_tags = array(select t.tag from unnest(r.id_tags) as t (tag)
                        where not exists (select from identity.aliases x where x.kind = 'id_tag'
                                             and identity.folded_tag(x.alias) = t.tag and x.client_id = a.client_id))
  from identity.aliases a
 where a.kind = 'client_id' and a.alias = r.old_id and r.plan is null
""",
    """
update stage_rows r set balance_minor = case when m.carried in (0, r.balance_minor) then r.balance_minor - m.carried else 0 end,
       plan = case when m.carried in (0, r.balance_minor) then r.plan else 'conflict' end,
       reason = case when m.carried in (0, r.balance_minor) then r.reason else 'balance_changed' end,
       detail = case when m.carried in (0, r.balance_minor) then r.detail else m.carried || ' tyiyn before' end
  from (select s.line, (select coalesce(max(x.balance_minor), 0) from client_migration.run_rows x
                         where x.old_id = s.old_id and x.client_id = s.client_id and x.plan in ('link', 'create', 'add')
                           and x.state in ('done', 'retained')) as carried
          from stage_rows s where s.plan = 'skip' and s.balance_minor > 0) m
 where m.line = r.line
""",
    """
update stage_rows r set plan = 'conflict', reason = 'moved_to_another', detail = r.client_id::text
  from client_migration.decisions d
 where d.old_id = r.old_id and r.plan = 'skip' and d.client_id <> r.client_id
""",
    """
update stage_rows r set plan = null, reason = null
 where r.plan = 'skip' and (r.id_tags <> '{}' or r.balance_minor > 0)
""",
    # An id chosen by an earlier run that was not finished, or was reverted, is used again.
    """
update stage_rows r set own_id = x.client_id, begun = true
  from (select distinct on (m.old_id) m.old_id, m.client_id from client_migration.run_rows m
          join stage_rows s on s.old_id = m.old_id
         where m.plan = 'create' and m.state <> 'done'
         order by m.old_id, m.run desc) x
 where x.old_id = r.old_id and r.plan is null
""",
    # A client EvPower had before: a revert of the run may not close it.
    """
update stage_rows r set client_before = true
 where r.plan is null and r.own_id is not null and case when r.begun
   then exists (select from client_migration.run_rows m where m.old_id = r.old_id and m.client_id = r.own_id
                   and m.plan = 'create' and m.client_before)
   else exists (select from identity.clients c where c.id = r.own_id and c.status <> 'closed') end
""",
    """
create temp table stage_reopenable as
select distinct m.client_id as id from client_migration.run_rows m
  join stage_rows r on r.own_id = m.client_id where m.plan = 'create' and m.state = 'reverted'
""",
    # Clients of ours that have a contact; one that verified it holds it.
    """
insert into stage_claims
select 'email', c.email, c.id, false, not c.email_verified from stage_rows r
  join identity.clients c on c.email = r.email and c.status <> 'closed' where r.plan is null
union
select 'phone', c.phone, c.id, false, not c.phone_verified from stage_rows r
  join identity.clients c on c.phone = r.phone and c.status <> 'closed' where r.plan is null
""",
    # Closed clients without a user hold no contact.
    """
delete from stage_claims x using identity.clients c
 where c.id = x.id and c.status = 'closed'
   and not exists (select from stage_users p where p.id = x.id and p.is_user and not p.deleted)
""",
    "create index on stage_claims (kind, value)",
    "create index on stage_claims (id)",
    "create index on stage_users (id)",
    "analyze stage_claims",
    "analyze stage_users",
    # The source contradicts itself.
    _twice("t.value = r.old_id", "old_id", "stage_rows", "old_id_twice"),
    _twice(
        "t.value = any (r.id_tags)",
        "x.tag",
        "stage_rows cross join unnest(id_tags) as x (tag)",
        "id_tag_twice",
    ),
    # An operator has decided: contacts are not compared any more.
    """
update stage_rows r set client_id = d.client_id, matched_by = 'decision'
  from client_migration.decisions d where d.old_id = r.old_id and r.plan is null and r.matched_by is null
""",
    """
update stage_rows r set plan = 'conflict', reason = 'decided_user_missing', detail = r.client_id::text
 where r.plan is null and r.matched_by = 'decision'
   and not exists (select from stage_users p where p.id = r.client_id and p.is_user and not p.deleted)
""",
    _twice(
        "t.value = r.email and r.matched_by is null",
        _IF_NOT_MOVED.format("email"),
        "stage_rows",
        "email_twice",
    ),
    _twice(
        "t.value = r.phone and r.matched_by is null",
        _IF_NOT_MOVED.format("phone"),
        "stage_rows",
        "phone_twice",
    ),
    # Moved to one user, while a contact is verified by another user.
    """
update stage_rows r set plan = 'conflict', reason = 'moved_to_another', detail = r.client_id::text || ' or ' || c.id::text
  from stage_claims c
 where r.matched_by = 'moved' and (r.plan is null or r.plan = 'skip') and c.id <> r.client_id and c.verified
   and c.kind = 'email' and c.value = r.email and r.email_confirmed <> 'no'
""",
    """
update stage_rows r set plan = 'conflict', reason = 'moved_to_another', detail = r.client_id::text || ' or ' || c.id::text
  from stage_claims c
 where r.matched_by = 'moved' and (r.plan is null or r.plan = 'skip') and c.id <> r.client_id and c.verified
   and c.kind = 'phone' and c.value = r.phone and r.phone_confirmed <> 'no'
""",
    # Users that the old id itself, or a contact verified on both sides, identifies.
    """
create temp table stage_matches as
select r.line, p.id, 'id' as by from stage_rows r
  join stage_users p on p.id = r.own_id and p.is_user
 where r.plan is null and r.matched_by is null and not r.begun
union
select r.line, c.id, c.kind from stage_rows r
  join stage_claims c on c.kind = 'email' and c.value = r.email and c.verified
 where r.plan is null and r.matched_by is null and r.email_confirmed <> 'no'
   and not (r.begun and c.id = r.own_id)
union
select r.line, c.id, c.kind from stage_rows r
  join stage_claims c on c.kind = 'phone' and c.value = r.phone and c.verified
 where r.plan is null and r.matched_by is null and r.phone_confirmed <> 'no'
   and not (r.begun and c.id = r.own_id)
""",
    "create index on stage_matches (line)",
    "analyze stage_matches",
    """
update stage_rows r set plan = 'conflict', detail = m.ids,
       reason = case when m.by_id then 'id_and_contact_of_two_users' else 'contacts_of_two_users' end
  from (select line, string_agg(distinct id::text, ' ') as ids, bool_or(by = 'id') as by_id
          from stage_matches group by line having count(distinct id) > 1) m
 where m.line = r.line and r.plan is null
""",
    """
update stage_rows r set client_id = m.id, matched_by = m.by
  from (select distinct on (line) line, id, by from stage_matches
         order by line, array_position(array['id', 'email', 'phone'], by)) m
 where m.line = r.line and r.plan is null
""",
    """
update stage_rows r set plan = 'conflict', reason = 'user_deleted', detail = r.client_id::text
 where r.plan is null and exists (select from stage_users p where p.id = r.client_id and p.deleted)
""",
    # One verified contact agrees and the other does not: a number may have a new owner.
    """
update stage_rows r set plan = 'conflict', reason = 'contacts_disagree', detail = r.client_id::text
 where r.plan is null and r.matched_by in ('email', 'phone') and exists (
   select from stage_claims c where c.id = r.client_id and c.verified and (
     c.kind = 'email' and r.email is not null and r.email_confirmed <> 'no' and c.value <> r.email
     or c.kind = 'phone' and r.phone is not null and r.phone_confirmed <> 'no' and c.value <> r.phone))
""",
    # The old id is the id of another client, which has a wallet of its own.
    """
update stage_rows r set plan = 'conflict', reason = 'client_of_its_own', detail = r.client_id::text
 where r.plan is null and r.client_id is not null and r.own_id <> r.client_id
   and (exists (select from identity.clients c where c.id = r.own_id and c.status <> 'closed')
     or exists (select from stage_users p where p.id = r.own_id and not p.deleted
                   and (p.is_user or not exists (select from identity.clients c where c.id = r.own_id))))
""",
    f"""
update stage_rows r set plan = 'conflict', reason = 'client_closed', detail = r.client_id::text
 where r.plan is null and r.client_id is not null and {_CLOSED.format(id="r.client_id")}
""",
    """
update stage_rows r set plan = 'conflict', reason = 'user_has_another_old_id',
       detail = r.client_id::text || ' was ' || a.alias
  from identity.aliases a
 where r.plan is null and r.matched_by in ('id', 'email', 'phone')
   and a.client_id = r.client_id and a.kind = 'client_id' and a.alias <> r.old_id
""",
    """
update stage_rows r set plan = 'conflict', reason = 'user_of_two_rows',
       detail = 'also in line ' || case when t.first = r.line then t.last else t.first end
  from (select client_id, min(line) as first, max(line) as last from stage_rows
         where plan is null and client_id is not null and matched_by <> 'moved'
         group by client_id having count(*) > 1) t
 where t.client_id = r.client_id and r.plan is null and r.matched_by not in ('decision', 'moved')
""",
    f"""
update stage_rows r set plan = 'conflict', reason = 'id_tag_taken'
 where r.plan is null and r.client_id is not null and {_TAG_TAKEN}
""",
    """
update stage_rows r set plan = case r.matched_by when 'moved' then 'add' else 'link' end
 where r.plan is null and r.client_id is not null
""",
    # No user is verified to be this client. A login that has the contact, which is unique there, or
    # a client that verified it makes a conflict; a contact typed into a profile does not.
    """
update stage_rows r set plan = 'conflict', detail = c.id::text,
       reason = c.kind || case when c.verified then '_unconfirmed_in_source' else '_unverified' end
  from (select distinct on (s.line) s.line, c.id, c.kind, c.verified from stage_rows s
          join stage_claims c on c.kind = 'email' and c.value = s.email or c.kind = 'phone' and c.value = s.phone
         where s.plan is null and c.id is distinct from s.own_id and not c.typed
         order by s.line, c.verified desc, c.kind, c.id) c
 where c.line = r.line and r.plan is null
""",
    f"""
update stage_rows r set plan = 'conflict', reason = 'client_closed', detail = r.own_id::text
 where r.plan is null and r.own_id is not null and {_CLOSED.format(id="r.own_id")}
""",
    """
update stage_rows r set plan = 'conflict', reason = 'client_with_other_contacts', detail = c.id::text
  from identity.clients c
 where c.id = r.own_id and r.plan is null and c.status <> 'closed'
   and (c.email <> r.email or c.phone <> r.phone)
""",
    """
update stage_rows r set plan = 'invalid', reason = 'no_contact'
 where r.plan is null and r.email is null and r.phone is null
""",
    "update stage_rows set client_id = coalesce(own_id, gen_random_uuid()) where plan is null",
    f"""
update stage_rows r set plan = 'conflict', reason = 'id_tag_taken'
 where r.plan is null and {_TAG_TAKEN}
""",
    "update stage_rows set plan = 'create' where plan is null",
    # For the report: clients that claim a contact of a new user and never verified it.
    """
update stage_rows r set detail = 'claimed, unverified, by ' || c.ids
  from (select s.line, string_agg(distinct x.id::text, ' ') as ids from stage_rows s
          join stage_claims x on x.typed and x.id <> s.client_id
                              and (x.kind = 'email' and x.value = s.email or x.kind = 'phone' and x.value = s.phone)
         where s.plan = 'create' group by s.line) c
 where c.line = r.line
""",
    "update stage_rows set client_id = null where plan in ('conflict', 'invalid')",
)

COUNT: Final = """
select count(*) as read,
       count(*) filter (where plan = 'link') as link,
       count(*) filter (where plan = 'create') as create,
       count(*) filter (where plan = 'add') as add,
       count(*) filter (where plan = 'skip') as skip,
       count(*) filter (where plan = 'conflict') as conflict,
       count(*) filter (where plan = 'invalid') as invalid,
       coalesce(sum(cardinality(id_tags)) filter (where plan in ('link', 'create', 'add')), 0)::bigint as id_tags,
       count(*) filter (where plan = 'create' and password = 'carried') as passwords,
       count(*) filter (where plan = 'create' and password = 'unknown') as passwords_unknown,
       count(*) filter (where plan in ('link', 'create', 'add') and balance_minor > 0) as balances,
       coalesce(sum(balance_minor) filter (where plan in ('link', 'create', 'add')), 0)::bigint as balance_minor
  from stage_rows
"""

TROUBLES: Final = """
select line, old_id, plan, reason, detail from stage_rows
 where plan in ('conflict', 'invalid') order by line limit $1
"""

TROUBLE_COUNTS: Final = """
select plan, reason, count(*) as rows from stage_rows
 where plan in ('conflict', 'invalid') group by 1, 2 order by 1, 2
"""

REPORT: Final = """
select line, old_id, plan, client_id, matched_by, reason, detail from stage_rows order by line
"""

KEEP: Final = """
insert into client_migration.run_rows (run, line, old_id, plan, client_id, matched_by, reason, detail,
    email, phone, name, email_confirmed, phone_confirmed, id_tags, password, balance_minor, digest, client_before)
select $1, line, old_id, plan, client_id, matched_by, reason, detail, email, phone, name, email_confirmed,
       phone_confirmed, id_tags, password, balance_minor, digest, client_before
  from stage_rows where plan <> 'skip' order by line
"""

FORGET: Final = """
drop table if exists stage_rows, stage_users, stage_claims, stage_verified, stage_matches,
  stage_reopenable
"""


async def allow_idle(connection: Connection) -> None:
    """Lets this transaction wait for calls to Supabase."""
    await connection.execute("set local idle_in_transaction_session_timeout = 0")


async def run_statement(connection: Connection, statement: str, *values: object) -> object:
    """Runs a statement over everything: it may take minutes, and reading whole tables is right."""
    async with connection.transaction():
        await connection.execute(_FOR_EVERYTHING)
        if not values and not statement.lstrip().startswith("select"):
            return await connection.execute(statement, timeout=HOUR_S)
        return await connection.fetchval(statement, *values, timeout=HOUR_S)

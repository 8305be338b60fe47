"""What a Supabase project has of EvPower, by its catalog: two projects are equal by this."""

from evpower.foundation.db import Connection

# Comments and spaces of a function's body are no behaviour. Lists of rights are sorted, and the
# number of a column doesn't count: a column that was added later stands last.
_LINES = r"""
with ours as (
  select c.oid, c.relname, n.nspname, c.relkind, c.relacl, c.relrowsecurity
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
   where n.nspname in ('public', 'evpower') and c.relkind in ('r', 'v', 'S')
)
select format('schema %s: %s', n.nspname, acl.rights) as line
  from pg_namespace n
 cross join lateral (select string_agg(a::text, ' ' order by a::text) as rights
                       from unnest(n.nspacl) a) acl
 where n.nspname in ('public', 'evpower')
union all
select format('%s %s.%s: rls %s, %s', o.relkind, o.nspname, o.relname, o.relrowsecurity,
              acl.rights)
  from ours o
 cross join lateral (select string_agg(a::text, ' ' order by a::text) as rights
                       from unnest(o.relacl) a) acl
union all
select format('column %s.%s.%s: %s, null %s, default %s, %s, %s', o.nspname, o.relname, a.attname,
              format_type(a.atttypid, a.atttypmod), not a.attnotnull,
              pg_get_expr(d.adbin, d.adrelid), acl.rights, col_description(o.oid, a.attnum))
  from ours o
  join pg_attribute a on a.attrelid = o.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = o.oid and d.adnum = a.attnum
 cross join lateral (select string_agg(x::text, ' ' order by x::text) as rights
                       from unnest(a.attacl) x) acl
union all
select format('constraint %s.%s %s: %s', o.nspname, o.relname, k.conname,
              pg_get_constraintdef(k.oid))
  from ours o join pg_constraint k on k.conrelid = o.oid
union all
select 'index ' || indexdef from pg_indexes where schemaname in ('public', 'evpower')
union all
select format('function %s: %s %s %s %s %s, %s', p.oid::regprocedure, l.lanname, p.prosecdef,
              p.provolatile, p.proconfig, acl.rights,
              btrim(regexp_replace(regexp_replace(p.prosrc, '--[^\n]*', '', 'g'), '\s+', ' ', 'g')))
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
  join pg_language l on l.oid = p.prolang
 cross join lateral (select string_agg(a::text, ' ' order by a::text) as rights
                       from unnest(p.proacl) a) acl
 where n.nspname = 'evpower' or n.nspname = 'public' and p.proname like 'evpower%'
union all
select format('trigger %s %s', pg_get_triggerdef(t.oid), t.tgenabled)
  from pg_trigger t where not t.tgisinternal and t.tgname like 'evpower%'
union all
select format('policy %s on %s.%s: %s %s %s %s', policyname, schemaname, tablename, cmd, roles,
              qual, with_check)
  from pg_policies where schemaname in ('public', 'evpower')
union all
select format('type %s: %s', t.oid::regtype, string_agg(e.enumlabel, ' ' order by e.enumlabel))
  from pg_type t join pg_enum e on e.enumtypid = t.oid group by t.oid
order by 1
"""


async def catalog(connection: Connection) -> list[str]:
    """One line for each object: columns, constraints, indexes, functions, triggers, rights."""
    return [row["line"] for row in await connection.fetch(_LINES)]

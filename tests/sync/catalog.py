"""What a Supabase project has of EvPower, by its catalog: two projects are equal by this.

Of a table the order of its columns is left out: a column that was added later stands last, and no
statement of EvPower's depends on it. Access lists are sorted: they list rights in the order of the
grants. Nothing else is left out.
"""

from typing import NamedTuple

from evpower.foundation.db import Connection

_LINES = r"""
with ours as (
  select c.oid, format('%s.%s', n.nspname, c.relname) as name, c.relkind, c.relacl, c.relowner,
         c.relrowsecurity, c.relforcerowsecurity, n.nspname
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
   where n.nspname in ('public', 'evpower') and c.relkind in ('r', 'v', 'S')
), lines as (
  select 'schema' as kind, n.nspname::text as name,
         format('%s %s', pg_get_userbyid(n.nspowner), obj_description(n.oid, 'pg_namespace'))
           as facts,
         n.nspacl as acl, null as body
    from pg_namespace n where n.nspname in ('public', 'evpower')
  union all
  select 'relation', o.name,
         format('%s of %s, rls %s %s, %s', o.relkind, pg_get_userbyid(o.relowner),
                o.relrowsecurity, o.relforcerowsecurity, obj_description(o.oid, 'pg_class')),
         o.relacl, null
    from ours o
  union all
  select 'column', format('%s.%s', o.name, a.attname),
         format('%s, null %s, default %s, identity %s, generated %s, %s',
                format_type(a.atttypid, a.atttypmod), not a.attnotnull,
                pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated,
                col_description(o.oid, a.attnum)),
         a.attacl, null
    from ours o
    join pg_attribute a on a.attrelid = o.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = o.oid and d.adnum = a.attnum
  union all
  select 'constraint', format('%s %s', o.name, k.conname),
         format('%s %s', pg_get_constraintdef(k.oid), obj_description(k.oid, 'pg_constraint')),
         null, null
    from ours o join pg_constraint k on k.conrelid = o.oid
  union all
  select 'index', i.indexrelid::regclass::text,
         format('%s, valid %s, %s', pg_get_indexdef(i.indexrelid), i.indisvalid,
                obj_description(i.indexrelid, 'pg_class')), null, null
    from ours o join pg_index i on i.indrelid = o.oid
  union all
  select 'function', p.oid::regprocedure::text,
         format('(%s) returns %s, %s of %s, definer %s, strict %s, leakproof %s, %s %s, %s, %s',
                pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), l.lanname,
                pg_get_userbyid(p.proowner), p.prosecdef, p.proisstrict, p.proleakproof,
                p.provolatile, p.proparallel, p.proconfig, obj_description(p.oid, 'pg_proc')),
         p.proacl, p.prosrc
    from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    join pg_language l on l.oid = p.prolang
   where n.nspname = 'evpower' or n.nspname = 'public' and p.proname like 'evpower%'
  union all
  select 'trigger', format('%s on %s', t.tgname, t.tgrelid::regclass),
         format('%s, %s, %s', pg_get_triggerdef(t.oid), t.tgenabled,
                obj_description(t.oid, 'pg_trigger')), null, null
    from pg_trigger t where not t.tgisinternal and t.tgname like 'evpower%'
  union all
  select 'policy', format('%s on %s', p.polname, p.polrelid::regclass),
         format('%s %s to %s using %s check %s, %s', p.polpermissive, p.polcmd,
                (select string_agg(r.rolname, ' ' order by r.rolname)
                   from pg_roles r where r.oid = any (p.polroles)),
                pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid),
                obj_description(p.oid, 'pg_policy')), null, null
    from pg_policy p join ours o on o.oid = p.polrelid
  union all
  select 'type', t.oid::regtype::text, string_agg(e.enumlabel, ' ' order by e.enumlabel), null, null
    from pg_type t join pg_enum e on e.enumtypid = t.oid group by t.oid
)
select l.kind, l.name, concat_ws(', ', l.facts, acl.rights) as facts, l.body
  from lines l
 cross join lateral (select string_agg(a::text, ' ' order by a::text) as rights
                       from unnest(l.acl) a) acl
 order by 1, 2
"""


class Line(NamedTuple):
    """One object; `body` is a function's text."""

    kind: str
    name: str
    facts: str
    body: str | None


async def catalog(connection: Connection) -> list[Line]:
    """Returns a line for each object: its definition, owner, rights and comment."""
    return [Line(*row) for row in await connection.fetch(_LINES)]

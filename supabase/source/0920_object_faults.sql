-- What differs from evpower.expected_objects(), a row a fault:
--   missing; older, newer: by the stamp; changed: a function, policy or trigger that is not as it was installed;
--   unknown: a policy or trigger of which this PostgreSQL prints other words than the one that it was installed in, which
--   says nothing of a change;
--   disabled: a trigger, or a table's row level security; wrong_owner: of a role whose rights this one does not have
--   (what is not on an older backend's table for that reason is no fault besides);
--   wrong_grant: apps or EvPower's key may do more or less than they should.
-- A select that anon has on a table of public, and what service_role may do there besides, is the project's decision.
create or replace function evpower.object_faults()
returns table (file text, kind text, name text, fault text, detail text)
language sql stable set search_path = pg_catalog, pg_temp as $$
  with of_others as (
    select t.name, t.owner from evpower.tables_of_others() t
  ), located as (
    select e.file, e.kind, e.name, e.grants, split_part(e.name, ' on ', 1) as object,
           to_regclass(case e.kind when 'column' then regexp_replace(e.name, '\.[^.]*$', '')
                                   else split_part(e.name, ' on ', 2) end) as relation
      from evpower.expected_objects() e
  ), objects as (
    select l.*, p.oid, p.proowner as owner, obj_description(p.oid, 'pg_proc') as stamp, true as enabled
      from located l left join pg_proc p on p.oid = to_regprocedure(l.name) where l.kind = 'function'
    union all
    select l.*, c.oid, case l.kind when 'table' then c.relowner end, obj_description(c.oid, 'pg_class'),
           c.relrowsecurity or l.kind = 'index' or l.name like 'evpower.%' and l.name <> 'evpower.secrets'
      from located l left join pg_class c on c.oid = to_regclass(l.name) where l.kind in ('table', 'index')
    union all
    select l.*, n.oid, n.nspowner, obj_description(n.oid, 'pg_namespace'), true
      from located l left join pg_namespace n on n.nspname = l.name where l.kind = 'schema'
    union all
    select l.*, t.oid, null, obj_description(t.oid, 'pg_trigger'), t.tgenabled in ('O', 'A')
      from located l left join pg_trigger t on t.tgrelid = l.relation and t.tgname = l.object where l.kind = 'trigger'
    union all
    select l.*, p.oid, null, obj_description(p.oid, 'pg_policy'), true
      from located l left join pg_policy p on p.polrelid = l.relation and p.polname = l.object where l.kind = 'policy'
    union all
    select l.*, a.attrelid, null, null, true
      from located l
      left join pg_attribute a on a.attrelid = l.relation and not a.attisdropped
           and a.attname = regexp_replace(l.name, '^.*\.', '')
     where l.kind = 'column'
  ), stamped as (
    select o.*, string_to_array(substring(o.stamp from '^evpower (\d+\.\d+\.\d+)'), '.')::int[] as version,
           string_to_array(evpower.edition(), '.')::int[] as edition
      from objects o
     where o.oid is not null and o.kind <> 'column' and o.relation is distinct from to_regclass('auth.users')
       and not (o.kind = 'table' and o.name like 'public.%')
  ), rights as (
    select o.file, o.kind, o.name, r.rolname, replace(lower(a.action), 'usage', 'use') as action,
           case o.kind
             when 'function' then has_function_privilege(r.oid, o.oid, a.action)
             when 'schema' then has_schema_privilege(r.oid, o.oid, a.action)
             when 'table' then has_table_privilege(r.oid, o.oid, a.action)
             else has_column_privilege(r.oid, o.oid, regexp_replace(o.name, '^.*\.', ''), a.action)
           end as has,
           strpos(coalesce(substring(o.grants from r.rolname || '=([[:alpha:]]+)'), ''), a.letter) > 0 as due
      from objects o
      join pg_roles r on r.rolname in ('anon', 'authenticated', 'service_role')
      join (values ('function', 'EXECUTE', 'X'), ('schema', 'USAGE', 'U'), ('schema', 'CREATE', 'C'),
                   ('table', 'SELECT', 'r'), ('table', 'INSERT', 'a'), ('table', 'UPDATE', 'w'),
                   ('table', 'DELETE', 'd'), ('table', 'TRUNCATE', 'D'), ('table', 'REFERENCES', 'x'),
                   ('table', 'TRIGGER', 't'), ('column', 'INSERT', 'a'), ('column', 'UPDATE', 'w')
           ) as a (kind, action, letter) on a.kind = o.kind
     where o.oid is not null -- a right to all columns is the table's fault
       and not (o.kind = 'column' and (r.rolname = 'service_role' or has_table_privilege(r.oid, o.oid, a.action)))
  )
  select o.file, o.kind, o.name, 'missing', null from objects o
   where o.oid is null and not exists (select from of_others t where to_regclass(t.name) = o.relation)
  union all
  select s.file, s.kind, s.name, case when s.version > s.edition then 'newer' else 'older' end,
         coalesce(array_to_string(s.version, '.'), 'without a version')
    from stamped s where s.version is distinct from s.edition
  union all
  select d.file, d.kind, d.name, s.fault, case s.fault when 'unknown' then format('PostgreSQL was %s', b.server) end
    from evpower.definitions() d
    join evpower.function_bodies b on b.name = d.name
   cross join lateral (
     select case when d.kind = 'function' or b.server = current_setting('server_version_num')::int / 10000
                 then 'changed' else 'unknown' end as fault) s
   where b.md5 <> d.md5
  union all
  select o.file, o.kind, o.name, 'disabled', null from objects o where not o.enabled
  union all
  select o.file, o.kind, o.name, 'wrong_owner', pg_get_userbyid(o.owner)::text
    from objects o where o.owner is not null and not pg_has_role(o.owner, 'USAGE')
  union all
  select '0156_tables_of_others', 'table', t.name, 'wrong_owner', t.owner from of_others t
  union all
  select r.file, r.kind, r.name, 'wrong_grant',
         string_agg(format(case when r.has then '%s may %s' else '%s may not %s' end, r.rolname, r.action), ', '
                    order by r.rolname, r.action)
    from rights r
   where r.has <> r.due
     and not (r.has and r.kind = 'table' and r.name like 'public.%'
              and (r.rolname = 'service_role' or r.rolname = 'anon' and r.action = 'select'))
   group by r.file, r.kind, r.name
$$;
revoke all on function evpower.object_faults() from public, anon, authenticated, service_role;
comment on function evpower.object_faults() is
  'evpower {edition}: returns what differs from what EvPower installs';

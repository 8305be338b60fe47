-- The digests of what is there now of evpower.expected_objects(): a function's body, a policy's command, roles and
-- conditions, a trigger without its state. The search path is fixed, because it decides how names are written.
create or replace function evpower.definitions() returns table (file text, kind text, name text, md5 text)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select e.file, e.kind, e.name, md5(p.prosrc)
    from evpower.expected_objects() e join pg_proc p on p.oid = to_regprocedure(e.name)
   where e.kind = 'function'
  union all
  select e.file, e.kind, e.name, md5(concat_ws(E'\n', p.polcmd, p.polpermissive,
           (select string_agg(case r.role when 0 then 'public' else pg_get_userbyid(r.role) end, ' '
                              order by pg_get_userbyid(r.role)) from unnest(p.polroles) r (role)),
           'using ' || pg_get_expr(p.polqual, p.polrelid), 'check ' || pg_get_expr(p.polwithcheck, p.polrelid)))
    from evpower.expected_objects() e
    join pg_policy p on p.polrelid = to_regclass(split_part(e.name, ' on ', 2))
         and p.polname = split_part(e.name, ' on ', 1)
   where e.kind = 'policy'
  union all
  select e.file, e.kind, e.name, md5(pg_get_triggerdef(t.oid))
    from evpower.expected_objects() e
    join pg_trigger t on t.tgrelid = to_regclass(split_part(e.name, ' on ', 2))
         and t.tgname = split_part(e.name, ' on ', 1)
   where e.kind = 'trigger'
$$;
revoke all on function evpower.definitions() from public, anon, authenticated, service_role;
comment on function evpower.definitions() is
  'evpower {edition}: returns the digests of functions, policies and triggers as they are';

-- pg_net's net.http_post, wherever and whenever it was installed; null: there is none.
create or replace function evpower.http_post() returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format('%I.%I', n.nspname, p.proname)
    from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
   where p.proname = 'http_post' and p.proargtypes[1] = 'jsonb'::regtype
     and p.proargnames @> array['url', 'body', 'headers', 'timeout_milliseconds']
     and (n.nspname = 'net' or exists (
           select from pg_catalog.pg_depend d join pg_catalog.pg_extension e on e.oid = d.refobjid
            where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid
              and d.refclassid = 'pg_catalog.pg_extension'::regclass and e.extname = 'pg_net'))
   order by n.nspname = 'net' desc limit 1
$$;
revoke all on function evpower.http_post() from public, anon, authenticated, service_role;
comment on function evpower.http_post() is
  'evpower {edition}: returns the name of pg_net''s function';

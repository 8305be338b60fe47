-- Stores how objects were installed that were not there before. What was altered since then stays a fault: only the
-- migration, which makes everything anew, forgets the earlier digests.
create or replace function evpower.store_definitions() returns void
language sql volatile set search_path = pg_catalog, pg_temp as $$
  insert into evpower.function_bodies (name, md5)
  select d.name, d.md5 from evpower.definitions() d on conflict (name) do nothing
$$;
revoke all on function evpower.store_definitions() from public, anon, authenticated, service_role;
comment on function evpower.store_definitions() is
  'evpower {edition}: stores the definitions of what is there';

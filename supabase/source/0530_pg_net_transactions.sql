-- The transactions of pg_net's worker. It keeps one open while it waits for the responses of all webhooks of this
-- project, and writes nothing but its own tables. None where this role may not see other sessions, or where a trigger
-- on those tables could make the worker change a client.
create or replace function evpower.pg_net_transactions() returns setof xid
language sql stable set search_path = pg_catalog, pg_temp as $$
  select a.backend_xid from pg_stat_activity a
   where a.backend_type ilike '%pg_net%' and a.backend_xid is not null
     and not exists (select from pg_trigger t join pg_class c on c.oid = t.tgrelid
                       join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'net' and not t.tgisinternal)
$$;
revoke all on function evpower.pg_net_transactions() from public, anon, authenticated, service_role;
comment on function evpower.pg_net_transactions() is
  'evpower {edition}: returns the open transactions of pg_net''s worker';

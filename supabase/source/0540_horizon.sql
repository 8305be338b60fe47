-- Below it every transaction that can write a change has ended: the oldest that runs, pg_net's worker left out.
create or replace function evpower.horizon() returns xid8
language sql volatile set search_path = pg_catalog, pg_temp as $$
  with here as materialized (select pg_current_snapshot() as snapshot)
  select coalesce(
    (select min(x.xid) from here, pg_snapshot_xip(here.snapshot) as x (xid)
      where not exists (select from evpower.pg_net_transactions() as w (xid) where w.xid = x.xid::xid)),
    (select pg_snapshot_xmax(here.snapshot) from here))
$$;
revoke all on function evpower.horizon() from public, anon, authenticated, service_role;
comment on function evpower.horizon() is
  'evpower {edition}: returns the transaction below which the log is complete';

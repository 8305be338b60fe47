-- The tables of an older backend that EvPower writes where they are: what phones read of stations, tariffs and
-- payments.
create or replace function evpower.old_tables() returns text[]
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce(array_agg(t.name order by t.nr), '{}')
    from unnest(array['locations', 'tariff_plans', 'tariff_rules', 'stations', 'connectors', 'client_tariffs',
                      'balance_topups', 'payment_transactions_odengi'])
         with ordinality t (name, nr)
    join pg_catalog.pg_class c on c.oid = to_regclass('public.' || t.name) and c.relkind in ('r', 'p')
$$;
revoke all on function evpower.old_tables() from public, anon, authenticated, service_role;
comment on function evpower.old_tables() is
  'evpower {edition}: returns which tables of an older backend are here';

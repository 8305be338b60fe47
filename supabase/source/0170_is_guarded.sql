-- Whether only EvPower may write. Triggers ask for whoever writes: so everyone may. Volatile, so that a statement that
-- waited for the switch sees it.
create or replace function evpower.is_guarded() returns boolean
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce((select g.is_enabled from evpower.guard g), true)
$$;
grant execute on function evpower.is_guarded() to public, anon, authenticated, service_role;
comment on function evpower.is_guarded() is
  'evpower {edition}: returns whether only EvPower may write money, stations and tariffs';

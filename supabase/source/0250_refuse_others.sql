-- Stations and tariffs are EvPower's: another writer is refused with a hint, before any row is changed.
create or replace function evpower.refuse_others() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception '%.% is written by EvPower alone', tg_table_schema, tg_table_name
    using errcode = 'insufficient_privilege',
          hint = 'Stations and tariffs are changed by `evpower station` and `evpower tariff`.'
                 ' `evpower supabase guard disable` gives the table back to the older backend.';
end
$$;
revoke all on function evpower.refuse_others() from public, anon, authenticated, service_role;
comment on function evpower.refuse_others() is
  'evpower {edition}: refuses what evpower_apply did not write';

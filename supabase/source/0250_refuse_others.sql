-- Stations, tariffs and payments are EvPower's: another writer is refused with a hint, before any row is changed. What a
-- foreign key does to payments when a client is deleted is no writer: deleting a user goes on working.
create or replace function evpower.refuse_others() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_table_name in ('balance_topups', 'payment_transactions_odengi') and tg_op in ('UPDATE', 'DELETE')
     and pg_trigger_depth() > 1 then
    return null;
  end if;
  raise exception '%.% is written by EvPower alone', tg_table_schema, tg_table_name
    using errcode = 'insufficient_privilege',
          hint = case when tg_table_name in ('balance_topups', 'payment_transactions_odengi')
                   then 'Payments are changed by `evpower payments` and reach this table through evpower_apply.'
                   else 'Stations and tariffs are changed by `evpower station` and `evpower tariff`.' end ||
                 ' `evpower supabase guard disable` gives the table back to the older backend.';
end
$$;
revoke all on function evpower.refuse_others() from public, anon, authenticated, service_role;
comment on function evpower.refuse_others() is
  'evpower {edition}: refuses what evpower_apply did not write';

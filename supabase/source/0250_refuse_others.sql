-- Stations, tariffs and payments are EvPower's: another writer is refused with a hint, before any row is changed. What a
-- foreign key does to payments when a client is deleted is no writer: deleting a user goes on working. Nor is what only
-- takes the client from a payment: the project's own functions for a closed account (anonymize_client) do that.
create or replace function evpower.refuse_others() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_table_name in ('balance_topups', 'payment_transactions_odengi') and tg_op in ('UPDATE', 'DELETE')
     and pg_trigger_depth() > 1 then
    return new; -- null in a trigger for a statement, which ignores it
  end if;
  -- A generated column has no value yet.
  if tg_level = 'ROW' and to_jsonb(new) ->> 'client_id' is null and not exists (
      select from jsonb_each(to_jsonb(new)) n
       where n.value is distinct from to_jsonb(old) -> n.key
         and n.key <> 'updated_at' and not (n.key in ('client_id', 'user_id') and n.value = 'null')
         and not exists (select from pg_catalog.pg_attribute a
                          where a.attrelid = tg_relid and a.attname = n.key and a.attgenerated <> '')) then
    return new;
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

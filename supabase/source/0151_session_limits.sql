-- Whether public.charging_sessions has the columns of an older backend for what limits a session, of types that hold it:
-- limit_type energy, amount or none; limit_value in kWh or som. EvPower never adds them. It is asked at each call, so
-- the project may add or drop them at any time.
create or replace function evpower.session_limits() returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select count(*) = 2
    from pg_catalog.pg_attribute a
   where a.attrelid = to_regclass('public.charging_sessions') and a.attnum > 0 and not a.attisdropped
         and a.attgenerated = ''
         and case a.attname
           when 'limit_type' then
             a.atttypid = 'text'::regtype
             or a.atttypid = 'varchar'::regtype and (a.atttypmod < 0 or a.atttypmod >= 4 + length('energy'))
             or (select count(*) = 3 from pg_catalog.pg_enum e
                  where e.enumtypid = a.atttypid and e.enumlabel in ('energy', 'amount', 'none'))
           when 'limit_value' then
             a.atttypid = 'float8'::regtype
             or a.atttypid = 'numeric'::regtype and (a.atttypmod < 0 or (a.atttypmod - 4) & 65535 >= 2)
           else false end
$$;
revoke all on function evpower.session_limits() from public, anon, authenticated, service_role;
comment on function evpower.session_limits() is
  'evpower {edition}: returns whether sessions have columns for their limits';

-- The switch between an older backend and EvPower: public.evpower_guard(payload).
--
-- payload: {"enable": true | false}; without it nothing changes.
-- returns: {"is_enabled", "changed_at", "has_changed", "tables": of an older backend that EvPower writes,
--   "invoice_id": the type of balance_topups.invoice_id, null where there is no such table}
-- Enabling waits for writers that have begun: what they wrote is there, and no other begins. It is refused where another
-- role owns one of the tables: it could be written beside EvPower.
create or replace function public.evpower_guard(payload jsonb) returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
  wanted boolean;
  has_changed boolean := false;
  table_name text;
  of_others text;
  remedies text;
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  wanted := (payload ->> 'enable')::boolean;
  if wanted is distinct from evpower.is_guarded() and wanted is not null then
    perform pg_advisory_xact_lock(hashtextextended('evpower.guard', 0)); -- every evpower_apply has ended
    if wanted then
      select string_agg(format('%s belongs to %s', t.name, t.owner), ', '),
             string_agg(format('alter table %s owner to %I', t.name, current_user), '; ')
        into of_others, remedies
        from evpower.tables_of_others() t;
      if of_others is not null then
        raise exception 'the guard can not be put on tables of another role: %', of_others
          using errcode = 'insufficient_privilege',
                hint = 'As the present owner, or in the SQL editor of the dashboard: ' || remedies;
      end if;
      lock table public.clients in share row exclusive mode;
      foreach table_name in array evpower.old_tables() loop
        execute format('lock table public.%I in share row exclusive mode', table_name);
      end loop;
      perform evpower.guard_tables();
      perform evpower.protect_tables();
      begin
        -- A second payment of a bill has an id that is longer than the older backend's.
        if exists (select from pg_catalog.pg_attribute a
                    where a.attrelid = to_regclass('public.balance_topups') and a.attname = 'invoice_id'
                      and a.atttypid = 'varchar'::regtype and a.atttypmod between 0 and 67) then
          alter table public.balance_topups alter column invoice_id type varchar(64);
        end if;
      exception
        when insufficient_privilege or feature_not_supported then
          raise warning 'evpower: balance_topups.invoice_id stays short: %', sqlerrm;
      end;
    end if;
    update evpower.guard set is_enabled = wanted, changed_at = now() where is_enabled <> wanted;
    has_changed := found;
    perform evpower.store_definitions(); -- what the guard put up is expected from now on
  end if;
  return (
    select jsonb_build_object(
             'is_enabled', g.is_enabled, 'changed_at', g.changed_at, 'has_changed', has_changed,
             'tables', to_jsonb(evpower.old_tables()),
             'invoice_id', (select format_type(a.atttypid, a.atttypmod) from pg_catalog.pg_attribute a
                             where a.attrelid = to_regclass('public.balance_topups') and a.attname = 'invoice_id'))
      from evpower.guard g);
end
$$;
revoke all on function public.evpower_guard(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_guard(jsonb) to service_role;
comment on function public.evpower_guard(jsonb) is
  'evpower {edition}: switches between an older backend and EvPower';
notify pgrst, 'reload schema';

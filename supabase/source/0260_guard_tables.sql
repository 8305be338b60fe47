-- Puts the guard on the tables of an older backend that are here; on one of another role it can't: evpower_guard then
-- refuses to enable, and `evpower doctor` names the table.
create or replace function evpower.guard_tables() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  table_name text;
  has_clients boolean; -- payments: of an update each row is looked at, because it may only take the client away
begin
  foreach table_name in array evpower.old_tables() loop
    has_clients := table_name in ('balance_topups', 'payment_transactions_odengi');
    begin
      execute format(
        'create or replace trigger evpower_others_are_refused'
        ' before insert or delete or truncate %s on public.%I for each statement'
        ' when (current_setting(''evpower.applying'', true) is distinct from ''on'' and evpower.is_guarded())'
        ' execute function evpower.refuse_others()', case when not has_clients then 'or update' end, table_name);
      execute format('comment on trigger evpower_others_are_refused on public.%I is %L', table_name,
                     'evpower ' || evpower.edition() || ': only evpower_apply writes it while the guard is enabled');
      if has_clients then
        execute format(
          'create or replace trigger evpower_others_only_unlink before update on public.%I for each row'
          ' when (current_setting(''evpower.applying'', true) is distinct from ''on'' and evpower.is_guarded())'
          ' execute function evpower.refuse_others()', table_name);
        execute format('comment on trigger evpower_others_only_unlink on public.%I is %L', table_name,
                       'evpower ' || evpower.edition() || ': another writer may only take the client away');
      end if;
    exception
      when insufficient_privilege then
        raise warning 'evpower: the guard is not on public.%: %', table_name, sqlerrm
          using hint = format('As the owner of the table: alter table public.%I owner to %I', table_name, current_user);
    end;
  end loop;
end
$$;
revoke all on function evpower.guard_tables() from public, anon, authenticated, service_role;
comment on function evpower.guard_tables() is
  'evpower {edition}: puts the guard on the tables of an older backend';
do $migration$ begin perform evpower.guard_tables(); end $migration$;

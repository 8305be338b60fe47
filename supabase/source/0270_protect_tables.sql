-- Who reads the tables of an older backend that have a client's money: its driver, and never an app without a token,
-- whatever policies the project has. Called when the guard is enabled; before that the tables are as they were. An older
-- backend as the owner, or with the secret key, reads and writes them as before.
create or replace function evpower.protect_tables() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  table_name text;
begin
  foreach table_name in array evpower.old_tables() loop
    continue when table_name not in ('client_tariffs', 'balance_topups', 'payment_transactions_odengi')
      or evpower.column_type('public.' || table_name, 'client_id') is null;
    begin
      execute format('alter table public.%I enable row level security', table_name);
      execute format('drop policy if exists evpower_own_select on public.%I', table_name);
      execute format('create policy evpower_own_select on public.%I for select to authenticated'
                     ' using (client_id::text = (select auth.uid()::text))', table_name);
      execute format('drop policy if exists evpower_none_of_anon on public.%I', table_name);
      execute format('create policy evpower_none_of_anon on public.%I as restrictive for all to anon'
                     ' using (false)', table_name);
      execute format('comment on policy evpower_own_select on public.%I is %L', table_name,
                     'evpower ' || evpower.edition() || ': a driver reads the own rows');
      execute format('comment on policy evpower_none_of_anon on public.%I is %L', table_name,
                     'evpower ' || evpower.edition() || ': without a token nothing is read');
      execute format('revoke insert, update, delete, truncate, references, trigger on public.%I'
                     ' from public, anon, authenticated', table_name);
      execute format('grant select on public.%I to authenticated', table_name);
    exception
      when insufficient_privilege then
        raise warning 'evpower: public.% is not protected: %', table_name, sqlerrm
          using hint = format('As the owner of the table: alter table public.%I owner to %I', table_name, current_user);
    end;
  end loop;
end
$$;
revoke all on function evpower.protect_tables() from public, anon, authenticated, service_role;
comment on function evpower.protect_tables() is
  'evpower {edition}: lets a driver read the own rows of an older backend''s tables';
do $migration$ begin if evpower.is_guarded() then perform evpower.protect_tables(); end if; end $migration$;

-- Truncating clients deletes each of them. Of users no deletion is logged, or one command would close every client in
-- EvPower: they are only to be read again, and the reconciliation reports those that are missing.
create or replace function evpower.note_truncate() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
begin
  begin
    raise warning 'evpower: %.% is truncated', tg_table_schema, tg_table_name;
    if tg_table_name = 'clients' then
      insert into evpower.changes ("table", row_id, op) select 'clients', c.id::text, 'delete' from public.clients c;
    else
      insert into evpower.changes ("table", row_id, op) select 'users', u.id::text, 'update' from auth.users u;
    end if;
  exception
    when others then raise warning 'evpower: a truncation was not logged: % %', sqlstate, sqlerrm;
  end;
  return null;
end
$$;
drop trigger if exists evpower_note_truncate on public.clients;
create trigger evpower_note_truncate before truncate on public.clients for each statement
  execute function evpower.note_truncate();
-- auth.users belongs to Auth: we may create a trigger on it, and on older projects not drop it again. It names no
-- column, or Auth could not change the column's type. It has no comment, which only the table's owner may write.
do $migration$
begin
  if to_regclass('auth.users') is null then
    raise warning 'evpower: there is no auth.users, its truncation is not logged';
  elsif not exists (select from pg_catalog.pg_trigger t
                     where t.tgrelid = 'auth.users'::regclass and t.tgname = 'evpower_note_truncate')
  then
    create trigger evpower_note_truncate before truncate on auth.users for each statement
      execute function evpower.note_truncate();
  end if;
end
$migration$;
revoke all on function evpower.note_truncate() from public, anon, authenticated, service_role;
comment on function evpower.note_truncate() is
  'evpower {edition}: logs that clients or users are truncated';
comment on trigger evpower_note_truncate on public.clients is
  'evpower {edition}: logs each client that a truncation deletes';

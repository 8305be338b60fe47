-- After each statement that logs changes; the first of a transaction notifies. An error here fails no transaction.
drop trigger if exists evpower_ring on evpower.changes; -- its name before 0.1.0
drop function if exists evpower.ring();
create or replace function evpower.notify_webhook() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  change record;
begin
  if current_setting('evpower.notified', true) = pg_current_xact_id()::text then
    return null;
  end if;
  begin
    select * into change from fresh f order by f.seq limit 1;
    if not found then
      return null;
    end if;
    perform evpower.post_webhook(jsonb_build_object(
      'type', case change.op when 'blocked_before' then 'UPDATE' else upper(change.op) end,
      'table', change."table", 'schema', case change."table" when 'users' then 'auth' else 'public' end,
      'record', jsonb_build_object('id', change.row_id),
      'old_record', case when change.op <> 'insert' then jsonb_build_object('id', change.row_id) end,
      'seq', change.seq));
  exception
    when others then raise warning 'evpower: the change notification was not sent: % %', sqlstate, sqlerrm;
  end;
  perform set_config('evpower.notified', pg_current_xact_id()::text, true);
  return null;
end
$$;
-- Only where it is missing: to make it again locks the table, and a sign-up that waits for it is not logged.
do $migration$
begin
  if not exists (select from pg_catalog.pg_trigger t
                  where t.tgrelid = 'evpower.changes'::regclass and t.tgname = 'evpower_notify') then
    create trigger evpower_notify after insert on evpower.changes
      referencing new table as fresh for each statement execute function evpower.notify_webhook();
  end if;
end
$migration$;
revoke all on function evpower.notify_webhook() from public, anon, authenticated, service_role;
comment on function evpower.notify_webhook() is
  'evpower {edition}: notifies EvPower of the first change of a transaction';
comment on trigger evpower_notify on evpower.changes is
  'evpower {edition}: a logged change notifies EvPower';

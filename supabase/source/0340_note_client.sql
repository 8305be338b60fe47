-- Logs who changed in public.clients, and ends what waited for that client: what is written now is newer. Like every
-- trigger function of the change log it runs as its owner (Auth's role has no rights here), never fails and never
-- waits long, whatever state this schema is in: a lost entry is found by the nightly reconciliation, a refused
-- sign-up by the driver.
create or replace function evpower.note_client() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
declare
  old_row jsonb;
  new_row jsonb;
begin
  begin
    old_row := to_jsonb(old); -- null of an insert
    new_row := to_jsonb(new);
    perform evpower.log_change('clients', tg_op, old_row, new_row,
                               array['{email}', '{phone}', '{name}', '{status}', '{delete_requested_at}']);
  exception
    when others then raise warning 'evpower: a change of a client was not logged: % %', sqlstate, sqlerrm;
  end;
  -- What is written here now is newer than what waits to be written.
  begin
    if new_row is not null then
      delete from evpower.pending_contacts p
       where p.user_id = new_row ->> 'id'
         and (old_row is null or old_row -> p.contact is distinct from new_row -> p.contact);
      if old_row is null or old_row -> 'status' is distinct from new_row -> 'status' then
        delete from evpower.statuses_under_block s where s.client_id = new_row ->> 'id';
      end if;
    end if;
  exception
    when others then raise warning 'evpower: what waits for a client was not removed: % %', sqlstate, sqlerrm;
  end;
  return null;
end
$$;
drop trigger if exists evpower_note_client on public.clients;
create trigger evpower_note_client after insert or update or delete on public.clients for each row
  when (current_setting('evpower.applying', true) is distinct from 'on')
  execute function evpower.note_client();
revoke all on function evpower.note_client() from public, anon, authenticated, service_role;
comment on function evpower.note_client() is
  'evpower {edition}: logs a change of a client';
comment on trigger evpower_note_client on public.clients is
  'evpower {edition}: logs changes that EvPower did not write';

-- EvPower's block replaces a requested deletion in the status, and gives it back when the block is lifted.
drop trigger if exists evpower_keep_wish on public.clients; -- its name before 0.1.0
drop function if exists evpower.keep_wish();
create or replace function evpower.save_status_under_block() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  saved_status text;
begin
  if new.status::text = 'blocked' then
    insert into evpower.statuses_under_block (client_id, status) values (new.id::text, old.status::text)
    on conflict (client_id) do update set status = excluded.status, at = now();
  else
    delete from evpower.statuses_under_block s where s.client_id = new.id::text returning s.status into saved_status;
    if saved_status in ('inactive', 'pending_deletion') then
      new.status := saved_status;
    end if;
  end if;
  return new;
end
$$;
drop trigger if exists evpower_save_status_under_block on public.clients;
create trigger evpower_save_status_under_block before update on public.clients for each row
  when (current_setting('evpower.applying', true) = 'on'
        and (old.status::text in ('active', 'inactive', 'pending_deletion') and new.status::text = 'blocked'
             or old.status::text = 'blocked' and new.status::text in ('active', 'inactive')))
  execute function evpower.save_status_under_block();
revoke all on function evpower.save_status_under_block() from public, anon, authenticated, service_role;
comment on function evpower.save_status_under_block() is
  'evpower {edition}: saves and restores what EvPower''s block is written over';
comment on trigger evpower_save_status_under_block on public.clients is
  'evpower {edition}: a block loses no requested deletion';

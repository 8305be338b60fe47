-- A block set before EvPower's first write is a decision of this project: it stays, and the log tells EvPower of it.
drop trigger if exists evpower_keep_blocked on public.clients; -- its name before 0.1.0
drop function if exists evpower.keep_blocked();
create or replace function evpower.preserve_block() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if old.status::text = 'blocked' and new.status::text <> 'blocked' then
    new.status := old.status;
    insert into evpower.changes ("table", row_id, op) values ('clients', new.id::text, 'blocked_before');
  end if;
  return new;
end
$$;
drop trigger if exists evpower_preserve_block on public.clients;
create trigger evpower_preserve_block before update on public.clients for each row
  when (current_setting('evpower.applying', true) = 'on' and old.evpower_revision = 0 and new.evpower_revision <> 0)
  execute function evpower.preserve_block();
revoke all on function evpower.preserve_block() from public, anon, authenticated, service_role;
comment on function evpower.preserve_block() is
  'evpower {edition}: keeps a block from before EvPower';
comment on trigger evpower_preserve_block on public.clients is
  'evpower {edition}: the first write of evpower_apply lifts no block of the project';

-- What a client's status means on both sides: a block that was set before EvPower, and a requested deletion.

-- Whether a blocked client had asked to be deleted: the status can hold only one of the two.
create table if not exists evpower.wishes (
  client_id text primary key,
  status text not null,
  at timestamptz not null default now()
);

revoke all on evpower.wishes from public, anon, authenticated, service_role;

-- A block set before EvPower's first write is a decision of this project: it stays, and EvPower is notified.
create or replace function evpower.keep_blocked() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if old.status::text = 'blocked' and new.status::text <> 'blocked' then
    new.status := old.status;
    insert into evpower.changes ("table", row_id, op) values ('clients', new.id::text, 'blocked_before');
  end if;
  return new;
end
$$;

-- EvPower's block replaces a requested deletion in the status and gives it back when it is lifted.
create or replace function evpower.keep_wish() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  wish text;
begin
  if new.status::text = 'blocked' then
    insert into evpower.wishes (client_id, status) values (new.id::text, old.status::text)
    on conflict (client_id) do update set status = excluded.status, at = now();
  else
    delete from evpower.wishes w where w.client_id = new.id::text returning w.status into wish;
    if wish in ('inactive', 'pending_deletion') then
      new.status := wish;
    end if;
  end if;
  return new;
end
$$;

drop trigger if exists evpower_keep_wish on public.clients;
create trigger evpower_keep_wish before update on public.clients for each row
  when (current_setting('evpower.applying', true) = 'on'
        and (old.status::text in ('active', 'inactive', 'pending_deletion') and new.status::text = 'blocked'
             or old.status::text = 'blocked' and new.status::text in ('active', 'inactive')))
  execute function evpower.keep_wish();
drop trigger if exists evpower_keep_blocked on public.clients;
create trigger evpower_keep_blocked before update on public.clients for each row
  when (current_setting('evpower.applying', true) = 'on' and old.evpower_revision = 0 and new.evpower_revision <> 0)
  execute function evpower.keep_blocked();

revoke all on all functions in schema evpower from public, anon, authenticated;

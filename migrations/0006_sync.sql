-- What Supabase lacks: a set of keys, not a log. As small as the number of changed clients.
create schema sync;
grant usage on schema sync to evpower_app;

create sequence sync.pending_seq;
create table sync.pending (
  topic text not null check (topic in ('client', 'session')),
  key uuid not null,
  seq bigint not null default nextval('sync.pending_seq'), -- raised by every change: a mark goes only if unchanged
  since timestamptz not null default clock_timestamp(),
  attempts int not null default 0,
  next_at timestamptz not null default now(),
  leased_until timestamptz,
  last_error text,
  parked_at timestamptz,                                   -- Supabase refused it; why is in last_error
  primary key (topic, key)
) with (fillfactor = 70);
alter sequence sync.pending_seq owned by sync.pending.seq;
grant select, insert, update, delete on sync.pending to evpower_app;
grant usage on sequence sync.pending_seq to evpower_app;

-- How far Supabase has a client's transactions.
create table sync.acknowledged (
  client_id uuid primary key references identity.clients,
  version bigint not null check (version >= 0),
  at timestamptz not null default now()
) with (fillfactor = 70);
grant select, insert, update, delete on sync.acknowledged to evpower_app;

-- Marks in the transaction that made the change. Domain slices know nothing of it: these triggers watch them.
-- The topic is the trigger's argument.
create function sync.mark_owners() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into sync.pending (topic, key)
  select distinct tg_argv[0], c.client_id from changed c order by c.client_id
  on conflict (topic, key) do update
    set seq = excluded.seq, next_at = least(sync.pending.next_at, excluded.next_at), parked_at = null;
  return null;
end
$$;
create function sync.mark_rows() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into sync.pending (topic, key)
  select tg_argv[0], c.id from changed c order by c.id
  on conflict (topic, key) do update
    set seq = excluded.seq, next_at = least(sync.pending.next_at, excluded.next_at), parked_at = null;
  return null;
end
$$;
create trigger wallets_pend after update on wallet.wallets
  referencing new table as changed for each statement execute function sync.mark_owners('client');
create trigger clients_pend_new after insert on identity.clients
  referencing new table as changed for each statement execute function sync.mark_rows('client');
create trigger clients_pend after update on identity.clients
  referencing new table as changed for each statement execute function sync.mark_rows('client');
create trigger sessions_pend_new after insert on charging.sessions
  referencing new table as changed for each statement execute function sync.mark_rows('session');
create trigger sessions_pend after update on charging.sessions
  referencing new table as changed for each statement execute function sync.mark_rows('session');

-- What a comparison of the two sides found, and what was done about it.
create table sync.drift (
  id bigint generated always as identity primary key,
  found_at timestamptz not null default now(),
  topic text not null,
  key text not null,
  ours jsonb,
  theirs jsonb,
  right_side text not null check (right_side in ('evpower', 'supabase')),
  action text not null,
  healed_at timestamptz
);
create index drift_open on sync.drift (id) where healed_at is null;
grant select, insert, update on sync.drift to evpower_app;

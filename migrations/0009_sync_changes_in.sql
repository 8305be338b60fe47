-- Changes that come in from Supabase: how far they were taken, whom they could not reach, what two people claim.

-- When the driver asked Supabase to delete the account; null: did not, or took it back.
alter table identity.clients add column deletion_requested_at timestamptz;

-- How far the change log of Supabase was taken. A transaction that takes anybody raises `revision` first:
-- what was read at an older revision is thrown away, so no old answer is applied after a newer one.
create table sync.cursors (
  name text primary key check (name = 'supabase'),
  xid text,                                          -- the last change taken; null: none of this log
  seq bigint,
  revision bigint not null default 0,
  moved_at timestamptz,
  checked_at timestamptz,                            -- when the log was last read to its end
  walking boolean not null default true,             -- everybody is being looked at, from `walk_after` on
  walk_after text,
  walked bigint not null default 0,                  -- people the running or last walk looked at
  walked_at timestamptz,                             -- when a walk last ended; null: everybody was never seen
  resets int not null default 0,                     -- how often Supabase turned out to be restored
  check ((xid is null) = (seq is null))
);
insert into sync.cursors (name) values ('supabase');
grant select, update on sync.cursors to evpower_app;

-- People a change could not be applied to, for whatever reason: tried again, while the others go on.
create table sync.failed_people (
  client_id uuid primary key,
  gone boolean not null default false,               -- the auth user was deleted
  blocked_before boolean not null default false,
  error text not null,
  attempts int not null default 1,
  since timestamptz not null default now(),
  next_at timestamptz not null
);
create index failed_people_due on sync.failed_people (next_at);
grant select, insert, update, delete on sync.failed_people to evpower_app;

-- An email or phone Supabase says is this client's, but another open client has it here.
create table sync.contact_conflicts (
  client_id uuid not null references identity.clients,
  contact text not null check (contact in ('email', 'phone')),
  value text not null,
  holder uuid not null references identity.clients,  -- who had it when it was last looked at
  since timestamptz not null default now(),
  primary key (client_id, contact)
);
grant select, insert, update, delete on sync.contact_conflicts to evpower_app;

-- Whose block from before EvPower was taken over: once, so that an operator can lift it.
create table sync.blocked_before (
  client_id uuid primary key references identity.clients,
  at timestamptz not null default now()
);
grant select, insert on sync.blocked_before to evpower_app;

-- Set money aside for a session. Outcomes: held, repeated, resolved, insufficient, closed, not_found.
-- As before, and `closed` for a client who asked to be deleted.
create or replace function wallet.hold(for_session uuid, hold_minor bigint) returns wallet.result
language plpgsql security definer set search_path = '' as $$
declare
  owner record;
  existing wallet.holds;
  outcome text;
  w wallet.wallets;
begin
  if hold_minor is null or hold_minor <= 0 then
    raise exception 'a hold is more than nothing, not %', hold_minor using errcode = 'check_violation';
  end if;
  -- Locked, so that a session which ends meanwhile is not left with an open hold.
  select s.client_id, s.state, c.status = 'active' and c.deletion_requested_at is null as welcome into owner
    from charging.sessions s join identity.clients c on c.id = s.client_id
   where s.id = for_session for no key update of s;
  if not found then
    return row ('not_found', null, null, null, null, null, null, null, null, null)::wallet.result;
  end if;
  select * into strict w from wallet.wallets where client_id = owner.client_id for no key update;
  select * into existing from wallet.holds where session_id = for_session;
  if found then
    outcome := case existing.state when 'open' then 'repeated' else 'resolved' end;
  elsif not owner.welcome or owner.state not in ('requested', 'starting', 'charging', 'expired') then
    outcome := 'closed';
  elsif w.balance_minor - w.held_minor < hold_minor then
    outcome := 'insufficient';
  else
    outcome := 'held';
    insert into wallet.holds (session_id, client_id, amount_minor)
    values (for_session, owner.client_id, hold_minor);
    update wallet.wallets
       set revision = revision + 1, updated_at = now(), held_minor = held_minor + hold_minor
     where client_id = owner.client_id returning * into strict w;
  end if;
  return row (outcome, null, w.client_id, null, null, w.balance_minor, w.held_minor, w.version, w.revision,
              w.debt_minor)::wallet.result;
end
$$;

-- Keeps Supabase equal to EvPower, in both directions: outbox, inbound changes, reconciliation.
create schema sync;
grant usage on schema sync to evpower_app;

-- The outbox: keys that Supabase lacks. A set, not a log: it grows with the number of changed clients only.
create sequence sync.pending_generation;
create table sync.pending (
  topic text not null check (topic in ('client', 'session')),
  key uuid not null,
  -- New with every change; an entry is deleted only if its generation is still the one that was sent.
  generation bigint not null default nextval('sync.pending_generation'),
  since timestamptz not null default clock_timestamp(),
  attempts int not null default 0,
  next_at timestamptz not null default now(),
  leased_until timestamptz,
  last_error text,
  parked_at timestamptz,                                   -- Supabase refused it; the reason is in last_error
  force boolean not null default false,                    -- set by a repair: Supabase stores it whatever it has
  alone boolean not null default false,                    -- it made Supabase wait: sent in a call of its own
  primary key (topic, key)
) with ( -- small and always changing: vacuumed early
  fillfactor = 70, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.05
);
create index pending_due on sync.pending (next_at) where parked_at is null; -- due entries, without reading leased ones
create index pending_alone on sync.pending (next_at) where parked_at is null and alone;
alter sequence sync.pending_generation owned by sync.pending.generation;
grant select, insert, update, delete on sync.pending to evpower_app;
grant usage on sequence sync.pending_generation to evpower_app;

-- The last transaction of each client that Supabase has.
create table sync.acknowledged (
  client_id uuid primary key references identity.clients,
  version bigint not null check (version >= 0),
  number bigint not null default 0,                        -- the last number sent; it orders changes without a version
  at timestamptz not null default now()
) with (fillfactor = 70);
grant select, insert, update, delete on sync.acknowledged to evpower_app;

-- These triggers write outbox entries in the transaction of the change. The domain slices don't know of them. The
-- topic is the trigger's argument.
create function sync.enqueue_owners() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into sync.pending (topic, key)
  select distinct tg_argv[0], c.client_id from changed c order by c.client_id
  on conflict (topic, key) do update
    set generation = excluded.generation, next_at = least(sync.pending.next_at, excluded.next_at), parked_at = null;
  return null;
end
$$;
create function sync.enqueue_rows() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into sync.pending (topic, key)
  select tg_argv[0], c.id from changed c order by c.id
  on conflict (topic, key) do update
    set generation = excluded.generation, next_at = least(sync.pending.next_at, excluded.next_at), parked_at = null;
  return null;
end
$$;
create trigger wallets_pend after update on wallet.wallets
  referencing new table as changed for each statement execute function sync.enqueue_owners('client');
create trigger clients_pend_new after insert on identity.clients
  referencing new table as changed for each statement execute function sync.enqueue_rows('client');
create trigger clients_pend after update on identity.clients
  referencing new table as changed for each statement execute function sync.enqueue_rows('client');
create trigger sessions_pend_new after insert on charging.sessions
  referencing new table as changed for each statement execute function sync.enqueue_rows('session');
create trigger sessions_pend after update on charging.sessions
  referencing new table as changed for each statement execute function sync.enqueue_rows('session');

-- The last 1,000 calls that reached Supabase; the lag of changes is computed from them.
create table sync.calls (
  slot int primary key check (slot between 0 and 999),
  at timestamptz not null default clock_timestamp(),
  keys int not null,
  transactions int not null,
  took_ms int not null,
  lags_ms int[] not null check (cardinality(lags_ms) <= 64) -- evenly drawn from the sorted lags of its keys
) with (fillfactor = 50);
create sequence sync.calls_seq;
alter sequence sync.calls_seq owned by sync.calls.slot;
grant select, insert, update on sync.calls to evpower_app;
grant usage on sequence sync.calls_seq to evpower_app;

-- The state of Supabase as the relay and the puller last saw it, for other processes.
create table sync.targets (
  name text primary key,
  state text not null check (state in ('up', 'down', 'misconfigured')),
  error text,
  since timestamptz not null default now()
);
grant select, insert, update on sync.targets to evpower_app;

-- The position of a backfill, so that it continues after a stop.
create table sync.backfills (
  topic text primary key check (topic in ('client', 'session')),
  after uuid,
  enqueued bigint not null default 0,
  started_at timestamptz not null default now(),
  finished_at timestamptz
);
grant select, insert, update, delete on sync.backfills to evpower_app;

-- How far the change log of Supabase was applied. A transaction that applies changes raises `revision` first, and
-- what was read at an older revision is discarded: so no older response is applied after a newer one.
create table sync.cursors (
  name text primary key check (name = 'supabase'),
  xid text,                                          -- the last change applied; null: none of this log
  seq bigint,
  revision bigint not null default 0,
  moved_at timestamptz,
  checked_at timestamptz,                            -- when the log was last read to its end
  scanning boolean not null default true,            -- a full scan runs, from `scan_after` on
  scan_after text,
  scanned bigint not null default 0,                 -- users the running or last full scan read
  scanned_at timestamptz,                            -- when a full scan last ended; null: never
  resets int not null default 0,                     -- how often Supabase turned out to be restored
  check ((xid is null) = (seq is null))
);
insert into sync.cursors (name) values ('supabase');
grant select, update on sync.cursors to evpower_app;

-- Users whose change could not be applied, for whatever reason: retried, while the others go on.
create table sync.failed_users (
  client_id uuid primary key,
  user_deleted boolean not null default false,       -- in Supabase Auth
  blocked_before boolean not null default false,
  error text not null,
  attempts int not null default 1,
  since timestamptz not null default now(),
  next_at timestamptz not null
);
create index failed_users_due on sync.failed_users (next_at);
grant select, insert, update, delete on sync.failed_users to evpower_app;

-- A contact that is this client's in Supabase, but that another open client has verified.
create table sync.contact_conflicts (
  client_id uuid not null references identity.clients,
  contact text not null check (contact in ('email', 'phone')),
  value text not null,
  verified boolean not null default false,           -- this client verified it in Supabase, too
  holder uuid not null references identity.clients,  -- the client who had it at the last attempt
  since timestamptz not null default now(),
  primary key (client_id, contact)
);
grant select, insert, update, delete on sync.contact_conflicts to evpower_app;

-- A contact that a client verifies is removed from clients that only claim it; they wait for it.
create function sync.end_claims() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (select from changed v where (v.email_verified or v.phone_verified) and v.status <> 'closed') then
    return null;
  end if;
  with claims as materialized (
    select c.id, 'email' as contact, c.email as value, v.id as holder from changed v
      join identity.clients c on c.email = v.email
     where v.email_verified and v.status <> 'closed' and c.id <> v.id and c.status <> 'closed' and not c.email_verified
    union all
    select c.id, 'phone', c.phone, v.id from changed v
      join identity.clients c on c.phone = v.phone
     where v.phone_verified and v.status <> 'closed' and c.id <> v.id and c.status <> 'closed' and not c.phone_verified
  ), locked as materialized (
    select c.id from identity.clients c where c.id in (select k.id from claims k) order by c.id for no key update
  ), waiting as (
    insert into sync.contact_conflicts as w (client_id, contact, value, holder)
    select k.id, k.contact, k.value, k.holder from claims k join locked l on l.id = k.id
    on conflict (client_id, contact) do update
       set value = excluded.value, verified = false, holder = excluded.holder, since = now()
    returning w.client_id, w.contact, w.value
  )
  update identity.clients c -- a claim may have changed while its row was locked
     set email = case when e.value is distinct from c.email or c.email_verified then c.email end,
         phone = case when p.value is distinct from c.phone or c.phone_verified then c.phone end,
         updated_at = now()
    from locked l
    left join waiting e on e.client_id = l.id and e.contact = 'email'
    left join waiting p on p.client_id = l.id and p.contact = 'phone'
   where c.id = l.id;
  return null;
end
$$;
create trigger clients_end_claims_new after insert on identity.clients
  referencing new table as changed for each statement execute function sync.end_claims();
create trigger clients_end_claims after update on identity.clients
  referencing new table as changed for each statement execute function sync.end_claims();

-- The meaning of each status word of the project's own: mapped by an operator once, before EvPower overwrites it.
create table sync.status_words (
  word text primary key check (length(word) between 1 and 200),
  meaning text not null check (meaning in ('active', 'blocked', 'inactive')),
  operator text not null check (length(operator) between 1 and 200),
  reason text not null check (length(reason) between 1 and 200),
  mapped_at timestamptz not null default now()
);
grant select, insert on sync.status_words to evpower_app;

-- Clients whose word from before EvPower was handled: only that word may be overwritten.
create table sync.status_before (
  client_id uuid primary key references identity.clients,
  word text not null references sync.status_words,
  handled_at timestamptz not null default now()
);
create index status_before_by_word on sync.status_before (word);
grant select, insert on sync.status_before to evpower_app;

-- Clients whose block from before EvPower was applied: once, so that an operator can lift it.
create table sync.blocked_before (
  client_id uuid primary key references identity.clients,
  at timestamptz not null default now()
);
grant select, insert on sync.blocked_before to evpower_app;

-- Secrets that sign calls from Supabase, besides those of the settings. A new one is inserted before Supabase signs
-- with it; the previous one ends at not_after.
create table sync.webhook_secrets (
  id bigint generated always as identity primary key,
  secret text not null check (length(secret) between 16 and 500), -- whsec_<base64>, or any text
  created_at timestamptz not null default now(),
  not_after timestamptz
);
grant select, insert, update, delete on sync.webhook_secrets to evpower_app;

-- Each event of Supabase once, for a month. It says that something changed; the change itself is read from Supabase.
create table sync.inbox (
  id bigint generated always as identity primary key,
  source text not null check (source in ('webhook', 'plain', 'auth')), -- with an id; without one; an Auth hook
  event_id text not null check (length(event_id) between 1 and 200),   -- without a stable id: the body's digest
  body_sha256 bytea not null check (length(body_sha256) = 32),
  kind text not null check (length(kind) <= 100),
  row_id text check (length(row_id) <= 100),
  repeats int not null default 0,                                      -- received again with the same body
  reuses int not null default 0,                                       -- received with another body: refused
  received_at timestamptz not null default clock_timestamp(),
  unique (source, event_id)
) with (fillfactor = 90);
grant select, insert, update, delete on sync.inbox to evpower_app;

-- One comparison of both sides, from its first page to its last; a stopped run continues from its position.
create table sync.runs (
  id bigint generated always as identity primary key,
  kind text not null check (kind in ('on_demand', 'recent', 'full')), -- by a command; recent changes; everything
  since timestamptz,                                 -- recent: what changed after it
  repair boolean not null,
  stage int not null default 0,                      -- its position: the index of topic and side,
  after text,                                        -- and the last key that was compared
  counts jsonb not null default '{}',
  error text,                                        -- what it waits for
  started_at timestamptz not null,
  finished_at timestamptz,
  recorded_at timestamptz not null default clock_timestamp(), -- its start by the database's clock, as drift.seen_at
  check ((kind = 'recent') = (since is not null))
);
create index runs_by_kind on sync.runs (kind, id);
grant select, insert, update, delete on sync.runs to evpower_app;

-- The scheduled runs: only the process that leases a row makes that run.
create table sync.run_leases (
  kind text primary key check (kind in ('recent', 'full')),
  due_at timestamptz,
  leased_by uuid,
  leased_until timestamptz,
  run_id bigint references sync.runs on delete set null, -- begun and not finished
  check ((leased_by is null) = (leased_until is null))
);
insert into sync.run_leases (kind) values ('recent'), ('full');
grant select, update on sync.run_leases to evpower_app;

-- Differences between the two sides that a run found, and what a repair did.
create table sync.drift (
  id bigint generated always as identity primary key,
  found_at timestamptz not null default now(),
  topic text not null,
  key text not null,
  ours jsonb,
  theirs jsonb,
  right_side text not null check (right_side in ('evpower', 'supabase')),
  action text not null,
  closed_at timestamptz,                             -- null: open
  kind text not null default 'differs',
  fields text[] not null default '{}',               -- the fields that differ
  notice boolean not null default false,             -- neither side is wrong: only reported
  repaired boolean not null default false,           -- a repair was made
  run_id bigint,                                     -- the run that saw it last
  seen_at timestamptz not null default now()
);
create index drift_open on sync.drift (id) where closed_at is null;
create unique index drift_open_key on sync.drift (topic, key) where closed_at is null; -- a key has one open entry
create index drift_of_run on sync.drift (run_id, id) where closed_at is null;
grant select, insert, update, delete on sync.drift to evpower_app;

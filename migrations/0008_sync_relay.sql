-- What the relay and the comparison need beyond the pending set: recent calls, resumable work.

-- Write whatever Supabase has, set by a repair: goes away with the mark.
alter table sync.pending add column force boolean not null default false;
-- The queue is small and hot: vacuum it early, find the due ones without reading the leased.
alter table sync.pending set (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.05);
create index pending_due on sync.pending (next_at) where parked_at is null;

-- The last calls that reached Supabase, a ring: how long changes were under way is read from here.
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

-- What the relay last thought of its target, for those who look from another process.
create table sync.targets (
  name text primary key,
  state text not null check (state in ('up', 'down', 'misconfigured')),
  error text,
  since timestamptz not null default now()
);
grant select, insert, update on sync.targets to evpower_app;

-- How far a marking of everything came, so that it carries on after a stop.
create table sync.backfills (
  topic text primary key check (topic in ('client', 'session')),
  after uuid,
  marked bigint not null default 0,
  started_at timestamptz not null default now(),
  finished_at timestamptz
);
grant select, insert, update, delete on sync.backfills to evpower_app;

-- Drift found again is the same drift.
create unique index drift_open_key on sync.drift (topic, key) where healed_at is null;

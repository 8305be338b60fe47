-- Signed calls from Supabase: who may sign them, and which were taken.

-- Besides those of the settings. A new one is inserted before Supabase signs with it; the one before ends at not_after.
create table sync.webhook_secrets (
  id bigint generated always as identity primary key,
  secret text not null check (length(secret) between 16 and 500), -- whsec_<base64>, or any text
  created_at timestamptz not null default now(),
  not_after timestamptz
);
grant select, insert, update, delete on sync.webhook_secrets to evpower_app;

-- Each event once, for a month. It says that something changed, never what: that is read from Supabase.
create table sync.inbox (
  id bigint generated always as identity primary key,
  source text not null check (source in ('webhook', 'plain', 'auth')), -- with an id; without one; an Auth hook
  event_id text not null check (length(event_id) between 1 and 200),   -- of those without a lasting id: their body's digest
  body_sha256 bytea not null check (length(body_sha256) = 32),
  kind text not null check (length(kind) <= 100),
  row_id text check (length(row_id) <= 100),
  repeats int not null default 0,                                      -- came again with the same body
  reuses int not null default 0,                                       -- its id came with another body: refused
  received_at timestamptz not null default clock_timestamp(),
  unique (source, event_id)
) with (fillfactor = 90);
grant select, insert, update, delete on sync.inbox to evpower_app;

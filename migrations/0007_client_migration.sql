-- Moves clients from old ids to one id: runs, the plan and state of each row, operators' decisions. Old ids that still
-- resolve are identity.aliases. Only commands use these tables, as the owner.
create schema client_migration;

-- One run of `evpower identity migrate`. Every user it created has `run_key` in its app_metadata: only a server can
-- write there, so a revert deletes only users that a run created.
create table client_migration.runs (
  id bigint generated always as identity primary key,
  run_key uuid not null unique default gen_random_uuid(),
  source text not null check (length(source) between 1 and 300), -- without a password
  actor text not null check (length(actor) between 1 and 200),
  state text not null default 'running' check (state in ('running', 'done', 'confirmed', 'reverting', 'reverted')),
  rows_read bigint not null default 0,
  rows_skipped bigint not null default 0,            -- moved by an earlier run
  started_at timestamptz not null default now(),
  finished_at timestamptz,
  confirmed_at timestamptz,
  reverted_at timestamptz,
  check ((state = 'confirmed') = (confirmed_at is not null)),
  check ((state = 'reverted') = (reverted_at is not null))
);
create unique index runs_one_open on client_migration.runs ((true)) where state in ('running', 'reverting');

-- The plan of each row of the source, stored before anything is changed. Passwords and their hashes are never stored:
-- they are read from the source again.
create table client_migration.run_rows (
  run bigint not null references client_migration.runs,
  line bigint not null,
  old_id text not null,
  plan text not null check (plan in ('link', 'create', 'add', 'conflict', 'invalid')),
  state text not null default 'planned'
    check (state in ('planned', 'done', 'failed', 'retained', 'reverting', 'reverted')), -- retained: in use at a revert
  client_id uuid,                                    -- of the linked user, or of the user to create
  matched_by text check (matched_by in ('id', 'email', 'phone', 'decision', 'moved')),
  reason text,
  detail text,
  email text,
  phone text,
  name text,
  email_confirmed text not null check (email_confirmed in ('yes', 'assumed', 'no')), -- by the old system
  phone_confirmed text not null check (phone_confirmed in ('yes', 'assumed', 'no')),
  id_tags text[] not null default '{}',
  password text not null check (password in ('none', 'carried', 'unknown')),
  balance_minor bigint not null default 0 check (balance_minor >= 0),
  carried_at timestamptz,                            -- when the balance was credited to the wallet
  digest bytea not null check (length(digest) = 32), -- of the source's row: a changed row needs a new plan
  note text,
  updated_at timestamptz not null default now(),
  client_before boolean not null default false,      -- EvPower had the client before: a revert does not close it
  primary key (run, line),
  check (plan in ('conflict', 'invalid') or client_id is not null)
);
create unique index run_rows_work on client_migration.run_rows (run, old_id)
  where plan in ('link', 'create', 'add');
create index run_rows_old_id on client_migration.run_rows (old_id);
create index run_rows_client on client_migration.run_rows (client_id) where client_id is not null;
create index run_rows_left on client_migration.run_rows (run, state);

-- An operator's decision about a conflict; the next run applies it.
create table client_migration.decisions (
  old_id text primary key check (length(old_id) between 1 and 200),
  client_id uuid not null,
  actor text not null check (length(actor) between 1 and 200),
  reason text not null check (length(reason) between 1 and 500),
  at timestamptz not null default now()
);

-- Whether a client's wallet was never used: no change, no hold, no payment begun, no session.
create function client_migration.is_untouched(client uuid) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select not exists (select from wallet.wallets w where w.client_id = client and (w.version > 0 or w.revision > 0))
     and not exists (select from payments.payments p where p.client_id = client)
     and not exists (select from charging.sessions s where s.client_id = client)
$$;

-- Moving clients from old ids to one id: which old id became which client, and the old ids that still resolve.

-- One run of `evpower identity migrate`. `mark` is in the app_metadata of every user it created: only a
-- server can write it there, so it proves which users are ours to take back.
create table identity.migrations (
  id bigint generated always as identity primary key,
  mark uuid not null unique default gen_random_uuid(),
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
create unique index migrations_one_open on identity.migrations ((true)) where state in ('running', 'reverting');

-- What is to become of each row of the source, written before anything is done. No password is ever here,
-- nor its hash: they are read from the source again.
create table identity.migration_rows (
  run bigint not null references identity.migrations,
  line bigint not null,
  old_id text not null,
  plan text not null check (plan in ('adopt', 'create', 'add', 'conflict', 'invalid')),
  state text not null default 'planned' check (state in ('planned', 'done', 'failed', 'kept', 'reverting', 'reverted')),
  client_id uuid,                                    -- adopted, or chosen for the user to be
  matched_by text check (matched_by in ('id', 'email', 'phone', 'decision', 'moved')),
  reason text,
  detail text,
  email text,
  phone text,
  name text,
  email_proof text not null check (email_proof in ('yes', 'assumed', 'no')),
  phone_proof text not null check (phone_proof in ('yes', 'assumed', 'no')),
  id_tags text[] not null default '{}',
  password text not null check (password in ('none', 'carried', 'unknown')),
  balance_minor bigint not null default 0 check (balance_minor >= 0),
  carried_at timestamptz,                            -- the balance went into the wallet
  digest bytea not null check (length(digest) = 32), -- of the row: another one needs another plan
  note text,
  updated_at timestamptz not null default now(),
  client_before boolean not null default false,      -- had by EvPower before any run: a revert spares it
  primary key (run, line),
  check (plan in ('conflict', 'invalid') or client_id is not null)
);
create unique index migration_rows_work on identity.migration_rows (run, old_id)
  where plan in ('adopt', 'create', 'add');
create index migration_rows_old_id on identity.migration_rows (old_id);
create index migration_rows_client on identity.migration_rows (client_id) where client_id is not null;
create index migration_rows_left on identity.migration_rows (run, state);

-- Old names of a client: the id another system gave, or what a station reads from a card.
create table identity.aliases (
  kind text not null check (kind in ('client_id', 'id_tag')),
  alias text not null check (length(alias) between 1 and 200),
  client_id uuid not null references identity.clients,
  run bigint references identity.migrations,
  created_at timestamptz not null default now(),
  confirmed_at timestamptz,                          -- from then on it stays
  primary key (kind, alias),
  check (kind <> 'id_tag' or alias = lower(alias))   -- OCPP compares id tags without case
);
create index aliases_by_client on identity.aliases (client_id);
create index aliases_by_run on identity.aliases (run);

-- An operator's decision about a conflict; the next run applies it.
create table identity.migration_decisions (
  old_id text primary key check (length(old_id) between 1 and 200),
  client_id uuid not null,
  actor text not null check (length(actor) between 1 and 200),
  reason text not null check (length(reason) between 1 and 500),
  at timestamptz not null default now()
);

-- Whether nothing ever happened with a client's money: no change, no hold, no payment begun, no session.
create function identity.is_untouched(client uuid) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select not exists (select from wallet.wallets w where w.client_id = client and (w.version > 0 or w.revision > 0))
     and not exists (select from payments.payments p where p.client_id = client)
     and not exists (select from charging.sessions s where s.client_id = client)
$$;

-- The processes only read aliases; commands, as the owner, move clients.
grant select on identity.aliases to evpower_app;

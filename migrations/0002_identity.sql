-- Clients, their registrations, service keys, operators, and the audit.
create schema identity;
grant usage on schema identity to evpower_app;

-- A person with a wallet. The id is the Supabase Auth UUID, in both systems.
create table identity.clients (
  id uuid primary key check (id <> '00000000-0000-0000-0000-000000000000'),
  email text check (email = lower(email) and length(email) between 3 and 320),
  phone text check (phone ~ '^\+[1-9][0-9]{6,14}$'), -- E.164
  name text check (length(name) <= 200),
  email_verified boolean not null default false,     -- Supabase Auth confirmed it, not only EvPower at registration
  phone_verified boolean not null default false,
  status text not null default 'active' check (status in ('active', 'blocked', 'closed')),
  origin text not null check (origin in ('register', 'token', 'supabase', 'import')),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deletion_requested_at timestamptz,                 -- when the driver requested it; null: not requested
  banned_until timestamptz,                          -- a ban in Supabase Auth; it ends by itself
  -- The project's own status word from before EvPower, until an operator maps it; meanwhile the client may not spend.
  unmapped_status text check (length(unmapped_status) between 1 and 200),
  check (not email_verified or email is not null),
  check (not phone_verified or phone is not null)
);
-- An unverified contact is a claim, which several clients may make.
create unique index clients_email_key on identity.clients (email) where email_verified and status <> 'closed';
create unique index clients_phone_key on identity.clients (phone) where phone_verified and status <> 'closed';
create index clients_unmapped_status on identity.clients (unmapped_status, id) where unmapped_status is not null;
-- Operators find clients by contact, closed ones too.
create index clients_by_email on identity.clients (email) where email is not null;
create index clients_by_phone on identity.clients (phone) where phone is not null;
-- Finds recent changes by their place in the table. A BRIN index does not prevent HOT updates.
create index clients_updated on identity.clients using brin (updated_at) with (autosummarize = on);
grant select, insert, update on identity.clients to evpower_app;

-- What other schemas read of a client. `public_status` is the word that apps and Supabase know.
create view identity.clients_public as
select c.id, c.email, c.phone, c.name, c.email_verified, c.phone_verified, c.status,
       case c.status when 'closed' then 'inactive' else c.status end as public_status,
       c.deletion_requested_at, c.banned_until, c.unmapped_status, c.created_at, c.updated_at
  from identity.clients c;
grant select on identity.clients_public to evpower_app;

-- A client is closed, never deleted, because its money and history stay.
create function identity.refuse_delete() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'clients are closed, never deleted' using errcode = 'restrict_violation';
end
$$;
create trigger clients_are_kept before delete on identity.clients
  for each statement execute function identity.refuse_delete();
create trigger clients_are_kept_whole before truncate on identity.clients
  for each statement execute function identity.refuse_delete();

-- The intent to create a user in Supabase Auth, written before the call. No password is ever here.
create table identity.registrations (
  client_id uuid primary key,
  email text not null check (email = lower(email)),
  phone text not null check (phone ~ '^\+[1-9][0-9]{6,14}$'),
  name text check (length(name) <= 200),
  state text not null default 'intended' check (state in ('intended', 'done', 'refused', 'expired')),
  reason text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create unique index registrations_open_email_key on identity.registrations (email) where state = 'intended';
create index registrations_done_by_email on identity.registrations (email) where state = 'done';
create index registrations_ended on identity.registrations (updated_at) where state <> 'intended';
grant select, insert, update, delete on identity.registrations to evpower_app;

-- Mails with a confirmation link that Supabase Auth has not sent yet; a row is deleted when its mail is sent.
create table identity.confirmations (
  client_id uuid primary key references identity.clients,
  email text not null check (email = lower(email)),
  requested_at timestamptz not null,                 -- when the driver last registered
  next_try_at timestamptz not null,
  attempts int not null default 0,
  last_error text check (length(last_error) <= 300)  -- of the last attempt
);
create index confirmations_due on identity.confirmations (next_try_at);
grant select, insert, update, delete on identity.confirmations to evpower_app;

-- Keys of other systems that may call: a key is shown once and stored only as its hash.
create table identity.service_keys (
  id bigint generated always as identity primary key,
  name text not null unique check (length(name) between 1 and 100),
  key_sha256 bytea not null unique check (length(key_sha256) = 32),
  hint text not null,                                -- the first characters, to distinguish keys
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  revoked_at timestamptz
);
grant select, insert, update on identity.service_keys to evpower_app;

-- The operator's staff: a Supabase user listed here may read every client.
create table identity.operators (
  user_id uuid primary key,
  name text not null check (length(name) between 1 and 200),
  role text not null default 'viewer' check (role in ('viewer', 'operator')), -- operator: also acts on clients
  created_at timestamptz not null default now(),
  revoked_at timestamptz
);
grant select, insert, update on identity.operators to evpower_app;

-- Acts of operators and administrators, stored for ever.
create table identity.audit (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  actor text not null check (length(actor) between 1 and 200),
  action text not null check (length(action) between 1 and 100),
  subject text not null,
  reason text,
  details jsonb not null default '{}'
);
create function identity.refuse_change() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'the audit is append-only' using errcode = 'restrict_violation';
end
$$;
create trigger audit_is_append_only before update or delete on identity.audit
  for each statement execute function identity.refuse_change();
create trigger audit_is_kept before truncate on identity.audit
  for each statement execute function identity.refuse_change();
grant select, insert on identity.audit to evpower_app;

-- Old names of a client: the id another system gave, or what a station reads from a card. The processes only read
-- them; commands, as the owner, write them.
create table identity.aliases (
  kind text not null check (kind in ('client_id', 'id_tag')),
  alias text not null check (length(alias) between 1 and 200),
  client_id uuid not null references identity.clients,
  run bigint,                                        -- of the client migration that added it; null: added by hand
  created_at timestamptz not null default now(),
  confirmed_at timestamptz,                          -- when it became final
  primary key (kind, alias),
  check (kind <> 'id_tag' or alias = lower(alias))   -- OCPP compares id tags without case
);
create index aliases_by_client on identity.aliases (client_id);
create index aliases_by_run on identity.aliases (run);
grant select on identity.aliases to evpower_app;

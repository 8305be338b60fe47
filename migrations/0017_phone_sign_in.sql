-- Sign-in by a code sent to the phone: codes, budgets, refresh tokens, signing keys, new accounts.

-- A code is stored as a keyed hash; its key is derived from a setting, so a copy of this table tells no code. A caller at
-- an address that signed this phone in before, or that asked for the code, has attempts apart from strangers'.
create table identity.sign_in_codes (
  id bigint generated always as identity primary key,
  phone text not null check (phone ~ '^\+[1-9][0-9]{6,14}$'),
  by_known_address boolean not null,
  asked_from bytea not null check (length(asked_from) = 16), -- the keyed hash of the address
  salt bytea not null check (length(salt) = 16),
  code_hash bytea not null check (length(code_hash) = 32),
  created_at timestamptz not null,
  expires_at timestamptz not null,
  attempts_known int not null default 0 check (attempts_known between 0 and 5),     -- from such addresses
  attempts_asker int not null default 0 check (attempts_asker between 0 and 5),     -- from `asked_from`, if it is not such a one
  attempts_unknown int not null default 0 check (attempts_unknown between 0 and 5), -- from all others
  ended_at timestamptz,
  ended_by text check (ended_by in ('used', 'replaced', 'not_sent')),
  constraint sign_in_codes_end_with_a_cause check ((ended_at is null) = (ended_by is null)),
  constraint sign_in_codes_are_short_lived check (expires_at > created_at and expires_at <= created_at + interval '5 minutes')
);
create unique index sign_in_codes_one_open on identity.sign_in_codes (phone, asked_from) where ended_at is null;
create index sign_in_codes_by_age on identity.sign_in_codes (created_at);
grant select, insert, update (attempts_known, attempts_asker, attempts_unknown, ended_at, ended_by), delete
  on identity.sign_in_codes to evpower_app;

-- How much of a limit is used in its window (an hour or a day, UTC). Addresses are stored as keyed hashes.
create table identity.sign_in_budgets (
  name text not null check (length(name) between 1 and 120),
  starts_at timestamptz not null,
  used int not null check (used > 0),
  primary key (name, starts_at)
);
create index sign_in_budgets_by_age on identity.sign_in_budgets (starts_at);
grant select, insert, update (used), delete on identity.sign_in_budgets to evpower_app;

-- Addresses (keyed hashes) from which a phone has signed in.
create table identity.sign_in_addresses (
  phone text not null check (phone ~ '^\+[1-9][0-9]{6,14}$'),
  address_hash bytea not null check (length(address_hash) = 16),
  last_at timestamptz not null,
  primary key (phone, address_hash)
);
create index sign_in_addresses_by_age on identity.sign_in_addresses (last_at);
grant select, insert, update (last_at), delete on identity.sign_in_addresses to evpower_app;

-- The account that is being made for a phone, written before its user is created in Supabase Auth: whatever crashes,
-- the next sign-in goes on under the same id. Deleted together with the making of the client.
create table identity.phone_accounts (
  phone text primary key check (phone ~ '^\+[1-9][0-9]{6,14}$'),
  client_id uuid not null unique check (client_id <> '00000000-0000-0000-0000-000000000000'),
  created_at timestamptz not null default now()
);
grant select, insert, delete on identity.phone_accounts to evpower_app;

-- Phones whose owner verified the code, and that no account could be found or made for without an operator's decision.
create table identity.phone_reviews (
  id bigint generated always as identity primary key,
  phone text not null check (phone ~ '^\+[1-9][0-9]{6,14}$'),
  reason text not null check (reason in ('claim_with_money', 'phone_of_another_login')),
  claimants uuid[] not null,
  opened_at timestamptz not null,
  last_at timestamptz not null,
  tries int not null default 1 check (tries > 0),
  decided_at timestamptz,
  decided_by text check (length(decided_by) between 1 and 200),
  owner_id uuid references identity.clients,         -- who gets the phone; null: a new account
  constraint phone_reviews_are_decided_by_an_actor check ((decided_at is null) = (decided_by is null)
    and (owner_id is null or decided_at is not null))
);
create unique index phone_reviews_one_open on identity.phone_reviews (phone) where decided_at is null;
create index phone_reviews_by_phone on identity.phone_reviews (phone, id desc);
grant select, insert, update (reason, claimants, last_at, tries, decided_at, decided_by, owner_id)
  on identity.phone_reviews to evpower_app;

-- Refresh tokens, stored as SHA-256 of 256 random bits. The tokens that replace each other are a family. A token of the
-- old backend has a row only once it is revoked.
create table identity.refresh_tokens (
  id bigint generated always as identity primary key,
  family uuid not null,
  token_sha256 bytea not null unique check (length(token_sha256) = 32),
  user_id uuid not null,
  kind text not null check (kind in ('client', 'admin')),
  phone text not null check (phone ~ '^(\+[1-9][0-9]{6,14})?$'),
  created_at timestamptz not null,
  used_at timestamptz,                               -- null: not used yet
  expires_at timestamptz not null,
  rotated_at timestamptz,                            -- when it was replaced; its use after that revokes the family
  revoked_at timestamptz,
  revoked_by text check (revoked_by in ('logout', 'reuse', 'deletion', 'replaced', 'operator')),
  constraint refresh_tokens_are_revoked_by_a_cause check ((revoked_at is null) = (revoked_by is null))
);
create index refresh_tokens_by_family on identity.refresh_tokens (family);
create index refresh_tokens_by_user on identity.refresh_tokens (user_id) where revoked_at is null;
create index refresh_tokens_by_expiry on identity.refresh_tokens (expires_at);
grant select, insert, update (used_at, expires_at, rotated_at, revoked_at, revoked_by), delete
  on identity.refresh_tokens to evpower_app;

-- Keys that sign EvPower's own access tokens. The newest signs; older ones verify until their tokens have expired. The
-- private half is encrypted with a key derived from a setting.
create table identity.signing_keys (
  kid text primary key check (kid ~ '^evpower-[a-z0-9]{12}$'),
  public_key bytea not null check (length(public_key) = 65),    -- the point of P-256, uncompressed
  private_key bytea not null check (length(private_key) between 32 and 512), -- nonce and AES-256-GCM
  created_at timestamptz not null default now(),
  revoked_at timestamptz                             -- its tokens are refused from then on
);
create index signing_keys_by_age on identity.signing_keys (created_at desc) where revoked_at is null;
grant select, insert, update (revoked_at) on identity.signing_keys to evpower_app;

-- The phone an operator signs in with; given by an administrator's command only.
alter table identity.operators add column phone text check (phone ~ '^\+[1-9][0-9]{6,14}$');
create unique index operators_phone_key on identity.operators (phone) where revoked_at is null and phone is not null;

-- Since when a client has its phone: a claim of a few days ago keeps no driver from signing in. Null: since before this was stored.
alter table identity.clients add column phone_since timestamptz;
alter table identity.clients alter column phone_since set default now();

-- The webhook's secret, where the project has no Vault. The owner alone reads it, whatever the default privileges say.
create table if not exists evpower.secrets (
  name text primary key,
  secret text not null,
  changed_at timestamptz not null default now()
);
alter table evpower.secrets enable row level security;
revoke all on evpower.secrets from public, anon, authenticated, service_role;
comment on table evpower.secrets is
  'evpower {edition}: the webhook''s secret where there is no Vault';

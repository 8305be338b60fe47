-- The change notification: a signed call of EvPower's webhook, so that it pulls at once. Once a transaction, through
-- pg_net where the project has it (at most once, never repeated); without it EvPower polls every few seconds.
--
-- Its URL, and where its secret is stored: in Vault where the project has it, else in evpower.secrets.
create table if not exists evpower.webhook (
  single boolean primary key default true check (single),
  url text,
  kept_in text check (kept_in in ('vault', 'table')),
  changed_at timestamptz not null default now()
);
insert into evpower.webhook default values on conflict do nothing;
revoke all on evpower.webhook from public, anon, authenticated, service_role;
comment on table evpower.webhook is
  'evpower {edition}: the URL of EvPower''s webhook, and where its secret is stored';

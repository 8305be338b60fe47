-- Money in and out through providers. A payment is an attempt to move real money.
create schema payments;
grant usage on schema payments to evpower_app;

create table payments.payments (
  id bigint generated always as identity primary key,
  invoice_id text not null unique check (length(invoice_id) between 6 and 64), -- ours, shown to the app
  order_id text not null unique check (length(order_id) between 6 and 128),    -- ours, shown to the provider
  client_id uuid not null references identity.clients,
  provider text not null check (length(provider) between 1 and 40),
  provider_ref text,                                 -- the provider's own id, once it answered
  method text not null check (method in ('qr', 'card', 'cash')),
  amount_minor bigint not null check (amount_minor between 1 and 100000000000),
  currency char(3) not null default 'KGS',
  status text not null default 'processing'
    check (status in ('processing', 'approved', 'canceled', 'refunded', 'partial_refund')),
  paid_minor bigint check (paid_minor >= 0),         -- what the provider says was paid
  confirmed_at timestamptz,                          -- when it was confirmed, by any path
  credited_minor bigint generated always as (
    case when status in ('approved', 'refunded', 'partial_refund') then amount_minor end) stored,
  refunded_minor bigint not null default 0 check (refunded_minor between 0 and amount_minor),
  review text,                                       -- why a person must look; null: nothing to see
  description text check (length(description) <= 500),
  qr_code text, qr_code_url text, app_link text,
  expires_at timestamptz not null,                   -- local and not final: a late payment is still credited
  closed_at timestamptz,                             -- the provider's final word: nothing more will come
  next_check_at timestamptz,                         -- when to ask the provider again; null: never
  last_checked_at timestamptz,
  check_count int not null default 0,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint payments_confirmed_in_full check (
    credited_minor is null or (paid_minor = amount_minor and confirmed_at is not null)),
  constraint payments_refunds_match_status check (
    (status = 'refunded') = (refunded_minor = amount_minor)
    and (status = 'partial_refund') = (refunded_minor > 0 and refunded_minor < amount_minor)),
  unique (provider, provider_ref),
  unique (id, client_id, credited_minor)             -- what a wallet transaction points at
);
create index payments_by_client on payments.payments (client_id, id desc);
create index payments_to_check on payments.payments (next_check_at) where next_check_at is not null;
create index payments_to_review on payments.payments (id) where review is not null;
grant select, insert, update on payments.payments to evpower_app;

-- The only ways a payment may go; a confirmed one is never unconfirmed.
create function payments.guard_payment() returns trigger language plpgsql set search_path = '' as $$
begin
  if (new.id, new.client_id, new.amount_minor, new.currency, new.provider, new.invoice_id)
     is distinct from
     (old.id, old.client_id, old.amount_minor, old.currency, old.provider, old.invoice_id) then
    raise exception 'payment % keeps its client, amount, currency, provider and invoice', old.id
      using errcode = 'check_violation';
  end if;
  if new.status <> old.status and (old.status, new.status) not in (
      ('processing', 'approved'), ('processing', 'canceled'), ('canceled', 'approved'),
      ('approved', 'refunded'), ('approved', 'partial_refund'), ('partial_refund', 'refunded')) then
    raise exception 'payment % cannot go from % to %', old.id, old.status, new.status
      using errcode = 'check_violation';
  end if;
  return new;
end
$$;
create trigger payments_go_one_way before update on payments.payments
  for each row execute function payments.guard_payment();

-- Every signed event a provider ever sent, once.
create table payments.events (
  provider text not null,
  event_id text not null check (length(event_id) between 1 and 200),
  body_sha256 bytea not null check (length(body_sha256) = 32),
  payment_id bigint references payments.payments,
  outcome text not null,
  received_at timestamptz not null default now(),
  primary key (provider, event_id)
);
create index events_by_payment on payments.events (payment_id);
grant select, insert, update on payments.events to evpower_app;

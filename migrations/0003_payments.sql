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
  review text,                                       -- why an operator must look; null: no review
  description text check (length(description) <= 500),
  qr_code text, qr_code_url text, app_link text,
  expires_at timestamptz not null,                   -- local and not final: a late payment is still credited
  closed_at timestamptz,                             -- the provider's final word: nothing more will come
  next_check_at timestamptz,                         -- when to ask the provider again; null: never
  last_checked_at timestamptz,
  check_count int not null default 0,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  resolved_at timestamptz,                           -- when its review was decided: from then on nothing is credited
  resolved_by bigint references payments.payments,   -- the manual payment made in its place
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
create function payments.guard_payment() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
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

-- Every signed event of a provider, once.
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

-- Confirming: events of providers, applied once, in one round trip for any number. The bodies call wallet's functions.

-- One event as a provider sent it, and the payment it is about.
create type payments.incoming as (
  ord int, provider text, event_id text, body_sha256 bytea, payment_id bigint, provider_ref text,
  status text,             -- processing, approved, canceled, refunded, partial_refund
  paid_minor bigint, currency text,
  refunded_minor bigint    -- everything returned so far, not this time's part
);

-- What it means for that payment.
create type payments.decision as (
  ord int, outcome text, review text, provider text, event_id text, body_sha256 bytea, payment_id bigint,
  paid_minor bigint,       -- null when it was another currency
  refund_minor bigint,     -- newly returned to the bank
  seen boolean             -- the event is in payments.events already
);

-- Applies events of different payments with different ids; the caller holds the payments' locks.
-- A paid amount must be the invoice's to the tyiyn, else it goes to review and nothing is credited.
create function payments.apply_events(batch payments.incoming[]) returns payments.decision[]
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare
  decided payments.decision[];
  confirmed bigint[];
  back record;
  refund_id bigint;
  posted text;
  written int;
begin
  with e as (
    select i.*, p.status as was, p.amount_minor as due, p.refunded_minor as was_refunded,
           p.credited_minor is not null as credited, p.resolved_at is not null as resolved,
           coalesce(i.currency = p.currency, false) as ours,
           coalesce(i.provider_ref <> p.provider_ref, false) as other_ref,
           case i.status when 'refunded' then coalesce(i.refunded_minor, p.amount_minor)
                         else coalesce(i.refunded_minor, 0) end as returned,
           s.body_sha256 as seen_sha256, s.outcome as seen_outcome
      from unnest(batch) i
      left join lateral (select * from payments.payments where id = i.payment_id offset 0) p on true
      left join lateral (select * from payments.events s where s.provider = i.provider
                          and s.event_id = i.event_id offset 0) s on true
  ), d as (
    select e.*, case
        when seen_sha256 <> body_sha256 then 'event_reused'
        when seen_outcome <> 'unknown_payment' then 'repeated'
        when was is null then 'unknown_payment'
        when status = 'processing' then 'ignored'
        when status = 'canceled' then case was when 'processing' then 'canceled' else 'ignored' end
        when credited then case
          when other_ref or not ours or paid_minor <> due or returned > due then 'review'
          when returned > was_refunded then 'refunded'
          else 'repeated' end
        when resolved or not ours or paid_minor is distinct from due or returned > due then 'review'
        else 'confirmed' end as outcome
      from e
  )
  select array_agg(row (ord, outcome,
           case outcome when 'event_reused' then 'event_reused'
                        when 'review' then case when not ours then 'currency_mismatch'
                                                when paid_minor is distinct from due then 'amount_mismatch'
                                                when resolved then 'paid_after_resolution'
                                                when credited and other_ref then 'paid_twice'
                                                else 'refund_exceeds' end end,
           provider, event_id, body_sha256, payment_id, case when ours then paid_minor end,
           case when outcome in ('confirmed', 'refunded') then returned - was_refunded end,
           seen_sha256 is not null)::payments.decision),
         array_agg(payment_id) filter (where outcome = 'confirmed')
    into decided, confirmed from d;

  update payments.payments p
     set status = case d.outcome when 'confirmed' then 'approved' when 'canceled' then 'canceled' else p.status end,
         paid_minor = case when p.credited_minor is null and d.outcome in ('confirmed', 'review')
                           then coalesce(d.paid_minor, p.paid_minor) else p.paid_minor end,
         confirmed_at = case d.outcome when 'confirmed' then now() else p.confirmed_at end,
         review = coalesce(d.review, p.review),
         closed_at = case when d.outcome <> 'event_reused' then coalesce(p.closed_at, now()) else p.closed_at end,
         next_check_at = case when d.outcome <> 'event_reused' then null else p.next_check_at end,
         updated_at = now()
    from unnest(decided) d
   where p.id = d.payment_id and d.outcome in ('confirmed', 'canceled', 'review', 'event_reused');

  if confirmed is not null then
    perform wallet.credit_many(confirmed);
  end if;

  for back in select d.*, p.client_id from unnest(decided) d join payments.payments p on p.id = d.payment_id
               where d.refund_minor > 0 order by d.payment_id
  loop
    insert into wallet.refunds (client_id, payment_id, amount_minor, actor, reason, provider_ref)
    values (back.client_id, back.payment_id, back.refund_minor, 'provider:' || back.provider,
            'returned by the provider', back.event_id)
    returning id into refund_id;
    select r.outcome into posted from wallet.refund(refund_id) r;
    if posted <> 'posted' then
      raise exception 'refund % of payment % is %', refund_id, back.payment_id, posted;
    end if;
  end loop;

  insert into payments.events (provider, event_id, body_sha256, payment_id, outcome)
  select d.provider, d.event_id, d.body_sha256, d.payment_id, d.outcome
    from unnest(decided) d where not d.seen order by d.provider, d.event_id
  on conflict do nothing;
  get diagnostics written = row_count;
  if written <> (select count(*) from unnest(decided) d where not d.seen) then
    raise exception 'an event came twice at once, about different payments' using errcode = 'serialization_failure';
  end if;
  update payments.events s set payment_id = d.payment_id, outcome = d.outcome
    from unnest(decided) d
   where d.seen and d.outcome not in ('repeated', 'event_reused', 'unknown_payment')
     and s.provider = d.provider and s.event_id = d.event_id;
  return decided;
end
$$;

-- Any number of events, any order, any repeats: one row for each, in the order given.
-- Outcomes: confirmed, refunded, canceled, repeated, ignored (it changes nothing any more), review,
-- event_reused (the id came before with another body), unknown_payment.
create function payments.confirm_many(
  providers text[], event_ids text[], digests bytea[], order_ids text[], provider_refs text[], statuses text[],
  paid_minors bigint[], currencies text[], refunded_minors bigint[]
) returns table (
  outcome text, review text, payment_id bigint, invoice_id text, client_id uuid,
  balance_minor bigint, held_minor bigint, version bigint, revision bigint, debt_minor bigint
)
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
#variable_conflict use_column
declare
  firsts payments.incoming[];
  others payments.incoming[]; -- a second event of a payment, a second event of an id: one by one, in order
  ids bigint[];
  returns_money boolean;
  decided payments.decision[];
  other payments.incoming;
begin
  with e as (
    select e.*, coalesce(
        (select p.id from payments.payments p where p.order_id = e.order_id and p.provider = e.provider),
        (select p.id from payments.payments p where p.provider = e.provider and p.provider_ref = e.provider_ref)
      ) as payment_id
      from unnest(providers, event_ids, digests, order_ids, provider_refs, statuses, paid_minors, currencies,
                  refunded_minors) with ordinality
        as e (provider, event_id, body_sha256, order_id, provider_ref, status, paid_minor, currency,
              refunded_minor, ord)
  ), ranked as (
    select row (ord, provider, event_id, body_sha256, payment_id, provider_ref, status, paid_minor, currency,
                refunded_minor)::payments.incoming as one, ord, payment_id,
           status in ('refunded', 'partial_refund') or refunded_minor > 0 as returns_money,
           row_number() over (partition by coalesce(payment_id, -ord) order by ord) = 1
           and row_number() over (partition by provider, event_id order by ord) = 1 as is_first
      from e
  )
  select array_agg(one order by ord) filter (where is_first),
         array_agg(one order by ord) filter (where not is_first),
         array_agg(payment_id), bool_or(r.returns_money)
    into firsts, others, ids, returns_money from ranked r;

  perform from payments.payments p where p.id = any (ids) order by p.id for no key update;
  if returns_money or others is not null then -- every wallet now, in order: later each would be locked in turn
    perform from wallet.wallets w
      where w.client_id in (select p.client_id from payments.payments p where p.id = any (ids))
      order by w.client_id for no key update;
  end if;

  decided := payments.apply_events(firsts);
  if others is not null then
    foreach other in array others loop
      decided := decided || payments.apply_events(array[other]);
    end loop;
  end if;

  return query
    select d.outcome, d.review, p.id, p.invoice_id, p.client_id,
           w.balance_minor, w.held_minor, w.version, w.revision, w.debt_minor
      from unnest(decided) d
      left join payments.payments p on p.id = d.payment_id
      left join wallet.wallets w on w.client_id = p.client_id
     order by d.ord;
end
$$;

revoke all on function payments.apply_events(payments.incoming[]) from public;
revoke all on function payments.confirm_many(
  text[], text[], bytea[], text[], text[], text[], bigint[], text[], bigint[]) from public;
grant execute on function payments.confirm_many(
  text[], text[], bytea[], text[], text[], text[], bigint[], text[], bigint[]) to evpower_app;

-- Payments through providers. A payment is an attempt to move real money.
create schema payments;
grant usage on schema payments to evpower_app;

create table payments.payments (
  id bigint generated always as identity primary key,
  invoice_id text not null unique check (length(invoice_id) between 6 and 64), -- EvPower's, for the app
  order_id text not null unique check (length(order_id) between 6 and 128),    -- EvPower's, for the provider
  client_id uuid not null references identity.clients,
  provider text not null check (length(provider) between 1 and 40),
  provider_ref text,                                 -- the provider's own id, once it responded
  credited_ref text,                                 -- the provider's id of the credited transfer: often another
  method text not null check (method in ('qr', 'card', 'cash')),
  amount_minor bigint not null check (amount_minor between 1 and 100000000000),
  currency char(3) not null default 'KGS',
  status text not null default 'processing'
    check (status in ('processing', 'approved', 'canceled', 'refunded', 'partial_refund')),
  paid_minor bigint check (paid_minor >= 0),         -- as the provider reports
  confirmed_at timestamptz,                          -- when it was confirmed, by webhook, recheck or operator
  credited_minor bigint generated always as (
    case when status in ('approved', 'refunded', 'partial_refund') then amount_minor end) stored,
  refunded_minor bigint not null default 0 check (refunded_minor between 0 and amount_minor),
  review text,                                       -- why an operator must decide; null: no review
  description text check (length(description) <= 500),
  qr_code text, qr_code_url text, app_link text,
  expires_at timestamptz not null,                   -- for the app only: a late payment is still credited
  closed_at timestamptz,                             -- when the provider reported a final state
  next_check_at timestamptz,                         -- the next recheck; null: none
  last_checked_at timestamptz,
  check_count int not null default 0,
  acknowledged_at timestamptz,                       -- when the provider first reported that it has the order
  unknown_count int not null default 0,              -- consecutive responses "no such invoice"
  unknown_since timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  resolved_at timestamptz,                           -- when its review was decided: then nothing is credited automatically
  resolved_by bigint references payments.payments,   -- the manual payment that replaces it
  idempotency_key text check (length(idempotency_key) between 1 and 255), -- of its request: a retry resumes this payment
  constraint payments_confirmed_in_full check (
    credited_minor is null
    or (paid_minor is not null and paid_minor = amount_minor and confirmed_at is not null)),
  constraint payments_credited_by_a_reference check (
    case when provider = 'manual' then provider_ref is not null and credited_ref is null
         else (credited_minor is not null) = (credited_ref is not null) end),
  constraint payments_refunds_match_status check (
    (status = 'refunded') = (refunded_minor = amount_minor)
    and (status = 'partial_refund') = (refunded_minor > 0 and refunded_minor < amount_minor)),
  unique (provider, provider_ref),
  unique (id, client_id, credited_minor)             -- referenced by wallet.transactions
);
create index payments_by_client on payments.payments (client_id, id desc);
create unique index payments_by_key on payments.payments (client_id, idempotency_key) where idempotency_key is not null;
create index payments_to_check on payments.payments (next_check_at) where next_check_at is not null;
create index payments_to_review on payments.payments (id) where review is not null;
-- A reference is credited once, whether an invoice has it or not.
create unique index payments_credited_reference on payments.payments (credited_ref, provider)
  where credited_ref is not null;
grant select, insert, update on payments.payments to evpower_app;

-- What other schemas read of a payment.
create view payments.payments_public as
select p.id, p.invoice_id, p.client_id, p.provider, p.provider_ref, p.method, p.status, p.currency,
       p.amount_minor, p.amount_minor * 0.01 as amount_som,
       p.refunded_minor, p.refunded_minor * 0.01 as refunded_som, p.created_at, p.confirmed_at
  from payments.payments p;
grant select on payments.payments_public to evpower_app;

-- The allowed changes of a payment; a confirmed payment stays confirmed.
create function payments.guard_payment() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if (new.id, new.client_id, new.amount_minor, new.currency, new.provider, new.invoice_id, new.order_id)
     is distinct from
     (old.id, old.client_id, old.amount_minor, old.currency, old.provider, old.invoice_id, old.order_id) then
    raise exception 'payment % keeps its client, amount, currency, provider, invoice and order', old.id
      using errcode = 'check_violation';
  end if;
  if old.provider_ref is not null and new.provider_ref is distinct from old.provider_ref then
    raise exception 'payment % keeps its provider reference', old.id using errcode = 'check_violation';
  end if;
  if old.credited_minor is not null
     and (new.credited_ref, new.paid_minor, new.confirmed_at)
         is distinct from (old.credited_ref, old.paid_minor, old.confirmed_at) then
    raise exception 'payment % is credited: what was paid, when and by which reference stays', old.id
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

-- Every signed event of a provider, once, with its amounts. Events of a payment are stored for ever.
create table payments.events (
  provider text not null,
  event_id text not null check (length(event_id) between 1 and 200),
  reuse bytea not null default '' check (length(reuse) in (0, 32)), -- the digest, if the id came earlier with another body
  body_sha256 bytea not null check (length(body_sha256) = 32),
  payment_id bigint references payments.payments,
  order_id text, provider_ref text,
  status text not null check (status in ('processing', 'approved', 'canceled', 'refunded', 'partial_refund')),
  paid_minor bigint check (paid_minor >= 0), currency text, refunded_minor bigint check (refunded_minor >= 0),
  occurred_at timestamptz,                           -- as the provider reports
  outcome text not null,
  review text,                                       -- why an operator must decide about this event
  resolved_at timestamptz,                           -- when that was decided
  credited_by bigint references payments.payments,   -- the payment that credits it, if an operator accepted it
  received_at timestamptz not null default now(),
  primary key (provider, event_id, reuse),
  constraint events_reviewed_with_a_reason check ((review is not null) = (outcome in ('review', 'event_reused'))),
  constraint events_resolved_after_review check (
    (resolved_at is null or review is not null) and (credited_by is null or resolved_at is not null))
);
create index events_by_payment on payments.events (payment_id);
create index events_in_review on payments.events (provider_ref, provider) where review is not null;
create index events_of_no_payment on payments.events (received_at) where payment_id is null;
grant select, update (resolved_at, credited_by) on payments.events to evpower_app;

-- A stored event never changes, except that an event without a payment may get its payment later.
create function payments.guard_event() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'TRUNCATE' then
    raise exception 'events are kept' using errcode = 'restrict_violation';
  elsif tg_op = 'DELETE' then
    if old.payment_id is null then
      return old;
    end if;
  elsif (new.provider, new.event_id, new.reuse, new.body_sha256, new.order_id, new.provider_ref, new.status,
         new.paid_minor, new.currency, new.refunded_minor, new.occurred_at, new.received_at)
        is not distinct from
        (old.provider, old.event_id, old.reuse, old.body_sha256, old.order_id, old.provider_ref, old.status,
         old.paid_minor, old.currency, old.refunded_minor, old.occurred_at, old.received_at)
        and (old.resolved_at is null
             or (new.resolved_at, new.credited_by) is not distinct from (old.resolved_at, old.credited_by))
        and (old.payment_id is null
             or (new.payment_id, new.outcome, new.review)
                is not distinct from (old.payment_id, old.outcome, old.review)) then
    return new;
  end if;
  raise exception 'event % of % stays as it came', old.event_id, old.provider using errcode = 'restrict_violation';
end
$$;
create trigger events_stay before update or delete on payments.events
  for each row execute function payments.guard_event();
create trigger events_are_kept before truncate on payments.events
  for each statement execute function payments.guard_event();

-- Deletes events without a payment that need no decision, oldest first; returns how many.
create function payments.purge_unknown_events(received_before timestamptz, at_most int) returns int
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with old as (
    select ctid from payments.events
     where payment_id is null and received_at < least(received_before, now() - interval '90 days')
       and (review is null or resolved_at is not null)
     order by received_at limit at_most for update skip locked
  ), deleted as (
    delete from payments.events where ctid = any (array(select ctid from old)) returning 1
  )
  select count(*)::int from deleted
$$;
revoke all on function payments.purge_unknown_events(timestamptz, int) from public;
grant execute on function payments.purge_unknown_events(timestamptz, int) to evpower_app;

-- Confirmation: applies events of providers once, any number in one round trip. The bodies call the wallet's functions.

-- One event as a provider sent it, and the payment it is about.
create type payments.incoming as (
  ord int, provider text, event_id text, body_sha256 bytea, payment_id bigint, order_id text, provider_ref text,
  status text,             -- processing, approved, canceled, refunded, partial_refund
  paid_minor bigint, currency text,
  refunded_minor bigint,   -- the total returned so far
  occurred_at timestamptz
);

-- The decision about an event.
create type payments.decision as (
  ord int, provider text, event_id text, body_sha256 bytea, payment_id bigint, order_id text, provider_ref text,
  status text, paid_minor bigint, currency text, refunded_minor bigint, occurred_at timestamptz, -- from the event
  outcome text, review text,
  reference text,          -- the reference that credits it
  refund_minor bigint,     -- returned to the bank since the last event
  seen boolean             -- whether payments.events has it already
);

-- Whether the same reference, status and amounts were put in review already.
create function payments.is_reviewed(
  for_payment bigint, reference text, of_status text, paid bigint, of_currency text, refunded bigint
) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select exists (
    select from payments.events s
     where s.payment_id = for_payment and s.outcome = 'review' and s.provider_ref = reference
       and (s.status, s.paid_minor, s.currency, s.refunded_minor)
           is not distinct from (of_status, paid, of_currency, refunded))
$$;

-- Whether the payment's open review is about another reference or, with an amount, another amount of this reference.
create function payments.is_reviewed_otherwise(
  for_payment bigint, reference text, amount_minor bigint default null, of_currency text default null
) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select exists (
    select from payments.events s
     where s.payment_id = for_payment and s.review is not null and s.resolved_at is null and s.paid_minor > 0
       and (s.provider_ref is distinct from reference
            or amount_minor is not null and (s.paid_minor, s.currency) is distinct from (amount_minor, of_currency)))
$$;

-- Applies events of different payments with different ids; the caller holds the payments' locks.
-- A payment is credited only if exactly its amount was paid, once, by a known reference of its own. Any other event
-- that reports money goes to review: an event is `ignored` only if it reports no money, and `repeated` only if all
-- its facts are known.
create function payments.apply_events(batch payments.incoming[]) returns payments.decision[]
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare
  decided payments.decision[];
  confirmed bigint[];
  touched bigint[];
  returned_event record;
  known payments.decision;
  refund_id bigint;
  posted text;
  written int;
begin
  with e as (
    select i.*, p.status as old_status, p.amount_minor as due, p.refunded_minor as old_refunded, p.credited_ref,
           p.credited_minor is not null as credited, p.resolved_at is not null as resolved,
           coalesce(i.currency = p.currency, false) as is_own_currency,
           coalesce(i.provider_ref, p.provider_ref) as reference,
           coalesce(i.paid_minor, 0) = 0 and coalesce(i.refunded_minor, 0) = 0 as without_money,
           case i.status when 'refunded' then coalesce(i.refunded_minor, p.amount_minor)
                         else coalesce(i.refunded_minor, 0) end as returned,
           s.body_sha256 <> i.body_sha256 as reused, s.outcome as seen_outcome
      from unnest(batch) i
      left join lateral (select * from payments.payments where id = i.payment_id offset 0) p on true
      left join lateral (select * from payments.events s where s.provider = i.provider
                          and s.event_id = i.event_id and s.reuse = '' offset 0) s on true
  ), w as materialized (
    select e.*, case -- the reason for a review; null: none
        when credited and provider_ref is distinct from credited_ref then case
          when provider_ref is null then 'reference_missing'
          when returned > 0 then 'second_payment_returned'
          else 'paid_twice' end
        when status in ('canceled', 'processing') then 'contradictory'
        when resolved and not credited then
          case when returned > 0 then 'returned_after_resolution' else 'paid_after_resolution' end
        when not is_own_currency then 'currency_mismatch'
        when paid_minor is null and not credited or paid_minor <> due then 'amount_mismatch'
        when returned > due then 'refund_exceeds'
        when case status when 'approved' then returned > 0
                         when 'refunded' then returned < due
                         else returned in (0, due) end then 'contradictory'
        when credited then null
        when reference is null then 'reference_missing'
        when exists (select from payments.payments o where o.provider = e.provider
                        and o.provider_ref = e.reference and o.id <> e.payment_id)
             or exists (select from (select o.id, o.provider from payments.payments o
                           where o.credited_ref = e.reference and o.credited_ref is not null offset 0) o
                         where o.provider = e.provider and o.id <> e.payment_id)
          then 'reference_of_another' end as problem
      from e
  ), d as materialized (
    select w.*, case
        when reused then case when (select true from payments.events s where s.provider = w.provider
                                and s.event_id = w.event_id and s.reuse = w.body_sha256)
                              then 'repeated' else 'event_reused' end
        when seen_outcome <> 'unknown_payment' then 'repeated'
        when old_status is null then 'unknown_payment'
        when status = 'processing' and returned = 0 then 'ignored'
        when status = 'canceled' and without_money and not credited then
          case old_status when 'processing' then 'canceled' else 'ignored' end
        -- An older "nothing was paid" may arrive late. A cancellation without an amount may be a reversal.
        when status = 'canceled' and without_money
             and (paid_minor = 0 or provider_ref <> credited_ref) then 'ignored'
        when problem is not null then case when payments.is_reviewed(
               payment_id, provider_ref, status, paid_minor, currency, refunded_minor) then 'repeated' else 'review' end
        when not credited then 'confirmed'
        when returned > old_refunded then 'refunded'
        else 'repeated' end as outcome
      from w
  )
  select array_agg(row (ord, provider, event_id, body_sha256, payment_id, order_id, provider_ref, status, paid_minor,
           currency, refunded_minor, occurred_at, outcome,
           case outcome when 'event_reused' then 'event_reused'
                        when 'review' then case
                          when problem = 'amount_mismatch' and payments.is_reviewed_otherwise(
                               payment_id, provider_ref, paid_minor, currency) then 'several_amounts'
                          else problem end end,
           reference,
           case when outcome in ('confirmed', 'refunded') then returned - old_refunded end,
           seen_outcome is not null)::payments.decision),
         array_agg(payment_id) filter (where outcome = 'confirmed'),
         array_agg(payment_id) filter (where outcome in ('confirmed', 'canceled', 'review', 'event_reused'))
    into decided, confirmed, touched from d;

  update payments.payments p
     set status = case d.outcome when 'confirmed' then 'approved' when 'canceled' then 'canceled' else p.status end,
         paid_minor = case when p.credited_minor is null and d.outcome in ('confirmed', 'review')
                           then coalesce(case when d.currency = p.currency then d.paid_minor end, p.paid_minor)
                           else p.paid_minor end,
         confirmed_at = case d.outcome when 'confirmed' then now() else p.confirmed_at end,
         credited_ref = case d.outcome when 'confirmed' then d.reference else p.credited_ref end,
         review = case when d.review is not null then d.review
                       when p.review is not null and d.outcome = 'confirmed'
                            and payments.is_reviewed_otherwise(d.payment_id, d.provider_ref) then 'several_amounts'
                       else p.review end,
         closed_at = case when d.outcome <> 'event_reused' then coalesce(p.closed_at, now()) else p.closed_at end,
         next_check_at = case when d.outcome <> 'event_reused' then null else p.next_check_at end,
         updated_at = now()
    from unnest(decided) d
   where p.id = any (touched) and p.id = d.payment_id; -- by key, so that the plan never scans the whole table

  if confirmed is not null then
    perform wallet.credit_many(confirmed);
  end if;

  for returned_event in select d.*, p.client_id from unnest(decided) d
               cross join lateral (select * from payments.payments where id = d.payment_id offset 0) p
               where d.refund_minor > 0 order by p.id
  loop
    insert into wallet.refunds (client_id, payment_id, amount_minor, actor, reason, provider_ref)
    values (returned_event.client_id, returned_event.payment_id, returned_event.refund_minor,
            'provider:' || returned_event.provider, 'returned by the provider', returned_event.event_id)
    returning id into refund_id;
    select r.outcome into posted from wallet.refund(refund_id) r;
    if posted <> 'posted' then
      raise exception 'refund % of payment % is %', refund_id, returned_event.payment_id, posted;
    end if;
  end loop;

  insert into payments.events (provider, event_id, reuse, body_sha256, payment_id, order_id, provider_ref, status,
                               paid_minor, currency, refunded_minor, occurred_at, outcome, review)
  select d.provider, d.event_id, '', d.body_sha256, d.payment_id, d.order_id, d.provider_ref, d.status,
         d.paid_minor, d.currency, d.refunded_minor, d.occurred_at, d.outcome, d.review
    from unnest(decided) d where not d.seen order by d.provider, d.event_id
  on conflict do nothing;
  get diagnostics written = row_count;
  if written = cardinality(decided) then
    return decided;
  end if;
  if written <> (select count(*) from unnest(decided) d where not d.seen) then
    raise exception 'an event came twice at once, about different payments' using errcode = 'serialization_failure';
  end if;
  for known in select d.* from unnest(decided) d where d.seen order by d.provider, d.event_id loop
    if known.outcome = 'event_reused' then
      insert into payments.events (provider, event_id, reuse, body_sha256, payment_id, order_id, provider_ref, status,
                                   paid_minor, currency, refunded_minor, occurred_at, outcome, review)
      values (known.provider, known.event_id, known.body_sha256, known.body_sha256, known.payment_id, known.order_id,
              known.provider_ref, known.status, known.paid_minor, known.currency, known.refunded_minor,
              known.occurred_at, known.outcome, known.review)
      on conflict do nothing;
    elsif known.outcome not in ('repeated', 'unknown_payment') then
      update payments.events s set payment_id = known.payment_id, outcome = known.outcome, review = known.review
       where s.provider = known.provider and s.event_id = known.event_id and s.reuse = '';
    end if;
  end loop;
  return decided;
end
$$;

-- Takes any number of events, in any order, with repeats; returns one row per event, in the given order.
-- Look-ups use only the index's columns in a subquery (offset 0) and filter outside, so that a plan made for an empty
-- table never scans all rows of a provider later.
-- Outcomes: confirmed, refunded, canceled, repeated, ignored (it changes nothing), review,
-- event_reused (the id came earlier with another body), unknown_payment.
create function payments.confirm_many(
  providers text[], event_ids text[], digests bytea[], order_ids text[], provider_refs text[], statuses text[],
  paid_minors bigint[], currencies text[], refunded_minors bigint[], occurred_ats timestamptz[]
) returns table (
  outcome text, review text, payment_id bigint, invoice_id text, client_id uuid,
  balance_minor bigint, held_minor bigint, version bigint, revision bigint, debt_minor bigint
)
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
#variable_conflict use_column
declare
  firsts payments.incoming[];
  others payments.incoming[]; -- further events of a payment or of an id: applied one by one, in order
  ids bigint[];
  returns_money boolean;
  decided payments.decision[];
  other payments.incoming;
begin
  with e as (
    select e.*, coalesce(
        (select p.id from (select o.id, o.provider from payments.payments o where o.order_id = e.order_id offset 0) p
          where p.provider = e.provider),
        (select p.id from (select o.id, o.provider from payments.payments o
                            where o.credited_ref = e.provider_ref and o.credited_ref is not null offset 0) p
          where p.provider = e.provider),
        (select p.id from payments.payments p where p.provider = e.provider and p.provider_ref = e.provider_ref),
        -- The return of a second payment has that payment's own reference, which only the review of it contains.
        (select min(s.payment_id) from (select r.payment_id, r.provider from payments.events r
                                         where r.provider_ref = e.provider_ref and r.review is not null offset 0) s
          where s.provider = e.provider)
      ) as payment_id
      from unnest(providers, event_ids, digests, order_ids, provider_refs, statuses, paid_minors, currencies,
                  refunded_minors, occurred_ats) with ordinality
        as e (provider, event_id, body_sha256, order_id, provider_ref, status, paid_minor, currency,
              refunded_minor, occurred_at, ord)
  ), ranked as (
    select row (ord, provider, event_id, body_sha256, payment_id, order_id, provider_ref, status, paid_minor,
                currency, refunded_minor, occurred_at)::payments.incoming as event, ord, payment_id,
           status in ('refunded', 'partial_refund') or refunded_minor > 0 as returns_money,
           row_number() over (partition by coalesce(payment_id, -ord) order by ord) = 1
           and row_number() over (partition by provider, event_id order by ord) = 1 as is_first
      from e
  )
  select array_agg(event order by ord) filter (where is_first),
         array_agg(event order by ord) filter (where not is_first),
         array_agg(payment_id), bool_or(r.returns_money)
    into firsts, others, ids, returns_money from ranked r;

  perform from payments.payments p where p.id = any (ids) order by p.id for no key update;
  if returns_money or others is not null then -- lock every wallet now, in order; later each would be locked when needed
    perform from wallet.wallets w
      where w.client_id = any (array(select p.client_id from payments.payments p where p.id = any (ids)))
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
      left join lateral (select * from payments.payments where id = d.payment_id offset 0) p on true
      left join lateral (select * from wallet.wallets where client_id = p.client_id offset 0) w on true
     order by d.ord;
end
$$;

revoke all on function payments.apply_events(payments.incoming[]),
  payments.is_reviewed(bigint, text, text, bigint, text, bigint),
  payments.is_reviewed_otherwise(bigint, text, bigint, text) from public;
revoke all on function payments.confirm_many(
  text[], text[], bytea[], text[], text[], text[], bigint[], text[], bigint[], timestamptz[]) from public;
grant execute on function payments.confirm_many(
  text[], text[], bytea[], text[], text[], text[], bigint[], text[], bigint[], timestamptz[]) to evpower_app;

-- Several approved attempts of one bill, refunds at the bank, and what a provider's answer may lack.
alter table payments.payments
  add column page_url text,                          -- the provider's page to pay on
  add column create_count int not null default 1,    -- how often the provider was called to create the bill
  add column ask_at timestamptz,                     -- when a notice last had the provider asked, or will have
  add column doubted_at timestamptz,                 -- when that notice came, if it proved nothing
  add column without_token boolean not null default false, -- an app of before began it, which sends none
  add column attempt_of bigint references payments.payments; -- the bill of which this is a further approved attempt
alter table payments.payments
  drop constraint payments_confirmed_in_full,
  add constraint payments_confirmed_in_full check (
    credited_minor is null
    or (paid_minor is not null and paid_minor >= amount_minor and confirmed_at is not null)),
  add constraint payments_attempts_are_credited check (attempt_of is null or credited_ref is not null);
create index payments_by_bill on payments.payments (attempt_of) where attempt_of is not null;
create index payments_doubted on payments.payments (doubted_at) where doubted_at is not null;

-- Money that is credited may need a decision too: what is over the bill, and a bill that is paid twice.
alter table payments.events
  drop constraint events_reviewed_with_a_reason,
  add constraint events_reviewed_with_a_reason check (
    case outcome when 'confirmed' then coalesce(review in ('overpaid', 'paid_twice'), true)
                 else (review is not null) = (outcome in ('review', 'event_reused')) end);

-- As it was; a further attempt stays one of its bill.
create or replace function payments.guard_payment() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  if (new.id, new.client_id, new.amount_minor, new.currency, new.provider, new.invoice_id, new.order_id,
      new.attempt_of)
     is distinct from
     (old.id, old.client_id, old.amount_minor, old.currency, old.provider, old.invoice_id, old.order_id,
      old.attempt_of) then
    raise exception 'payment % keeps its client, amount, currency, provider, invoice, order and bill', old.id
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

-- When a bill that is paid or canceled is asked about again: hourly, until a day after it could last be paid, a
-- quarter of an hour after it expired; null: no more.
create function payments.late_check(payment payments.payments) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case when payment.attempt_of is null and now() < payment.created_at + interval '24 hours 20 minutes'
              then now() + interval '1 hour' end
$$;
revoke all on function payments.late_check(payments.payments) from public;

alter type payments.incoming add attribute doubt text; -- why an operator must decide, whatever the amounts are
alter type payments.decision add attribute is_further boolean; -- a further attempt: credited as a payment of its own

-- Applies events of different payments with different ids; the caller holds the payments' locks.
-- A payment is credited only if at least its amount was paid, once, by a known reference of its own; a further
-- reference that pays a credited bill again is a payment of its own. What is over the bill, and any other event that
-- reports money, goes to review: an event is `ignored` only if it reports no money, and `repeated` only if all its
-- facts are known.
create or replace function payments.apply_events(batch payments.incoming[]) returns payments.decision[]
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
  any_further boolean;
begin
  with e as (
    select i.ord, i.provider, i.event_id, i.body_sha256, coalesce(a.id, i.payment_id) as payment_id, i.order_id,
           i.provider_ref, i.status, i.paid_minor, i.currency, i.refunded_minor, i.occurred_at,
           -- What an operator entered by hand is not credited once more, nor by its return; its receipt names the invoice or
           -- the reference.
           case when i.doubt is not null or i.status in ('canceled', 'processing') or i.provider_ref = p.credited_ref
                then i.doubt
                when exists (select from payments.payments c where c.provider = 'manual'
                                and c.provider_ref in (p.invoice_id, i.provider_ref)) then 'entered_as_cash'
                end as doubt,
           p.status as old_status, p.amount_minor as due, p.provider_ref as bill_ref, p.refunded_minor as old_refunded, p.credited_ref,
           p.paid_minor as credited_paid, p.credited_minor is not null as credited,
           p.resolved_at is not null as resolved,
           coalesce(i.currency = p.currency, false) as is_own_currency,
           coalesce(i.provider_ref, p.provider_ref) as reference,
           coalesce(i.paid_minor, 0) = 0 and coalesce(i.refunded_minor, 0) = 0 as without_money,
           case i.status when 'refunded' then coalesce(i.refunded_minor, p.amount_minor)
                         else coalesce(i.refunded_minor, 0) end as returned,
           s.body_sha256 <> i.body_sha256 as reused, s.outcome as seen_outcome
      from unnest(batch) i
      -- A further attempt that is credited already is a payment of its own.
      left join lateral (select o.id from (select x.id, x.provider, x.attempt_of from payments.payments x
                                            where x.credited_ref = i.provider_ref and x.credited_ref is not null
                                           offset 0) o
                          where o.provider = i.provider and o.attempt_of = i.payment_id) a on true
      left join lateral (select * from payments.payments where id = coalesce(a.id, i.payment_id) offset 0) p on true
      left join lateral (select * from payments.events s where s.provider = i.provider
                          and s.event_id = i.event_id and s.reuse = '' offset 0) s on true
  ), r as (
    select e.*,
      exists (select from payments.payments o where o.provider = e.provider
                 and o.provider_ref = e.reference and o.id <> e.payment_id)
      or exists (select from (select o.id, o.provider from payments.payments o
                    where o.credited_ref = e.reference and o.credited_ref is not null offset 0) o
                  where o.provider = e.provider and o.id <> e.payment_id) as is_of_another,
      -- A canceled attempt that is later than the credited one may be the return of its money, which no order explains.
      coalesce(credited and status = 'canceled' and without_money and paid_minor is null and old_refunded = 0
        and provider_ref <> credited_ref
        and exists (select from (select x.provider_ref, x.status, x.occurred_at from payments.events x
                                  where x.payment_id = e.payment_id offset 0) s
                     where s.provider_ref = credited_ref and s.status = 'approved' and s.occurred_at < e.occurred_at)
        and not exists (select from payments.bank_refunds b where b.payment_id = e.payment_id and b.ended_at is null),
        false) as is_return
      from e
  ), w as materialized (
    select r.*, case -- the reason for a review; null: none
        when doubt is not null then doubt
        when is_return then 'contradictory'
        when credited and provider_ref is distinct from credited_ref then case
          when provider_ref is null then 'reference_missing'
          when returned > 0 then 'second_payment_returned'
          else 'paid_twice' end
        when status in ('canceled', 'processing') then 'contradictory'
        when resolved and not credited then
          case when returned > 0 then 'returned_after_resolution' else 'paid_after_resolution' end
        when not is_own_currency then 'currency_mismatch'
        when credited and paid_minor <> credited_paid
             or not credited and (paid_minor is null or paid_minor < due or paid_minor > due and returned > 0)
          then 'amount_mismatch'
        when credited and credited_paid > due and returned > old_refunded then 'overpaid_returned'
        when returned > due then 'refund_exceeds'
        when case status when 'approved' then returned > 0
                         when 'refunded' then returned < due
                         else returned in (0, due) end then 'contradictory'
        when credited then null
        when reference is null then 'reference_missing'
        when is_of_another then 'reference_of_another' end as problem,
      -- Paid once more by another reference: a payment of its own, unless an operator was asked about that reference.
      -- The bill's own reference may mean the same money as a transaction's.
      credited and doubt is null and status = 'approved' and returned = 0 and is_own_currency and paid_minor >= due
        and provider_ref <> credited_ref and bill_ref is distinct from provider_ref
        and bill_ref is distinct from credited_ref and not is_of_another
        and not exists (select from (select x.provider_ref, x.outcome from payments.events x
                                      where x.payment_id = r.payment_id offset 0) s
                         where s.provider_ref = r.provider_ref and s.outcome in ('review', 'event_reused'))
        as is_further
      from r
  ), d as materialized (
    select w.*, case
        when reused then case when (select true from payments.events s where s.provider = w.provider
                                and s.event_id = w.event_id and s.reuse = w.body_sha256)
                              then 'repeated' else 'event_reused' end
        when seen_outcome <> 'unknown_payment' then 'repeated'
        when old_status is null then 'unknown_payment'
        when doubt is not null then case when payments.is_reviewed(
               payment_id, provider_ref, status, paid_minor, currency, refunded_minor) then 'repeated' else 'review' end
        when status = 'processing' and returned = 0 then 'ignored'
        when status = 'canceled' and without_money and not credited then
          case old_status when 'processing' then 'canceled' else 'ignored' end
        -- An older "nothing was paid" may arrive late. A cancellation without an amount may be a reversal.
        when status = 'canceled' and without_money
             and (paid_minor = 0 or provider_ref <> credited_ref) and not is_return then 'ignored'
        -- Some providers only say that it was returned, not how much.
        when status = 'canceled' and without_money and provider_ref = credited_ref and is_own_currency
             and old_refunded = due then 'ignored'
        when status = 'partial_refund' and refunded_minor is null and provider_ref = credited_ref and is_own_currency
             and coalesce(paid_minor = credited_paid, true) and old_refunded between 1 and due - 1 then 'repeated'
        when is_further then 'confirmed'
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
                          else problem end
                        when 'confirmed' then case when paid_minor > due then 'overpaid'
                                                   when is_further then 'paid_twice' end end,
           reference,
           case when outcome in ('confirmed', 'refunded') and not coalesce(is_further, false)
                then returned - old_refunded end,
           seen_outcome is not null, outcome = 'confirmed' and coalesce(is_further, false))::payments.decision),
         array_agg(payment_id) filter (where outcome = 'confirmed' and not coalesce(is_further, false)),
         array_agg(payment_id) filter (where outcome in ('confirmed', 'canceled', 'review', 'event_reused')
                                         and not (outcome = 'confirmed' and coalesce(is_further, false))),
         bool_or(outcome = 'confirmed' and is_further)
    into decided, confirmed, touched, any_further from d;

  update payments.payments p
     set status = case d.outcome when 'confirmed' then 'approved' when 'canceled' then 'canceled' else p.status end,
         paid_minor = case when p.credited_minor is null and d.outcome in ('confirmed', 'review')
                           then coalesce(case when d.currency = p.currency then d.paid_minor end, p.paid_minor)
                           else p.paid_minor end,
         confirmed_at = case d.outcome when 'confirmed' then now() else p.confirmed_at end,
         credited_ref = case d.outcome when 'confirmed' then d.reference else p.credited_ref end,
         review = case when d.review is not null then d.review
                       when p.review = 'no_reference' and d.outcome in ('confirmed', 'canceled') then null
                       when p.review is not null and d.outcome = 'confirmed'
                            and payments.is_reviewed_otherwise(d.payment_id, d.provider_ref) then 'several_amounts'
                       else p.review end,
         closed_at = case when d.outcome <> 'event_reused' then coalesce(p.closed_at, now()) else p.closed_at end,
         next_check_at = case when d.outcome <> 'event_reused' then payments.late_check(p) else p.next_check_at end,
         updated_at = now()
    from unnest(decided) d
   where p.id = any (touched) and p.id = d.payment_id; -- by key, so that the plan never scans the whole table

  if any_further then
    for i in 1 .. cardinality(decided) loop
      known := decided[i];
      if known.is_further then
        insert into payments.payments (invoice_id, order_id, client_id, provider, provider_ref, credited_ref, method,
                                       amount_minor, currency, status, paid_minor, confirmed_at, review, description,
                                       expires_at, closed_at, create_count, attempt_of)
        select p.invoice_id || '/' || n, p.order_id || '/' || n, p.client_id, p.provider, known.provider_ref,
               known.provider_ref, p.method, p.amount_minor, p.currency, 'approved', known.paid_minor, now(),
               known.review, p.description, p.expires_at, now(), 0, p.id
          from payments.payments p
         cross join lateral (select 2 + count(*) as n from payments.payments o where o.attempt_of = p.id) x
         where p.id = known.payment_id
        returning id into known.payment_id;
        decided[i] := known;
        confirmed := confirmed || known.payment_id;
      end if;
    end loop;
  end if;

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

drop function payments.confirm_many(
  text[], text[], bytea[], text[], text[], text[], bigint[], text[], bigint[], timestamptz[]);
-- As it was, with the doubts; events of a further attempt are first those of its bill.
create function payments.confirm_many(
  providers text[], event_ids text[], digests bytea[], order_ids text[], provider_refs text[], statuses text[],
  paid_minors bigint[], currencies text[], refunded_minors bigint[], occurred_ats timestamptz[],
  doubts text[]
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
        (select p.id from (select coalesce(o.attempt_of, o.id) as id, o.provider from payments.payments o
                            where o.order_id = e.order_id offset 0) p
          where p.provider = e.provider),
        (select p.id from (select coalesce(o.attempt_of, o.id) as id, o.provider from payments.payments o
                            where o.credited_ref = e.provider_ref and o.credited_ref is not null offset 0) p
          where p.provider = e.provider),
        (select coalesce(p.attempt_of, p.id) from payments.payments p
          where p.provider = e.provider and p.provider_ref = e.provider_ref),
        -- The return of a second payment has that payment's own reference, which only the review of it contains.
        (select coalesce(p.attempt_of, p.id) from payments.payments p
          where p.id = (select min(s.payment_id) from (select r.payment_id, r.provider from payments.events r
                                where r.provider_ref = e.provider_ref and r.review is not null offset 0) s
                         where s.provider = e.provider))
      ) as payment_id
      from unnest(providers, event_ids, digests, order_ids, provider_refs, statuses, paid_minors, currencies,
                  refunded_minors, occurred_ats, doubts) with ordinality
        as e (provider, event_id, body_sha256, order_id, provider_ref, status, paid_minor, currency,
              refunded_minor, occurred_at, doubt, ord)
  ), ranked as (
    select row (ord, provider, event_id, body_sha256, payment_id, order_id, provider_ref, status, paid_minor,
                currency, refunded_minor, occurred_at, doubt)::payments.incoming as event, ord, payment_id,
           status in ('refunded', 'partial_refund') or refunded_minor > 0 as returns_money,
           row_number() over (partition by coalesce(payment_id, -ord) order by ord) = 1
           and row_number() over (partition by provider, event_id order by ord) = 1 as is_first
      from e
  )
  select array_agg(event order by ord) filter (where is_first),
         array_agg(event order by ord) filter (where not is_first),
         array_agg(payment_id), bool_or(r.returns_money)
    into firsts, others, ids, returns_money from ranked r;

  perform from payments.payments p where p.id = any (ids) or p.attempt_of = any (ids)
    order by p.id for no key update;
  -- Money is entered by hand before these events are decided, or sees what they credit. After the payments and before
  -- the wallets: whoever enters money or decides a review locks in this order, too.
  perform pg_advisory_xact_lock_shared(hashtextextended('payments.receipts', 0));
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
revoke all on function payments.confirm_many(
  text[], text[], bytea[], text[], text[], text[], bigint[], text[], bigint[], timestamptz[], text[]) from public;
grant execute on function payments.confirm_many(
  text[], text[], bytea[], text[], text[], text[], bigint[], text[], bigint[], timestamptz[], text[]) to evpower_app;


-- Returns of a payment's money to its payer that an operator ordered at the provider.
create table payments.bank_refunds (
  id bigint generated always as identity primary key,
  payment_id bigint not null references payments.payments,
  key text not null unique check (length(key) between 1 and 200), -- makes it happen once
  amount_minor bigint not null check (amount_minor > 0),
  refunded_before_minor bigint not null check (refunded_before_minor >= 0), -- of the payment, when it was ordered
  actor text not null check (length(actor) between 1 and 200),
  reason text not null check (length(reason) between 1 and 500),
  state text not null default 'requested' check (state in ('requested', 'returned', 'refused', 'unknown')),
  requested_at timestamptz not null,
  ended_at timestamptz,                              -- when the outcome was known
  constraint bank_refunds_end check ((ended_at is null) = (state in ('requested', 'unknown')))
);
-- One at a time: what a payment was returned of must be known before more is.
create unique index bank_refunds_open on payments.bank_refunds (payment_id) where ended_at is null;
create index bank_refunds_by_payment on payments.bank_refunds (payment_id);
grant select, insert, update (state, ended_at) on payments.bank_refunds to evpower_app;

create function payments.guard_bank_refund() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'UPDATE' and old.ended_at is null
     and (new.state = old.state or new.state <> 'requested')
     and (new.id, new.payment_id, new.key, new.amount_minor, new.refunded_before_minor, new.actor, new.reason,
          new.requested_at)
         is not distinct from
         (old.id, old.payment_id, old.key, old.amount_minor, old.refunded_before_minor, old.actor, old.reason,
          old.requested_at) then
    return new;
  end if;
  raise exception 'refund % at the bank stays as it is', old.id using errcode = 'restrict_violation';
end
$$;
create trigger bank_refunds_stay before update or delete on payments.bank_refunds
  for each row execute function payments.guard_bank_refund();
create trigger bank_refunds_are_kept before truncate on payments.bank_refunds
  for each statement execute function payments.guard_bank_refund();

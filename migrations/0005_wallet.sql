-- A client's prepaid money. Other schemas change it only through the functions below.
-- Constraints and triggers refuse wrong states, in psql too.
create schema wallet;
grant usage on schema wallet to evpower_app;

-- Balance, money on hold, debts, and the number of transactions. Never index the balance, so that updates stay HOT.
create table wallet.wallets (
  client_id uuid primary key references identity.clients,
  currency char(3) not null default 'KGS',
  balance_minor bigint not null default 0 check (balance_minor >= 0),
  held_minor bigint not null default 0,
  debt_minor bigint not null default 0 check (debt_minor >= 0),  -- sum of open debts
  version bigint not null default 0 check (version >= 0),        -- of the last transaction
  revision bigint not null default 0,                            -- of the row; holds raise it too
  spent_minor bigint not null default 0 check (spent_minor >= 0), -- charges less their refunds
  last_topup_at timestamptz,                                     -- when the newest credited payment was confirmed
  chain_version bigint generated always as (nullif(version, 0)) stored,
  updated_at timestamptz not null default now(),
  check (held_minor between 0 and balance_minor),
  check (version > 0 or balance_minor = 0),
  unique (client_id, currency)
) with (fillfactor = 70);

-- A payment has its wallet's currency: there are no exchange rates.
alter table payments.payments add constraint payments_in_the_wallets_currency
  foreign key (client_id, currency) references wallet.wallets (client_id, currency);

create type wallet.transaction_kind as enum ('topup', 'charge', 'refund');

-- A refund order: of a charge (to the wallet), or of a payment that the provider returned (to the bank).
create table wallet.refunds (
  id bigint generated always as identity primary key,
  client_id uuid not null references wallet.wallets,
  settlement_id bigint references charging.settlements,
  payment_id bigint references payments.payments,
  amount_minor bigint not null check (amount_minor > 0),
  posted_minor bigint,                                -- signed, as in wallet.transactions; null until posted
  correction_minor bigint not null default 0,         -- the part that corrects a bill; the rest is goodwill
  collects_debt_id bigint,
  actor text not null check (length(actor) between 1 and 200),
  reason text not null check (length(reason) between 1 and 500),
  provider_ref text,
  created_at timestamptz not null default now(),
  posted_at timestamptz,
  check (num_nonnulls(settlement_id, payment_id) = 1),
  check ((posted_minor is null) = (posted_at is null)),
  check (settlement_id is null or posted_minor = amount_minor),
  check (payment_id is null or posted_minor between -amount_minor and 0),
  constraint refunds_correct_a_charge check (correction_minor between 0 and amount_minor
    and (correction_minor = 0 or num_nonnulls(settlement_id, posted_minor) = 2)),
  constraint refunds_collect_whole check (collects_debt_id is null
    or num_nonnulls(payment_id, posted_minor) = 2 and posted_minor = -amount_minor),
  unique (payment_id, provider_ref),
  unique (settlement_id, provider_ref),               -- an operator's reference is posted once
  unique (id, client_id, posted_minor)
);
create index refunds_collecting on wallet.refunds (collects_debt_id) where collects_debt_id is not null;
-- The processes may insert an order; only the functions below post it or turn it into a correction.
grant insert (client_id, settlement_id, payment_id, amount_minor, actor, reason, provider_ref)
  on wallet.refunds to evpower_app;

-- One change of a wallet's balance, stored for ever. A row starts with the balance of the previous one, and has exactly
-- one cause with the same client and amount.
create table wallet.transactions (
  client_id uuid not null,
  version bigint not null check (version > 0),
  prev_version bigint generated always as (nullif(version - 1, 0)) stored,
  amount_minor bigint not null,
  balance_before_minor bigint not null,
  balance_after_minor bigint not null check (balance_after_minor >= 0),
  payment_id bigint,
  settlement_id bigint,
  refund_id bigint,
  event_at timestamptz not null,                      -- when it happened in the real world
  created_at timestamptz not null default now(),
  id uuid not null default gen_random_uuid(),
  kind wallet.transaction_kind not null,
  primary key (client_id, version),
  constraint transactions_add_up check (balance_after_minor = balance_before_minor + amount_minor),
  constraint transactions_start_at_nothing check (version > 1 or balance_before_minor = 0),
  constraint transactions_sign_and_cause check (case kind
    when 'topup' then amount_minor > 0 and payment_id is not null and settlement_id is null and refund_id is null
    when 'charge' then amount_minor < 0 and settlement_id is not null and payment_id is null and refund_id is null
    when 'refund' then amount_minor <> 0 and refund_id is not null and payment_id is null and settlement_id is null
    end),
  constraint transactions_chain_key unique (client_id, version, balance_after_minor),
  constraint transactions_chain foreign key (client_id, prev_version, balance_before_minor)
    references wallet.transactions (client_id, version, balance_after_minor),
  constraint transactions_payment foreign key (payment_id, client_id, amount_minor)
    references payments.payments (id, client_id, credited_minor),
  constraint transactions_settlement foreign key (settlement_id, client_id, amount_minor)
    references charging.settlements (id, client_id, debit_minor),
  constraint transactions_refund foreign key (refund_id, client_id, amount_minor)
    references wallet.refunds (id, client_id, posted_minor)
);
create unique index transactions_payment_key on wallet.transactions (payment_id) where payment_id is not null;
create unique index transactions_settlement_key on wallet.transactions (settlement_id) where settlement_id is not null;
create unique index transactions_refund_key on wallet.transactions (refund_id) where refund_id is not null;
create index transactions_created on wallet.transactions using brin (created_at) with (autosummarize = on);

-- A balance can't be changed without a transaction, not even by an administrator in psql.
alter table wallet.wallets add constraint wallets_rest_on_a_transaction
  foreign key (client_id, chain_version, balance_minor)
  references wallet.transactions (client_id, version, balance_after_minor) deferrable initially deferred;

-- Money reserved for a running session. No balance change; resolved once.
create table wallet.holds (
  session_id uuid primary key,
  client_id uuid not null references wallet.wallets,
  amount_minor bigint not null check (amount_minor >= 0),
  state text not null default 'open' check (state in ('open', 'released', 'charged')),
  created_at timestamptz not null default now(),
  resolved_at timestamptz,
  check ((state = 'open') = (resolved_at is null)),
  foreign key (session_id, client_id) references charging.sessions (id, client_id)
);
create index holds_open on wallet.holds (client_id) where state = 'open';

-- A client's debt, because the balance was too small for a bill or a bank's reversal. It is collected from the next
-- credit; the part that a later bill no longer charges is forgiven.
create table wallet.debts (
  id bigint generated always as identity primary key,
  client_id uuid not null references wallet.wallets,
  settlement_id bigint unique references charging.settlements,
  refund_id bigint unique references wallet.refunds,
  amount_minor bigint not null check (amount_minor > 0),
  collected_minor bigint not null default 0 check (collected_minor >= 0),
  forgiven_minor bigint not null default 0 check (forgiven_minor >= 0),
  created_at timestamptz not null default now(),
  check (num_nonnulls(settlement_id, refund_id) = 1),
  check (collected_minor + forgiven_minor <= amount_minor),
  check (forgiven_minor = 0 or settlement_id is not null)
);
create index debts_open on wallet.debts (client_id, id) where collected_minor + forgiven_minor < amount_minor;

create index settlements_collecting on charging.settlements (collects_debt_id) where collects_debt_id is not null;
alter table charging.settlements add constraint settlements_collect_debt
  foreign key (collects_debt_id) references wallet.debts;
alter table wallet.refunds add constraint refunds_collect_debt
  foreign key (collects_debt_id) references wallet.debts;

-- What other schemas read of a wallet, and of its transactions with the payment or settlement each comes from.
create view wallet.balances as
select w.client_id, w.currency, w.balance_minor, w.balance_minor * 0.01 as balance_som,
       w.held_minor, w.held_minor * 0.01 as held_som, w.debt_minor, w.debt_minor * 0.01 as debt_som,
       w.version, w.revision, w.updated_at
  from wallet.wallets w;
create view wallet.transactions_public as
select t.id, t.client_id, t.version, t.kind, t.amount_minor, t.amount_minor * 0.01 as amount_som,
       t.balance_before_minor, t.balance_before_minor * 0.01 as balance_before_som,
       t.balance_after_minor, t.balance_after_minor * 0.01 as balance_after_som,
       coalesce(t.payment_id, r.payment_id) as payment_id,
       coalesce(t.settlement_id, r.settlement_id) as settlement_id, t.event_at, t.created_at
  from wallet.transactions t
  left join wallet.refunds r on r.id = t.refund_id;

grant select on all tables in schema wallet to evpower_app;

-- Every new client gets a wallet at version 0.
create function wallet.open_wallet() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into wallet.wallets (client_id) values (new.id);
  return null;
end
$$;
create trigger clients_have_a_wallet after insert on identity.clients
  for each row execute function wallet.open_wallet();
alter table identity.clients add constraint clients_wallet
  foreign key (id) references wallet.wallets (client_id) deferrable initially deferred;

-- Transactions are append-only and never ahead of their wallet, so a forged row has no matching wallet.
create function wallet.refuse_change() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception '%.% is append-only', tg_table_schema, tg_table_name using errcode = 'restrict_violation';
end
$$;
create trigger transactions_are_append_only before update or delete on wallet.transactions
  for each statement execute function wallet.refuse_change();
create trigger transactions_are_kept before truncate on wallet.transactions
  for each statement execute function wallet.refuse_change();
create trigger wallets_are_kept before delete or truncate on wallet.wallets
  for each statement execute function wallet.refuse_change();

create function wallet.check_posted() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from posted p join wallet.wallets w using (client_id) where w.version < p.version) then
    raise exception 'a transaction is ahead of its wallet' using errcode = 'check_violation';
  end if;
  return null;
end
$$;
create trigger transactions_match_their_wallet after insert on wallet.transactions
  referencing new table as posted for each statement execute function wallet.check_posted();

-- A wallet's version only grows: it can't go back to an older transaction that matched once.
create function wallet.refuse_step_back() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'the wallet of % only moves forward, by its functions', old.client_id
    using errcode = 'check_violation';
end
$$;
create trigger wallets_move_forward before update on wallet.wallets for each row
  when (new.version < old.version or new.revision <= old.revision
        or (new.version = old.version) <> (new.balance_minor = old.balance_minor)
        or new.client_id <> old.client_id or new.currency <> old.currency
        or (new.version = old.version
            and (new.spent_minor, new.last_topup_at) is distinct from (old.spent_minor, old.last_topup_at)))
  execute function wallet.refuse_step_back();

-- At commit: held_minor is the sum of open holds, debt_minor the sum of open debts, and no client has a debt beside
-- free money.
create function wallet.check_reserved() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (
      select from wallet.wallets w where w.client_id = new.client_id and (
        w.debt_minor > 0 and w.balance_minor > w.held_minor
        or w.held_minor <> (select coalesce(sum(h.amount_minor), 0) from wallet.holds h
                          where h.client_id = w.client_id and h.state = 'open')
        or w.debt_minor <> (select coalesce(sum(d.amount_minor - d.collected_minor - d.forgiven_minor), 0)
                              from wallet.debts d
                             where d.client_id = w.client_id
                               and d.collected_minor + d.forgiven_minor < d.amount_minor))) then
    raise exception 'wallet of % does not match its open holds and debts', new.client_id
      using errcode = 'check_violation';
  end if;
  return null;
end
$$;
create constraint trigger wallets_match_holds_and_debts after update on wallet.wallets
  deferrable initially deferred for each row
  when (old.held_minor <> new.held_minor or old.debt_minor <> new.debt_minor or new.debt_minor > 0)
  execute function wallet.check_reserved();
create constraint trigger holds_match_their_wallet after insert or update on wallet.holds
  deferrable initially deferred for each row execute function wallet.check_reserved();
create constraint trigger debts_match_their_wallet after insert or update on wallet.debts
  deferrable initially deferred for each row execute function wallet.check_reserved();
create trigger holds_are_kept before delete or truncate on wallet.holds
  for each statement execute function wallet.refuse_change();
create trigger debts_are_kept before delete or truncate on wallet.debts
  for each statement execute function wallet.refuse_change();
create trigger refunds_are_kept before delete or truncate on wallet.refunds
  for each statement execute function wallet.refuse_change();

-- A hold grows while it is open and is resolved once.
create function wallet.guard_hold() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if old.state <> 'open' or new.amount_minor < old.amount_minor
     or (new.session_id, new.client_id, new.created_at)
        is distinct from (old.session_id, old.client_id, old.created_at) then
    raise exception 'the hold of session % is resolved once and never shrinks', old.session_id
      using errcode = 'check_violation';
  end if;
  return new;
end
$$;
create trigger holds_resolve_once before update on wallet.holds
  for each row execute function wallet.guard_hold();

-- A refund order is for its client's own charge or payment. It is posted once; later bills of the session may turn more
-- of it into a correction.
create function wallet.guard_refund() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'INSERT' then
    if new.settlement_id is not null and not exists (
         select from charging.settlements s where s.id = new.settlement_id and s.client_id = new.client_id)
       or new.payment_id is not null and not exists (
         select from payments.payments p where p.id = new.payment_id and p.client_id = new.client_id)
       or new.collects_debt_id is not null and not exists (
         select from wallet.debts d join wallet.refunds r on r.id = d.refund_id
          where d.id = new.collects_debt_id and r.payment_id = new.payment_id) then
      raise exception 'a refund is of something its client paid' using errcode = 'foreign_key_violation';
    end if;
  elsif (new.id, new.client_id, new.settlement_id, new.payment_id, new.amount_minor, new.collects_debt_id,
         new.actor, new.reason, new.provider_ref, new.created_at)
        is distinct from
        (old.id, old.client_id, old.settlement_id, old.payment_id, old.amount_minor, old.collects_debt_id,
         old.actor, old.reason, old.provider_ref, old.created_at)
     or old.posted_minor is not null
        and ((new.posted_minor, new.posted_at) is distinct from (old.posted_minor, old.posted_at)
             or new.correction_minor <= old.correction_minor) then
    raise exception 'refund % stays as it is', old.id using errcode = 'check_violation';
  end if;
  return new;
end
$$;
create trigger refunds_stay before insert or update on wallet.refunds
  for each row execute function wallet.guard_refund();

-- A debt keeps its cause and amount; its collected and forgiven parts only grow.
create function wallet.guard_debt() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if (new.id, new.client_id, new.settlement_id, new.refund_id, new.amount_minor, new.created_at)
       is distinct from
       (old.id, old.client_id, old.settlement_id, old.refund_id, old.amount_minor, old.created_at)
     or new.collected_minor < old.collected_minor or new.forgiven_minor < old.forgiven_minor then
    raise exception 'debt % stays as it is', old.id using errcode = 'check_violation';
  end if;
  return new;
end
$$;
create trigger debts_stay before update on wallet.debts for each row execute function wallet.guard_debt();

-- At commit: a session is settled exactly if it has bills; its facts are those of the last bill, and the bills' dues,
-- less corrections and forgiven debts, equal its cost.
create function wallet.check_bills(of_session uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (
      select from charging.sessions x
        left join lateral (
          select b.id, b.total_minor, b.energy_wh, b.ended_at from charging.settlements b
           where b.session_id = x.id and b.bill_number is not null
           order by b.bill_number desc limit 1) last on true
       where x.id = of_session and (
         (x.state = 'settled') is distinct from (last.id is not null)
         or last.id is not null and (
           x.billed_elsewhere
           or (x.cost_minor, x.energy_wh, x.ended_at)
              is distinct from (last.total_minor, last.energy_wh, last.ended_at)
           or x.cost_minor is distinct from
              (select sum(b.due_minor) from charging.settlements b
                where b.session_id = x.id and b.bill_number is not null)
              - (select coalesce(sum(r.correction_minor), 0)
                   from charging.settlements b join wallet.refunds r on r.settlement_id = b.id
                  where b.session_id = x.id)
              - (select coalesce(sum(d.forgiven_minor), 0)
                   from charging.settlements b join wallet.debts d on d.settlement_id = b.id
                  where b.session_id = x.id)))) then
    raise exception 'session % does not match its bills', of_session using errcode = 'check_violation';
  end if;
end
$$;
create function wallet.check_session() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform wallet.check_bills(new.id);
  return null;
end
$$;
create constraint trigger sessions_match_their_bills after insert or update on charging.sessions
  deferrable initially deferred for each row when (new.state = 'settled')
  execute function wallet.check_session();

-- At commit: a debt is the unpaid part of its bill or reversal, and its collected part is in the ledger.
create function wallet.check_debt(debt bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from wallet.debts d where d.id = debt and (
       d.amount_minor is distinct from coalesce(
         (select s.due_minor - s.debited_minor from charging.settlements s
           where s.id = d.settlement_id and s.client_id = d.client_id),
         (select r.amount_minor + r.posted_minor from wallet.refunds r
           where r.id = d.refund_id and r.client_id = d.client_id))
       or d.collected_minor <>
          (select coalesce(sum(s.debited_minor), 0) from charging.settlements s where s.collects_debt_id = d.id)
          - (select coalesce(sum(r.posted_minor), 0) from wallet.refunds r where r.collects_debt_id = d.id))) then
    raise exception 'debt % does not match what was due and what was collected', debt
      using errcode = 'check_violation';
  end if;
end
$$;
create function wallet.check_debts() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform wallet.check_debt(new.id);
  if new.forgiven_minor > 0 then
    perform wallet.check_bills((select s.session_id from charging.settlements s where s.id = new.settlement_id));
  end if;
  return null;
end
$$;
create constraint trigger debts_match_their_cause after insert or update on wallet.debts
  deferrable initially deferred for each row execute function wallet.check_debts();

-- At commit: a settlement's debited part is in the ledger, its unpaid part is a debt, and its refunded part is in
-- refunds.
create function wallet.check_settlement() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from charging.settlements s where s.id = new.id and (
       (s.debited_minor > 0) <> exists (select from wallet.transactions t where t.settlement_id = s.id)
       or s.due_minor - s.debited_minor <>
          coalesce((select d.amount_minor from wallet.debts d where d.settlement_id = s.id), 0)
       or s.refunded_minor <> (select coalesce(sum(r.posted_minor), 0) from wallet.refunds r
                                where r.settlement_id = s.id))) then
    raise exception 'settlement % does not match the ledger', new.id using errcode = 'check_violation';
  end if;
  if new.collects_debt_id is not null then
    perform wallet.check_debt(new.collects_debt_id);
  end if;
  return null;
end
$$;
create constraint trigger settlements_match_the_ledger after insert or update on charging.settlements
  deferrable initially deferred for each row execute function wallet.check_settlement();

-- At commit: a posted refund is in the ledger and is counted in its charge or payment.
create function wallet.check_refund() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from wallet.refunds r where r.id = new.id and (
       (r.posted_minor <> 0) <> exists (select from wallet.transactions t where t.refund_id = r.id)
       or r.payment_id is not null and r.amount_minor + r.posted_minor <>
          coalesce((select d.amount_minor from wallet.debts d where d.refund_id = r.id), 0)
       or r.settlement_id is not null and not exists (
         select from charging.settlements s where s.id = r.settlement_id and s.refunded_minor =
           (select sum(x.posted_minor) from wallet.refunds x where x.settlement_id = s.id)))) then
    raise exception 'refund % does not match the ledger', new.id using errcode = 'check_violation';
  end if;
  if new.payment_id is not null then
    perform wallet.check_payment(new.payment_id);
  end if;
  if new.collects_debt_id is not null then
    perform wallet.check_debt(new.collects_debt_id);
  end if;
  if new.correction_minor > 0 then
    perform wallet.check_bills((select s.session_id from charging.settlements s where s.id = new.settlement_id));
  end if;
  return null;
end
$$;
create constraint trigger refunds_match_the_ledger after insert or update on wallet.refunds
  deferrable initially deferred for each row when (new.posted_minor is not null)
  execute function wallet.check_refund();

-- At commit: a payment's refunded amount is the sum of its posted refunds.
create function wallet.check_payment(payment bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from payments.payments p where p.id = payment and p.refunded_minor <>
       (select coalesce(sum(r.amount_minor), 0) from wallet.refunds r
         where r.payment_id = p.id and r.posted_minor is not null and r.collects_debt_id is null)) then
    raise exception 'payment % does not match its refunds', payment using errcode = 'check_violation';
  end if;
end
$$;
create function wallet.check_payments() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform wallet.check_payment(new.id);
  return null;
end
$$;
create constraint trigger payments_match_refunds_when_made after insert on payments.payments
  deferrable initially deferred for each row when (new.refunded_minor <> 0)
  execute function wallet.check_payments();
create constraint trigger payments_match_refunds after update on payments.payments
  deferrable initially deferred for each row when (new.refunded_minor <> old.refunded_minor)
  execute function wallet.check_payments();

-- The result of every operation.
create type wallet.result as (
  outcome text,              -- posted, repeated, or why nothing was changed
  cause_id bigint,           -- the payment, settlement or refund of the call
  client_id uuid,
  transaction_id uuid,
  amount_minor bigint,       -- of the transaction, signed
  balance_minor bigint, held_minor bigint, version bigint, revision bigint,
  debt_minor bigint,         -- the client's open debts
  session_id uuid            -- of a charge or a correction
);

-- Collects a client's debts from the free balance. The caller's transaction has locked the wallet row.
create function wallet.collect_debts(for_client uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  w wallet.wallets;
  debt record;
  part bigint;
  cause bigint;
begin
  for debt in
    select d.id, d.settlement_id, d.refund_id,
           d.amount_minor - d.collected_minor - d.forgiven_minor as open_minor, s.session_id, r.payment_id
      from wallet.debts d
      left join charging.settlements s on s.id = d.settlement_id
      left join wallet.refunds r on r.id = d.refund_id
     where d.client_id = for_client and d.collected_minor + d.forgiven_minor < d.amount_minor
     order by d.id for no key update of d
  loop
    select * into strict w from wallet.wallets where client_id = for_client for no key update;
    part := least(debt.open_minor, w.balance_minor - w.held_minor);
    exit when part <= 0;
    if debt.settlement_id is not null then
      insert into charging.settlements (session_id, client_id, due_minor, debited_minor, collects_debt_id)
      values (debt.session_id, for_client, part, part, debt.id)
      returning id into strict cause;
    else
      insert into wallet.refunds (client_id, payment_id, amount_minor, posted_minor, posted_at,
                                  collects_debt_id, actor, reason)
      values (for_client, debt.payment_id, part, -part, now(), debt.id, 'wallet', 'debt collected')
      returning id into strict cause;
    end if;
    update wallet.debts set collected_minor = collected_minor + part where id = debt.id;
    update wallet.wallets
       set revision = revision + 1, updated_at = now(), version = version + 1,
           balance_minor = balance_minor - part, debt_minor = debt_minor - part,
           spent_minor = spent_minor + case when debt.settlement_id is not null then part else 0 end
     where client_id = for_client;
    insert into wallet.transactions (client_id, version, kind, amount_minor, balance_before_minor,
                                     balance_after_minor, settlement_id, refund_id, event_at)
    values (for_client, w.version + 1,
            case when debt.settlement_id is not null then 'charge' else 'refund' end::wallet.transaction_kind,
            -part, w.balance_minor, w.balance_minor - part,
            case when debt.settlement_id is not null then cause end,
            case when debt.refund_id is not null then cause end, now());
  end loop;
end
$$;

-- Credits confirmed payments by their own amounts; takes any number, in any order, with repeats.
-- Outcomes: posted, repeated, not_confirmed, not_found.
-- Every table is read by a key of the previous row (lateral, offset 0), so that a plan made while the tables were small
-- never scans whole tables later.
create function wallet.credit_many(payment_ids bigint[]) returns setof wallet.result
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  posted bigint[];
  debtor uuid;
begin
  perform from wallet.wallets w
    where w.client_id in (select p.client_id from payments.payments p where p.id = any (payment_ids))
    order by w.client_id for no key update;

  with due as materialized (
    select p.id, p.client_id, p.credited_minor as amount, p.confirmed_at as event_at,
           max(p.confirmed_at) over chain as last_event_at,
           w.version + row_number() over chain as version,
           w.balance_minor + sum(p.credited_minor) over chain as after
      from (select distinct unnest(payment_ids) as id) requested
     cross join lateral (select * from payments.payments p where p.id = requested.id offset 0) p
     cross join lateral (select * from wallet.wallets w where w.client_id = p.client_id offset 0) w
     where p.credited_minor is not null
       and (select true from wallet.transactions t where t.payment_id = requested.id) is null
    window chain as (partition by p.client_id order by p.id rows unbounded preceding)
  ), updated_wallets as (
    update wallet.wallets w
       set revision = w.revision + 1, updated_at = now(), balance_minor = x.after, version = x.version,
           last_topup_at = greatest(w.last_topup_at, x.last_event_at)
      from (select distinct on (client_id) client_id, version, after, last_event_at from due
             order by client_id, version desc) x
     where w.client_id = x.client_id
  ), inserted as (
    insert into wallet.transactions (client_id, version, kind, amount_minor, balance_before_minor,
                                     balance_after_minor, payment_id, event_at)
    select client_id, version, 'topup', amount, after - amount, after, id, event_at from due
    order by client_id, version
    returning payment_id
  ) select array_agg(payment_id) into posted from inserted;

  for debtor in
    select w.client_id
      from (select distinct p.client_id from unnest(posted) as credited (id)
             cross join lateral (select * from payments.payments p where p.id = credited.id offset 0) p) x
     cross join lateral (select * from wallet.wallets w where w.client_id = x.client_id offset 0) w
     where w.debt_minor > 0
     order by w.client_id
  loop
    perform wallet.collect_debts(debtor);
  end loop;

  return query
    select case when t.id is null then case when p.id is null then 'not_found' else 'not_confirmed' end
                when p.id = any (posted) then 'posted' else 'repeated' end,
           requested.id, p.client_id, t.id, t.amount_minor,
           w.balance_minor, w.held_minor, w.version, w.revision, w.debt_minor, null::uuid
      from (select distinct unnest(payment_ids) as id) requested
      left join lateral (select * from payments.payments p where p.id = requested.id offset 0) p on true
      left join lateral (select * from wallet.transactions t where t.payment_id = requested.id offset 0) t on true
      left join lateral (select * from wallet.wallets w where w.client_id = p.client_id offset 0) w on true;
end
$$;

create function wallet.credit(payment_id bigint) returns wallet.result
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select * from wallet.credit_many(array[payment_id])
$$;

-- Reserves money for a session; `closed` if the session is over, or its client may not spend: not active, banned, with
-- an unmapped status, or with a requested deletion.
-- Outcomes: held, repeated, resolved, insufficient, closed, not_found.
create function wallet.hold(for_session uuid, hold_minor bigint) returns wallet.result
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  owner record;
  existing wallet.holds;
  outcome text;
  w wallet.wallets;
begin
  if hold_minor is null or hold_minor <= 0 then
    raise exception 'a hold is more than nothing, not %', hold_minor using errcode = 'check_violation';
  end if;
  -- The session is locked, so that it does not end meanwhile and keep an open hold.
  select s.client_id, s.state, c.status = 'active' and c.deletion_requested_at is null
         and c.unmapped_status is null and coalesce(c.banned_until <= now(), true) as may_spend into owner
    from charging.sessions s join identity.clients c on c.id = s.client_id
   where s.id = for_session for no key update of s;
  if not found then
    return row ('not_found', null, null, null, null, null, null, null, null, null, null)::wallet.result;
  end if;
  select * into strict w from wallet.wallets where client_id = owner.client_id for no key update;
  select * into existing from wallet.holds where session_id = for_session;
  if found then
    outcome := case existing.state when 'open' then 'repeated' else 'resolved' end;
  elsif not owner.may_spend or owner.state not in ('requested', 'starting', 'charging', 'expired') then
    outcome := 'closed';
  elsif w.balance_minor - w.held_minor < hold_minor then
    outcome := 'insufficient';
  else
    outcome := 'held';
    insert into wallet.holds (session_id, client_id, amount_minor)
    values (for_session, owner.client_id, hold_minor);
    update wallet.wallets
       set revision = revision + 1, updated_at = now(), held_minor = held_minor + hold_minor
     where client_id = owner.client_id returning * into strict w;
  end if;
  return row (outcome, null, w.client_id, null, null, w.balance_minor, w.held_minor, w.version, w.revision,
              w.debt_minor, null)::wallet.result;
end
$$;

-- Raises an open hold to a new total if the free balance is enough; never lowers it.
-- Outcomes: held, repeated (already that high), insufficient, resolved, not_found.
create function wallet.extend_hold(for_session uuid, total_minor bigint) returns wallet.result
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  existing wallet.holds;
  outcome text;
  w wallet.wallets;
begin
  if total_minor is null or total_minor <= 0 then
    raise exception 'a hold is more than nothing, not %', total_minor using errcode = 'check_violation';
  end if;
  select * into existing from wallet.holds where session_id = for_session;
  if not found then
    return row ('not_found', null, null, null, null, null, null, null, null, null, null)::wallet.result;
  end if;
  select * into strict w from wallet.wallets where client_id = existing.client_id for no key update;
  select * into strict existing from wallet.holds where session_id = for_session;
  if existing.state <> 'open' then
    outcome := 'resolved';
  elsif existing.amount_minor >= total_minor then
    outcome := 'repeated';
  elsif w.balance_minor - w.held_minor < total_minor - existing.amount_minor then
    outcome := 'insufficient';
  else
    outcome := 'held';
    update wallet.holds set amount_minor = total_minor where session_id = for_session;
    update wallet.wallets
       set revision = revision + 1, updated_at = now(),
           held_minor = held_minor + total_minor - existing.amount_minor
     where client_id = existing.client_id returning * into strict w;
  end if;
  return row (outcome, null, w.client_id, null, null, w.balance_minor, w.held_minor, w.version, w.revision,
              w.debt_minor, null)::wallet.result;
end
$$;

-- Releases a hold; the client's debts are collected from the free money.
-- Outcomes: released, repeated, resolved (it was charged), not_found.
create function wallet.release_hold(for_session uuid) returns wallet.result
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  existing wallet.holds;
  outcome text;
  w wallet.wallets;
begin
  select * into existing from wallet.holds where session_id = for_session;
  if not found then
    return row ('not_found', null, null, null, null, null, null, null, null, null, null)::wallet.result;
  end if;
  select * into strict w from wallet.wallets where client_id = existing.client_id for no key update;
  select * into strict existing from wallet.holds where session_id = for_session;
  if existing.state = 'open' then
    outcome := 'released';
    update wallet.holds set state = 'released', resolved_at = now() where session_id = for_session;
    update wallet.wallets
       set revision = revision + 1, updated_at = now(), held_minor = held_minor - existing.amount_minor
     where client_id = existing.client_id returning * into strict w;
    if w.debt_minor > 0 then
      perform wallet.collect_debts(existing.client_id);
      select * into strict w from wallet.wallets where client_id = existing.client_id;
    end if;
  else
    outcome := case existing.state when 'released' then 'repeated' else 'resolved' end;
  end if;
  return row (outcome, null, w.client_id, null, null, w.balance_minor, w.held_minor, w.version, w.revision,
              w.debt_minor, null)::wallet.result;
end
$$;

-- Writes a session's next bill and debits its due amount from the free balance and its released hold. The unpaid part
-- becomes a debt. The caller has locked the session and the wallet.
create function wallet.bill(
  s charging.sessions, w wallet.wallets, number int, due bigint, freed bigint, by_actor text, for_reason text
) returns charging.settlements
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  debited bigint;
  bill charging.settlements;
begin
  debited := least(due, w.balance_minor - w.held_minor + freed);
  insert into charging.settlements (session_id, client_id, bill_number, total_minor, energy_wh, ended_at, due_minor,
                                    debited_minor, actor, reason)
  values (s.id, s.client_id, number, s.cost_minor, s.energy_wh, s.ended_at, due, debited, by_actor, for_reason)
  returning * into strict bill;
  if debited < due then
    insert into wallet.debts (client_id, settlement_id, amount_minor) values (s.client_id, bill.id, due - debited);
  end if;
  update wallet.wallets
     set revision = revision + 1, updated_at = now(), held_minor = held_minor - freed,
         balance_minor = balance_minor - debited, debt_minor = debt_minor + due - debited,
         spent_minor = spent_minor + debited, version = version + (debited > 0)::int
   where client_id = s.client_id;
  if debited > 0 then
    insert into wallet.transactions (client_id, version, kind, amount_minor, balance_before_minor,
                                     balance_after_minor, settlement_id, event_at)
    values (s.client_id, w.version + 1, 'charge', -debited, w.balance_minor, w.balance_minor - debited, bill.id,
            s.ended_at);
  end if;
  return bill;
end
$$;

-- Charges a finished session: writes its first bill, over its whole cost, resolves its hold and settles it. Older debts
-- are collected from the rest of the hold; other sessions' holds stay.
-- Outcomes: posted, repeated, nothing_due, not_finished, billed_elsewhere, not_found.
create function wallet.charge(for_session uuid) returns wallet.result
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  s charging.sessions;
  w wallet.wallets;
  bill charging.settlements;
  freed bigint;
  outcome text;
  txn wallet.transactions;
begin
  select * into s from charging.sessions where id = for_session for no key update; -- lock order: session, then wallet
  if not found then
    return row ('not_found', null, null, null, null, null, null, null, null, null, for_session)::wallet.result;
  end if;
  select * into strict w from wallet.wallets where client_id = s.client_id for no key update;
  if s.state = 'settled' then
    select * into strict bill from charging.settlements where session_id = for_session and bill_number = 1;
    outcome := case bill.due_minor when 0 then 'nothing_due' else 'repeated' end;
  elsif s.billed_elsewhere then
    outcome := 'billed_elsewhere';
  elsif s.state <> 'finished' then
    outcome := 'not_finished';
  else
    update wallet.holds set state = 'charged', resolved_at = now()
      where session_id = for_session and state = 'open' returning amount_minor into freed;
    update charging.sessions set state = 'settled' where id = for_session;
    bill := wallet.bill(s, w, 1, s.cost_minor, coalesce(freed, 0), null, null);
    outcome := case bill.due_minor when 0 then 'nothing_due' else 'posted' end;
    if w.debt_minor > 0 then -- there is an older debt, and the hold may have been larger than the bill
      perform wallet.collect_debts(s.client_id);
    end if;
    select * into strict w from wallet.wallets where client_id = s.client_id;
  end if;
  select * into txn from wallet.transactions where settlement_id = bill.id;
  return row (outcome, bill.id, w.client_id, txn.id, txn.amount_minor, w.balance_minor, w.held_minor, w.version,
              w.revision, w.debt_minor, for_session)::wallet.result;
end
$$;

create function wallet.charge_many(session_ids uuid[]) returns setof wallet.result
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  session uuid;
begin
  perform from charging.sessions x where x.id = any (session_ids) order by x.id for no key update;
  perform from wallet.wallets w
    where w.client_id in (select x.client_id from charging.sessions x where x.id = any (session_ids))
    order by w.client_id for no key update;
  for session in -- by client, the order in which triggers on wallets lock their own rows
    select a.id from (select distinct unnest(session_ids) as id) a
      left join charging.sessions x on x.id = a.id order by x.client_id, a.id
  loop
    return next wallet.charge(session);
  end loop;
end
$$;

-- Posts a refund order: to the wallet at most the debited amount of its charge (+), or to the bank the amount that the
-- provider returned (-). Outcomes: posted, repeated, exceeds, not_found.
create function wallet.refund(for_refund bigint) returns wallet.result
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  r wallet.refunds;
  w wallet.wallets;
  moved bigint;
  outcome text;
  txn wallet.transactions;
begin
  select * into r from wallet.refunds where id = for_refund;
  if not found then
    return row ('not_found', for_refund, null, null, null, null, null, null, null, null, null)::wallet.result;
  end if;
  if r.payment_id is not null then -- lock order: payment, then wallet, as in a confirmation
    perform from payments.payments where id = r.payment_id for no key update;
  end if;
  select * into strict w from wallet.wallets where client_id = r.client_id for no key update;
  select * into strict r from wallet.refunds where id = for_refund;
  if r.posted_minor is not null then
    outcome := 'repeated';
    select * into txn from wallet.transactions where refund_id = for_refund;
  else
    outcome := 'posted';
    if r.settlement_id is not null then
      moved := r.amount_minor;
      update charging.settlements set refunded_minor = refunded_minor + r.amount_minor
        where id = r.settlement_id and client_id = r.client_id
          and refunded_minor + r.amount_minor <= coalesce(debited_minor, 0);
    else
      moved := -least(r.amount_minor, w.balance_minor - w.held_minor);
      update payments.payments
         set refunded_minor = refunded_minor + r.amount_minor,
             status = case when refunded_minor + r.amount_minor = amount_minor then 'refunded'
                           else 'partial_refund' end, updated_at = now()
        where id = r.payment_id and client_id = r.client_id
          and refunded_minor + r.amount_minor <= coalesce(credited_minor, 0);
    end if;
    if not found then
      outcome := 'exceeds';
    else
      update wallet.refunds set posted_minor = moved, posted_at = now() where id = for_refund;
      if moved < 0 and -moved < r.amount_minor or moved = 0 then
        insert into wallet.debts (client_id, refund_id, amount_minor)
        values (r.client_id, r.id, r.amount_minor + moved);
      end if;
      update wallet.wallets
         set revision = revision + 1, updated_at = now(), balance_minor = balance_minor + moved,
             version = version + (moved <> 0)::int,
             debt_minor = debt_minor + case when r.payment_id is not null then r.amount_minor + moved else 0 end,
             spent_minor = spent_minor - case when r.settlement_id is not null then moved else 0 end
       where client_id = r.client_id;
      if moved <> 0 then
        insert into wallet.transactions (client_id, version, kind, amount_minor, balance_before_minor,
                                         balance_after_minor, refund_id, event_at)
        values (r.client_id, w.version + 1, 'refund', moved, w.balance_minor, w.balance_minor + moved, r.id,
                r.created_at)
        returning * into strict txn;
      end if;
      if moved > 0 and w.debt_minor > 0 then
        perform wallet.collect_debts(r.client_id);
      end if;
      select * into strict w from wallet.wallets where client_id = r.client_id;
    end if;
  end if;
  return row (outcome, for_refund, w.client_id, txn.id, txn.amount_minor, w.balance_minor, w.held_minor,
              w.version, w.revision, w.debt_minor, null)::wallet.result;
end
$$;

create function wallet.refund_many(refund_ids bigint[]) returns setof wallet.result
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  refund_id bigint;
begin
  perform from payments.payments p
    where p.id in (select r.payment_id from wallet.refunds r where r.id = any (refund_ids))
    order by p.id for no key update;
  perform from wallet.wallets w
    where w.client_id in (select r.client_id from wallet.refunds r where r.id = any (refund_ids))
    order by w.client_id for no key update;
  for refund_id in
    select a.id from (select distinct unnest(refund_ids) as id) a
      left join wallet.refunds r on r.id = a.id order by r.client_id, a.id
  loop
    return next wallet.refund(refund_id);
  end loop;
end
$$;

-- Lowers the sum of a session's bills. First its open debts are forgiven, then its charges are refunded, newest first;
-- if goodwill refunds have left too little of them, the goodwill itself becomes the correction, newest first. The caller
-- has locked the session and the wallet.
create function wallet.lower_bills(s charging.sessions, by_minor bigint, by_actor text, for_reason text)
returns bigint[] -- the refunds
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  rest bigint := by_minor;
  item record;
  part bigint;
  refund bigint;
  refunds bigint[] := '{}';
  posted text;
begin
  for item in
    select d.id, d.amount_minor - d.collected_minor - d.forgiven_minor as left_minor
      from charging.settlements b join wallet.debts d on d.settlement_id = b.id
     where b.session_id = s.id and d.collected_minor + d.forgiven_minor < d.amount_minor order by d.id desc
  loop
    part := least(rest, item.left_minor);
    exit when part = 0;
    update wallet.debts set forgiven_minor = forgiven_minor + part where id = item.id;
    update wallet.wallets set revision = revision + 1, updated_at = now(), debt_minor = debt_minor - part
     where client_id = s.client_id;
    rest := rest - part;
  end loop;
  for item in
    select b.id, b.debited_minor - b.refunded_minor as left_minor from charging.settlements b
     where b.session_id = s.id and b.refunded_minor < b.debited_minor order by b.id desc
  loop
    part := least(rest, item.left_minor);
    exit when part = 0;
    insert into wallet.refunds (client_id, settlement_id, amount_minor, actor, reason)
    values (s.client_id, item.id, part, by_actor, for_reason) returning id into strict refund;
    select r.outcome into strict posted from wallet.refund(refund) r;
    if posted <> 'posted' then
      raise exception 'refund % of settlement % is %', refund, item.id, posted;
    end if;
    update wallet.refunds set correction_minor = part where id = refund;
    refunds := refunds || refund;
    rest := rest - part;
  end loop;
  for item in
    select r.id, r.amount_minor - r.correction_minor as left_minor
      from charging.settlements b join wallet.refunds r on r.settlement_id = b.id
     where b.session_id = s.id and r.posted_minor is not null and r.correction_minor < r.amount_minor
     order by r.id desc
  loop
    part := least(rest, item.left_minor);
    exit when part = 0;
    update wallet.refunds set correction_minor = correction_minor + part where id = item.id;
    rest := rest - part;
  end loop;
  if rest > 0 then
    raise exception 'session % was billed % less than its cost', s.id, rest using errcode = 'check_violation';
  end if;
  return refunds;
end
$$;

-- Corrects a settled session: stores its new facts and writes its next bill. A higher cost is charged like the first
-- bill; a lower one is a correction, see above. Of several refunds the newest is returned, with the amount of all.
-- Outcomes: posted, repeated (these are its facts already), not_settled, end_before_start, not_found.
create function wallet.correct(
  for_session uuid, new_cost_minor bigint, new_energy_wh bigint, new_ended_at timestamptz, by_actor text,
  for_reason text
) returns wallet.result
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  s charging.sessions;
  w wallet.wallets;
  bill charging.settlements;
  billed_minor bigint;
  refunds bigint[];
  outcome text;
  txn wallet.transactions;
begin
  if num_nulls(new_cost_minor, new_energy_wh, new_ended_at, by_actor, for_reason) > 0 then
    raise exception 'a correction says cost, energy, end, actor and reason' using errcode = 'check_violation';
  end if;
  select * into s from charging.sessions where id = for_session for no key update; -- lock order: session, then wallet
  if not found then
    return row ('not_found', null, null, null, null, null, null, null, null, null, for_session)::wallet.result;
  end if;
  select * into strict w from wallet.wallets where client_id = s.client_id for no key update;
  if s.state <> 'settled' then
    outcome := 'not_settled';
  elsif new_ended_at < s.started_at then
    outcome := 'end_before_start';
  else
    select * into strict bill from charging.settlements
     where session_id = for_session and bill_number is not null order by bill_number desc limit 1;
    outcome := 'repeated';
    if (s.cost_minor, s.energy_wh, s.ended_at) is distinct from (new_cost_minor, new_energy_wh, new_ended_at) then
      outcome := 'posted';
      billed_minor := s.cost_minor;
      update charging.sessions set cost_minor = new_cost_minor, energy_wh = new_energy_wh, ended_at = new_ended_at
       where id = for_session returning * into strict s;
      bill := wallet.bill(s, w, bill.bill_number + 1, greatest(s.cost_minor - billed_minor, 0), 0, by_actor,
                          for_reason);
      refunds := wallet.lower_bills(s, greatest(billed_minor - s.cost_minor, 0), by_actor, for_reason);
      select * into strict w from wallet.wallets where client_id = s.client_id;
    end if;
    if cardinality(refunds) > 0 then
      select * into strict txn from wallet.transactions where refund_id = refunds[cardinality(refunds)];
      select sum(r.posted_minor) into strict txn.amount_minor from wallet.refunds r where r.id = any (refunds);
    else
      select * into txn from wallet.transactions where settlement_id = bill.id;
    end if;
  end if;
  return row (outcome, bill.id, w.client_id, txn.id, txn.amount_minor, w.balance_minor, w.held_minor, w.version,
              w.revision, w.debt_minor, for_session)::wallet.result;
end
$$;

revoke all on all functions in schema wallet from public;
grant execute on function wallet.credit_many(bigint[]), wallet.credit(bigint), wallet.hold(uuid, bigint),
  wallet.extend_hold(uuid, bigint), wallet.release_hold(uuid), wallet.charge(uuid),
  wallet.charge_many(uuid[]), wallet.correct(uuid, bigint, bigint, timestamptz, text, text),
  wallet.refund(bigint), wallet.refund_many(bigint[]) to evpower_app;

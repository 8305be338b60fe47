-- What providers have compared with what EvPower credited: each run, and each difference with an owner's decision.
create table payments.reconciliations (
  id bigint generated always as identity primary key,
  provider text not null check (length(provider) between 1 and 40),
  kind text not null check (kind in ('daily', 'on_demand')),
  source text not null check (source in ('list', 'status', 'file')), -- where the provider's side comes from
  since timestamptz not null,
  until timestamptz not null,                        -- not part of the period
  source_name text check (length(source_name) between 1 and 200), -- the file's name
  actor text not null check (length(actor) between 1 and 200),
  started_at timestamptz not null,
  finished_at timestamptz not null,
  ours_count int not null check (ours_count >= 0),
  ours_minor bigint not null check (ours_minor >= 0),
  ours_returned_minor bigint not null check (ours_returned_minor >= 0),
  theirs_count int not null check (theirs_count >= 0),
  theirs_minor bigint not null check (theirs_minor >= 0),
  theirs_returned_minor bigint not null check (theirs_returned_minor >= 0),
  difference_count int not null check (difference_count >= 0),
  constraint reconciliations_have_a_period check (since < until),
  constraint reconciliations_name_their_file check ((source = 'file') = (source_name is not null))
);
create index reconciliations_newest on payments.reconciliations (provider, id desc);
grant select, insert on payments.reconciliations to evpower_app;

-- A difference is open until a run finds both sides equal; an owner may decide about it before. Its facts stay.
create table payments.differences (
  id bigint generated always as identity primary key,
  provider text not null check (length(provider) between 1 and 40),
  subject text not null check (length(subject) between 1 and 200), -- the same in each run that finds it
  kind text not null check (kind in ('missing_at_ours', 'missing_at_theirs', 'amount_differs', 'returned_differs',
                                     'status_differs', 'currency_differs', 'twice_at_theirs', 'entered_as_cash')),
  payment_id bigint references payments.payments,
  reference text, order_id text,
  currency text not null, theirs_currency text not null, theirs_status text,
  ours_minor bigint not null check (ours_minor >= 0),
  theirs_minor bigint not null check (theirs_minor >= 0),
  ours_returned_minor bigint not null check (ours_returned_minor >= 0),
  theirs_returned_minor bigint check (theirs_returned_minor >= 0), -- null: returned, and the amount is unknown
  at timestamptz not null,                           -- when it was credited, else when the provider has it
  found_at timestamptz not null,
  first_run bigint not null references payments.reconciliations,
  last_run bigint not null references payments.reconciliations, -- that found it
  closed_at timestamptz,                             -- when both sides were found equal, or the facts changed
  decision text check (decision in ('review', 'explained')),
  decided_by text check (length(decided_by) between 1 and 200),
  decided_at timestamptz,
  reason text check (length(reason) between 1 and 500),
  constraint differences_are_decided_with_a_reason
    check (num_nonnulls(decision, decided_by, decided_at, reason) in (0, 4))
);
create unique index differences_open on payments.differences (provider, subject) where closed_at is null;
create index differences_undecided on payments.differences (id) where closed_at is null and decision is null;
create index differences_by_run on payments.differences (last_run);
create index differences_by_reference on payments.differences (reference) where reference is not null;
create index differences_by_order on payments.differences (order_id) where order_id is not null;
grant select, insert, update (last_run, closed_at, decision, decided_by, decided_at, reason)
  on payments.differences to evpower_app;

create function payments.guard_difference() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'UPDATE' and old.closed_at is null and new.last_run >= old.last_run
     and (old.decision is null or (new.decision, new.decided_by, new.decided_at, new.reason)
          is not distinct from (old.decision, old.decided_by, old.decided_at, old.reason)) then
    return new;
  end if;
  raise exception 'difference % stays as it is', coalesce(old.id, 0) using errcode = 'restrict_violation';
end
$$;
create trigger differences_stay before update or delete on payments.differences
  for each row execute function payments.guard_difference();
create trigger differences_are_kept before truncate on payments.differences
  for each statement execute function payments.guard_difference();

-- Which day of which provider is reconciled, and who is at it.
create table payments.reconciliation_days (
  provider text not null check (length(provider) between 1 and 40),
  day date not null,                                 -- in Asia/Bishkek
  next_at timestamptz not null,                      -- when it may be claimed: at first, after a failure, after a lease
  attempts int not null default 0 check (attempts >= 0),
  error text,                                        -- of the last attempt
  done_at timestamptz,
  primary key (provider, day)
);
create index reconciliation_days_due on payments.reconciliation_days (next_at) where done_at is null;
grant select, insert, update on payments.reconciliation_days to evpower_app;

-- What an operator accepted in a review, by the provider's reference.
create index events_accepted on payments.events (provider, provider_ref) where credited_by is not null;

-- Closed clients that have money are looked for again and again.
create index clients_closed on identity.clients (id) where status = 'closed';

-- Charging sessions and their settlements.
create schema charging;
grant usage on schema charging to evpower_app;

create table charging.sessions (
  id uuid primary key,
  client_id uuid not null references identity.clients,
  station_id text not null check (length(station_id) between 1 and 64),
  connector_id int not null check (connector_id between 1 and 1000),
  state text not null check (state in ('requested', 'starting', 'charging', 'stopping', 'finished', 'settled',
                                       'expired', 'refused', 'cancelled', 'failed')),
  source text not null check (source in ('evpower', 'import')),
  started_at timestamptz,
  ended_at timestamptz,
  energy_wh bigint not null default 0 check (energy_wh >= 0),
  cost_minor bigint not null default 0 check (cost_minor >= 0),
  billed_elsewhere boolean not null default false,   -- paid in another system: never charged here
  vehicle_plate text check (length(vehicle_plate) between 1 and 16), -- null: unknown
  revision bigint not null default 1,                -- raised by every change; Supabase orders changes by it
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (ended_at is null or started_at is null or ended_at >= started_at),
  check (state not in ('finished', 'settled') or (started_at is not null and ended_at is not null)),
  unique (id, client_id)
);
create unique index sessions_one_open_per_client on charging.sessions (client_id)
  where source = 'evpower' and state in ('requested', 'starting', 'charging', 'stopping');
create unique index sessions_one_open_per_connector on charging.sessions (station_id, connector_id)
  where source = 'evpower' and state in ('requested', 'starting', 'charging', 'stopping');
create index sessions_by_client on charging.sessions (client_id, created_at desc, id desc);
create index sessions_by_start on charging.sessions (client_id, coalesce(started_at, created_at) desc, id desc);
-- Finds recent changes by their place in the table. A BRIN index does not prevent HOT updates.
create index sessions_updated on charging.sessions using brin (updated_at) with (autosummarize = on);
grant select, insert, update on charging.sessions to evpower_app;

-- What other schemas read of a session. `status` is the word that apps and Supabase know. `start_time` orders a history:
-- a session that has not begun stands where it was recorded. `details` are the optional facts that are known, each under
-- the name it has everywhere: a reader passes them on whole.
create view charging.sessions_public as
select s.id, s.client_id, s.station_id, s.connector_id, s.state,
       case when s.state in ('finished', 'settled') then 'stopped'
            when s.state in ('expired', 'refused', 'cancelled', 'failed') then 'error'
            else 'started' end as status,
       s.started_at, s.ended_at, coalesce(s.started_at, s.created_at) as start_time,
       s.energy_wh, s.energy_wh * 0.001 as energy_kwh, s.cost_minor, s.cost_minor * 0.01 as cost_som,
       s.revision, s.created_at, s.updated_at, s.vehicle_plate,
       jsonb_strip_nulls(jsonb_build_object('vehicle_plate', s.vehicle_plate)) as details
  from charging.sessions s;
grant select on charging.sessions_public to evpower_app;

create function charging.guard_session() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if (new.id, new.client_id, new.source) is distinct from (old.id, old.client_id, old.source) then
    raise exception 'session % keeps its client and source', old.id using errcode = 'check_violation';
  end if;
  if new.state <> old.state and (old.state, new.state) not in (
      ('requested', 'starting'), ('requested', 'refused'), ('requested', 'cancelled'), ('requested', 'expired'),
      ('requested', 'failed'), ('requested', 'charging'),
      ('starting', 'charging'), ('starting', 'refused'), ('starting', 'cancelled'), ('starting', 'expired'),
      ('starting', 'failed'),
      ('expired', 'charging'),                         -- a late start
      ('charging', 'stopping'), ('charging', 'finished'), ('charging', 'failed'),
      ('stopping', 'finished'), ('stopping', 'charging'), ('stopping', 'failed'),
      ('finished', 'settled')) then
    raise exception 'session % cannot go from % to %', old.id, old.state, new.state
      using errcode = 'check_violation';
  end if;
  if old.state in ('finished', 'settled')
     and (new.station_id, new.connector_id, new.started_at, new.billed_elsewhere, new.vehicle_plate)
         is distinct from (old.station_id, old.connector_id, old.started_at, old.billed_elsewhere, old.vehicle_plate)
     -- In a settled session these change together with its next bill, which the wallet checks at commit.
     or old.state = 'finished' and (new.ended_at, new.energy_wh, new.cost_minor)
         is distinct from (old.ended_at, old.energy_wh, old.cost_minor) then
    raise exception 'session % is finished: its facts stay', old.id using errcode = 'check_violation';
  end if;
  new.revision := old.revision + 1;
  new.updated_at := now();
  return new;
end
$$;
create trigger sessions_go_one_way before update on charging.sessions
  for each row execute function charging.guard_session();

-- Only wallet.charge settles a session.
create function charging.refuse_settled() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'session % is not charged yet: it cannot begin as settled', new.id
    using errcode = 'check_violation';
end
$$;
create trigger sessions_begin_unsettled before insert on charging.sessions
  for each row when (new.state = 'settled') execute function charging.refuse_settled();

-- A charge for a session: a bill, or the collection of a debt that a bill left. Only bills are numbered.
-- A bill has the session's cost at that time; a correction is the next bill, never a changed one.
create table charging.settlements (
  id bigint generated always as identity primary key,
  session_id uuid not null,
  client_id uuid not null,
  bill_number int check (bill_number > 0),           -- 1, 2, ... in its session; null: collects a debt
  total_minor bigint check (total_minor >= 0),       -- the session's cost by this bill,
  energy_wh bigint check (energy_wh >= 0),           -- and the facts it is based on
  ended_at timestamptz,
  due_minor bigint not null check (due_minor >= 0),  -- the total less the previous bill's, at least 0
  debited_minor bigint not null check (debited_minor between 0 and due_minor),
  debit_minor bigint generated always as (-debited_minor) stored, -- as in wallet.transactions
  refunded_minor bigint not null default 0 check (refunded_minor between 0 and debited_minor),
  collects_debt_id bigint,                           -- set: collects this debt, which a bill left
  actor text check (length(actor) between 1 and 200),
  reason text check (length(reason) between 1 and 500), -- why the session was corrected
  created_at timestamptz not null default now(),
  constraint settlements_bill_or_collection check (num_nonnulls(bill_number, collects_debt_id) = 1),
  constraint settlements_bills_have_facts
    check (num_nulls(total_minor, energy_wh, ended_at) = case when bill_number is null then 3 else 0 end),
  constraint settlements_due_within_total check (total_minor is null or due_minor <= total_minor),
  constraint settlements_collect_whole check (collects_debt_id is null or due_minor > 0 and debited_minor = due_minor),
  constraint settlements_say_why check (coalesce(bill_number, 1) = 1 or num_nulls(actor, reason) = 0),
  foreign key (session_id, client_id) references charging.sessions (id, client_id),
  unique (session_id, bill_number),
  unique (id, client_id, debit_minor)                -- referenced by wallet.transactions
);
grant select on charging.settlements to evpower_app; -- written by wallet.charge and wallet.correct

-- What other schemas read of a settlement.
create view charging.settlements_public as
select s.id, s.session_id, s.client_id, s.bill_number,
       s.debited_minor, s.debited_minor * 0.01 as debited_som, s.created_at
  from charging.settlements s;
grant select on charging.settlements_public to evpower_app;

create function charging.guard_settlement() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  s charging.sessions;
  billed bigint;
begin
  if tg_op = 'INSERT' then
    select * into s from charging.sessions where id = new.session_id;
    if s.state is distinct from 'settled' or s.billed_elsewhere then
      raise exception 'session % is not settled here: it has no bill', new.session_id
        using errcode = 'check_violation';
    end if;
    -- A bill has its session's facts. Its number is unique and its due amount is checked here, so the checks at commit
    -- need to run only for the session, which changes whenever the total does.
    if new.bill_number is not null then
      if (s.cost_minor, s.energy_wh, s.ended_at) is distinct from (new.total_minor, new.energy_wh, new.ended_at) then
        raise exception 'bill % is not of the facts of session %', new.bill_number, new.session_id
          using errcode = 'check_violation';
      end if;
      select b.total_minor into billed from charging.settlements b
       where b.session_id = new.session_id and b.bill_number = new.bill_number - 1;
      if (new.bill_number > 1 and not found)
         or new.due_minor is distinct from greatest(new.total_minor - coalesce(billed, 0), 0) then
        raise exception 'bill % of session % does not follow the bill before it', new.bill_number, new.session_id
          using errcode = 'check_violation';
      end if;
    elsif not exists (select from wallet.debts d join charging.settlements b on b.id = d.settlement_id
                       where d.id = new.collects_debt_id and b.session_id = new.session_id) then
      raise exception 'debt % is not of session %', new.collects_debt_id, new.session_id
        using errcode = 'check_violation';
    end if;
    return new;
  end if;
  if tg_op = 'DELETE'
     or (new.id, new.session_id, new.client_id, new.bill_number, new.total_minor, new.energy_wh, new.ended_at,
         new.due_minor, new.debited_minor, new.collects_debt_id, new.actor, new.reason, new.created_at)
        is distinct from
        (old.id, old.session_id, old.client_id, old.bill_number, old.total_minor, old.energy_wh, old.ended_at,
         old.due_minor, old.debited_minor, old.collects_debt_id, old.actor, old.reason, old.created_at) then
    raise exception 'settlement % stays as it is', old.id using errcode = 'check_violation';
  end if;
  return new;
end
$$;
create trigger settlements_stay before insert or update or delete on charging.settlements
  for each row execute function charging.guard_settlement();

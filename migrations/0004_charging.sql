-- The life of a charging session and what it cost.
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
  billed_elsewhere boolean not null default false,   -- recorded here, paid somewhere else: never charged
  revision bigint not null default 1,                -- raised by every change, orders them in Supabase
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
-- Recent changes are found by where they lie in the table; such an index keeps no update from staying in its page.
create index sessions_updated on charging.sessions using brin (updated_at) with (autosummarize = on);
grant select, insert, update on charging.sessions to evpower_app;

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
      ('expired', 'charging'),                         -- a start that came late
      ('charging', 'stopping'), ('charging', 'finished'), ('charging', 'failed'),
      ('stopping', 'finished'), ('stopping', 'charging'), ('stopping', 'failed'),
      ('finished', 'settled')) then
    raise exception 'session % cannot go from % to %', old.id, old.state, new.state
      using errcode = 'check_violation';
  end if;
  if old.state in ('finished', 'settled')
     and (new.station_id, new.connector_id, new.started_at, new.ended_at, new.energy_wh, new.cost_minor,
          new.billed_elsewhere)
         is distinct from
         (old.station_id, old.connector_id, old.started_at, old.ended_at, old.energy_wh, old.cost_minor,
          old.billed_elsewhere) then
    raise exception 'session % is finished: its facts stay', old.id using errcode = 'check_violation';
  end if;
  new.revision := old.revision + 1;
  new.updated_at := now();
  return new;
end
$$;
create trigger sessions_go_one_way before update on charging.sessions
  for each row execute function charging.guard_session();

-- What a finished session costs. A later, better figure is a new revision, never an edit.
create table charging.settlements (
  id bigint generated always as identity primary key,
  session_id uuid not null,
  revision int not null check (revision > 0),
  client_id uuid not null,
  due_minor bigint not null check (due_minor >= 0),
  debited_minor bigint check (debited_minor between 0 and due_minor), -- null until charged
  debit_minor bigint generated always as (-debited_minor) stored,     -- as it stands in the wallet
  refunded_minor bigint not null default 0 check (refunded_minor between 0 and coalesce(debited_minor, 0)),
  collects_debt_id bigint,                           -- set: this one takes what an earlier one could not
  created_at timestamptz not null default now(),
  charged_at timestamptz,
  check ((debited_minor is null) = (charged_at is null)),
  foreign key (session_id, client_id) references charging.sessions (id, client_id),
  unique (session_id, revision),
  unique (id, client_id, debit_minor)                -- what a wallet transaction points at
);
create index settlements_uncharged on charging.settlements (id) where debited_minor is null;
-- An order only: charging it is for the functions of wallet.
grant select, insert (session_id, revision, client_id, due_minor) on charging.settlements to evpower_app;

create function charging.guard_settlement() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'INSERT' then
    if not exists (select from charging.sessions s
                    where s.id = new.session_id and s.state in ('finished', 'settled')
                      and not s.billed_elsewhere) then
      raise exception 'session % is not finished, or was billed elsewhere: it has nothing to settle',
        new.session_id using errcode = 'check_violation';
    end if;
    return new;
  end if;
  if tg_op = 'DELETE' or (new.id, new.session_id, new.client_id, new.due_minor, new.revision)
       is distinct from (old.id, old.session_id, old.client_id, old.due_minor, old.revision)
     or (old.debited_minor is not null and new.debited_minor is distinct from old.debited_minor) then
    raise exception 'settlement % stays as it is', old.id using errcode = 'check_violation';
  end if;
  return new;
end
$$;
create trigger settlements_stay before insert or update or delete on charging.settlements
  for each row execute function charging.guard_settlement();

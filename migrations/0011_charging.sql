-- Charging that EvPower runs itself: sessions with limits and tags, transactions of stations, progress, meter values,
-- records of bills. `started_by` tells such a session from an imported one.

-- Sessions ---------------------------------------------------------------------------------------------------------

alter table charging.sessions
  add column started_by text check (started_by in ('app', 'card')),
  add column without_token boolean not null default false, -- an app of before began it, which sends none
  add column id_tag text check (id_tag ~ '^[0-9A-F]{12}$'), -- one-time, of a start by app; bound to the session for ever
  add column limit_energy_wh bigint check (limit_energy_wh > 0),
  add column limit_amount_minor bigint check (limit_amount_minor > 0),
  add column limit_soc_percent int check (limit_soc_percent between 1 and 100),
  add column start_command_id bigint,                  -- the remote start, of stations.commands
  add column start_window_ends_at timestamptz,         -- when a start that did not come has failed
  add column start_failure text check (start_failure ~ '^[a-z][a-z0-9_]{0,63}$'), -- why it is not charging
  add column stop_requested_at timestamptz,
  add column stop_requested_by text check (length(stop_requested_by) between 1 and 200),
  add column asked_to_end_at timestamptz,              -- first stop that is no limit's: it ends also without the station
  add column stop_reason text check (stop_reason ~ '^[a-z][a-z0-9_]{0,63}$'), -- why its stop was asked for
  add column end_reason text check (end_reason ~ '^[a-z][a-z0-9_]{0,63}$'),
  add column is_estimated boolean not null default false, -- the end and energy come from no StopTransaction
  add column quarantined_at timestamptz,
  add column quarantine_reason text check (length(quarantine_reason) between 1 and 500),
  add column free_reason text check (free_reason ~ '^[a-z][a-z0-9_]{0,63}$'),
  add column station_lost_notified_at timestamptz,
  add constraint sessions_started_here_are_ours check (started_by is null or source = 'evpower'),
  add constraint sessions_have_a_tag_by_app check ((id_tag is not null) = coalesce(started_by = 'app', false)),
  add constraint sessions_wait_for_their_start check (
    start_window_ends_at is not null or coalesce(started_by <> 'app', true)),
  add constraint sessions_fail_with_a_reason check (started_by is null
    or (state in ('expired', 'refused', 'cancelled', 'failed')) = (start_failure is not null)),
  add constraint sessions_charge_from_a_start check (started_by is null
    or (state in ('charging', 'stopping', 'finished', 'settled')) = (started_at is not null)),
  add constraint sessions_end_with_a_reason check (started_by is null
    or (state in ('finished', 'settled')) = (end_reason is not null)),
  add constraint sessions_stop_for_an_actor check ((stop_requested_at is null) = (stop_requested_by is null)),
  add constraint sessions_are_quarantined_for_a_reason check ((quarantined_at is null) = (quarantine_reason is null)),
  add constraint sessions_are_free_at_no_cost check (free_reason is null or cost_minor = 0);

drop index charging.sessions_one_open_per_client;
create unique index sessions_one_start_per_client on charging.sessions (client_id)
  where source = 'evpower' and state in ('requested', 'starting');
create unique index sessions_by_tag on charging.sessions (id_tag) where id_tag is not null;
create index sessions_running_by_client on charging.sessions (client_id)
  where source = 'evpower' and state in ('charging', 'stopping');
-- The operator's list of sessions, the newest first. A session changes its state four times, and each time all its entries
-- are written anew: so the whole list has one index, and what is rare has partial ones.
create index sessions_by_creation on charging.sessions (created_at desc, id desc) where source = 'evpower';
create index sessions_by_station on charging.sessions (station_id, created_at desc, id desc) where source = 'evpower';
create index sessions_by_state on charging.sessions (state, created_at desc, id desc)
  where source = 'evpower' and state <> 'settled';
create index sessions_by_end on charging.sessions (end_reason, created_at desc, id desc)
  where source = 'evpower' and state = 'settled';
create index sessions_by_failure on charging.sessions (start_failure, created_at desc, id desc)
  where source = 'evpower' and start_failure is not null;
create index sessions_in_quarantine on charging.sessions (created_at desc, id desc)
  where source = 'evpower' and quarantined_at is not null;
create index sessions_waiting on charging.sessions (start_window_ends_at)
  where source = 'evpower' and state in ('requested', 'starting');

-- From which state a session may go to which. The application has the same table; a test compares them.
create or replace function charging.guard_session() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  if (new.id, new.client_id, new.source, new.station_id, new.started_by, new.id_tag, new.limit_energy_wh,
      new.limit_amount_minor, new.limit_soc_percent, new.created_at)
     is distinct from
     (old.id, old.client_id, old.source, old.station_id, old.started_by, old.id_tag, old.limit_energy_wh,
      old.limit_amount_minor, old.limit_soc_percent, old.created_at) then
    raise exception 'session % keeps its client, station, tag, limits and source', old.id
      using errcode = 'check_violation';
  end if;
  if new.state <> old.state and (old.state, new.state) not in (
      ('requested', 'starting'), ('requested', 'refused'), ('requested', 'cancelled'), ('requested', 'expired'),
      ('requested', 'failed'), ('requested', 'charging'),
      ('starting', 'charging'), ('starting', 'refused'), ('starting', 'cancelled'), ('starting', 'expired'),
      ('starting', 'failed'),
      ('charging', 'stopping'), ('charging', 'finished'),
      ('stopping', 'finished'),
      ('finished', 'settled'))
     -- A start that comes late, after its session was given up: nothing was billed yet.
     and not (new.source = 'evpower' and new.state = 'charging'
              and old.state in ('expired', 'refused', 'cancelled', 'failed'))
     -- Another system may report that a session failed while it charged, and goes on after a stop. Ours always ends with a bill.
     and not (new.source = 'import' and (old.state, new.state) in (
       ('charging', 'failed'), ('stopping', 'failed'), ('stopping', 'charging'))) then
    raise exception 'session % cannot go from % to %', old.id, old.state, new.state
      using errcode = 'check_violation';
  end if;
  -- A station may begin the session on another of its connectors than it was asked to.
  if new.connector_id <> old.connector_id and not (old.state <> 'charging' and new.state = 'charging')
     or new.started_at <> old.started_at and old.state in ('charging', 'stopping') then
    raise exception 'session % keeps its connector and start', old.id using errcode = 'check_violation';
  end if;
  if old.state in ('finished', 'settled')
     and (new.started_at, new.billed_elsewhere, new.vehicle_plate)
         is distinct from (old.started_at, old.billed_elsewhere, old.vehicle_plate)
     -- In a settled session these change together with its next bill, which the wallet checks at commit.
     or old.state = 'finished' and (new.ended_at, new.energy_wh, new.cost_minor)
         is distinct from (old.ended_at, old.energy_wh, old.cost_minor) then
    raise exception 'session % is finished: its facts stay', old.id using errcode = 'check_violation';
  end if;
  -- A session is shown with its revision and that of its progress: when it ends, its own takes over both.
  new.revision := old.revision + 1;
  if old.state in ('charging', 'stopping') and new.state not in ('charging', 'stopping') then
    new.revision := new.revision + coalesce((select p.revision from charging.progress p where p.session_id = old.id), 0);
  end if;
  new.updated_at := now();
  return new;
end
$$;

-- New columns stand at the end: the view keeps the order of those it had.
create or replace view charging.sessions_public as
select s.id, s.client_id, s.station_id, s.connector_id, s.state,
       case when s.state in ('finished', 'settled') then 'stopped'
            when s.state in ('expired', 'refused', 'cancelled', 'failed') then 'error'
            else 'started' end as status,
       s.started_at, s.ended_at, coalesce(s.started_at, s.created_at) as start_time,
       s.energy_wh, s.energy_wh * 0.001 as energy_kwh, s.cost_minor, s.cost_minor * 0.01 as cost_som,
       s.revision, s.created_at, s.updated_at, s.vehicle_plate,
       jsonb_strip_nulls(jsonb_build_object('vehicle_plate', s.vehicle_plate)) as details,
       s.started_by, s.limit_energy_wh, s.limit_energy_wh * 0.001 as limit_energy_kwh, s.limit_amount_minor,
       s.limit_amount_minor * 0.01 as limit_amount_som, s.limit_soc_percent, s.start_failure, s.end_reason,
       s.is_estimated, s.stop_requested_at, s.start_window_ends_at, s.quarantined_at, s.free_reason,
       s.station_lost_notified_at, s.source
  from charging.sessions s;

-- What the guards below say of tables whose rows stay as they were written.
create function charging.refuse_change() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception '% of charging are kept as they are', tg_table_name using errcode = 'restrict_violation';
end
$$;

-- The tariff a session is billed by, as it was when the session was made. A session the station had begun before any
-- tariff was found has none: it is quarantined.
create table charging.session_tariffs (
  session_id uuid primary key references charging.sessions,
  plan text not null check (length(plan) between 1 and 64),
  version int not null check (version > 0),
  snapshot jsonb not null check (jsonb_typeof(snapshot) = 'object')
);
grant select, insert on charging.session_tariffs to evpower_app;
create trigger session_tariffs_stay before update or delete on charging.session_tariffs
  for each row execute function charging.refuse_change();
create trigger session_tariffs_are_kept before truncate on charging.session_tariffs
  for each statement execute function charging.refuse_change();

-- Transactions -----------------------------------------------------------------------------------------------------

-- Each transaction that a station reports, with our number for it.
create table charging.transactions (
  id int generated always as identity primary key,
  station_id text not null references stations.stations,
  connector int not null check (connector between 0 and 1000), -- as reported; 0: the station named none
  is_connector_guessed boolean not null default false, -- the station named none, and it is a likely one
  text_id text check (length(text_id) between 1 and 255), -- the station's own id, where its protocol has one
  id_tag text not null check (length(id_tag) <= 255),  -- as sent
  purpose text not null check (purpose in ('driver', 'unattributed', 'technician')),
  session_id uuid unique references charging.sessions,
  meter_start_wh numeric,
  started_at timestamptz not null,                     -- ours: the station's time where it is plausible
  start_station_time text check (length(start_station_time) <= 255), -- raw
  start_station_at timestamptz,                        -- the same as read; null: unusable
  received_at timestamptz not null,
  start_shift_s int,                                   -- by so much its times are moved from right ones; null: not known
  meter_stop_wh numeric,
  ended_at timestamptz,
  stop_station_time text check (length(stop_station_time) <= 255),
  stop_reason text check (length(stop_reason) <= 255),
  end_kind text check (end_kind in ('stop', 'estimated')), -- estimated: without a StopTransaction
  is_end_timed boolean not null default true,          -- false: when it ended is unknown, so the lowest price applies
  start_key text not null check (length(start_key) between 1 and 2000), -- the same for each retry of a start
  start_number int not null default 1 check (start_number > 0), -- of several with one key
  technician_tag text check (length(technician_tag) between 1 and 200), -- the card, as tags are compared
  limit_energy_wh bigint check (limit_energy_wh >= 0), -- what its card may still take; 0: it is stopped at once
  unique (start_key, start_number),
  constraint transactions_of_drivers_have_sessions check ((purpose = 'driver') = (session_id is not null)),
  constraint transactions_of_technicians_are_capped check ((purpose = 'technician') = (technician_tag is not null)
    and (purpose = 'technician') = (limit_energy_wh is not null)),
  constraint transactions_end_in_a_way check ((ended_at is null) = (end_kind is null)),
  constraint transactions_end_after_they_start check (ended_at >= started_at)
);
create unique index transactions_one_open_per_connector on charging.transactions (station_id, connector)
  where ended_at is null;
create index transactions_by_station on charging.transactions (station_id, id desc);
create index transactions_unattributed on charging.transactions (id desc) where purpose = 'unattributed';
create index transactions_unattributed_by_end on charging.transactions (ended_at) where purpose = 'unattributed';
create index transactions_by_technician on charging.transactions (technician_tag, received_at)
  where technician_tag is not null;
create index transactions_by_text_id on charging.transactions (station_id, text_id) where text_id is not null;
grant select, insert,
  update (text_id, meter_start_wh, start_shift_s, meter_stop_wh, ended_at, stop_station_time, stop_reason, end_kind,
    is_end_timed)
  on charging.transactions to evpower_app;
grant usage on sequence charging.transactions_id_seq to evpower_app; -- for the answer to a start that can't be handled

create function charging.guard_transaction() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'DELETE'
     or (new.id, new.station_id, new.connector, new.is_connector_guessed, new.id_tag, new.purpose, new.session_id,
         new.started_at, new.start_station_time, new.start_station_at, new.received_at, new.start_key, new.start_number,
         new.technician_tag, new.limit_energy_wh)
        is distinct from
        (old.id, old.station_id, old.connector, old.is_connector_guessed, old.id_tag, old.purpose, old.session_id,
         old.started_at, old.start_station_time, old.start_station_at, old.received_at, old.start_key, old.start_number,
         old.technician_tag, old.limit_energy_wh)
     or old.meter_start_wh is not null and new.meter_start_wh is distinct from old.meter_start_wh
     or old.start_shift_s is not null and new.start_shift_s is distinct from old.start_shift_s
     or old.end_kind is not null and new.end_kind is null
     -- A stop by the station with its register is final; an estimated end may still become one.
     or old.end_kind = 'stop' and old.meter_stop_wh is not null
        and (new.meter_stop_wh, new.ended_at, new.stop_station_time, new.stop_reason, new.end_kind)
            is distinct from
            (old.meter_stop_wh, old.ended_at, old.stop_station_time, old.stop_reason, old.end_kind) then
    raise exception 'transaction % stays as it is', old.id using errcode = 'restrict_violation';
  end if;
  return new;
end
$$;
create trigger transactions_stay before update or delete on charging.transactions
  for each row execute function charging.guard_transaction();
create trigger transactions_are_kept before truncate on charging.transactions
  for each statement execute function charging.refuse_change();

-- Cards of the operator's technicians: a charge by one is of no client, and is stopped only at the card's cap.
create table charging.technician_tags (
  tag text primary key check (length(tag) between 1 and 200 and tag = btrim(tag)), -- as tags are compared
  name text not null check (length(name) between 1 and 200), -- whose it is
  daily_limit_wh bigint not null default 20000 check (daily_limit_wh > 0), -- in any 24 hours
  created_at timestamptz not null default now()
);
grant select, insert, update (daily_limit_wh), delete on charging.technician_tags to evpower_app;

-- Cards of clients. Operators add them by hand; the rows of a client migration keep its run.

-- The form in which cards are compared: in lower case, without separators, and without signs at its end. The application
-- has the same rule; a test compares them. Aliases are in lower case already: so only A to Z are changed here, the same in
-- every database.
create function identity.folded_tag(tag text) returns text
language sql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
  select regexp_replace(
    regexp_replace(lower(tag collate "C"),
      '[\u0009-\u000d\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000:-]', '', 'g'),
    '[^0-9a-z\u00c0-\u1fff\u2c00-\u2dff\u3040-\uffef]+$', '')
$$;
-- Not unique: before, a card was stored as it was written, and two clients may have had it in two spellings.
create index aliases_by_folded_tag on identity.aliases (identity.folded_tag(alias)) where kind = 'id_tag';

-- Returns: added, repeated (it is this client's), of_another, not_found (there is no such open client).
create function identity.add_id_tag(tag text, of_client uuid) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform from identity.clients c where c.id = of_client and c.status <> 'closed' for key share;
  if not found then
    return 'not_found';
  end if;
  insert into identity.aliases (kind, alias, client_id, confirmed_at)
  select 'id_tag', identity.folded_tag(tag), of_client, now()
   where not exists (select from identity.aliases a
                      where a.kind = 'id_tag' and identity.folded_tag(a.alias) = identity.folded_tag(tag))
  on conflict do nothing;
  if found then
    return 'added';
  end if;
  return case when (select bool_and(a.client_id = of_client) from identity.aliases a
                     where a.kind = 'id_tag' and identity.folded_tag(a.alias) = identity.folded_tag(tag))
              then 'repeated' else 'of_another' end;
end
$$;

-- Removes a card in each spelling; returns each with its client.
create function identity.remove_id_tag(tag text) returns table (alias text, client_id uuid)
language sql security definer set search_path = pg_catalog, pg_temp as $$
  delete from identity.aliases a where a.kind = 'id_tag' and identity.folded_tag(a.alias) = identity.folded_tag(tag)
  returning a.alias, a.client_id
$$;
revoke all on function identity.folded_tag(text), identity.add_id_tag(text, uuid), identity.remove_id_tag(text)
  from public;
grant execute on function identity.folded_tag(text), identity.add_id_tag(text, uuid), identity.remove_id_tag(text)
  to evpower_app;

-- When a station gives energy to any tag, without a session or a wallet: an operator's act, for a time.
create table charging.free_periods (
  id bigint generated always as identity primary key,
  station_id text not null references stations.stations,
  begins_at timestamptz not null,
  ends_at timestamptz not null,                        -- by itself
  reason text not null check (length(reason) between 1 and 500),
  actor text not null check (length(actor) between 1 and 200),
  ended_at timestamptz,                                -- when it was over, by itself or by hand
  ended_by text check (length(ended_by) between 1 and 200),
  constraint free_periods_are_short check (ends_at > begins_at and ends_at <= begins_at + interval '7 days'),
  constraint free_periods_end_by_an_actor check ((ended_at is null) = (ended_by is null)),
  constraint free_periods_end_in_time check (ended_at between begins_at and ends_at)
);
create unique index free_periods_one_open on charging.free_periods (station_id) where ended_at is null;
create index free_periods_by_station on charging.free_periods (station_id, begins_at);
grant select, insert, update (ended_at, ended_by) on charging.free_periods to evpower_app;

create function charging.guard_free_period() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'UPDATE' and old.ended_at is null
     and (new.id, new.station_id, new.begins_at, new.ends_at, new.reason, new.actor)
         is not distinct from (old.id, old.station_id, old.begins_at, old.ends_at, old.reason, old.actor) then
    return new;
  end if;
  raise exception 'free period % stays as it is', old.id using errcode = 'restrict_violation';
end
$$;
create trigger free_periods_stay before update or delete on charging.free_periods
  for each row execute function charging.guard_free_period();
create trigger free_periods_are_kept before truncate on charging.free_periods
  for each statement execute function charging.refuse_change();

-- Ids by which a station also calls a transaction. A station may use an id again for a later one.
create table charging.transaction_aliases (
  station_id text not null references stations.stations,
  alias text not null check (length(alias) between 1 and 255),
  transaction_id int not null references charging.transactions,
  first_seen_at timestamptz not null,
  last_seen_at timestamptz not null,                   -- a stop is sent with the id that was seen last
  primary key (station_id, alias, transaction_id)
);
create index transaction_aliases_by_transaction on charging.transaction_aliases (transaction_id);
grant select, insert, update (last_seen_at) on charging.transaction_aliases to evpower_app;

-- Starts that could not be handled: the number that the station was answered, which no transaction has.
create table charging.unhandled_starts (
  number int primary key,
  station_id text not null references stations.stations,
  received_at timestamptz not null
);
create index unhandled_starts_by_time on charging.unhandled_starts (received_at);
grant select, insert, delete on charging.unhandled_starts to evpower_app;

-- Each StopTransaction once, also one whose transaction was not found.
create table charging.stops (
  id bigint generated always as identity primary key,
  station_id text not null references stations.stations,
  id_as_sent text not null check (length(id_as_sent) <= 255), -- '': the station named none
  meter_stop_wh numeric,
  station_time text check (length(station_time) <= 255),
  transaction_id int references charging.transactions, -- null: unmatched
  id_tag text check (length(id_tag) <= 255),
  reason text check (length(reason) <= 255),
  received_at timestamptz not null,
  unique nulls not distinct (station_id, id_as_sent, meter_stop_wh, station_time, id_tag)
);
create index stops_by_transaction on charging.stops (transaction_id) where transaction_id is not null;
create index stops_unmatched on charging.stops (station_id, received_at) where transaction_id is null;
grant select, insert, update (transaction_id) on charging.stops to evpower_app;

create function charging.guard_stop() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'UPDATE' and old.transaction_id is null
     and (new.id, new.station_id, new.id_as_sent, new.meter_stop_wh, new.station_time, new.id_tag, new.reason,
          new.received_at)
         is not distinct from
         (old.id, old.station_id, old.id_as_sent, old.meter_stop_wh, old.station_time, old.id_tag, old.reason,
          old.received_at) then
    return new;
  end if;
  raise exception 'stop % stays as it is', old.id using errcode = 'restrict_violation';
end
$$;
create trigger stops_stay before update or delete on charging.stops
  for each row execute function charging.guard_stop();
create trigger stops_are_kept before truncate on charging.stops
  for each statement execute function charging.refuse_change();

-- Progress and meter values ------------------------------------------------------------------------------------------

-- How far a transaction is. One narrow row each, which stays after the end; no column that changes often is in an index,
-- so that updates stay HOT.
create table charging.progress (
  transaction_id int primary key references charging.transactions,
  session_id uuid unique references charging.sessions,
  revision bigint not null default 0 check (revision >= 0), -- raised by every change, as that of the session
  register jsonb,                                      -- what is known of the register; null: nothing since the start
  register_wh numeric,                                 -- the last trusted one
  tally jsonb,                                         -- what the tariff has counted so far
  energy_wh bigint not null default 0 check (energy_wh >= 0),
  cost_minor bigint not null default 0 check (cost_minor >= 0),
  power_w int,
  soc_percent int,
  current_ma int,
  voltage_mv int,
  ev_current_ma int,
  ev_voltage_mv int,
  body_temperature int,                                -- degrees Celsius
  outlet_temperature int,
  inlet_temperature int,
  interval_s int check (interval_s > 0),               -- between the newest two values
  parked_since timestamptz,                            -- the car takes nothing
  last_value_at timestamptz,                           -- when a value counted last,
  flowed_at timestamptz,                               -- and when its energy grew, or a pause of the car ended
  stop_due_at timestamptz,                             -- when a limit is reached at the present power
  stop_step text check (stop_step in (                 -- the newest step towards its end; null: it may go on
    'remote_stop', 'remote_stop_again', 'zero_limit', 'unlock', 'reset', 'give_up')),
  step_due_at timestamptz,                             -- when the watch looks whether that helped
  close_due_at timestamptz,                            -- when it ends without a StopTransaction
  close_reason text check (close_reason ~ '^[a-z][a-z0-9_]{0,63}$'),
  rebill_due_at timestamptz,                           -- when what flowed after an estimated end is billed
  tail_wh numeric not null default 0 check (tail_wh >= 0), -- after the station's own stop; never billed
  constraint progress_closes_for_a_reason check ((close_due_at is null) = (close_reason is null)),
  constraint progress_is_stored_whole check ((register is null) = (tally is null)),
  constraint progress_looks_after_a_step check (stop_step is not null or step_due_at is null)
) with (fillfactor = 50);
create index progress_rebills on charging.progress (transaction_id) where rebill_due_at is not null;
create index progress_with_steps on charging.progress (transaction_id) where stop_step is not null;
create index progress_with_tails on charging.progress (transaction_id) where tail_wh > 0;
grant select, insert, update on charging.progress to evpower_app;

-- What was done, step by step, about a charge that was to stop, and what the meter said of each.
create table charging.stop_steps (
  id bigint generated always as identity primary key,
  transaction_id int not null references charging.transactions,
  step text not null check (step in (
    'remote_stop', 'remote_stop_again', 'zero_limit', 'unlock', 'reset', 'give_up')),
  cause text not null check (cause ~ '^[a-z][a-z0-9_]{0,63}$'), -- why it was to stop
  command_id bigint,                                   -- of stations.commands; null: nothing was sent
  base_wh numeric not null,                            -- the energy when it was taken
  taken_at timestamptz not null,
  outcome text check (outcome in (
    'stopped', 'closed', 'went_on', 'not_ended', 'no_values', 'refused', 'unanswered', 'not_delivered', 'skipped')),
  ended_at timestamptz,
  cleared_at timestamptz,                              -- when a limit of 0 was taken back
  constraint stop_steps_end_with_an_outcome check ((outcome is null) = (ended_at is null)),
  constraint stop_steps_end_after_they_are_taken check (ended_at >= taken_at),
  constraint stop_steps_clear_limits check (cleared_at is null or step = 'zero_limit' and command_id is not null)
);
create index stop_steps_by_transaction on charging.stop_steps (transaction_id, id);
create index stop_steps_that_limit on charging.stop_steps (transaction_id)
  where step = 'zero_limit' and command_id is not null and cleared_at is null;
create index stop_steps_by_command on charging.stop_steps (command_id) where command_id is not null;
grant select, insert, update (outcome, ended_at, cleared_at) on charging.stop_steps to evpower_app;

create function charging.guard_stop_step() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'UPDATE'
     and (new.id, new.transaction_id, new.step, new.cause, new.command_id, new.base_wh, new.taken_at)
         is not distinct from
         (old.id, old.transaction_id, old.step, old.cause, old.command_id, old.base_wh, old.taken_at)
     and (old.outcome is null or (new.outcome, new.ended_at) is not distinct from (old.outcome, old.ended_at))
     and (old.cleared_at is null or new.cleared_at is not distinct from old.cleared_at) then
    return new;
  end if;
  raise exception 'step % stays as it is', old.id using errcode = 'restrict_violation';
end
$$;
create trigger stop_steps_stay before update or delete on charging.stop_steps
  for each row execute function charging.guard_stop_step();
create trigger stop_steps_are_kept before truncate on charging.stop_steps
  for each statement execute function charging.refuse_change();

-- What other schemas read of a session's progress. While it charges, these figures are the session's, and its revision is
-- the sum of both.
create view charging.progress_public as
select p.session_id, p.energy_wh, p.energy_wh * 0.001 as energy_kwh, p.cost_minor, p.cost_minor * 0.01 as cost_som,
       p.power_w, p.soc_percent, p.last_value_at, p.revision
  from charging.progress p;
grant select on charging.progress_public to evpower_app;

-- How far a station's clock is off, learned since its last boot from frames that came at the pace of their stamps.
create table charging.clocks (
  station_id text primary key references stations.stations,
  stamp timestamptz not null,                          -- of the newest meter value or status that says something,
  received_at timestamptz not null,                    -- and when it came
  is_status boolean not null default false,
  skew_s int                                           -- ours less the station's; null: not known
);
grant select, insert, update, delete on charging.clocks to evpower_app;

-- What is learned of a connector's meter from its transactions.
create table charging.meters (
  station_id text not null references stations.stations,
  connector int not null check (connector > 0),
  register_kind text check (register_kind in ('lifetime', 'per_boot', 'per_transaction')), -- null: not known
  last_wh numeric,                                     -- at the end of the newest transaction,
  ended_at timestamptz not null,                       -- and when its last value came
  interval_s int check (interval_s > 0),               -- between two values; null: not known
  primary key (station_id, connector)
);
grant select, insert, update (register_kind, last_wh, ended_at, interval_s) on charging.meters to evpower_app;

-- Every meter value as it was read. The raw frame has the rest.
create table charging.meter_values (
  -- Wide columns first, so that none is padded; what most rows would have is null.
  received_at timestamptz not null,
  at timestamptz,                                      -- the station's time as read; null: unusable
  priced_at timestamptz,                               -- when it was, by the clock that prices; null: `at`
  transaction_id int,                                  -- ours; null: of none
  session_wh int check (session_wh >= 0),              -- the session's energy with it; null: it does not count
  power_w int,
  current_ma int,
  voltage_mv int,
  ev_current_ma int,
  ev_voltage_mv int,
  connector smallint not null,
  soc_percent smallint,
  body_temperature smallint,
  outlet_temperature smallint,
  inlet_temperature smallint,
  is_parked boolean,                                   -- the car took nothing since the value before
  is_timed boolean,                                    -- false: when it was is unknown
  energy_wh numeric,                                   -- the register
  station_id text,                                     -- null: the transaction's
  station_time text,                                   -- raw; null: `at` in UTC, ending in Z
  context text,                                        -- null: Sample.Periodic
  -- What its register was taken for. Null: trusted where it counts, else not judged.
  outcome text check (outcome in ('suspect', 'history', 'segment', 'jump', 'return')),
  constraint meter_values_have_a_station check (num_nonnulls(transaction_id, station_id) > 0),
  constraint meter_values_count_whole check (num_nulls(session_wh, is_parked, is_timed) in (0, 3)
    and (session_wh is not null or priced_at is null) and (session_wh is null or coalesce(priced_at, at) is not null))
) partition by range (received_at);
create index meter_values_by_transaction on charging.meter_values (transaction_id) where transaction_id is not null;
create table charging.meter_values_default partition of charging.meter_values default;
grant select, insert on charging.meter_values to evpower_app;

-- Signed values are evidence in disputes: they stay as long as the bill, and are never read as numbers.
create table charging.signed_values (
  id bigint generated always as identity primary key,
  transaction_id int not null references charging.transactions,
  value text not null check (length(value) between 1 and 1000000),
  received_at timestamptz not null
);
create index signed_values_by_transaction on charging.signed_values (transaction_id);
grant select, insert on charging.signed_values to evpower_app;
create trigger signed_values_stay before update or delete on charging.signed_values
  for each row execute function charging.refuse_change();
create trigger signed_values_are_kept before truncate on charging.signed_values
  for each statement execute function charging.refuse_change();

-- Makes the partitions of a table by day (UTC), from today on, and drops those older than `keep_days`. Rows that went to
-- the default partition, because their day had none, are moved to a partition of their own. Returns each outcome: 'made',
-- 'moved' or 'dropped'. Functions that are granted to the processes call it, each for its own table.
create function foundation.keep_partitions(of_schema text, of_table text, today date, keep_days int, ahead_days int)
returns table (outcome text, day date) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  of_default text := format('%I.%I', of_schema, of_table || '_default');
  made text;
  begins timestamptz;
  ends timestamptz;
  old record;
begin
  if num_nulls(today, keep_days, ahead_days) > 0 or keep_days < 1 or ahead_days < 1 then
    raise exception 'partitions are kept for at least a day' using errcode = 'check_violation';
  end if;
  execute format('delete from %s where received_at < %L', of_default, (today - keep_days)::timestamp at time zone 'UTC');
  for day, outcome in execute format(
    'select d, max(what) from (select %1$L::date + n as d, ''made'' as what from generate_series(0, %2$s) n '
    'union all select distinct (received_at at time zone ''UTC'')::date, ''moved'' from %3$s) days group by d order by d',
    today, ahead_days, of_default)
  loop
    made := format('%I.%I', of_schema, of_table || to_char(day, '"_"YYYYMMDD'));
    continue when to_regclass(made) is not null;
    begins := day::timestamp at time zone 'UTC';
    ends := (day + 1)::timestamp at time zone 'UTC';
    execute format('create table %s (like %I.%I including defaults including constraints)', made, of_schema, of_table);
    if outcome = 'moved' then
      execute format('with moved as (delete from %s where received_at >= %L and received_at < %L returning *) '
                     'insert into %s select * from moved', of_default, begins, ends, made);
    end if;
    execute format('alter table %I.%I attach partition %s for values from (%L) to (%L)', of_schema, of_table, made,
                   begins, ends);
    return next;
  end loop;
  for old in
    select c.relname::text as name, to_date(right(c.relname, 8), 'YYYYMMDD') as made_for
      from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent = to_regclass(format('%I.%I', of_schema, of_table)) and c.relname ~ '_[0-9]{8}$'
     order by c.relname
  loop
    if old.made_for < today - keep_days then
      execute format('drop table %I.%I', of_schema, old.name);
      outcome := 'dropped';
      day := old.made_for;
      return next;
    end if;
  end loop;
end
$$;
revoke all on function foundation.keep_partitions(text, text, date, int, int) from public;

-- Values of sessions that wait in quarantine, copied before their day is dropped: the operator decides by them.
create table charging.quarantined_meter_values (
  session_id uuid not null references charging.sessions,
  like charging.meter_values
);
create index quarantined_meter_values_by_session on charging.quarantined_meter_values (session_id, received_at);
grant select on charging.quarantined_meter_values to evpower_app;

-- Makes and drops the partitions of the meter values: the processes themselves may create and drop nothing.
create function charging.keep_meter_values(today date, keep_days int) returns table (outcome text, day date)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into charging.quarantined_meter_values
  select t.session_id, v.*
    from charging.sessions s join charging.transactions t on t.session_id = s.id
    join charging.meter_values v on v.transaction_id = t.id
   where s.quarantined_at is not null and v.received_at < (today - keep_days)::timestamp at time zone 'UTC';
  return query select * from foundation.keep_partitions('charging', 'meter_values', today, keep_days, 7);
end
$$;
revoke all on function charging.keep_meter_values(date, int) from public;
grant execute on function charging.keep_meter_values(date, int) to evpower_app;

-- Bills --------------------------------------------------------------------------------------------------------------

-- What a bill rests on, in the words of an OCPI charge detail record. Each bill of a session that EvPower ran has one.
create table charging.cdrs (
  settlement_id bigint primary key references charging.settlements,
  id uuid not null unique default gen_random_uuid(),
  session_id uuid not null references charging.sessions,
  is_estimated boolean not null,
  energy_wh bigint not null check (energy_wh >= 0),
  ended_at timestamptz not null,
  snapshot jsonb check (jsonb_typeof(snapshot) = 'object'), -- null: there was no tariff
  periods jsonb not null check (jsonb_typeof(periods) = 'array'),
  parts jsonb not null check (jsonb_typeof(parts) = 'array'),
  station_owner text check (length(station_owner) between 1 and 200),
  tariff_owner text check (length(tariff_owner) between 1 and 200),
  created_at timestamptz not null default now()
);
create index cdrs_by_session on charging.cdrs (session_id, settlement_id);
create index cdrs_by_time on charging.cdrs using brin (created_at) with (autosummarize = on);
grant select, insert on charging.cdrs to evpower_app;
create trigger cdrs_stay before update or delete on charging.cdrs
  for each row execute function charging.refuse_change();
create trigger cdrs_are_kept before truncate on charging.cdrs
  for each statement execute function charging.refuse_change();

-- What other schemas read of bills, and of whose station and tariff each was. New columns stand at the end.
create or replace view charging.settlements_public as
select s.id, s.session_id, s.client_id, s.bill_number,
       s.debited_minor, s.debited_minor * 0.01 as debited_som, s.created_at,
       s.total_minor, s.total_minor * 0.01 as total_som, s.energy_wh, s.energy_wh * 0.001 as energy_kwh
  from charging.settlements s;
create view charging.cdrs_public as
select c.settlement_id, c.session_id, c.is_estimated, c.station_owner, c.tariff_owner from charging.cdrs c;
grant select on charging.cdrs_public to evpower_app;
-- Bills of a day are found by their place in the table.
create index settlements_created on charging.settlements using brin (created_at) with (autosummarize = on);

create function charging.check_cdr() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from charging.settlements b join charging.sessions s on s.id = b.session_id
              where b.id = new.id and s.started_by is not null
                and not exists (select from charging.cdrs c where c.settlement_id = b.id
                                   and c.session_id = b.session_id
                                   and c.energy_wh = b.energy_wh and c.ended_at = b.ended_at)) then
    raise exception 'bill % has no record of what it rests on', new.id using errcode = 'check_violation';
  end if;
  return null;
end
$$;
create constraint trigger bills_have_records after insert on charging.settlements
  deferrable initially deferred for each row when (new.bill_number is not null)
  execute function charging.check_cdr();

-- At commit: a start by app has a tariff; a session that charges has a transaction, and one that ended has an ended one.
create function charging.check_session() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if exists (
      select from charging.sessions s left join charging.transactions t on t.session_id = s.id
       where s.id = new.id and (
         s.started_by = 'app' and not exists (select from charging.session_tariffs f where f.session_id = s.id)
         or s.state in ('charging', 'stopping', 'finished', 'settled') and t.id is null
         or s.state in ('finished', 'settled') and t.ended_at is null)) then
    raise exception 'session % has no tariff or transaction of its state', new.id using errcode = 'check_violation';
  end if;
  return null;
end
$$;
create constraint trigger sessions_match_their_transaction after insert or update on charging.sessions
  deferrable initially deferred for each row when (new.started_by is not null)
  execute function charging.check_session();

-- Holds --------------------------------------------------------------------------------------------------------------

-- A session that starts late is held anew: the next attempt. At most one is open.
alter table wallet.holds add column attempt int not null default 1 check (attempt > 0);
alter table wallet.holds drop constraint holds_pkey, add primary key (session_id, attempt);
create unique index holds_one_open_per_session on wallet.holds (session_id) where state = 'open';

create or replace function wallet.guard_hold() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  if old.state <> 'open' or new.amount_minor < old.amount_minor
     or (new.session_id, new.attempt, new.client_id, new.created_at)
        is distinct from (old.session_id, old.attempt, old.client_id, old.created_at) then
    raise exception 'the hold of session % is resolved once and never shrinks', old.session_id
      using errcode = 'check_violation';
  end if;
  return new;
end
$$;

create view wallet.holds_public as
select h.session_id, h.client_id, h.attempt, h.amount_minor, h.amount_minor * 0.01 as amount_som, h.state
  from wallet.holds h;
grant select on wallet.holds_public to evpower_app;

-- At commit: a hold is open only while its session is.
create function wallet.check_open_hold() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  of_session uuid := case tg_table_name when 'holds' then to_jsonb(new) ->> 'session_id' else to_jsonb(new) ->> 'id' end;
begin
  if exists (select from wallet.holds h join charging.sessions s on s.id = h.session_id
              where h.session_id = of_session and h.state = 'open' and s.source = 'evpower'
                and s.state in ('expired', 'refused', 'cancelled', 'failed', 'settled')) then
    raise exception 'session % is over: its hold is resolved', of_session using errcode = 'check_violation';
  end if;
  return null;
end
$$;
create constraint trigger open_holds_have_open_sessions after insert on wallet.holds
  deferrable initially deferred for each row execute function wallet.check_open_hold();
create constraint trigger sessions_over_hold_nothing after update on charging.sessions
  deferrable initially deferred for each row
  when (new.source = 'evpower' and new.state in ('expired', 'refused', 'cancelled', 'failed', 'settled'))
  execute function wallet.check_open_hold();

-- Reserves money for a session, once for each attempt: `hold_minor`, or what is free if that is at least `least_minor`.
-- An attempt follows one that was released. `closed` if the session is over, or its client may not spend: not active,
-- banned, with an unmapped status, or with a requested deletion.
-- Outcomes: held, repeated, resolved, insufficient, closed, not_found.
drop function wallet.hold(uuid, bigint);
create function wallet.hold(
  for_session uuid, hold_minor bigint, least_minor bigint default null, for_attempt int default 1
) returns wallet.result
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  owner record;
  newest wallet.holds;
  part bigint;
  outcome text;
  w wallet.wallets;
begin
  if hold_minor is null or hold_minor <= 0 or not coalesce(least_minor between 1 and hold_minor, true) then
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
  select * into newest from wallet.holds where session_id = for_session order by attempt desc limit 1;
  if for_attempt is null or for_attempt > coalesce(newest.attempt, 0) + 1 or for_attempt < 1 then
    raise exception 'attempt % of session % does not follow', for_attempt, for_session
      using errcode = 'check_violation';
  end if;
  part := least(hold_minor, greatest(w.balance_minor - w.held_minor, coalesce(least_minor, hold_minor)));
  if newest.state = 'open' then
    outcome := 'repeated';
  elsif for_attempt <= newest.attempt or newest.state = 'charged' then
    outcome := 'resolved';
  elsif not owner.may_spend or owner.state not in ('requested', 'starting', 'charging', 'expired') then
    outcome := 'closed';
  elsif w.balance_minor - w.held_minor < part then
    outcome := 'insufficient';
  else
    outcome := 'held';
    insert into wallet.holds (session_id, attempt, client_id, amount_minor)
    values (for_session, for_attempt, owner.client_id, part);
    update wallet.wallets
       set revision = revision + 1, updated_at = now(), held_minor = held_minor + part
     where client_id = owner.client_id returning * into strict w;
  end if;
  return row (outcome, null, w.client_id, null, null, w.balance_minor, w.held_minor, w.version, w.revision,
              w.debt_minor, null)::wallet.result;
end
$$;

-- Raises the open hold to a new total if the free balance is enough, or, with `partly`, as far as it goes; never lowers
-- it. Outcomes: held, repeated (already that high), insufficient, closed (its client may not spend any more), resolved,
-- not_found.
drop function wallet.extend_hold(uuid, bigint);
create function wallet.extend_hold(for_session uuid, total_minor bigint, partly boolean default false)
returns wallet.result
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  existing wallet.holds;
  may_spend boolean;
  more bigint;
  outcome text;
  w wallet.wallets;
begin
  if total_minor is null or total_minor <= 0 then
    raise exception 'a hold is more than nothing, not %', total_minor using errcode = 'check_violation';
  end if;
  select * into existing from wallet.holds where session_id = for_session order by attempt desc limit 1;
  if not found then
    return row ('not_found', null, null, null, null, null, null, null, null, null, null)::wallet.result;
  end if;
  select * into strict w from wallet.wallets where client_id = existing.client_id for no key update;
  select * into strict existing from wallet.holds where session_id = for_session order by attempt desc limit 1;
  select c.status = 'active' and c.deletion_requested_at is null and c.unmapped_status is null
         and coalesce(c.banned_until <= now(), true) into strict may_spend
    from identity.clients c where c.id = existing.client_id;
  more := total_minor - existing.amount_minor;
  if partly then
    more := least(more, greatest(w.balance_minor - w.held_minor, 1));
  end if;
  if existing.state <> 'open' then
    outcome := 'resolved';
  elsif existing.amount_minor >= total_minor then
    outcome := 'repeated';
  elsif not may_spend then
    outcome := 'closed';
  elsif w.balance_minor - w.held_minor < more then
    outcome := 'insufficient';
  else
    outcome := 'held';
    update wallet.holds set amount_minor = amount_minor + more
     where session_id = for_session and attempt = existing.attempt;
    update wallet.wallets
       set revision = revision + 1, updated_at = now(), held_minor = held_minor + more
     where client_id = existing.client_id returning * into strict w;
  end if;
  return row (outcome, null, w.client_id, null, null, w.balance_minor, w.held_minor, w.version, w.revision,
              w.debt_minor, null)::wallet.result;
end
$$;

-- Releases the newest hold; the client's debts are collected from the free money.
-- Outcomes: released, repeated, resolved (it was charged), not_found.
create or replace function wallet.release_hold(for_session uuid) returns wallet.result
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  existing wallet.holds;
  outcome text;
  w wallet.wallets;
begin
  select * into existing from wallet.holds where session_id = for_session order by attempt desc limit 1;
  if not found then
    return row ('not_found', null, null, null, null, null, null, null, null, null, null)::wallet.result;
  end if;
  select * into strict w from wallet.wallets where client_id = existing.client_id for no key update;
  select * into strict existing from wallet.holds where session_id = for_session order by attempt desc limit 1;
  if existing.state = 'open' then
    outcome := 'released';
    update wallet.holds set state = 'released', resolved_at = now()
     where session_id = for_session and attempt = existing.attempt;
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

revoke all on function wallet.check_open_hold(), wallet.hold(uuid, bigint, bigint, int),
  wallet.extend_hold(uuid, bigint, boolean) from public;
grant execute on function wallet.hold(uuid, bigint, bigint, int), wallet.extend_hold(uuid, bigint, boolean)
  to evpower_app;

-- Starts by app ------------------------------------------------------------------------------------------------------

-- What may be in the way of a start at a station, which the caller has locked. A volatile function: each of its statements
-- sees what was committed while that lock was waited for. `status` is null if there is no such client.
create function charging.start_barriers(for_client uuid, at_station text, at timestamptz)
returns table (
  status text, banned_until timestamptz, unmapped_status text, deletion_requested_at timestamptz,
  client_has_open boolean, station_has_open boolean, is_free boolean
) language plpgsql rows 1 set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
  return query
  select c.status, c.banned_until, c.unmapped_status, c.deletion_requested_at,
         exists (select from charging.sessions s
                  where s.client_id = for_client and s.source = 'evpower'
                    and s.state in ('requested', 'starting', 'charging', 'stopping')),
         exists (select from charging.sessions s
                  where s.station_id = at_station and s.source = 'evpower'
                    and s.state in ('requested', 'starting', 'charging', 'stopping')),
         exists (select from charging.free_periods f
                  where f.station_id = at_station and f.begins_at <= at and at < coalesce(f.ended_at, f.ends_at))
    from (select) as always left join identity.clients_public c on c.id = for_client;
end
$$;

-- Queues the remote start of a new session, inserts the session with its tariff, puts its money on hold, and claims the
-- station's next command for the socket `on_epoch` (null: for none). The caller has locked the station, the hold locks the
-- wallet. Whoever calls it rolls back where `posting` is not held, or `charges`: the client charges elsewhere.
create function charging.begin_start(
  for_session uuid, for_client uuid, at_station text, at_connector int, tag text, energy_wh bigint, amount_minor bigint,
  soc_percent int, plate text, no_token boolean, window_ends_at timestamptz, at timestamptz,
  by_plan text, by_version int, by_snapshot jsonb,
  payload jsonb, actor text, expires_at timestamptz, on_epoch bigint,
  hold_minor bigint, least_minor bigint,
  out command_id bigint, out posting wallet.result, out charges boolean, out on_hold_minor bigint,
  out claimed stations.commands
) language plpgsql set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
  select c.id into strict command_id
    from stations.queue_command(at_station, 'remote_start', payload, at_connector, actor, at, expires_at, null) c;
  insert into charging.sessions
    (id, client_id, station_id, connector_id, state, source, started_by, id_tag, limit_energy_wh, limit_amount_minor,
     limit_soc_percent, vehicle_plate, without_token, start_command_id, start_window_ends_at, created_at)
  values (for_session, for_client, at_station, at_connector, 'requested', 'evpower', 'app', tag, energy_wh, amount_minor,
          soc_percent, plate, no_token, command_id, window_ends_at, at);
  insert into charging.session_tariffs (session_id, plan, version, snapshot)
  values (for_session, by_plan, by_version, by_snapshot);
  posting := wallet.hold(for_session, hold_minor, least_minor, 1);
  if posting.outcome <> 'held' then
    return;  -- the caller refuses, and nothing of this is committed
  end if;
  -- The wallet is locked now, so every other start of this client has ended or waits.
  select exists (select from charging.sessions s
                  where s.client_id = for_client and s.source = 'evpower' and s.state = 'charging'),
         coalesce((select h.amount_minor from wallet.holds_public h
                    where h.session_id = for_session and h.state = 'open'), 0)
    into charges, on_hold_minor;
  if not charges and on_epoch is not null then
    select c.* into claimed from stations.claim_command(at_station, on_epoch, at) c;
  end if;
end
$$;
revoke all on function charging.start_barriers(uuid, text, timestamptz), charging.begin_start(
  uuid, uuid, text, int, text, bigint, bigint, int, text, boolean, timestamptz, timestamptz, text, int, jsonb, jsonb, text,
  timestamptz, bigint, bigint, bigint) from public;
grant execute on function charging.start_barriers(uuid, text, timestamptz), charging.begin_start(
  uuid, uuid, text, int, text, bigint, bigint, int, text, boolean, timestamptz, timestamptz, text, int, jsonb, jsonb, text,
  timestamptz, bigint, bigint, bigint) to evpower_app;

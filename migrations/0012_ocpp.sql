-- The stations' sockets: every frame as it went, and the answers that a repeated request gets again.
create schema ocpp;
grant usage on schema ocpp to evpower_app;

-- Raw frames both ways, secrets blanked, partitioned by day (UTC).
create table ocpp.frames (
  station_id text not null check (length(station_id) between 1 and 50),
  received_at timestamptz not null,                           -- an answer has the time of its request
  direction text not null check (direction in ('in', 'out')), -- in: from the station
  message_type smallint check (message_type in (2, 3, 4)),    -- OCPP-J's; null: unreadable
  message_id text check (length(message_id) <= 255),
  action text check (length(action) <= 64),                   -- null: a reply, whose call has it
  frame text not null
) partition by range (received_at);
create index frames_by_station on ocpp.frames (station_id, received_at);
create table ocpp.frames_default partition of ocpp.frames default;
grant select, insert on ocpp.frames to evpower_app;

-- Frames of sessions that wait in quarantine, copied before their day is dropped: the operator decides by them.
create table ocpp.quarantined_frames (
  session_id uuid not null,
  like ocpp.frames,
  copied_at timestamptz not null default now()
);
create index quarantined_frames_by_session on ocpp.quarantined_frames (session_id, received_at);
grant select on ocpp.quarantined_frames to evpower_app;

-- Makes and drops the partitions of the frames: the processes themselves may create and drop nothing.
create function ocpp.keep_frames(today date, keep_days int) returns table (outcome text, day date)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into ocpp.quarantined_frames
    (session_id, station_id, received_at, direction, message_type, message_id, action, frame)
  select s.id, f.station_id, f.received_at, f.direction, f.message_type, f.message_id, f.action, f.frame
    from charging.sessions s
    join ocpp.frames f on f.station_id = s.station_id and f.received_at >= s.created_at - interval '1 minute'
     and f.received_at < coalesce(s.ended_at, f.received_at) + interval '5 minutes'
   where s.quarantined_at is not null and s.created_at < (today - keep_days)::timestamp at time zone 'UTC'
     and f.received_at < (today - keep_days)::timestamp at time zone 'UTC';
  return query select * from foundation.keep_partitions('ocpp', 'frames', today, keep_days, 7);
  delete from ocpp.frames_default f where f.received_at < (today - keep_days)::timestamp at time zone 'UTC';
end
$$;
revoke all on function ocpp.keep_frames(date, int) from public;
grant execute on function ocpp.keep_frames(date, int) to evpower_app;

-- What a request was answered, under a hash of its station, action and content: a retry gets the same.
create table ocpp.answers (
  key bytea primary key check (octet_length(key) = 16),
  answer text not null,
  received_at timestamptz not null
);
create index answers_by_time on ocpp.answers using brin (received_at);
grant select, insert, delete on ocpp.answers to evpower_app;

-- Charges of forwarded stations, seen in the frames that passed: what they would have cost here. No money moves by them.
create table ocpp.forwarded_charges (
  id bigint generated always as identity primary key,
  station_id text not null check (length(station_id) between 1 and 50),
  connector int not null check (connector >= 0),
  id_tag text not null check (length(id_tag) <= 255),
  their_id text check (length(their_id) <= 64),      -- the transaction's id, given by the other CSMS
  meter_start_wh numeric,
  started_at timestamptz not null,
  station_start_time text check (length(station_start_time) <= 64), -- raw
  start_key bytea not null unique check (octet_length(start_key) = 16),
  meter_stop_wh numeric,
  ended_at timestamptz,
  energy_wh bigint check (energy_wh >= 0),           -- null: a register is missing, or went down
  cost_minor bigint check (cost_minor >= 0),         -- null: no tariff, or no energy known
  currency text check (length(currency) = 3),
  plan text,
  version int,
  constraint forwarded_charges_end_after_they_start check (ended_at >= started_at),
  constraint forwarded_charges_are_priced_at_their_end check (ended_at is not null or (energy_wh is null and cost_minor is null)),
  constraint forwarded_charges_have_a_price_with_a_tariff check (
    num_nulls(currency, plan, version) in (0, 3) and (cost_minor is null or num_nulls(energy_wh, plan) = 0))
);
create index forwarded_charges_by_station on ocpp.forwarded_charges (station_id, id desc);
grant select, insert,
  update (start_key, their_id, meter_stop_wh, ended_at, energy_wh, cost_minor, currency, plan, version)
  on ocpp.forwarded_charges to evpower_app;

-- Where charging happens: locations, stations, EVSEs, connectors, and what passes between a station and EvPower.
create schema stations;
grant usage on schema stations to evpower_app;

create table stations.locations (
  id text primary key check (length(id) between 1 and 64 and id = btrim(id) and id !~ '[[:cntrl:]]'),
  name text not null check (length(name) between 1 and 200 and name = btrim(name) and name !~ '[[:cntrl:]]'),
  address text not null default '' check (length(address) <= 200),
  city text not null default '' check (length(city) <= 100),
  country text not null default 'KGZ' check (country ~ '^[A-Z]{3}$'), -- ISO 3166-1 alpha-3, as OCPI has it
  latitude numeric(9, 6) check (latitude between -90 and 90),
  longitude numeric(9, 6) check (longitude between -180 and 180),
  time_zone text not null default 'Asia/Bishkek' check (length(time_zone) between 1 and 64),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint locations_have_both_coordinates check ((latitude is null) = (longitude is null))
);
create index locations_by_name on stations.locations (lower(name));
grant select, insert, update on stations.locations to evpower_app;

create table stations.stations (
  id text primary key check (length(id) between 1 and 50), -- its first OCPP name; it never changes
  id_key text not null unique,
  post_code text not null unique check (post_code ~ '^[0-9a-z]{4,12}$'), -- short, on the post, read out to support
  location_id text not null references stations.locations,
  owner text check (length(owner) between 1 and 200), -- whose the post is; each bill records it
  -- What the operator wants, and what the station reports. Neither is derived from the other.
  wanted_availability text not null default 'operative' check (wanted_availability in ('operative', 'inoperative')),
  reported_availability text check (reported_availability in ('operative', 'inoperative')),
  status_stamp_at timestamptz,                       -- the newest stamp of a status of the whole station
  -- As the station reported them at its last boot, cut by no limit of the protocol.
  vendor text check (length(vendor) <= 255),
  model text check (length(model) <= 255),
  firmware text check (length(firmware) <= 255),
  booted_at timestamptz,
  no_auth boolean not null default false,            -- true: connects without a password
  paid_only boolean not null default true,           -- an unknown tag charges nothing
  cards_without_auth boolean not null default false, -- cards count although the station has no password
  is_simulated boolean not null default false,
  pinned_version text check (pinned_version in ('ocpp1.6', 'ocpp2.0.1')), -- null: as each socket agrees
  -- Another CSMS that gets the station's frames and answers them; null: EvPower answers. No password in it.
  forward_url text check (length(forward_url) <= 500 and forward_url ~ '^wss?://[^[:space:]/?#@]+[^[:space:]?#@]*[^[:space:]?#@/]$'),
  retired_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint cards_without_auth_needs_no_auth check (no_auth or not cards_without_auth)
);
create index stations_by_location on stations.stations (location_id, id);
grant select, insert,
  update (location_id, owner, wanted_availability, reported_availability, status_stamp_at, vendor, model, firmware,
          booted_at, no_auth, paid_only, cards_without_auth, pinned_version, forward_url, retired_at, updated_at)
  on stations.stations to evpower_app;

-- Every name by which a station is found: by its socket, the API, a QR code, support. `key` is the name in the form in
-- which names are compared; no two stations share one, whatever its kind.
create table stations.names (
  key text primary key check (length(key) between 1 and 1000),
  name text not null check (length(name) between 1 and 255 and name = btrim(name) and name !~ '[[:cntrl:]]'),
  kind text not null check (kind in ('ocpp', 'old_id', 'serial', 'post_code')),
  station_id text not null references stations.stations,
  created_at timestamptz not null default now(),
  unique (key, station_id),
  constraint names_of_sockets_are_short check (kind <> 'ocpp' or length(name) <= 50),
  constraint keys_of_ascii_are_lower_case check (octet_length(name) <> length(name) or key = lower(name))
);
create index names_by_station on stations.names (station_id);
create unique index names_one_post_code on stations.names (station_id) where kind = 'post_code';
grant select, insert on stations.names to evpower_app;

-- A station is found by its own id and post code, from its first commit on.
alter table stations.stations
  add constraint stations_are_named foreign key (id_key, id) references stations.names (key, station_id)
    deferrable initially deferred,
  add constraint stations_have_post_codes foreign key (post_code, id) references stations.names (key, station_id)
    deferrable initially deferred;

create table stations.evses (
  station_id text not null references stations.stations,
  number int not null check (number between 1 and 1000), -- OCPP 2.0.1's evse id
  evse_id text unique check (evse_id ~ '^[A-Z]{2}\*?[A-Z0-9]{3}\*?E[A-Z0-9*]{1,31}$'), -- OCPI's, as on the post
  created_at timestamptz not null default now(),
  primary key (station_id, number)
);
grant select, insert, update (evse_id) on stations.evses to evpower_app;

create table stations.connectors (
  station_id text not null,
  number int not null check (number between 1 and 1000), -- what OCPP 1.6, QR codes and apps call connector_id
  evse_number int not null,
  evse_connector int not null default 1 check (evse_connector between 1 and 100), -- OCPP 2.0.1's connector id
  standard text not null check (standard in (
    'CHADEMO', 'DOMESTIC_A', 'DOMESTIC_B', 'DOMESTIC_C', 'DOMESTIC_D', 'DOMESTIC_E', 'DOMESTIC_F', 'DOMESTIC_G',
    'DOMESTIC_H', 'DOMESTIC_I', 'DOMESTIC_J', 'DOMESTIC_K', 'DOMESTIC_L', 'GBT_AC', 'GBT_DC', 'IEC_60309_2_single_16',
    'IEC_60309_2_three_16', 'IEC_60309_2_three_32', 'IEC_60309_2_three_64', 'IEC_62196_T1', 'IEC_62196_T1_COMBO',
    'IEC_62196_T2', 'IEC_62196_T2_COMBO', 'IEC_62196_T3A', 'IEC_62196_T3C', 'NEMA_5_20', 'NEMA_6_30', 'NEMA_6_50',
    'NEMA_10_30', 'NEMA_10_50', 'NEMA_14_30', 'NEMA_14_50', 'PANTOGRAPH_BOTTOM_UP', 'PANTOGRAPH_TOP_DOWN', 'TESLA_R',
    'TESLA_S')),                                     -- OCPI 2.2.1, ConnectorType
  format text not null check (format in ('SOCKET', 'CABLE')),
  power_type text not null check (power_type in ('AC_1_PHASE', 'AC_2_PHASE', 'AC_2_PHASE_SPLIT', 'AC_3_PHASE', 'DC')),
  rated_power_w int not null check (rated_power_w between 1 and 10000000),
  wanted_availability text not null default 'operative' check (wanted_availability in ('operative', 'inoperative')),
  reported_status text check (reported_status in (
    'available', 'preparing', 'occupied', 'charging', 'suspended_ev', 'suspended_evse', 'finishing', 'reserved',
    'unavailable', 'faulted')),                      -- null: it reported none yet
  reported_error text check (length(reported_error) <= 255),
  reported_at timestamptz,                           -- since when it reports this status
  status_stamp_at timestamptz,                       -- the newest stamp of a status, at most its time of receipt
  created_at timestamptz not null default now(),
  primary key (station_id, number),
  unique (station_id, evse_number, evse_connector),
  foreign key (station_id, evse_number) references stations.evses (station_id, number),
  constraint connectors_report_with_a_time check ((reported_status is null) = (reported_at is null))
);
grant select, insert,
  update (standard, format, power_type, rated_power_w, wanted_availability, reported_status, reported_error, reported_at,
          status_stamp_at)
  on stations.connectors to evpower_app;

-- What an operator set of a station's vendor profile (src/evpower/stations/vendors/).
create table stations.profiles (
  station_id text primary key references stations.stations,
  profile text check (length(profile) between 1 and 64), -- null: by what the station says of itself
  overrides jsonb not null default '{}' check (jsonb_typeof(overrides) = 'object'), -- members that are its own
  updated_at timestamptz not null default now()
);
grant select, insert, update (profile, overrides, updated_at) on stations.profiles to evpower_app;

-- A station's password, as a hash of its bytes. A new one waits beside the present one until the station uses it.
create table stations.credentials (
  id bigint generated always as identity primary key,
  station_id text not null references stations.stations,
  secret_sha256 bytea not null check (octet_length(secret_sha256) = 32),
  created_at timestamptz not null default now(),
  activated_at timestamptz,                          -- when the station first used it
  ended_at timestamptz
);
create unique index credentials_one_waits on stations.credentials (station_id)
  where activated_at is null and ended_at is null;
create unique index credentials_one_counts on stations.credentials (station_id)
  where activated_at is not null and ended_at is null;
grant select, insert, update (activated_at, ended_at) on stations.credentials to evpower_app;

create function stations.guard_credential() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'UPDATE' and old.ended_at is null
     and (old.activated_at is null or new.activated_at is not distinct from old.activated_at)
     and (new.id, new.station_id, new.secret_sha256, new.created_at)
         is not distinct from (old.id, old.station_id, old.secret_sha256, old.created_at) then
    return new;
  end if;
  raise exception 'password % of station % stays as it is', old.id, old.station_id
    using errcode = 'restrict_violation';
end
$$;
create trigger credentials_stay before update or delete on stations.credentials
  for each row execute function stations.guard_credential();

-- What a station does off the protocol, counted by kind.
create table stations.deviations (
  station_id text not null references stations.stations,
  kind text not null check (kind ~ '^[a-z][a-z0-9_]{0,63}$'),
  count bigint not null check (count > 0),
  sample text check (length(sample) <= 4000),
  first_seen_at timestamptz not null,
  last_seen_at timestamptz not null,
  primary key (station_id, kind),
  constraint deviations_are_last_seen_after_the_first check (last_seen_at >= first_seen_at)
);
grant select, insert, update (count, sample, last_seen_at) on stations.deviations to evpower_app;

create table stations.status_log (
  id bigint generated always as identity primary key,
  station_id text not null references stations.stations,
  connector int not null check (connector >= 0),     -- 0: the station as a whole
  status text not null check (length(status) between 1 and 64), -- as reported, also a word that no protocol has
  error text check (length(error) <= 255),
  info text check (length(info) <= 1000),
  station_time text check (length(station_time) <= 64), -- raw
  station_at timestamptz,                            -- the same as it was read; null: absent or unusable
  received_at timestamptz not null default now(),
  is_applied boolean not null default true           -- false: history, or a word or connector that is none
);
create index status_log_by_station on stations.status_log (station_id, received_at desc, id desc);
create index status_log_by_time on stations.status_log (received_at);
grant select, insert on stations.status_log to evpower_app;

-- Each connection of a station. Its id is the socket's epoch: of two the greater one is the newer.
create table stations.connections (
  id bigint generated always as identity primary key,
  station_id text not null references stations.stations,
  address text not null check (length(address) between 1 and 64),
  version text not null check (version in ('ocpp1.6', 'ocpp2.0.1')),
  is_authenticated boolean not null,
  opened_at timestamptz not null default now(),
  closed_at timestamptz,
  close_reason text check (close_reason in (
    'station', 'lost', 'silent', 'replaced', 'unresponsive', 'protocol', 'operator', 'shutdown', 'node_lost',
    'upstream_lost')),
  unique (id, station_id),
  constraint connections_close_with_a_reason check ((closed_at is null) = (close_reason is null)),
  constraint connections_close_after_they_open check (closed_at >= opened_at)
);
create unique index connections_one_open on stations.connections (station_id) where closed_at is null;
create index connections_by_station on stations.connections (station_id, opened_at desc, id desc);
create index connections_by_end on stations.connections (closed_at) where closed_at is not null;
grant select, insert, update (closed_at, close_reason) on stations.connections to evpower_app;

-- Raises when a station is retired. The row is locked, so that it can't be retired in the meantime.
create function stations.refuse_retired(station text) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  retired timestamptz;
begin
  select s.retired_at into retired from stations.stations s where s.id = station for share;
  if retired is not null then
    raise exception 'station % is retired', station using errcode = 'restrict_violation';
  end if;
end
$$;

create function stations.guard_connection() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'INSERT' then
    perform stations.refuse_retired(new.station_id);
    return new;
  end if;
  if tg_op = 'DELETE' and old.closed_at < now() - interval '30 days' then
    return old;
  end if;
  if tg_op = 'UPDATE' and old.closed_at is null
     and (new.id, new.station_id, new.address, new.version, new.is_authenticated, new.opened_at)
         is not distinct from
         (old.id, old.station_id, old.address, old.version, old.is_authenticated, old.opened_at) then
    return new;
  end if;
  raise exception 'connection % of station % stays as it is', old.id, old.station_id
    using errcode = 'restrict_violation';
end
$$;
create trigger connections_stay before insert or update or delete on stations.connections
  for each row execute function stations.guard_connection();

-- Which node has a station's newest socket, and when a frame last came. One narrow row a station.
create table stations.sockets (
  station_id text primary key references stations.stations,
  epoch bigint not null,
  node text not null check (length(node) between 1 and 200),
  last_frame_at timestamptz,
  foreign key (epoch, station_id) references stations.connections (id, station_id)
) with (fillfactor = 50);
grant select, insert, update (epoch, node, last_frame_at), delete on stations.sockets to evpower_app;

create function stations.guard_socket() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.station_id <> old.station_id or new.epoch < old.epoch or (new.epoch = old.epoch and new.node <> old.node) then
    raise exception 'station % has a newer socket', old.station_id using errcode = 'restrict_violation';
  end if;
  return new;
end
$$;
create trigger sockets_are_newest before update on stations.sockets
  for each row execute function stations.guard_socket();

-- Deletes old statuses and closed connections, at most so many of each; returns the greater number. A connection that a command or socket names stays.
create function stations.purge_logs(before timestamptz, at_most int) returns int language plpgsql
security definer set search_path = pg_catalog, pg_temp as $$
declare
  oldest timestamptz := least(before, now() - interval '30 days');
  statuses int;
  closed int;
begin
  delete from stations.status_log where id in (
    select l.id from stations.status_log l where l.received_at < oldest order by l.received_at limit at_most);
  get diagnostics statuses = row_count;
  delete from stations.connections where id in (
    select c.id from stations.connections c
     where c.closed_at < oldest
       and not exists (select from stations.commands m where m.epoch = c.id)
       and not exists (select from stations.sockets s where s.station_id = c.station_id and s.epoch = c.id)
     order by c.closed_at limit at_most);
  get diagnostics closed = row_count;
  return greatest(statuses, closed);
end
$$;
revoke all on function stations.purge_logs(timestamptz, int) from public;
grant execute on function stations.purge_logs(timestamptz, int) to evpower_app;

-- What a station is asked to do. The node that has its socket sends it, one at a time.
create table stations.commands (
  id bigint generated always as identity primary key,
  station_id text not null references stations.stations,
  connector int check (connector >= 0),
  action text not null check (action in (
    'remote_start', 'remote_stop', 'reset', 'unlock', 'change_availability', 'get_configuration',
    'change_configuration', 'clear_cache', 'trigger', 'data_transfer', 'set_charging_profile',
    'clear_charging_profile')),
  payload jsonb not null default '{}' check (jsonb_typeof(payload) = 'object'),
  state text not null default 'queued' check (state in ('queued', 'sent', 'accepted', 'refused', 'timed_out')),
  actor text not null check (length(actor) between 1 and 200),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,                   -- it is not sent from then on
  sent_at timestamptz,
  epoch bigint,                                      -- of the socket it was sent on
  ended_at timestamptz,
  response jsonb,
  bulk_id uuid,                                      -- of those given to many stations at once
  foreign key (epoch, station_id) references stations.connections (id, station_id),
  constraint commands_are_sent_on_a_socket check ((sent_at is null) = (epoch is null)),
  constraint commands_are_sent_before_they_expire check (sent_at < expires_at),
  constraint commands_in_their_state check (case state
    when 'queued' then sent_at is null and ended_at is null and response is null
    when 'sent' then sent_at is not null and ended_at is null and response is null
    when 'timed_out' then ended_at is not null and response is null
    else sent_at is not null and ended_at is not null end)
);
create unique index commands_one_in_flight on stations.commands (station_id) where state = 'sent';
create index commands_queued on stations.commands (station_id, id) where state = 'queued';
create index commands_that_expire on stations.commands (expires_at) where state = 'queued';
create index commands_by_station on stations.commands (station_id, created_at desc, id desc);
create index commands_with_settings on stations.commands (station_id, id desc)
  where action = 'get_configuration' and state = 'accepted';
create index commands_that_trigger on stations.commands (station_id) where action = 'trigger';
create index commands_by_bulk on stations.commands (bulk_id, id) where bulk_id is not null;
create index commands_by_socket on stations.commands (epoch) where epoch is not null;
grant select, insert, update (state, sent_at, epoch, ended_at, response) on stations.commands to evpower_app;

create function stations.guard_command() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'INSERT' then
    perform stations.refuse_retired(new.station_id);
    if new.state <> 'queued' then
      raise exception 'a command begins as queued' using errcode = 'restrict_violation';
    end if;
    return new;
  end if;
  -- A reply may come after the time-out: a time-out says that the outcome is unknown.
  if tg_op = 'UPDATE'
     and (new.id, new.station_id, new.connector, new.action, new.payload, new.actor, new.created_at, new.expires_at,
          new.bulk_id)
         is not distinct from
         (old.id, old.station_id, old.connector, old.action, old.payload, old.actor, old.created_at, old.expires_at,
          old.bulk_id)
     and (old.sent_at is null or (new.sent_at, new.epoch) is not distinct from (old.sent_at, old.epoch))
     and (old.state, new.state) in (
       ('queued', 'sent'), ('queued', 'timed_out'), ('sent', 'accepted'), ('sent', 'refused'), ('sent', 'timed_out'),
       ('timed_out', 'accepted'), ('timed_out', 'refused'))
     and (old.state <> 'queued' or new.state = 'sent' or new.sent_at is null)
     and (old.state <> 'timed_out' or old.sent_at is not null) then
    return new;
  end if;
  raise exception 'command % of station % is %, and can''t become %', old.id, old.station_id, old.state,
    coalesce(new.state, 'deleted') using errcode = 'restrict_violation';
end
$$;
create trigger commands_go_forward before insert or update or delete on stations.commands
  for each row execute function stations.guard_command();

-- Stations that were not asked although a bulk command named them: they have no command.
create table stations.bulk_refusals (
  bulk_id uuid not null,
  station text not null check (length(station) between 1 and 255), -- its id, or as it was named
  action text not null,
  error text not null,
  refused_at timestamptz not null,
  primary key (bulk_id, station)
);
grant select, insert on stations.bulk_refusals to evpower_app;

-- Queues a command, and locks its station; no row if that is retired, or there is none.
create function stations.queue_command(
  at_station text, action text, payload jsonb, connector int, actor text, made_at timestamptz, until timestamptz,
  bulk_id uuid
) returns setof stations.commands language plpgsql rows 1 set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
  return query
  with station as (
    select s.id from stations.stations s where s.id = at_station and s.retired_at is null for no key update
  )
  insert into stations.commands as c
    (station_id, action, payload, connector, actor, created_at, expires_at, bulk_id)
  select s.id, queue_command.action, queue_command.payload, queue_command.connector, queue_command.actor, made_at, until,
         queue_command.bulk_id
    from station s returning c.*;
end
$$;

-- Marks a station's oldest queued command as sent on its newest socket, unless one is in flight. The socket is locked
-- first: a newer one waits, or has come and is seen.
create function stations.claim_command(at_station text, on_epoch bigint, at timestamptz)
returns setof stations.commands language plpgsql rows 1 set search_path = pg_catalog, pg_temp as $$
begin
  perform from stations.sockets s where s.station_id = at_station and s.epoch = on_epoch for no key update;
  if not found then
    return;
  end if;
  return query
  update stations.commands c set state = 'sent', sent_at = at, epoch = on_epoch
   where c.id = (
     select q.id from stations.commands q
      where q.station_id = at_station and q.state = 'queued' and q.expires_at > at
      order by q.id limit 1 for update)
     and not exists (select from stations.commands f where f.station_id = at_station and f.state = 'sent')
  returning c.*;
end
$$;

-- A key's value of the newest configuration that a station answered with.
create function stations.newest_setting(of_station text, setting text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (
    select k.item ->> 'value' from stations.commands c
     cross join lateral jsonb_array_elements(
       case jsonb_typeof(c.response -> 'configurationKey')
         when 'array' then c.response -> 'configurationKey' else '[]' end) k (item)
     where c.station_id = of_station and c.action = 'get_configuration' and c.state = 'accepted'
       and lower(k.item ->> 'key') = lower(setting)
     order by c.id desc limit 1);
end
$$;

-- Locks the station of a name, then reads what a start needs of it and of a connector: nulls if it has none of this
-- number. No row if no station has the name.
create function stations.lock_for_start(named text, at_connector int, setting text)
returns table (
  station stations.stations, connector int, connector_availability text, connector_status text, rated_power_w int,
  last_frame_at timestamptz, time_zone text, chosen_profile text, profile_overrides jsonb, setting_value text
) language plpgsql rows 1 set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan as $$
declare
  locked stations.stations;
begin
  select s.* into locked
    from stations.names n join stations.stations s on s.id = n.station_id
   where n.key = named for no key update of s;
  if not found then
    return;
  end if;
  -- A statement of its own: it sees what was committed while the lock was waited for.
  return query
  select locked, c.number, c.wanted_availability, c.reported_status, c.rated_power_w, o.last_frame_at, l.time_zone,
         p.profile, coalesce(p.overrides, '{}'::jsonb), stations.newest_setting(locked.id, setting)
    from stations.locations l
    left join stations.connectors c on c.station_id = locked.id and c.number = at_connector
    left join stations.profiles p on p.station_id = locked.id
    left join stations.sockets o on o.station_id = locked.id
   where l.id = locked.location_id;
end
$$;
revoke all on function stations.queue_command(text, text, jsonb, int, text, timestamptz, timestamptz, uuid),
  stations.claim_command(text, bigint, timestamptz), stations.newest_setting(text, text),
  stations.lock_for_start(text, int, text) from public;
grant execute on function stations.queue_command(text, text, jsonb, int, text, timestamptz, timestamptz, uuid),
  stations.claim_command(text, bigint, timestamptz), stations.newest_setting(text, text),
  stations.lock_for_start(text, int, text) to evpower_app;

-- The set-up of a station: which configuration keys it has, and which were written. Once for each firmware.
create table stations.setups (
  id bigint generated always as identity primary key,
  station_id text not null references stations.stations,
  vendor text not null check (length(vendor) <= 255), -- as it booted; '' where it said nothing
  model text not null check (length(model) <= 255),
  firmware text not null check (length(firmware) <= 255),
  actor text not null check (length(actor) between 1 and 200),
  command_id bigint not null,                        -- of stations.commands: the one that it waits for
  keys jsonb not null default '[]' check (jsonb_typeof(keys) = 'array'),
  failure text check (failure in ('refused', 'no_answer', 'not_delivered')),
  started_at timestamptz not null,
  ended_at timestamptz,
  constraint setups_fail_at_their_end check (failure is null or ended_at is not null),
  constraint setups_end_after_they_start check (ended_at >= started_at)
);
create unique index setups_one_runs on stations.setups (station_id) where ended_at is null;
create index setups_by_station on stations.setups (station_id, id desc);
create index setups_by_command on stations.setups (command_id);
grant select, insert, update (command_id, keys, failure, ended_at) on stations.setups to evpower_app;

-- Names that tried to connect and were refused, mostly of no station. The list is bounded: see `record_attempts`.
create table stations.unknown_stations (
  key text primary key check (length(key) between 1 and 1000),
  name text not null check (length(name) between 1 and 255 and name !~ '[[:cntrl:]]'),
  address text not null check (length(address) between 1 and 64), -- of the last attempt
  attempts bigint not null default 1 check (attempts > 0),
  first_seen_at timestamptz not null,
  last_seen_at timestamptz not null,
  reason text not null default 'station_not_found' check (reason in ( -- of the last refusal
    'station_not_found', 'station_ambiguous', 'station_retired', 'no_password', 'wrong_password',
    'version_not_served', 'version_pinned', 'station_not_simulated', 'station_connected')),
  constraint unknown_stations_are_last_seen_after_the_first check (last_seen_at >= first_seen_at)
);
create index unknown_stations_by_time on stations.unknown_stations (last_seen_at desc);
grant select, insert, update (name, address, attempts, last_seen_at, reason), delete on stations.unknown_stations to evpower_app;

create view stations.locations_public as
select l.id, l.name, l.address, l.city, l.country, l.latitude, l.longitude, l.time_zone, l.created_at, l.updated_at
  from stations.locations l;
create view stations.stations_public as
select s.id, s.post_code, s.location_id, s.owner, s.wanted_availability, s.reported_availability, s.vendor, s.model,
       s.firmware, s.no_auth, s.paid_only, s.cards_without_auth, s.is_simulated, s.retired_at, s.created_at, s.updated_at
  from stations.stations s;
create view stations.connectors_public as
select c.station_id, c.number, c.evse_number, c.evse_connector, c.standard, c.format, c.power_type, c.rated_power_w,
       round(c.rated_power_w / 1000.0, 3) as rated_power_kw, c.wanted_availability, c.reported_status, c.reported_error,
       c.reported_at
  from stations.connectors c;
create view stations.evses_public as
select e.station_id, e.number, e.evse_id from stations.evses e;
create view stations.sockets_public as
select s.station_id, s.epoch, s.node, s.last_frame_at from stations.sockets s;
create view stations.commands_public as
select c.id, c.station_id, c.connector, c.action, c.state, c.expires_at from stations.commands c;
-- What a station was, and when: for reports.
create view stations.connections_public as
select c.id, c.station_id, c.opened_at, c.closed_at, c.close_reason from stations.connections c;
create view stations.status_log_public as
select l.id, l.station_id, l.connector, l.status, l.station_at, l.received_at, l.is_applied from stations.status_log l;
grant select on stations.locations_public, stations.stations_public, stations.connectors_public, stations.sockets_public,
  stations.connections_public, stations.status_log_public, stations.evses_public,
  stations.commands_public to evpower_app;

-- Stations are retired, never deleted, and a name stays with its station: sessions and bills point at both.
create function stations.guard_station() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if (new.id, new.id_key, new.post_code, new.is_simulated, new.created_at)
     is distinct from (old.id, old.id_key, old.post_code, old.is_simulated, old.created_at) then
    raise exception 'the id of station % stays as it is', old.id using errcode = 'restrict_violation';
  end if;
  if new.retired_at is not null and old.retired_at is null
     and exists (select from stations.connections c where c.station_id = old.id and c.closed_at is null) then
    raise exception 'station % is connected', old.id using errcode = 'restrict_violation';
  end if;
  return new;
end
$$;
create trigger stations_stay before update on stations.stations
  for each row execute function stations.guard_station();

create function stations.refuse_change() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception '% of stations are kept as they are', tg_table_name using errcode = 'restrict_violation';
end
$$;
create trigger names_stay before update or delete or truncate on stations.names
  for each statement execute function stations.refuse_change();
create trigger status_log_stays before update on stations.status_log
  for each statement execute function stations.refuse_change();
create trigger stations_are_kept before delete or truncate on stations.stations
  for each statement execute function stations.refuse_change();
create trigger locations_are_kept before delete or truncate on stations.locations
  for each statement execute function stations.refuse_change();
create trigger evses_are_kept before delete or truncate on stations.evses
  for each statement execute function stations.refuse_change();
create trigger connectors_are_kept before delete or truncate on stations.connectors
  for each statement execute function stations.refuse_change();
create trigger credentials_are_kept before truncate on stations.credentials
  for each statement execute function stations.refuse_change();
create trigger connections_are_kept before truncate on stations.connections
  for each statement execute function stations.refuse_change();
create trigger commands_are_kept before truncate on stations.commands
  for each statement execute function stations.refuse_change();

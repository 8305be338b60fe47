-- Further outbox entries: the progress of running sessions, and what the tables of an older backend show of locations,
-- stations and tariffs.
alter table sync.pending
  drop constraint pending_topic_check,
  add constraint pending_topic_check check (topic in ('client', 'session', 'location', 'station', 'tariff'));

-- A state of a session is due at once (0006); its progress at most once a minute.
create function sync.enqueue_progress() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into sync.pending (topic, key, next_at)
  select 'session', c.session_id, now() + interval '60 s' from changed c where c.session_id is not null
   order by c.session_id
  on conflict (topic, key) do update
    set generation = excluded.generation, next_at = least(sync.pending.next_at, excluded.next_at);
  return null;
end
$$;
create trigger progress_pends after update on charging.progress
  referencing new table as changed for each statement execute function sync.enqueue_progress();

-- The outbox's key of what has a text for an id.
create table sync.row_keys (
  key uuid primary key,
  topic text not null check (topic in ('location', 'station', 'tariff')),
  id text not null,
  unique (topic, id)
);
grant select on sync.row_keys to evpower_app;
create function sync.row_key(topic text, id text) returns uuid
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select md5(topic || ':' || id)::uuid
$$;

-- Enqueues rows by a topic and their ids.
create function sync.enqueue_ids(of_topic text, ids text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into sync.row_keys (key, topic, id)
  select sync.row_key($1, i.id), $1, i.id from (select distinct unnest($2) as id) i
   where not exists (select from sync.row_keys k where k.topic = $1 and k.id = i.id)
   order by 1
  on conflict do nothing;
  insert into sync.pending (topic, key)
  select $1, sync.row_key($1, i.id) from (select distinct unnest($2) as id) i order by 2
  on conflict (topic, key) do update
    set generation = excluded.generation, next_at = least(sync.pending.next_at, excluded.next_at), parked_at = null;
end
$$;
revoke all on function sync.enqueue_ids(text, text[]) from public;
grant execute on function sync.enqueue_ids(text, text[]) to evpower_app;

-- The trigger's arguments are the topic, and the column with the id.
create function sync.enqueue_named() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform sync.enqueue_ids(tg_argv[0], (select array_agg(to_jsonb(c) ->> tg_argv[1]) from changed c));
  return null;
end
$$;
create trigger locations_pend_new after insert on stations.locations
  referencing new table as changed for each statement execute function sync.enqueue_named('location', 'id');
create trigger locations_pend after update on stations.locations
  referencing new table as changed for each statement execute function sync.enqueue_named('location', 'id');
create trigger stations_pend_new after insert on stations.stations
  referencing new table as changed for each statement execute function sync.enqueue_named('station', 'id');
create trigger stations_pend after update on stations.stations
  referencing new table as changed for each statement execute function sync.enqueue_named('station', 'id');
create trigger connectors_pend_new after insert on stations.connectors
  referencing new table as changed for each statement execute function sync.enqueue_named('station', 'station_id');
-- A repeated status shows nothing new.
create function sync.enqueue_connectors() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform sync.enqueue_ids('station', (
    select array_agg(c.station_id)
      from changed c join before b on b.station_id = c.station_id and b.number = c.number
     where (c.reported_status, c.reported_error, c.reported_at, c.wanted_availability)
           is distinct from (b.reported_status, b.reported_error, b.reported_at, b.wanted_availability)));
  return null;
end
$$;
create trigger connectors_pend after update on stations.connectors
  referencing old table as before new table as changed
  for each statement execute function sync.enqueue_connectors();

-- A price is shown beside each station: it changes with a tariff, and with where one applies.
create function sync.enqueue_tariffs() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform sync.enqueue_ids('tariff', (
    select array_agg(p.code) from changed c join tariffs.plans p on p.id = c.plan_id));
  perform sync.enqueue_ids('station', (select array_agg(s.id) from stations.stations s));
  return null;
end
$$;
create trigger versions_pend_new after insert on tariffs.versions
  referencing new table as changed for each statement execute function sync.enqueue_tariffs();
create trigger versions_pend after update on tariffs.versions
  referencing new table as changed for each statement execute function sync.enqueue_tariffs();
create trigger assignments_pend_new after insert on tariffs.assignments
  referencing new table as changed for each statement execute function sync.enqueue_tariffs();

-- A location counts its stations and their connectors. A boot changes no count: else the boots of a whole site, after a
-- power cut, would wait for each other's row in the outbox.
create function sync.enqueue_locations() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform sync.enqueue_ids('location', (
    select array_agg(l.id)
      from changed c join before b on b.id = c.id
     cross join lateral (values (b.location_id), (c.location_id)) as l (id)
     where (c.location_id, c.retired_at is null) is distinct from (b.location_id, b.retired_at is null)));
  return null;
end
$$;
create trigger stations_pend_location_new after insert on stations.stations
  referencing new table as changed for each statement execute function sync.enqueue_named('location', 'location_id');
create trigger stations_pend_location after update on stations.stations
  referencing old table as before new table as changed
  for each statement execute function sync.enqueue_locations();

do $$
begin
  perform sync.enqueue_ids('location', (select array_agg(l.id) from stations.locations l));
  perform sync.enqueue_ids('tariff', (select array_agg(p.code) from tariffs.plans p));
  perform sync.enqueue_ids('station', (select array_agg(s.id) from stations.stations s));
end
$$;

-- Favourite locations of clients, and the messages that reach a driver whose app is closed.

-- A location stands above identity: whether it exists is checked by the call that adds it, and locations are never deleted.
create table identity.favorites (
  client_id uuid not null references identity.clients,
  location_id text not null check (length(location_id) between 1 and 64),
  created_at timestamptz not null,
  primary key (client_id, location_id)
);
grant select, insert, delete on identity.favorites to evpower_app;

create schema push;
grant usage on schema push to evpower_app;

-- Where a client is reached while its app is closed. The address is a secret: whoever has it may send.
create table push.devices (
  id bigint generated always as identity primary key,
  client_id uuid not null references identity.clients,
  kind text not null check (kind in ('fcm', 'web')),
  address text not null check (length(address) between 1 and 1024), -- FCM's token, or a subscription's endpoint
  host text not null check (length(host) between 1 and 253), -- of the push service
  p256dh bytea check (length(p256dh) = 65),            -- a subscription's keys (RFC 8291)
  auth bytea check (length(auth) = 16),
  vapid_key text check (length(vapid_key) between 1 and 200), -- our public key that it was made for: no other may send
  platform text not null check (platform in ('android', 'ios', 'web')),
  app_version text check (length(app_version) between 1 and 32),
  language text not null check (language in ('ru', 'ky', 'en')),
  created_at timestamptz not null,
  seen_at timestamptz not null,                        -- when the app registered it last
  unique (kind, address),
  constraint devices_of_the_web_have_keys check (
    num_nonnulls(p256dh, auth, vapid_key) = case kind when 'web' then 3 else 0 end),
  constraint devices_are_seen_after_they_are_made check (seen_at >= created_at)
);
create index devices_by_client on push.devices (client_id, seen_at);
grant select, insert, update (language, app_version, platform, seen_at, p256dh, auth, vapid_key), delete
  on push.devices to evpower_app;

-- Sessions of clients with devices, until their last message is written. What a message says follows from the stored facts
-- of the session, so a crash between the two loses none.
create table push.sessions (
  session_id uuid primary key,                         -- of charging.sessions
  client_id uuid not null references identity.clients,
  events text[] not null default '{}',                 -- of which messages were written
  watched_at timestamptz not null,
  done_at timestamptz
);
create index sessions_watched on push.sessions (session_id) where done_at is null;
create index sessions_done on push.sessions (done_at) where done_at is not null;
grant select, insert, update (events, done_at), delete on push.sessions to evpower_app;

-- Up to when the sessions that were made are looked at. Its lock is the lease of the worker that looks.
create table push.cursor (
  id int primary key check (id = 1),
  watched_to timestamptz not null
);
grant select, insert, update on push.cursor to evpower_app;

-- What is sent to a device: of each event of a session once.
create table push.messages (
  number bigint generated always as identity primary key,
  device_id bigint not null references push.devices on delete cascade,
  session_id uuid not null,
  event text not null check (event in ('started', 'start_failed', 'limit_near', 'hold_near', 'stopped', 'station_lost')),
  facts jsonb not null check (jsonb_typeof(facts) = 'object'), -- what its text is made of
  created_at timestamptz not null,
  due_at timestamptz not null,                         -- of the next attempt; while one runs, the end of its lease
  expires_at timestamptz not null,                     -- after it the message says nothing any more
  attempts int not null default 0 check (attempts >= 0),
  begun_at timestamptz,                                -- a request is on its way; it is never repeated unless it was refused
  error text check (length(error) <= 500),             -- of the last attempt
  sent_at timestamptz,
  given_up_at timestamptz,
  unique (session_id, event, device_id),
  constraint messages_end_once check (num_nonnulls(sent_at, given_up_at) <= 1),
  constraint messages_are_sent_by_a_request check (sent_at is null or begun_at is not null)
);
create index messages_waiting on push.messages (due_at, number) where sent_at is null and given_up_at is null;
create index messages_by_device on push.messages (device_id);
create index messages_by_time on push.messages using brin (created_at);
grant select, insert, update (due_at, attempts, begun_at, error, sent_at, given_up_at), delete on push.messages to evpower_app;

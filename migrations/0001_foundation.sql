-- Stored responses for repeated requests, and the rounds of background loops.

-- Every function of every file sets search_path = pg_catalog, pg_temp. With any other path PostgreSQL looks for types in
-- pg_temp first, where a caller could create a domain whose checks would run as the function's owner.
create schema foundation;
grant usage on schema foundation to evpower_app;

-- A request with an Idempotency-Key, and its response.
create table foundation.idempotency_keys (
  scope text not null check (length(scope) between 1 and 200), -- the caller: client:<uuid>, service:<name>, address:<ip>
  key text not null check (length(key) between 1 and 255),
  request_sha256 bytea not null check (length(request_sha256) = 32), -- method, path and body
  status smallint,                                   -- null while the first request runs
  media_type text,
  body bytea,
  leased_until timestamptz not null,                 -- a crashed first request releases its key then
  created_at timestamptz not null default now(),
  primary key (scope, key),
  check ((status is null) = (body is null))
);
create index idempotency_keys_created_at on foundation.idempotency_keys (created_at);
grant select, insert, update, delete on foundation.idempotency_keys to evpower_app;

-- When each background loop of each node last finished a round.
create table foundation.loop_rounds (
  node text not null check (length(node) between 1 and 100), -- host, process id, role
  loop text not null check (length(loop) between 1 and 100),
  period_s double precision not null check (period_s >= 0),
  idle_since timestamptz not null,                   -- the end of its last round; before it, the start
  finished boolean not null,                         -- whether there was a round
  running_since timestamptz,                         -- null between rounds
  error text not null check (length(error) <= 100),  -- the code of the last failure; '' after none
  seen_at timestamptz not null,                      -- when the node wrote this row
  primary key (node, loop)
);
grant select, insert, update, delete on foundation.loop_rounds to evpower_app;

-- A stand-in for the extension pg_net, and behaves like it: the queue is unlogged, a request is
-- deleted when the worker reads it, nothing is tried twice. The worker is pg_net.mjs.
create schema if not exists net;
grant usage on schema net to supabase_owner, anon, authenticated, service_role;

create unlogged table if not exists net.http_request_queue (
  id bigserial,
  method text not null check (method in ('GET', 'POST')),
  url text not null,
  headers jsonb,
  body bytea,
  timeout_milliseconds int not null
);
create unlogged table if not exists net._http_response (
  id bigint,
  status_code int,
  content_type text,
  headers jsonb,
  content text,
  timed_out bool,
  error_msg text,
  created timestamptz not null default now()
);
grant all on all tables in schema net to supabase_owner;
create index if not exists _http_response_created_idx on net._http_response (created);

create or replace function net.http_post(
  url text,
  body jsonb default '{}',
  params jsonb default '{}',
  headers jsonb default '{"Content-Type": "application/json"}',
  timeout_milliseconds int default 5000
) returns bigint
language plpgsql security definer set search_path = '' as $$
#variable_conflict use_variable
declare
  request_id bigint;
  content_type text;
begin
  select h.value into content_type from jsonb_each_text(coalesce(headers, '{}')) h
   where lower(h.key) = 'content-type' limit 1;
  if content_type is null then
    headers := coalesce(headers, '{}') || '{"Content-Type": "application/json"}';
  elsif content_type <> 'application/json' then
    raise exception 'Content-Type header must be "application/json"';
  end if;
  if body is null then
    raise exception 'body must not be null';
  end if;
  if params <> '{}' then
    raise exception 'the local stand-in for pg_net takes no params';
  end if;
  insert into net.http_request_queue (method, url, headers, body, timeout_milliseconds)
  values ('POST', url, headers, convert_to(body::text, 'UTF8'), timeout_milliseconds)
  returning id into request_id;
  perform pg_notify('net', ''); -- wakes the worker at the commit
  return request_id;
end
$$;

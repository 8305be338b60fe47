-- The change notification: a signed call of EvPower's webhook, so that it pulls at once. Once a transaction, through
-- pg_net where it is (at most once, never repeated); without it EvPower polls every few seconds.
--
-- The URL, and where the secret is stored: in Vault where it is, else in evpower.secrets.
create table if not exists evpower.webhook (
  single boolean primary key default true check (single),
  url text,
  kept_in text check (kept_in in ('vault', 'table')),
  changed_at timestamptz not null default now()
);
insert into evpower.webhook default values on conflict do nothing;
create table if not exists evpower.secrets (
  name text primary key,
  secret text not null,
  changed_at timestamptz not null default now()
);
-- The owner alone, whatever the default privileges of this project say.
revoke all on evpower.webhook, evpower.secrets from public, anon, authenticated, service_role;
alter table evpower.secrets enable row level security;

-- RFC 2104 on the core's sha256(): no extension is needed.
create or replace function evpower.hmac_sha256(key bytea, message bytea) returns bytea
language plpgsql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  inner_key bytea := decode(repeat('36', 64), 'hex');
  outer_key bytea := decode(repeat('5c', 64), 'hex');
begin
  if octet_length(key) > 64 then
    key := sha256(key);
  end if;
  for i in 0 .. octet_length(key) - 1 loop
    inner_key := set_byte(inner_key, i, get_byte(key, i) # 54);
    outer_key := set_byte(outer_key, i, get_byte(key, i) # 92);
  end loop;
  return sha256(outer_key || sha256(inner_key || message));
end
$$;

-- Standard Webhooks: "v1,<base64>" over id.timestamp.body with the bytes behind "whsec_".
create or replace function evpower.sign(secret text, id text, sent_at bigint, body text) returns text
language sql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
  select 'v1,' || encode(evpower.hmac_sha256(decode(substr(secret, 7), 'base64'),
                                             convert_to(concat_ws('.', id, sent_at, body), 'UTF8')), 'base64')
$$;

-- pg_net's net.http_post, wherever and whenever it was installed; null: there is none.
create or replace function evpower.http_post() returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format('%I.%I', n.nspname, p.proname)
    from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
   where p.proname = 'http_post' and p.proargtypes[1] = 'jsonb'::regtype
     and p.proargnames @> array['url', 'body', 'headers', 'timeout_milliseconds']
     and (n.nspname = 'net' or exists (
           select from pg_catalog.pg_depend d join pg_catalog.pg_extension e on e.oid = d.refobjid
            where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid
              and d.refclassid = 'pg_catalog.pg_extension'::regclass and e.extname = 'pg_net'))
   order by n.nspname = 'net' desc limit 1
$$;

create or replace function evpower.webhook_secret() returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  kept text := (select w.kept_in from evpower.webhook w);
  found_secret text;
begin
  if kept = 'vault' then
    execute 'select v.decrypted_secret from vault.decrypted_secrets v where v.name = $1'
       into found_secret using 'evpower_webhook';
  elsif kept = 'table' then
    select s.secret into found_secret from evpower.secrets s where s.name = 'evpower_webhook';
  end if;
  return found_secret;
end
$$;

-- Queues one signed call of the webhook; returns pg_net's id of it, null where none is configured or possible.
create or replace function evpower.post_webhook(body jsonb) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  target text := (select w.url from evpower.webhook w where w.url is not null);
  secret text;
  post text;
  id text;
  sent_at bigint;
  signature text;
  request_id bigint;
begin
  if target is null then
    return null;
  end if;
  secret := evpower.webhook_secret();
  post := evpower.http_post();
  if secret is null or post is null then
    return null;
  end if;
  id := 'msg_' || replace(gen_random_uuid()::text, '-', '');
  sent_at := extract(epoch from clock_timestamp())::bigint;
  signature := evpower.sign(secret, id, sent_at, body::text); -- pg_net sends body::text
  execute format('select %s(url := $1, body := $2, headers := $3, timeout_milliseconds := $4)', post)
     into request_id
    using target, body, jsonb_build_object(
      'Content-Type', 'application/json', 'webhook-id', id, 'webhook-timestamp', sent_at::text,
      'webhook-signature', signature, 'X-Supabase-Signature', signature), 3000;
  return request_id;
end
$$;

-- After each statement that logs changes; the first of a transaction notifies. An error here fails no transaction.
create or replace function evpower.ring() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  change record;
begin
  if current_setting('evpower.rung', true) = pg_current_xact_id()::text then
    return null;
  end if;
  begin
    select * into change from fresh f order by f.seq limit 1;
    if not found then
      return null;
    end if;
    perform evpower.post_webhook(jsonb_build_object(
      'type', case change.op when 'blocked_before' then 'UPDATE' else upper(change.op) end,
      'table', change."table", 'schema', case change."table" when 'users' then 'auth' else 'public' end,
      'record', jsonb_build_object('id', change.row_id),
      'old_record', case when change.op <> 'insert' then jsonb_build_object('id', change.row_id) end,
      'seq', change.seq));
  exception
    when others then raise warning 'evpower: the doorbell did not ring: % %', sqlstate, sqlerrm;
  end;
  perform set_config('evpower.rung', pg_current_xact_id()::text, true);
  return null;
end
$$;
drop trigger if exists evpower_ring on evpower.changes;
create trigger evpower_ring after insert on evpower.changes
  referencing new table as fresh for each statement execute function evpower.ring();

-- What is configured, of the secret only its SHA-256.
create or replace function evpower.webhook_facts() returns jsonb
language sql stable set search_path = pg_catalog, pg_temp as $$
  select jsonb_build_object(
           'pg_net', evpower.http_post() is not null, 'url', w.url, 'kept_in', w.kept_in,
           'secret_sha256', encode(sha256(convert_to(evpower.webhook_secret(), 'UTF8')), 'hex'))
    from evpower.webhook w
$$;

create or replace function evpower.keep_secret(new_secret text) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  known uuid;
  kept text := 'table';
begin
  if to_regclass('vault.decrypted_secrets') is not null then
    begin
      execute 'select v.id from vault.decrypted_secrets v where v.name = $1' into known using 'evpower_webhook';
      if known is null then
        execute 'select vault.create_secret($1, $2, $3)'
          using new_secret, 'evpower_webhook', 'Signs the calls of EvPower''s webhook';
      else
        execute 'select vault.update_secret($1, $2)' using known, new_secret;
      end if;
      delete from evpower.secrets where name = 'evpower_webhook';
      kept := 'vault';
    exception
      when others then raise warning 'evpower: Vault does not take the secret: % %', sqlstate, sqlerrm;
    end;
  end if;
  if kept = 'table' then
    insert into evpower.secrets (name, secret) values ('evpower_webhook', new_secret)
    on conflict (name) do update set secret = excluded.secret, changed_at = now();
  end if;
  return kept;
end
$$;

-- public.evpower_webhook_configure({"url": text | null, "secret": "whsec_<base64>"}) ->
--   {"pg_net", "url", "kept_in": "vault" | "table" | null, "secret_sha256"}
-- What is absent stays as it is; url null: no notification.
create or replace function public.evpower_webhook_configure(payload jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  given text;
begin
  if jsonb_typeof(payload) = 'string' then -- some gateways pass a jsonb argument as text
    payload := (payload #>> '{}')::jsonb;
  end if;
  given := payload ->> 'secret';
  if given is not null then
    if given !~ '^whsec_([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$'
       or octet_length(decode(substr(given, 7), 'base64')) not between 24 and 64 then
      raise exception 'the secret must be whsec_ and the base64 of 24 to 64 bytes'
        using errcode = 'invalid_parameter_value';
    end if;
    update evpower.webhook set kept_in = evpower.keep_secret(given), changed_at = now() where single;
  end if;
  if payload ? 'url' then
    if payload ->> 'url' !~ '^https?://[^[:space:]]+$' then
      raise exception 'the url must begin with http:// or https://' using errcode = 'invalid_parameter_value';
    end if;
    if payload ->> 'url' is not null and evpower.webhook_secret() is null then
      raise exception 'without a secret the calls would not be signed' using errcode = 'invalid_parameter_value';
    end if;
    update evpower.webhook set url = payload ->> 'url', changed_at = now() where single;
  end if;
  return evpower.webhook_facts();
end
$$;

-- public.evpower_webhook_status({"after": {"xid", "seq"}}) -> what is configured, and
--   "changes": how many rows there are (behind `after`, where given; 100,000 at most), "oldest": of these,
--   "held_back": how many of these a transaction that is still running holds back.
create or replace function public.evpower_webhook_status(payload jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  waiting jsonb;
  horizon constant xid8 := evpower.horizon();
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  select jsonb_build_object('changes', count(*), 'oldest', min(c.at), 'held_back',
                            count(*) filter (where c.xid >= horizon))
    into waiting
    from (select c.xid, c.at from evpower.changes c
           where (c.xid, c.seq) > (coalesce(payload #>> '{after,xid}', '0')::xid8,
                                   coalesce((payload #>> '{after,seq}')::bigint, 0))
           order by c.xid, c.seq limit 100000) c;
  return evpower.webhook_facts() || waiting;
end
$$;

-- public.evpower_webhook_test({}) -> {"request_id": n | null}: calls the webhook on purpose; null: none is configured.
create or replace function public.evpower_webhook_test(payload jsonb) returns jsonb
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  select jsonb_build_object('request_id', evpower.post_webhook(
           '{"type": "TEST", "table": "evpower_test", "schema": "public", "record": null, "old_record": null}'))
$$;

-- public.evpower_webhook_result({"request_id": n}) -> {"response": null | {"status", "error", "content"}}: what pg_net
-- got for that call; null: nothing yet. `error` is its word for having got no response, `content` is cut.
create or replace function public.evpower_webhook_result(payload jsonb) returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  response jsonb;
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  if to_regclass('net._http_response') is not null then
    execute $query$
      select jsonb_build_object('status', r.status_code,
               'error', coalesce(r.error_msg, case when r.timed_out then 'no response in time' end),
               'content', left(r.content, 200))
        from net._http_response r where r.id = $1 order by r.created desc limit 1
    $query$ into response using (payload ->> 'request_id')::bigint;
  end if;
  return jsonb_build_object('response', response);
end
$$;

revoke all on function public.evpower_webhook_configure(jsonb), public.evpower_webhook_status(jsonb),
  public.evpower_webhook_test(jsonb), public.evpower_webhook_result(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_webhook_configure(jsonb), public.evpower_webhook_status(jsonb),
  public.evpower_webhook_test(jsonb), public.evpower_webhook_result(jsonb) to service_role;
revoke all on all functions in schema evpower from public, anon, authenticated;
notify pgrst, 'reload schema';

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
revoke all on function evpower.post_webhook(jsonb) from public, anon, authenticated, service_role;
comment on function evpower.post_webhook(jsonb) is
  'evpower {edition}: queues a signed call of the webhook';

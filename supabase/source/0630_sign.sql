-- Standard Webhooks: "v1,<base64>" over id.timestamp.body with the bytes behind "whsec_".
create or replace function evpower.sign(secret text, id text, sent_at bigint, body text) returns text
language sql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
  select 'v1,' || encode(evpower.hmac_sha256(decode(substr(secret, 7), 'base64'),
                                             convert_to(concat_ws('.', id, sent_at, body), 'UTF8')), 'base64')
$$;
revoke all on function evpower.sign(text, text, bigint, text) from public, anon, authenticated, service_role;
comment on function evpower.sign(text, text, bigint, text) is
  'evpower {edition}: returns a signature of Standard Webhooks';

-- What is configured, of the secret only its SHA-256.
create or replace function evpower.webhook_facts() returns jsonb
language sql stable set search_path = pg_catalog, pg_temp as $$
  select jsonb_build_object(
           'pg_net', evpower.http_post() is not null, 'url', w.url, 'kept_in', w.kept_in,
           'secret_sha256', encode(sha256(convert_to(evpower.webhook_secret(), 'UTF8')), 'hex'))
    from evpower.webhook w
$$;
revoke all on function evpower.webhook_facts() from public, anon, authenticated, service_role;
comment on function evpower.webhook_facts() is
  'evpower {edition}: returns what is configured of the webhook';

-- public.evpower_webhook_configure({"url": text | null, "secret": "whsec_<base64>"}) ->
--   {"pg_net", "url", "kept_in": "vault" | "table" | null, "secret_sha256"}
-- What is absent stays as it is; url null: no notification.
create or replace function public.evpower_webhook_configure(payload jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  new_secret text;
begin
  if jsonb_typeof(payload) = 'string' then -- some gateways pass a jsonb argument as text
    payload := (payload #>> '{}')::jsonb;
  end if;
  new_secret := payload ->> 'secret';
  if new_secret is not null then
    if new_secret !~ '^whsec_([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$'
       or octet_length(decode(substr(new_secret, 7), 'base64')) not between 24 and 64 then
      raise exception 'the secret must be whsec_ and the base64 of 24 to 64 bytes'
        using errcode = 'invalid_parameter_value';
    end if;
    update evpower.webhook set kept_in = evpower.store_secret(new_secret), changed_at = now() where single;
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
revoke all on function public.evpower_webhook_configure(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_webhook_configure(jsonb) to service_role;
comment on function public.evpower_webhook_configure(jsonb) is
  'evpower {edition}: sets the URL and the secret of the webhook';
notify pgrst, 'reload schema';

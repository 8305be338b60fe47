-- The webhook's secret from where it is stored; null: there is none.
create or replace function evpower.webhook_secret() returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  place text := (select w.kept_in from evpower.webhook w);
  stored_secret text;
begin
  if place = 'vault' then
    execute 'select v.decrypted_secret from vault.decrypted_secrets v where v.name = $1'
       into stored_secret using 'evpower_webhook';
  elsif place = 'table' then
    select s.secret into stored_secret from evpower.secrets s where s.name = 'evpower_webhook';
  end if;
  return stored_secret;
end
$$;
revoke all on function evpower.webhook_secret() from public, anon, authenticated, service_role;
comment on function evpower.webhook_secret() is
  'evpower {edition}: returns the webhook''s secret';

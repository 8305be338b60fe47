-- Stores the secret in Vault, or where that refuses, in evpower.secrets; returns where.
drop function if exists evpower.keep_secret(text); -- its name before 0.1.0
create or replace function evpower.store_secret(new_secret text) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  existing_id uuid;
  place text := 'table';
begin
  if to_regclass('vault.decrypted_secrets') is not null then
    begin
      execute 'select v.id from vault.decrypted_secrets v where v.name = $1' into existing_id using 'evpower_webhook';
      if existing_id is null then
        execute 'select vault.create_secret($1, $2, $3)'
          using new_secret, 'evpower_webhook', 'Signs the calls of EvPower''s webhook';
      else
        execute 'select vault.update_secret($1, $2)' using existing_id, new_secret;
      end if;
      delete from evpower.secrets where name = 'evpower_webhook';
      place := 'vault';
    exception
      when others then raise warning 'evpower: Vault refuses the secret: % %', sqlstate, sqlerrm;
    end;
  end if;
  if place = 'table' then
    insert into evpower.secrets (name, secret) values ('evpower_webhook', new_secret)
    on conflict (name) do update set secret = excluded.secret, changed_at = now();
  end if;
  return place;
end
$$;
revoke all on function evpower.store_secret(text) from public, anon, authenticated, service_role;
comment on function evpower.store_secret(text) is
  'evpower {edition}: stores the webhook''s secret';

-- Writes a login's email or phone to its profile, which the apps read. Auth keeps a phone's digits alone; the profile
-- has them with "+".
drop function if exists evpower.carry(uuid, text, text); -- its name before 0.1.0
do $migration$
declare
  body text := $body$
create or replace function evpower.write_profile_contact(of_user uuid, contact_name text, new_value text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $function$
begin
  new_value := nullif(new_value, '');
  if contact_name = 'email' then
    update public.clients c set email = new_value, updated_at = now()
     where <own> and c.email is distinct from new_value;
  else
    update public.clients c set phone = '+' || new_value, updated_at = now()
     where <own> and regexp_replace(c.phone, '\D', '', 'g') is distinct from new_value;
  end if;
end
$function$
$body$;
begin
  body := replace(body, '<own>', evpower.client_is('of_user'));
  execute body;
end
$migration$;
revoke all on function evpower.write_profile_contact(uuid, text, text) from public, anon, authenticated, service_role;
comment on function evpower.write_profile_contact(uuid, text, text) is
  'evpower {edition}: writes a login''s email or phone to its profile';

-- A new email or phone of the login becomes the profile's. One that Auth emptied is emptied in the profile only where
-- it was the same. A login that is deleted gets hashes for both: these are not carried. Never fails and never waits
-- long: what could not be carried, or not while an older backend writes, is stored in evpower.pending_contacts.
do $migration$
declare
  body text := $body$
create or replace function evpower.carry_contact() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $function$
declare
  contact_name text;
  old_row jsonb;
  new_row jsonb;
begin
  foreach contact_name in array array['email', 'phone'] loop
    begin
      old_row := to_jsonb(old);
      new_row := to_jsonb(new);
      continue when new_row ->> 'deleted_at' is not null
        or nullif(new_row ->> contact_name, '') is not distinct from nullif(old_row ->> contact_name, '');
      if not evpower.is_guarded() or not exists (select from public.clients c where <own>) then
        insert into evpower.pending_contacts (user_id, contact) values (new.id::text, contact_name)
        on conflict do nothing;
      elsif new_row ->> contact_name <> '' or exists (
              select from public.clients c
               where <own> and case contact_name when 'email' then lower(c.email) = lower(old_row ->> 'email')
                               else regexp_replace(c.phone, '\D', '', 'g') = old_row ->> 'phone' end) then
        perform evpower.write_profile_contact(new.id, contact_name, new_row ->> contact_name);
      end if;
    exception
      when others then
        raise warning 'evpower: % of a login was not carried to the profile: % %', contact_name, sqlstate, sqlerrm;
        begin
          insert into evpower.pending_contacts (user_id, contact) values (new.id::text, contact_name)
          on conflict do nothing;
        exception
          when others then raise warning 'evpower: nor stored for later: % %', sqlstate, sqlerrm;
        end;
    end;
  end loop;
  return null;
end
$function$
$body$;
begin
  body := replace(body, '<own>', evpower.client_is('new.id'));
  execute body;
end
$migration$;
-- auth.users belongs to Auth: we may create a trigger on it, and on older projects not drop it again. It names no
-- column, or Auth could not change the column's type. It has no comment, which only the table's owner may write.
do $migration$
begin
  if to_regclass('auth.users') is null then
    raise warning 'evpower: there is no auth.users, contacts are not carried';
  elsif not exists (select from pg_catalog.pg_trigger t
                     where t.tgrelid = 'auth.users'::regclass and t.tgname = 'evpower_carry_contact')
  then
    create trigger evpower_carry_contact after update on auth.users for each row
      execute function evpower.carry_contact();
  end if;
end
$migration$;
revoke all on function evpower.carry_contact() from public, anon, authenticated, service_role;
comment on function evpower.carry_contact() is
  'evpower {edition}: carries a new email or phone of a login to its profile';

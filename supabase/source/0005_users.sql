-- What Auth's users mean for the profiles: their contacts, and the triggers on auth.users.
--
-- A new email or phone of the login becomes the profile's, which the apps read. Auth keeps a phone's digits
-- alone; the profile has them with "+". One that Auth emptied is emptied here only where it was the same. A
-- login that is deleted gets hashes for both: not carried.
--
-- What could not be carried, because the row was missing or locked, is stored in evpower.uncarried and carried when
-- EvPower next pulls changes, unless the profile was written since.
create table if not exists evpower.uncarried (
  user_id text not null,
  contact text not null check (contact in ('email', 'phone')),
  since timestamptz not null default now(),
  primary key (user_id, contact)
);

revoke all on evpower.uncarried from public, anon, authenticated, service_role;

do $migration$
declare
  id_type text := evpower.column_type('public.clients', 'id');
  body text := $body$
create or replace function evpower.carry(of_user uuid, what text, said text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $function$
begin
  said := nullif(said, '');
  if what = 'email' then
    update public.clients c set email = said, updated_at = now()
     where <own> and c.email is distinct from said;
  else
    update public.clients c set phone = '+' || said, updated_at = now()
     where <own> and regexp_replace(c.phone, '\D', '', 'g') is distinct from said;
  end if;
end
$function$;

create or replace function evpower.carry_contact() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $function$
declare
  what text;
  was jsonb;
  became jsonb;
begin
  foreach what in array array['email', 'phone'] loop
    begin
      was := to_jsonb(old);
      became := to_jsonb(new);
      continue when became ->> 'deleted_at' is not null
        or nullif(became ->> what, '') is not distinct from nullif(was ->> what, '');
      if not exists (select from public.clients c where <own_new>) then
        insert into evpower.uncarried (user_id, contact) values (new.id::text, what) on conflict do nothing;
      elsif became ->> what <> '' or exists (
              select from public.clients c
               where <own_new> and case what when 'email' then lower(c.email) = lower(was ->> 'email')
                                   else regexp_replace(c.phone, '\D', '', 'g') = was ->> 'phone' end) then
        perform evpower.carry(new.id, what, became ->> what);
      end if;
    exception
      when others then
        raise warning 'evpower: % of a login was not carried to the profile: % %', what, sqlstate, sqlerrm;
        begin
          insert into evpower.uncarried (user_id, contact) values (new.id::text, what) on conflict do nothing;
        exception
          when others then raise warning 'evpower: nor kept for later: % %', sqlstate, sqlerrm;
        end;
    end;
  end loop;
  return null;
end
$function$;

create or replace function evpower.carry_left() returns void
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '500ms' as $function$
declare
  waiting record;
  until constant timestamptz := clock_timestamp() + interval '2 s'; -- who pulls changes waits for this
begin
  if not exists (select from evpower.uncarried) then
    return;
  end if;
  for waiting in
    select w.user_id, w.contact, u.facts ->> w.contact as said
      from evpower.uncarried w
     cross join lateral (select u.id, to_jsonb(u) as facts from auth.users u where u.id = w.user_id::uuid offset 0) u
     where (select true from public.clients c where <own_u>)
     order by w.since limit 100 for update of w skip locked
  loop
    exit when clock_timestamp() > until;
    begin
      perform from public.clients c where <own_waiting> for update skip locked;
      continue when not found;
      perform evpower.carry(waiting.user_id::uuid, waiting.contact, waiting.said);
    exception
      when lock_not_available or deadlock_detected or serialization_failure then continue; -- at the next pull
      when others then
        raise warning 'evpower: % of a login is not taken by the profile: % %', waiting.contact, sqlstate, sqlerrm;
    end;
    delete from evpower.uncarried w where w.user_id = waiting.user_id and w.contact = waiting.contact;
  end loop;
end
$function$;

create or replace function evpower.forget_left() returns void
language sql set search_path = pg_catalog, pg_temp set enable_seqscan = off as $function$
  delete from evpower.uncarried w using (
    select f.user_id, f.contact from evpower.uncarried f
     where not exists (select from auth.users u where u.id = f.user_id::uuid) for update skip locked) gone
   where w.user_id = gone.user_id and w.contact = gone.contact;
  <forget_wishes>
$function$
$body$;
  own text := case
    when id_type = 'uuid' then 'c.id = %s::uuid'
    when id_type in ('text', 'character varying') then 'c.id = %s::text'
    else 'c.id::text = %s::text' end;
  forget_wishes text := format('delete from evpower.wishes w using (select f.client_id from evpower.wishes f'
    ' where not exists (select from public.clients c where %s) for update skip locked) gone'
    ' where w.client_id = gone.client_id', format(own, 'f.client_id'));
begin
  if to_regclass('auth.users') is null then
    execute 'create or replace function evpower.carry_left() returns void language sql'
            ' set search_path = pg_catalog, pg_temp as $function$ $function$';
    execute format('create or replace function evpower.forget_left() returns void language sql'
                   ' set search_path = pg_catalog, pg_temp as $function$ %s $function$', forget_wishes);
    return;
  end if;
  body := replace(body, '<forget_wishes>', forget_wishes);
  body := replace(body, '<own_new>', format(own, 'new.id'));
  body := replace(body, '<own_u>', format(own, 'u.id'));
  body := replace(body, '<own_waiting>', format(own, 'waiting.user_id'));
  body := replace(body, '<own>', format(own, 'of_user'));
  execute body;
end
$migration$;

-- auth.users belongs to Auth: we may create triggers on it, and on older projects not drop them again. No
-- trigger names a column, or Auth could not change its type.
do $migration$
declare
  wanted record;
begin
  if to_regclass('auth.users') is null then
    raise warning 'evpower: there is no auth.users, sign-ups are not noted';
    return;
  end if;
  for wanted in
    select * from (values
      ('evpower_carry_contact', 'after update', 'row', 'evpower.carry_contact()'),
      ('evpower_note_user', 'after insert or update or delete', 'row', 'evpower.note_user()'),
      ('evpower_note_truncate', 'before truncate', 'statement', 'evpower.note_truncate()')
    ) as w (name, moment, level, function)
     where not exists (select from pg_catalog.pg_trigger t
                        where t.tgrelid = 'auth.users'::regclass and t.tgname = w.name)
  loop
    execute format('create trigger %I %s on auth.users for each %s execute function %s',
                   wanted.name, wanted.moment, wanted.level, wanted.function);
  end loop;
end
$migration$;

revoke all on all functions in schema evpower from public, anon, authenticated;

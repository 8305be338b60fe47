-- Carries the contacts that wait, 100 at most and for 2 s at most: a call of public.evpower_changes waits for it.
drop function if exists evpower.carry_left(); -- its name before 0.1.0
do $migration$
declare
  body text := $body$
create or replace function evpower.carry_pending_contacts() returns void
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '500ms' as $function$
declare
  pending record;
  deadline constant timestamptz := clock_timestamp() + interval '2 s';
begin
  if not evpower.is_guarded() or not exists (select from evpower.pending_contacts) then
    return;
  end if;
  for pending in
    select p.user_id, p.contact, u.facts ->> p.contact as new_value
      from evpower.pending_contacts p
     cross join lateral (select u.id, to_jsonb(u) as facts from auth.users u where u.id = p.user_id::uuid offset 0) u
     where (select true from public.clients c where <own_u>)
     order by p.since limit 100 for update of p skip locked
  loop
    exit when clock_timestamp() > deadline;
    begin
      perform from public.clients c where <own_pending> for update skip locked;
      continue when not found;
      perform evpower.write_profile_contact(pending.user_id::uuid, pending.contact, pending.new_value);
    exception
      when lock_not_available or deadlock_detected or serialization_failure then continue; -- at the next pull
      when others then
        raise warning 'evpower: the profile refuses % of a login: % %', pending.contact, sqlstate, sqlerrm;
    end;
    delete from evpower.pending_contacts p where p.user_id = pending.user_id and p.contact = pending.contact;
  end loop;
end
$function$
$body$;
begin
  body := replace(body, '<own_u>', evpower.client_is('u.id'));
  body := replace(body, '<own_pending>', evpower.client_is('pending.user_id'));
  execute body;
end
$migration$;
revoke all on function evpower.carry_pending_contacts() from public, anon, authenticated, service_role;
comment on function evpower.carry_pending_contacts() is
  'evpower {edition}: carries the contacts of logins that waited';

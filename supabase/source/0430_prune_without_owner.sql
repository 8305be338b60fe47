-- Deletes contacts that wait for a login that is deleted, and saved statuses of clients that are.
drop function if exists evpower.forget_left(); -- its name before 0.1.0
do $migration$
declare
  body text := $body$
create or replace function evpower.prune_without_owner() returns void
language sql set search_path = pg_catalog, pg_temp set enable_seqscan = off as $function$
  delete from evpower.statuses_under_block s using (
    select f.client_id from evpower.statuses_under_block f
     where not exists (select from public.clients c where <own>) for update skip locked) deleted
   where s.client_id = deleted.client_id;
  <pending_contacts>
$function$
$body$;
begin
  body := replace(body, '<own>', evpower.client_is('f.client_id'));
  -- A function in SQL is read when it is made: without auth.users it may not name the table.
  body := replace(body, '<pending_contacts>', case when to_regclass('auth.users') is null then '' else $sql$
  delete from evpower.pending_contacts p using (
    select f.user_id, f.contact from evpower.pending_contacts f
     where not exists (select from auth.users u where u.id = f.user_id::uuid) for update skip locked) deleted
   where p.user_id = deleted.user_id and p.contact = deleted.contact;$sql$ end);
  execute body;
end
$migration$;
revoke all on function evpower.prune_without_owner() from public, anon, authenticated, service_role;
comment on function evpower.prune_without_owner() is
  'evpower {edition}: deletes what waits for users and clients that are gone';

-- Archives rows before they are written over: public.evpower_archive(payload).
--
-- payload: {"clients": [[id, version], ...], "sessions": [id, ...]}. Of a client, its row is copied and its
--   transactions with a version above `version` are moved; a session's row is copied.
-- returns: {"transactions": how many were moved}
drop function if exists public.evpower_set_aside(jsonb); -- its name before 0.1.0
do $migration$
declare
  body text := $body$
create or replace function public.evpower_archive(payload jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '500ms' as $function$
declare
  moved bigint;
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  payload := '{"clients": [], "sessions": []}' || payload;
  perform pg_advisory_xact_lock_shared(hashtextextended('evpower.guard', 0));
  if not evpower.is_guarded() then
    raise exception 'the guard is disabled: an older backend writes here'
      using errcode = 'object_not_in_prerequisite_state', hint = '`evpower supabase guard enable` at the switch.';
  end if;
  insert into evpower.archive (relation, client_id, archived_row)
  select 'clients', c.id::text, to_jsonb(c)
    from jsonb_array_elements(payload -> 'clients') a join public.clients c on c.id = (a.value ->> 0)::<client>;
  insert into evpower.archive (relation, client_id, archived_row)
  select 'charging_sessions', s.client_id::text, to_jsonb(s)
    from jsonb_array_elements_text(payload -> 'sessions') a
    join public.charging_sessions s on s.id = a.value::<session>;
  with deleted as (
    delete from public.transactions t using jsonb_array_elements(payload -> 'clients') a
     where t.client_id = (a.value ->> 0)::<client> and t.version > (a.value ->> 1)::bigint
    returning t.*
  ), archived as (
    insert into evpower.archive (relation, client_id, archived_row)
    select 'transactions', d.client_id::text, to_jsonb(d) from deleted d returning 1
  ) select count(*) into moved from archived;
  return jsonb_build_object('transactions', moved);
end
$function$
$body$;
begin
  body := replace(body, '<client>', evpower.column_type('public.clients', 'id'));
  body := replace(body, '<session>', evpower.column_type('public.charging_sessions', 'id'));
  execute body;
end
$migration$;
revoke all on function public.evpower_archive(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_archive(jsonb) to service_role;
comment on function public.evpower_archive(jsonb) is
  'evpower {edition}: archives rows before they are written over';
notify pgrst, 'reload schema';

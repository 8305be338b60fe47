-- Whether what EvPower installed here is complete, of one edition, and as it was installed:
-- public.evpower_installed(payload).
--
-- returns: {"version": of this edition, "owner": the role that owns it,
--   "faults": [{"file", "kind", "name", "fault", "detail"}, ...] (evpower.object_faults),
--   "lacking": [[file, what], ...]: the same for an EvPower that reads no faults,
--   "history": versions of EvPower's files that the Supabase CLI has recorded as applied}
create or replace function public.evpower_installed(payload jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  history text[];
begin
  if to_regclass('supabase_migrations.schema_migrations') is not null then
    begin
      execute $query$
        select array_agg(m.version order by m.version) from supabase_migrations.schema_migrations m
         where m.name like 'evpower%'
      $query$ into history;
    exception
      when insufficient_privilege or undefined_column then null; -- not ours to read: nothing is said of it
    end;
  end if;
  return (
    select jsonb_build_object(
             'version', evpower.edition(), 'owner', current_user, 'history', coalesce(to_jsonb(history), '[]'),
             'faults', coalesce(jsonb_agg(jsonb_build_object(
                         'file', f.file || '.sql', 'kind', f.kind, 'name', f.name, 'fault', f.fault,
                         'detail', f.detail) order by f.file, f.name, f.fault), '[]'),
             'lacking', coalesce(jsonb_agg(jsonb_build_array(f.file || '.sql', case
                          when f.fault in ('older', 'newer', 'changed', 'unknown')
                            then 'the newest edition of ' || split_part(f.name, '(', 1)
                          when f.fault = 'wrong_owner'
                            then format('%s, which belongs to %s and not to %s', f.name, f.detail, current_user)
                          when f.fault = 'wrong_grant' then format('the rights of %s: %s', f.name, f.detail)
                          else f.kind || ' ' || f.name end) order by f.file, f.name, f.fault), '[]'))
      from evpower.object_faults() f);
end
$$;
revoke all on function public.evpower_installed(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_installed(jsonb) to service_role;
comment on function public.evpower_installed(jsonb) is
  'evpower {edition}: returns what is missing or differs of EvPower';

-- How all was installed, after all is made.
delete from evpower.function_bodies;
do $migration$ begin perform evpower.store_definitions(); end $migration$;
notify pgrst, 'reload schema';

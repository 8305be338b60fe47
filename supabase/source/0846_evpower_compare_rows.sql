-- Which stations, locations, tariff plans and payments differ from what EvPower has: public.evpower_compare_rows(payload).
--
-- payload: {"rows": [as of evpower_apply]}
-- returns: {"keys": [[topic, key, "same" | "differs" | "refused", reason], ...],
--   "differing": [[topic, key, {"table", "match", "here", "there"}], ...] (evpower.write_row)}; none while the guard is disabled:
--   the tables are the older backend's then.
create or replace function public.evpower_compare_rows(payload jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  answers jsonb := '[]';
  item jsonb;
  differing jsonb;
  facts jsonb := '[]';
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  for item in select r.value from jsonb_array_elements(coalesce(payload -> 'rows', '[]')) r where evpower.is_guarded()
  loop
    begin
      select jsonb_agg(jsonb_build_array(item -> 'topic', item -> 'key', d.difference)) into differing
        from jsonb_array_elements(item -> 'writes') w
       cross join lateral (select evpower.write_row(w.value, true) as difference) d
       where d.difference is not null;
      facts := facts || coalesce(differing, '[]');
      answers := answers || jsonb_build_array(jsonb_build_array(
        item ->> 'topic', item ->> 'key', case when differing is null then 'same' else 'differs' end,
        (select string_agg(f.value -> 2 ->> 'table', ', ') from jsonb_array_elements(differing) f)));
    exception
      when others then
        answers := answers || jsonb_build_array(jsonb_build_array(
          item ->> 'topic', item ->> 'key', 'refused', left(sqlstate || ': ' || sqlerrm, 300)));
    end;
  end loop;
  return jsonb_build_object('keys', answers, 'differing', facts);
end
$$;
revoke all on function public.evpower_compare_rows(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_compare_rows(jsonb) to service_role;
comment on function public.evpower_compare_rows(jsonb) is
  'evpower {edition}: returns which stations and tariffs differ here';

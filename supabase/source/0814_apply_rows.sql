-- Writes stations, locations, tariff plans and payments into the tables of an older backend, each by itself; nothing
-- where there are none. It ends well before money has to wait for it: the rows left then are busy, and are sent again.
-- `rows`: [{"topic", "key", "number", "force", "writes": [evpower.write_row's], ...}]
-- A payment that names what is not here yet (its client, session or bill) is an orphan: EvPower sends that first.
create or replace function evpower.apply_rows(rows jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  answers jsonb := '[]';
  item jsonb;
  write jsonb;
  is_newer boolean;
  deadline constant timestamptz := clock_timestamp() + interval '1 s';
begin
  for item in select r.value from jsonb_array_elements(rows) with ordinality r order by r.ordinality loop
    if clock_timestamp() > deadline then
      answers := answers || jsonb_build_array(jsonb_build_array(item ->> 'topic', item ->> 'key', 'busy', null));
      continue;
    end if;
    begin
      insert into evpower.applied_rows as a (topic, key, number)
      values (item ->> 'topic', item ->> 'key', (item ->> 'number')::bigint)
      on conflict (topic, key) do update set number = excluded.number
        where a.number < excluded.number or (item ->> 'force')::boolean
      returning true into is_newer;
      if is_newer is true then
        for write in select w.value from jsonb_array_elements(item -> 'writes') with ordinality w order by w.ordinality
        loop
          perform evpower.write_row(write, false);
        end loop;
      end if;
      answers := answers || jsonb_build_array(jsonb_build_array(
        item ->> 'topic', item ->> 'key', case when is_newer is true then 'applied' else 'stale' end, null));
    exception
      when deadlock_detected or serialization_failure or lock_not_available then
        answers := answers || jsonb_build_array(jsonb_build_array(item ->> 'topic', item ->> 'key', 'busy', 'waited'));
      when foreign_key_violation then
        answers := answers || jsonb_build_array(case when item ->> 'topic' in ('payment', 'transaction')
          then jsonb_build_array(item ->> 'topic', item ->> 'key', 'orphan', left(sqlerrm, 300))
          else jsonb_build_array(item ->> 'topic', item ->> 'key', 'refused', left(sqlstate || ': ' || sqlerrm, 300)) end);
      when others then
        answers := answers || jsonb_build_array(jsonb_build_array(
          item ->> 'topic', item ->> 'key', 'refused', left(sqlstate || ': ' || sqlerrm, 300)));
    end;
  end loop;
  return answers;
end
$$;
revoke all on function evpower.apply_rows(jsonb) from public, anon, authenticated, service_role;
comment on function evpower.apply_rows(jsonb) is
  'evpower {edition}: writes stations, locations, tariff plans and payments one by one';

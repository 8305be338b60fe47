-- Writes one key at a time, each in its own subtransaction: the slow way, for a set that can't be written whole. It
-- ends well within hosted's statement time-out: the keys left then are busy, and are sent again.
-- A session that names a station or client that is not here, or that another call is writing, is an orphan.
create or replace function evpower.apply_each(payload jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  answers jsonb := '[]';
  item record;
  broken_key text;
  missing text;
  deadline constant timestamptz := clock_timestamp() + interval '3 s';
begin
  for item in
    select 'client' as topic, c.value ->> 'id' as id,
           jsonb_build_object('clients', jsonb_build_array(c.value), 'transactions', coalesce(t.list, '[]')) as part
      from jsonb_array_elements(payload -> 'clients') c
      left join (select x.value ->> 'client_id' as client_id, jsonb_agg(x.value) as list
                   from jsonb_array_elements(payload -> 'transactions') x group by 1) t
        on t.client_id = c.value ->> 'id'
    union all
    select 'session', s.value ->> 'id', jsonb_build_object('sessions', jsonb_build_array(s.value))
      from jsonb_array_elements(payload -> 'sessions') s
  loop
    if clock_timestamp() > deadline then
      answers := answers || jsonb_build_array(jsonb_build_array(item.topic, item.id, 'busy', null));
      continue;
    end if;
    begin
      answers := answers || evpower.apply_set(
        '{"clients": [], "transactions": [], "sessions": []}' || item.part);
    exception
      when deadlock_detected or serialization_failure or lock_not_available then
        answers := answers || jsonb_build_array(jsonb_build_array(item.topic, item.id, 'busy', 'waited'));
      when foreign_key_violation then
        get stacked diagnostics broken_key = constraint_name;
        select k.confrelid::regclass::text into missing from pg_catalog.pg_constraint k
         where item.topic = 'session' and k.conrelid = 'public.charging_sessions'::regclass and k.conname = broken_key;
        answers := answers || jsonb_build_array(case missing
          when 'public.clients' then jsonb_build_array(item.topic, item.id, 'orphan', null)
          when 'public.stations' then jsonb_build_array(item.topic, item.id, 'orphan', 'station')
          else jsonb_build_array(item.topic, item.id, 'refused', left(sqlstate || ': ' || sqlerrm, 300)) end);
      when others then
        answers := answers || jsonb_build_array(jsonb_build_array(
          item.topic, item.id, 'refused', left(sqlstate || ': ' || sqlerrm, 300)));
    end;
  end loop;
  return answers;
end
$$;
revoke all on function evpower.apply_each(jsonb) from public, anon, authenticated, service_role;
comment on function evpower.apply_each(jsonb) is
  'evpower {edition}: writes clients, transactions and sessions one by one';

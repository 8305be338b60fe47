-- Writes one row of an older backend's table, in the columns that the table has; returns how the row differed:
-- {"table", "match", "here": {column: EvPower's value}, "there": {column: the table's value}}, `there` null where there was
-- no row; null where it was equal.
--
-- wanted: {"table", "match": {column: value}, "always": {...}, "at_first": {...}}. `match` finds the row. A new row
--   gets all three; one that is here gets `always`, where it differs.
--   Or {"table", "match", "keep": [id, ...], "always"}: all rows that match, and whose id is not among these.
--   Besides "named": [topic, key] of a row without a name of its own: its id is stored in evpower.applied_rows.
--   "refers": {column: write}: the column is the id of the row that the other write would find. Raises
--   foreign_key_violation where that row is missing, except that it can't be there because its name is too long.
--   "owner": a column with the client, which the project may have emptied: then the row is found all the same. It stays
--   empty where "unlinkable" is true, or the client asked for deletion here.
--   A row whose "match" has a text that is too long for its column is not written.
-- Values are read by the columns' own types: an enum that lacks a word refuses it. Where EvPower has no value and the
-- column refuses null, it keeps what it has, or gets its default.
drop function if exists evpower.write_row(jsonb, boolean); -- an unreleased edition returned a boolean
create function evpower.write_row(wanted jsonb, only_compare boolean) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  table_name constant text := wanted ->> 'table';
  relation constant text := format('public.%I', table_name);
  always jsonb;
  complete jsonb;
  present jsonb;
  difference jsonb;
  typed jsonb;
  same_row text;
  names text;
  reference record;
  id_there text;
  column_fact record;
  filler text;
begin
  if table_name is null or table_name <> all (evpower.old_tables()) then
    return null;
  end if;
  if not evpower.fits(relation, wanted -> 'match') then
    return null;
  end if;
  for reference in select r.key as name, r.value as write from jsonb_each(wanted -> 'refers') r loop
    id_there := evpower.row_id(reference.write);
    if id_there is null and reference.write ->> 'table' = any (evpower.old_tables())
       and evpower.fits(format('public.%I', reference.write ->> 'table'), reference.write -> 'match') then
      raise exception '% has no row for %', reference.write ->> 'table', reference.write -> 'match'
        using errcode = 'foreign_key_violation';
    end if;
    wanted := jsonb_set(wanted, array['always', reference.name], coalesce(to_jsonb(id_there), 'null'));
  end loop;
  if wanted ? 'named' then
    select a.row_id into id_there from evpower.applied_rows a
     where a.topic = wanted -> 'named' ->> 0 and a.key = wanted -> 'named' ->> 1;
    wanted := jsonb_set(wanted, '{match}', jsonb_build_object('id', id_there));
  end if;
  select coalesce(jsonb_object_agg(v.key, v.value), '{}') into always
    from jsonb_each(wanted -> 'always') v
   where evpower.column_type(relation, v.key) is not null and (v.value <> 'null' or not exists (
       select from pg_catalog.pg_attribute a
        where a.attrelid = relation::regclass and a.attname = v.key and a.attnotnull));
  select string_agg(format('(t.%1$I = (jsonb_populate_record(null::%2$s, $1)).%1$I)%3$s', m.key, relation,
                           case m.key when wanted ->> 'owner' then ' is not false' end), ' and ')
    into same_row from jsonb_object_keys(wanted -> 'match') m (key);
  execute format('select to_jsonb(jsonb_populate_record(null::%s, $1))', relation) into typed using always;

  if not wanted ? 'keep' then
    execute format('select to_jsonb(t) from %s t where %s limit 1', relation, same_row)
      into present using wanted -> 'match';
    if present -> (wanted ->> 'owner') is not distinct from 'null' and (wanted -> 'unlinkable' = 'true' or evpower.deletion_requested(
         coalesce(wanted -> 'always' ->> (wanted ->> 'owner'), wanted -> 'match' ->> (wanted ->> 'owner')))) then
      always := always - (wanted ->> 'owner');
    end if;
  end if;
  select string_agg(format('%I', n.key), ', ' order by n.key) into names from jsonb_object_keys(always) n (key);

  if wanted ? 'keep' then
    if names is null then
      return null;
    end if;
    same_row := same_row || ' and t.id::text <> all (array(select jsonb_array_elements_text($3)))'
      || ' and not to_jsonb(t) @> (select jsonb_object_agg(k, $4 -> k) from jsonb_object_keys($2) k)';
    execute format('select to_jsonb(t) from %s t where %s limit 1', relation, same_row)
      into present using wanted -> 'match', always, wanted -> 'keep', typed;
    select jsonb_build_object('table', table_name, 'match', wanted -> 'match', 'here', jsonb_object_agg(k, typed -> k),
                              'there', jsonb_object_agg(k, present -> k))
      into difference from jsonb_object_keys(always) k where present -> k is distinct from typed -> k;
    if present is not null and not only_compare then
      execute format('update %1$s t set (%2$s) = (select %3$s from jsonb_populate_record(null::%1$s, $2) r)'
                     ' where %4$s', relation, names, replace(' ' || names, ' ', ' r.'), same_row)
        using wanted -> 'match', always, wanted -> 'keep', typed;
    end if;
    return case when present is not null then difference end;
  end if;

  select jsonb_build_object('table', table_name, 'match', wanted -> 'match', 'here', jsonb_object_agg(k, typed -> k),
                            'there', case when present is not null then jsonb_object_agg(k, present -> k) end)
    into difference from jsonb_object_keys(always) k where present is null or present -> k is distinct from typed -> k;
  if present is not null and difference -> 'here' = 'null' then
    return null;
  end if;
  if only_compare then
    return difference;
  end if;
  if present is not null then
    execute format('update %1$s t set (%2$s) = (select %3$s from jsonb_populate_record(null::%1$s, $2) r)'
                   ' where %4$s', relation, names, replace(' ' || names, ' ', ' r.'), same_row)
      using wanted -> 'match', always;
    return difference;
  end if;
  complete := case when wanted ? 'named' then '{}' else wanted -> 'match' end || coalesce(wanted -> 'at_first', '{}') || always;
  -- What the older backend demands of a row and EvPower has not: an id of its own, and an owner among its users.
  for column_fact in
    select a.attname::text as name, format_type(a.atttypid, null) as type
      from pg_catalog.pg_attribute a
     where a.attrelid = relation::regclass and a.attnum > 0 and not a.attisdropped and a.attnotnull
       and not a.atthasdef and a.attidentity = '' and not complete ? a.attname::text
       and a.attname in ('id', 'user_id')
  loop
    filler := null;
    if column_fact.name = 'id' then
      filler := case when column_fact.type in ('uuid', 'text', 'character varying') then gen_random_uuid()::text end;
    elsif to_regclass('public.users') is not null then
      if table_name = 'stations' and evpower.column_type('public.locations', 'user_id') is not null then
        execute 'select l.user_id::text from public.locations l where l.id::text = $1'
          into filler using complete ->> 'location_id';
      end if;
      if filler is null then
        execute 'select u.id::text from public.users u order by u.id limit 1' into filler;
      end if;
    end if;
    complete := complete || jsonb_strip_nulls(jsonb_build_object(column_fact.name, filler));
  end loop;
  select string_agg(format('%I', n.key), ', ' order by n.key) into names
    from jsonb_object_keys(complete) n (key) where evpower.column_type(relation, n.key) is not null;
  if wanted ? 'named' then
    execute format('insert into %1$s (%2$s) select %2$s from jsonb_populate_record(null::%1$s, $1) r returning id::text',
                   relation, names) into id_there using complete;
    update evpower.applied_rows a set row_id = id_there
     where a.topic = wanted -> 'named' ->> 0 and a.key = wanted -> 'named' ->> 1;
  else
    execute format('insert into %1$s (%2$s) select %2$s from jsonb_populate_record(null::%1$s, $1) r', relation, names)
      using complete;
  end if;
  return difference;
end
$$;
revoke all on function evpower.write_row(jsonb, boolean) from public, anon, authenticated, service_role;
comment on function evpower.write_row(jsonb, boolean) is
  'evpower {edition}: writes or compares a row of an older backend''s table';

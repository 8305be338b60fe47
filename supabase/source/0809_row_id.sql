-- The id of the row that a write of evpower.write_row finds by its match; null where there is none.
create or replace function evpower.row_id(write jsonb) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  relation constant text := format('public.%I', write ->> 'table');
  same_row text;
  found_id text;
begin
  if write ->> 'table' <> all (evpower.old_tables()) or not evpower.fits(relation, write -> 'match') then
    return null;
  end if;
  select string_agg(format('(t.%1$I = (jsonb_populate_record(null::%2$s, $1)).%1$I)%3$s', m.key, relation,
                           case m.key when write ->> 'owner' then ' is not false' end), ' and ')
    into same_row from jsonb_object_keys(write -> 'match') m (key);
  execute format('select t.id::text from %s t where %s limit 1', relation, same_row) into found_id using write -> 'match';
  return found_id;
end
$$;
revoke all on function evpower.row_id(jsonb) from public, anon, authenticated, service_role;
comment on function evpower.row_id(jsonb) is
  'evpower {edition}: returns the id of a row of an older backend''s table';

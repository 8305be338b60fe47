-- The definition of a record with the columns' types as they are here, so that varchar ids, floats and enums are
-- read by their own input functions.
create or replace function evpower.record_of(table_name text, columns text[]) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select string_agg(format('%I %s', c.name, evpower.column_type(table_name, c.name)), ', ' order by c.nr)
    from unnest(columns) with ordinality as c (name, nr)
$$;
revoke all on function evpower.record_of(text, text[]) from public, anon, authenticated, service_role;
comment on function evpower.record_of(text, text[]) is
  'evpower {edition}: returns a record definition with the column types of this project';

-- A column's type as it is here, to be used for the columns that must match it.
create or replace function evpower.column_type(table_name text, column_name text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select pg_catalog.format_type(a.atttypid, null)
    from pg_catalog.pg_attribute a
   where a.attrelid = pg_catalog.to_regclass(table_name) and a.attname = column_name and not a.attisdropped
$$;
revoke all on function evpower.column_type(text, text) from public, anon, authenticated, service_role;
comment on function evpower.column_type(text, text) is
  'evpower {edition}: returns the type of a column as this project has it';

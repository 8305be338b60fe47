-- Logs a change of a row if one of the watched paths differs. A client whose id changes is a deletion and an insertion.
-- Columns are read from the row as JSON, so that columns this project lacks are no error and Auth may alter its own.
drop function if exists evpower.note(text, text, jsonb, jsonb, text[]); -- its name before 0.1.0
create or replace function evpower.log_change(
  source_table text, operation text, old_row jsonb, new_row jsonb, watched_paths text[]
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if source_table = 'clients' and operation = 'UPDATE' and old_row ->> 'id' <> new_row ->> 'id' then
    insert into evpower.changes ("table", row_id, op)
    values (source_table, old_row ->> 'id', 'delete'), (source_table, new_row ->> 'id', 'insert');
  elsif operation <> 'UPDATE' or exists (select from unnest(watched_paths) w (path)
                                          where old_row #> w.path::text[] is distinct from new_row #> w.path::text[])
  then
    insert into evpower.changes ("table", row_id, op)
    values (source_table, coalesce(new_row, old_row) ->> 'id', lower(operation));
  end if;
end
$$;
revoke all on function evpower.log_change(text, text, jsonb, jsonb, text[])
  from public, anon, authenticated, service_role;
comment on function evpower.log_change(text, text, jsonb, jsonb, text[]) is
  'evpower {edition}: logs a change of a client or user';

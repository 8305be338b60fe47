-- Whether each of these texts is short enough for its column: an older backend's invoice_id is varchar(12).
create or replace function evpower.fits(relation text, texts jsonb) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select not exists (
    select from jsonb_each_text(texts) t
      join pg_catalog.pg_attribute a
        on a.attrelid = to_regclass(relation) and a.attname = t.key and not a.attisdropped
           and a.atttypid in ('varchar'::regtype, 'bpchar'::regtype) and a.atttypmod >= 4
     where length(t.value) > a.atttypmod - 4)
$$;
revoke all on function evpower.fits(text, jsonb) from public, anon, authenticated, service_role;
comment on function evpower.fits(text, jsonb) is
  'evpower {edition}: returns whether texts are short enough for their columns';

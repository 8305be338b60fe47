-- What stands for a contact or the name of a closed client: nothing, or where this project refuses that, a value that
-- is unique by the client's id and fits the column.
create or replace function evpower.contact_of_closed(contact text, id text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case when a.attnotnull then
           left(replace(id, '-', '') || case contact when 'email' then '@closed.invalid' else '' end,
                case when a.atttypmod > 4 then a.atttypmod - 4 else 1000 end) end
    from pg_catalog.pg_attribute a
   where a.attrelid = 'public.clients'::regclass and a.attname = contact
$$;
revoke all on function evpower.contact_of_closed(text, text) from public, anon, authenticated, service_role;
comment on function evpower.contact_of_closed(text, text) is
  'evpower {edition}: returns what a closed client has for a contact';

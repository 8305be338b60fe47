-- The comparison of public.clients c with the id that an expression yields. By its own type, so that an index finds it.
create or replace function evpower.client_is(expression text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format(case evpower.column_type('public.clients', 'id')
                  when 'uuid' then 'c.id = %s::uuid'
                  when 'text' then 'c.id = %s::text'
                  when 'character varying' then 'c.id = %s::text'
                  else 'c.id::text = %s::text' end, expression)
$$;
revoke all on function evpower.client_is(text) from public, anon, authenticated, service_role;
comment on function evpower.client_is(text) is
  'evpower {edition}: returns the condition that a client has an id';

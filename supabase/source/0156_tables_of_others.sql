-- The tables of an older backend that EvPower can't guard, because another role owns them.
create or replace function evpower.tables_of_others() returns table (name text, owner text)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select 'public.' || t.name, pg_get_userbyid(c.relowner)::text
    from unnest(evpower.old_tables()) with ordinality t (name, nr)
    join pg_class c on c.oid = to_regclass('public.' || t.name)
   where not pg_has_role(c.relowner, 'USAGE')
   order by t.nr
$$;
revoke all on function evpower.tables_of_others() from public, anon, authenticated, service_role;
comment on function evpower.tables_of_others() is
  'evpower {edition}: returns the tables of an older backend that another role owns';

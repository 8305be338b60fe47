-- Everything in schema auth belongs to Auth's role, and the project's owner may use it, as in a hosted project.
do $$
declare
  command text;
begin
  for command in
    select format('alter %s %s owner to supabase_auth_admin',
                  case c.relkind when 'S' then 'sequence' when 'v' then 'view' else 'table' end, c.oid::regclass)
      from pg_catalog.pg_class c
     where c.relnamespace = 'auth'::regnamespace and c.relkind in ('r', 'v')
    union all
    select format('alter routine %s owner to supabase_auth_admin', p.oid::regprocedure)
      from pg_catalog.pg_proc p where p.pronamespace = 'auth'::regnamespace
  loop
    execute command;
  end loop;
end
$$;
grant all on all tables in schema auth to supabase_owner;
grant all on all sequences in schema auth to supabase_owner;
grant all on all routines in schema auth to supabase_owner;

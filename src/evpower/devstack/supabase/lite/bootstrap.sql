-- What a Supabase project has before its first migration: roles, schemas, default grants, as in a hosted one.
--
-- The role that owns the project and applies migrations is hosted's `postgres`: no superuser, and not the owner of
-- schema auth, in which it may read, write and create triggers. That name is this cluster's superuser, so here it is
-- supabase_owner. Run at each start by the superuser; all logins have the superuser's password.
lock table pg_catalog.pg_authid in share row exclusive mode; -- roles are the cluster's, several projects may start at once
do $$
declare
  role record;
begin
  for role in
    select * from (values
      ('anon', 'nologin noinherit'),
      ('authenticated', 'nologin noinherit'),
      ('service_role', 'nologin noinherit bypassrls'),
      ('authenticator', 'login noinherit'),
      ('supabase_auth_admin', 'login noinherit createrole'),
      ('supabase_lite', 'login'), -- one process here does what authenticator and Auth do in a hosted project
      ('supabase_owner', 'login createdb createrole replication bypassrls')
    ) as r (name, attributes)
     where not exists (select from pg_catalog.pg_roles p where p.rolname = r.name)
  loop
    execute format('create role %I %s password %L', role.name, role.attributes,
                   nullif(current_setting('bootstrap.password', true), ''));
  end loop;
end
$$;
alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
alter role supabase_lite set statement_timeout = '8s';
alter role supabase_lite set lock_timeout = '8s';
alter role supabase_owner set search_path = "$user", public, extensions;
grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role, supabase_auth_admin to supabase_lite;
grant anon, authenticated, service_role, pg_monitor, pg_read_all_data, pg_signal_backend to supabase_owner;
grant set on parameter session_replication_role to supabase_owner;

do $$
begin
  execute format('alter database %I owner to supabase_owner', current_database());
end
$$;
create schema if not exists auth;
create schema if not exists extensions;
alter schema auth owner to supabase_auth_admin;
grant usage on schema public, auth, extensions to supabase_owner, anon, authenticated, service_role;

alter default privileges for role supabase_owner in schema public
  grant all on tables to anon, authenticated, service_role;
alter default privileges for role supabase_owner in schema public
  grant all on routines to anon, authenticated, service_role;
alter default privileges for role supabase_owner in schema public
  grant all on sequences to anon, authenticated, service_role;

create schema if not exists supabase_migrations authorization supabase_owner;
create table if not exists supabase_migrations.schema_migrations (
  version text primary key,
  statements text[],
  name text
);
alter table supabase_migrations.schema_migrations owner to supabase_owner;

-- The release of EvPower whose SQL this is. Every object has it in its comment, "evpower <version>: what it is",
-- except the project's own tables and what stands on auth.users
-- (docs/decisions/0038-what-is-installed-in-supabase-is-stamped.md).
create or replace function evpower.edition() returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select '{edition}'
$$;
revoke all on function evpower.edition() from public, anon, authenticated, service_role;
comment on function evpower.edition() is
  'evpower {edition}: returns the version whose SQL is installed';

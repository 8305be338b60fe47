-- The optional facts of a charging session: text columns of public.charging_sessions, null while unknown.
-- public.evpower_apply writes them and public.evpower_digest compares them, from this list alone.
create or replace function evpower.session_details() returns text[]
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select array['vehicle_plate']
$$;
revoke all on function evpower.session_details() from public, anon, authenticated, service_role;
comment on function evpower.session_details() is
  'evpower {edition}: returns the columns of a session''s optional facts';

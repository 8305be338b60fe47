-- The schema of everything that only EvPower's own functions use.
create schema if not exists evpower;
revoke all on schema evpower from public, anon, authenticated, service_role;
comment on schema evpower is
  'evpower {edition}: what EvPower''s functions in public use; apps have no access';

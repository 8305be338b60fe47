-- What each function said when it was installed. A comment outlives "create or replace function": without this an
-- older file, run over a newer one, would leave a function that calls itself new.
create table if not exists evpower.function_bodies (
  name text primary key,
  md5 text not null
);
revoke all on evpower.function_bodies from public, anon, authenticated, service_role;
comment on table evpower.function_bodies is
  'evpower {edition}: the functions'' bodies as they were installed';

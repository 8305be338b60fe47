-- How each function, policy and trigger was installed, as the digest of its definition. A comment outlives "create or
-- replace function" and "alter policy": without this an older file, run over a newer one, would leave a function that
-- calls itself new, and a policy that lets every driver read all rows as if it were unchanged.
create table if not exists evpower.function_bodies (
  name text primary key,
  md5 text not null
);
-- The version of PostgreSQL: another one may print the same policy or trigger in other words.
alter table evpower.function_bodies add column if not exists server int not null
  default current_setting('server_version_num')::int / 10000;
revoke all on evpower.function_bodies from public, anon, authenticated, service_role;
comment on table evpower.function_bodies is
  'evpower {edition}: the definitions of functions, policies and triggers as they were installed';

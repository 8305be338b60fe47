-- Rows as they were before an operator decided that EvPower is right although Supabase was ahead.
create table if not exists evpower.archive (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  relation text not null check (relation in ('clients', 'transactions', 'charging_sessions')),
  client_id text,
  archived_row jsonb not null
);
revoke all on evpower.archive from public, anon, authenticated, service_role;
comment on table evpower.archive is
  'evpower {edition}: rows from before EvPower''s data was written over them';

-- The table's name before 0.1.0.
do $migration$
begin
  if to_regclass('evpower.set_aside') is not null then
    insert into evpower.archive (at, relation, client_id, archived_row)
    select s.at, s.relation, s.client_id, s.was from evpower.set_aside s order by s.id;
    drop table evpower.set_aside;
  end if;
end
$migration$;

-- What the status of a client said before EvPower's block was written over it: the status can hold only one of the two,
-- and a requested deletion must not be lost.
create table if not exists evpower.statuses_under_block (
  client_id text primary key,
  status text not null,
  at timestamptz not null default now()
);
revoke all on evpower.statuses_under_block from public, anon, authenticated, service_role;
comment on table evpower.statuses_under_block is
  'evpower {edition}: the status of a client before EvPower''s block';

-- The table's name before 0.1.0. Copied, not renamed: so it is the same whether or not both tables are there.
do $migration$
begin
  if to_regclass('evpower.wishes') is not null then
    insert into evpower.statuses_under_block (client_id, status, at)
    select w.client_id, w.status, w.at from evpower.wishes w on conflict (client_id) do nothing;
    drop table evpower.wishes;
  end if;
end
$migration$;

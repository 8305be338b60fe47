-- The log of changes to clients and users, which EvPower pulls with public.evpower_changes.
--
-- A row is written in the transaction of the change itself. Rows are returned in the order of (xid, seq) and only below
-- the oldest running transaction: seq alone would skip a row whose transaction took its number earlier and committed
-- later. What EvPower writes through evpower_apply is not logged.
create table if not exists evpower.changes (
  seq bigint generated always as identity primary key,
  "table" text not null check ("table" in ('clients', 'users')),
  row_id text not null,
  op text not null check (op in ('insert', 'update', 'delete', 'blocked_before')),
  at timestamptz not null default clock_timestamp(),
  xid xid8 not null default pg_current_xact_id()
);
-- Only where it is missing: "if not exists" locks the table first, and a sign-up that waits for it is not logged.
do $migration$
begin
  if to_regclass('evpower.changes_in_order') is null then
    create index changes_in_order on evpower.changes (xid, seq);
  end if;
end
$migration$;
revoke all on evpower.changes from public, anon, authenticated, service_role;
comment on table evpower.changes is
  'evpower {edition}: the log of changes to clients and users';
comment on index evpower.changes_in_order is 'evpower {edition}: the order in which EvPower reads the log';

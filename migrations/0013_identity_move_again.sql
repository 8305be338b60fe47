-- A later run adds what a corrected source has more of those who were moved; taking it back spares who was there before.
alter table identity.migration_rows
  drop constraint migration_rows_plan_check,
  add constraint migration_rows_plan_check check (plan in ('adopt', 'create', 'add', 'conflict', 'invalid')),
  drop constraint migration_rows_matched_by_check,
  add constraint migration_rows_matched_by_check check (matched_by in ('id', 'email', 'phone', 'decision', 'moved')),
  add column client_before boolean not null default false; -- EvPower had the client before any run
drop index identity.migration_rows_work;
create unique index migration_rows_work on identity.migration_rows (run, old_id) where plan in ('adopt', 'create', 'add');

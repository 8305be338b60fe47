-- The order in which EvPower wrote stations, tariffs and payments: a call that comes late changes nothing.
create table if not exists evpower.applied_rows (
  topic text not null,
  key text not null,
  number bigint not null,
  row_id text,                      -- the id of the row, where it has no other name: the table gave it
  primary key (topic, key)
);
revoke all on evpower.applied_rows from public, anon, authenticated, service_role;
comment on table evpower.applied_rows is
  'evpower {edition}: the last change of each station, location, tariff plan and payment';

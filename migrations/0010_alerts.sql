-- What an operator should look at: facts that are open until the cause is gone.
create schema alerts;
grant usage on schema alerts to evpower_app;

create table alerts.alerts (
  id bigint generated always as identity primary key,
  kind text not null check (kind ~ '^[a-z][a-z0-9_]{0,63}$'),
  subject text not null check (length(subject) between 1 and 200), -- what it is about: a station, a session
  detail jsonb not null default '{}' check (jsonb_typeof(detail) = 'object'), -- as last seen
  count bigint not null default 1 check (count > 0), -- how often its cause was seen while it is open
  opened_at timestamptz not null,
  last_seen_at timestamptz not null,
  closed_at timestamptz,
  constraint alerts_are_last_seen_after_they_open check (last_seen_at >= opened_at),
  constraint alerts_close_after_they_open check (closed_at >= opened_at)
);
create unique index alerts_one_open on alerts.alerts (kind, subject) where closed_at is null;
create index alerts_by_time on alerts.alerts (opened_at desc, id desc);
grant select, insert, update (detail, count, last_seen_at, closed_at) on alerts.alerts to evpower_app;

create function alerts.guard_alert() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'UPDATE' and old.closed_at is null and new.count >= old.count
     and (new.id, new.kind, new.subject, new.opened_at)
         is not distinct from (old.id, old.kind, old.subject, old.opened_at) then
    return new;
  end if;
  raise exception 'alert % stays as it is', old.id using errcode = 'restrict_violation';
end
$$;
create trigger alerts_stay before update or delete on alerts.alerts
  for each row execute function alerts.guard_alert();

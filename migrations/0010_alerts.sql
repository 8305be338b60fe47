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
  acknowledged_at timestamptz,                       -- an operator has taken it up: repeats are sent no more
  acknowledged_by text check (length(acknowledged_by) between 1 and 200),
  note text check (length(note) between 1 and 500),  -- what they say of it
  constraint alerts_are_acknowledged_by_an_actor check ((acknowledged_at is null) = (acknowledged_by is null)
    and (note is null or acknowledged_at is not null)),
  constraint alerts_are_last_seen_after_they_open check (last_seen_at >= opened_at),
  constraint alerts_close_after_they_open check (closed_at >= opened_at)
);
create unique index alerts_one_open on alerts.alerts (kind, subject) where closed_at is null;
create index alerts_by_time on alerts.alerts (opened_at desc, id desc);
create index alerts_by_kind on alerts.alerts (kind, opened_at);
create index alerts_by_subject on alerts.alerts (kind, subject, closed_at);
grant select, insert,
  update (detail, count, last_seen_at, closed_at, acknowledged_at, acknowledged_by, note) on alerts.alerts to evpower_app;

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

-- What is sent of an alert, by each channel: that it opened, how often it was seen since, that it closed. Rows of a
-- channel that is not configured are deleted unsent.
create table alerts.messages (
  number bigint generated always as identity primary key,
  id uuid not null unique default gen_random_uuid(),  -- the same in each attempt: a receiver knows a repeat by it
  alert_id bigint not null references alerts.alerts,
  channel text not null check (channel in ('webhook', 'email')),
  event text not null check (event in ('opened', 'repeated', 'closed')),
  count bigint not null check (count > 0),            -- of the alert, as it was written
  created_at timestamptz not null,
  due_at timestamptz not null,                        -- of the next attempt; while one runs, the end of its lease
  attempts int not null default 0 check (attempts >= 0),
  error text check (length(error) <= 500),            -- of the last attempt
  sent_at timestamptz,
  given_up_at timestamptz,
  constraint messages_end_once check (num_nonnulls(sent_at, given_up_at) <= 1)
);
create unique index messages_once on alerts.messages (alert_id, channel, event) where event <> 'repeated';
create index messages_waiting on alerts.messages (channel, number) where sent_at is null and given_up_at is null;
create index messages_by_alert on alerts.messages (alert_id, channel, number);
create index messages_by_time on alerts.messages using brin (created_at);
grant select, insert, update (due_at, attempts, error, sent_at, given_up_at), delete on alerts.messages to evpower_app;

-- The messages are written with what they are about: whoever opens or closes an alert waits for no channel.
-- One that opens again within 15 minutes is sent only if it stays open for as long: what comes and goes is not sent.
create function alerts.write_messages() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  settles_for interval := '15 minutes';
  is_again boolean;
begin
  if new.closed_at is null then
    select exists (select from alerts.alerts a
                    where a.kind = new.kind and a.subject = new.subject and a.id <> new.id
                      and a.closed_at > new.opened_at - settles_for) into is_again;
    insert into alerts.messages (alert_id, channel, event, count, created_at, due_at)
    select new.id, channel, 'opened', new.count, new.opened_at,
           new.opened_at + case when is_again then settles_for else interval '0' end
      from unnest(array['webhook', 'email']) channel;
    return null;
  end if;
  with unsent as (
    delete from alerts.messages m
     where m.alert_id = new.id and m.event = 'opened' and m.attempts = 0 and m.due_at > new.closed_at
    returning m.channel)
  insert into alerts.messages (alert_id, channel, event, count, created_at, due_at)
  select new.id, channel, 'closed', new.count, new.closed_at, new.closed_at
    from unnest(array['webhook', 'email']) channel
   where channel not in (select u.channel from unsent u);
  return null;
end
$$;
create trigger alerts_open_with_messages after insert on alerts.alerts
  for each row execute function alerts.write_messages();
create trigger alerts_close_with_messages after update on alerts.alerts
  for each row when (old.closed_at is null and new.closed_at is not null) execute function alerts.write_messages();

-- What other schemas read of an alert.
create view alerts.alerts_public as
select a.id, a.kind, a.subject, a.count, a.opened_at, a.last_seen_at, a.closed_at, a.acknowledged_at
  from alerts.alerts a;
grant select on alerts.alerts_public to evpower_app;

-- What one client pays in place of what all pay: a discount, a plan of its own, or both. A session stores it at its start.
create table tariffs.client_tariffs (
  id bigint generated always as identity primary key,
  client_id uuid not null references identity.clients,
  plan_id bigint references tariffs.plans,            -- null: the tariff of the place
  discount_ppm int check (discount_ppm between 1 and 1000000), -- null: none
  discount_on text[] not null default '{}'
    check (discount_on <@ array['energy', 'time', 'parking', 'flat']),
  valid_from timestamptz not null,
  valid_until timestamptz check (valid_until >= valid_from), -- null: until it is ended
  actor text not null check (length(actor) between 1 and 200),
  created_at timestamptz not null default now(),
  constraint client_tariffs_change_a_price check (plan_id is not null or discount_ppm is not null),
  constraint client_tariffs_discount_something check ((discount_ppm is null) = (discount_on = '{}'))
);
-- Of several that are in force the one that was made last counts.
create index client_tariffs_of_a_client on tariffs.client_tariffs (client_id, id desc);
create index client_tariffs_by_plan on tariffs.client_tariffs (plan_id) where plan_id is not null;
grant select, insert, update (valid_until) on tariffs.client_tariffs to evpower_app;

-- One may end earlier than it was to; all else of it stays readable.
create function tariffs.guard_client_tariff() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'UPDATE' and new.valid_until < coalesce(old.valid_until, 'infinity')
     and (new.id, new.client_id, new.plan_id, new.discount_ppm, new.discount_on, new.valid_from, new.actor, new.created_at)
         is not distinct from
         (old.id, old.client_id, old.plan_id, old.discount_ppm, old.discount_on, old.valid_from, old.actor, old.created_at)
  then
    return new;
  end if;
  raise exception 'tariff % of a client stays as it is', old.id using errcode = 'restrict_violation';
end
$$;
create trigger client_tariffs_stay before update or delete on tariffs.client_tariffs
  for each row execute function tariffs.guard_client_tariff();
create trigger client_tariffs_are_kept before truncate on tariffs.client_tariffs
  for each statement execute function tariffs.refuse_change();

-- They stand in the outbox for the table of an older backend, as locations, stations and plans do.
alter table sync.pending
  drop constraint pending_topic_check,
  add constraint pending_topic_check
    check (topic in ('client', 'session', 'location', 'station', 'tariff', 'client_tariff'));
alter table sync.row_keys
  drop constraint row_keys_topic_check,
  add constraint row_keys_topic_check check (topic in ('location', 'station', 'tariff', 'client_tariff'));
create trigger client_tariffs_pend_new after insert on tariffs.client_tariffs
  referencing new table as changed for each statement execute function sync.enqueue_named('client_tariff', 'id');
create trigger client_tariffs_pend after update on tariffs.client_tariffs
  referencing new table as changed for each statement execute function sync.enqueue_named('client_tariff', 'id');

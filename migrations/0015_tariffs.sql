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

-- What prices a client's session that begins at a place: the client's plan, else that of the place. Of several tariffs of
-- a client that are in force the one that was made last counts.
create function tariffs.choose(
  at_connector text, at_station text, at_location text, at timestamptz, for_client uuid
) returns table (
  plan text, plan_version int, document_format int, document jsonb, client_tariff bigint, discount_ppm int,
  discount_on text[]
) language plpgsql rows 1 set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
  return query
  with own as (
    select c.id, c.plan_id, c.discount_ppm, c.discount_on from tariffs.client_tariffs c
     where c.client_id = for_client and c.valid_from <= at and (c.valid_until is null or c.valid_until > at)
     order by c.id desc limit 1)
  select p.code, v.number, v.format, v.document, own.id, own.discount_ppm, own.discount_on
    from (
      select v.id
        from (select 0 as width, o.plan_id from own o where o.plan_id is not null
              union all
              select s.width, a.plan_id
                from (values (1, 'connector', at_connector), (2, 'station', at_station), (3, 'location', at_location),
                             (4, 'everything', '')) as s (width, scope, scope_id)
               cross join lateral (
                 select a.plan_id from tariffs.assignments a
                  where a.scope = s.scope and a.scope_id = s.scope_id and a.valid_from <= at
                  order by a.valid_from desc, a.id desc limit 1) a) s
       cross join lateral (
         select v.id from tariffs.versions v
          where v.plan_id = s.plan_id and v.valid_from <= at
          order by v.valid_from desc, v.number desc limit 1) v
       order by s.width limit 1) chosen
    join tariffs.versions v on v.id = chosen.id
    join tariffs.plans p on p.id = v.plan_id
    left join own on true;
end
$$;
revoke all on function tariffs.choose(text, text, text, timestamptz, uuid) from public;
grant execute on function tariffs.choose(text, text, text, timestamptz, uuid) to evpower_app;

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

-- What charging costs, where and from when. A session stores the tariff it began with: nothing here changes a bill.
create schema tariffs;
grant usage on schema tariffs to evpower_app;

create table tariffs.plans (
  id bigint generated always as identity primary key,
  code text not null unique check (code ~ '^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$'),
  last_version int not null default 0 check (last_version >= 0),
  created_at timestamptz not null default now()
);
grant select, insert, update (last_version) on tariffs.plans to evpower_app;

-- One text of a plan. Of several that are in force the one that came last counts.
create table tariffs.versions (
  id bigint generated always as identity primary key,
  plan_id bigint not null references tariffs.plans,
  number int not null check (number > 0),
  format int not null check (format > 0),            -- of the document
  document jsonb not null check (jsonb_typeof(document) = 'object'),
  valid_from timestamptz,                            -- null: a draft, it prices nothing
  actor text not null check (length(actor) between 1 and 200),
  created_at timestamptz not null default now(),
  unique (plan_id, number)
);
create index versions_in_force on tariffs.versions (plan_id, valid_from desc, number desc)
  where valid_from is not null;
grant select, insert, update (valid_from) on tariffs.versions to evpower_app;

-- From when a plan prices a scope. The narrowest scope with a plan counts; without a plan the wider one does again.
create table tariffs.assignments (
  id bigint generated always as identity primary key,
  scope text not null check (scope in ('everything', 'location', 'station', 'connector')),
  scope_id text not null check (length(scope_id) <= 128), -- of a connector "<station>/<number>"
  plan_id bigint references tariffs.plans,           -- null: none of its own any more
  valid_from timestamptz not null,
  actor text not null check (length(actor) between 1 and 200),
  created_at timestamptz not null default now(),
  constraint assignments_name_what_they_price check ((scope = 'everything') = (scope_id = ''))
);
create index assignments_in_force on tariffs.assignments (scope, scope_id, valid_from desc, id desc);
create index assignments_by_plan on tariffs.assignments (plan_id);
grant select, insert on tariffs.assignments to evpower_app;

-- What was once in force stays readable: versions and assignments are added, never changed.
create function tariffs.guard_version() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'UPDATE' and old.valid_from is null and new.valid_from is not null
     and (new.id, new.plan_id, new.number, new.format, new.document, new.actor, new.created_at)
         is not distinct from
         (old.id, old.plan_id, old.number, old.format, old.document, old.actor, old.created_at) then
    return new;
  end if;
  raise exception 'version % of tariff plan % stays as it is', old.number, old.plan_id
    using errcode = 'restrict_violation';
end
$$;
create trigger versions_stay before update or delete on tariffs.versions
  for each row execute function tariffs.guard_version();

create function tariffs.refuse_change() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception '% of tariffs are kept as they are', tg_table_name using errcode = 'restrict_violation';
end
$$;
create trigger assignments_stay before update or delete on tariffs.assignments
  for each row execute function tariffs.refuse_change();
create trigger assignments_are_kept before truncate on tariffs.assignments
  for each statement execute function tariffs.refuse_change();
create trigger versions_are_kept before truncate on tariffs.versions
  for each statement execute function tariffs.refuse_change();
create trigger plans_are_kept before delete or truncate on tariffs.plans
  for each statement execute function tariffs.refuse_change();

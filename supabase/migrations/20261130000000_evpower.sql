-- All that EvPower installs in a Supabase project, safe to run again on one that is in use.
-- Written by `make supabase-migrations` from supabase/source/, never by hand.
--
-- Behind a long transaction on one of the tables all readers would queue: this ends instead, and
-- is run again.
do $$ begin perform set_config('lock_timeout', '5s', true); end $$;

-- 0100_table_owners.sql
-- Refuses to begin where another role owns a table that EvPower must alter.
do $migration$
declare
  foreign_table record;
begin
  for foreign_table in
    select format('%I.%I', n.nspname, c.relname) as name, pg_catalog.pg_get_userbyid(c.relowner) as owner
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where (n.nspname = 'evpower' and c.relkind = 'r'
            or n.nspname = 'public' and c.relname in ('clients', 'transactions', 'charging_sessions'))
       and not pg_catalog.pg_has_role(c.relowner, 'USAGE')
  loop
    raise exception '% belongs to %, so % may not change it', foreign_table.name, foreign_table.owner, current_user
      using errcode = 'insufficient_privilege',
            hint = format('Run this as %I, or in the SQL editor of the dashboard: alter table %s owner to %I',
                          foreign_table.owner, foreign_table.name, current_user);
  end loop;
end
$migration$;

-- 0110_schema.sql
-- The schema of everything that only EvPower's own functions use.
create schema if not exists evpower;
revoke all on schema evpower from public, anon, authenticated, service_role;
comment on schema evpower is
  'evpower 0.2.0: what EvPower''s functions in public use; apps have no access';

-- 0115_edition.sql
-- The release of EvPower whose SQL this is. Every object has it in its comment, "evpower <version>: what it is",
-- except the project's own tables and what stands on auth.users
-- (docs/decisions/0038-what-is-installed-in-supabase-is-stamped.md).
create or replace function evpower.edition() returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select '0.2.0'
$$;
revoke all on function evpower.edition() from public, anon, authenticated, service_role;
comment on function evpower.edition() is
  'evpower 0.2.0: returns the version whose SQL is installed';

-- 0120_column_type.sql
-- A column's type as it is here, to be used for the columns that must match it.
create or replace function evpower.column_type(table_name text, column_name text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select pg_catalog.format_type(a.atttypid, null)
    from pg_catalog.pg_attribute a
   where a.attrelid = pg_catalog.to_regclass(table_name) and a.attname = column_name and not a.attisdropped
$$;
revoke all on function evpower.column_type(text, text) from public, anon, authenticated, service_role;
comment on function evpower.column_type(text, text) is
  'evpower 0.2.0: returns the type of a column as this project has it';

-- 0130_record_of.sql
-- The definition of a record with the columns' types as they are here, so that varchar ids, floats and enums are
-- read by their own input functions.
create or replace function evpower.record_of(table_name text, columns text[]) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select string_agg(format('%I %s', c.name, evpower.column_type(table_name, c.name)), ', ' order by c.nr)
    from unnest(columns) with ordinality as c (name, nr)
$$;
revoke all on function evpower.record_of(text, text[]) from public, anon, authenticated, service_role;
comment on function evpower.record_of(text, text[]) is
  'evpower 0.2.0: returns a record definition with the column types of this project';

-- 0140_client_is.sql
-- The comparison of public.clients c with the id that an expression yields. By its own type, so that an index finds it.
create or replace function evpower.client_is(expression text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format(case evpower.column_type('public.clients', 'id')
                  when 'uuid' then 'c.id = %s::uuid'
                  when 'text' then 'c.id = %s::text'
                  when 'character varying' then 'c.id = %s::text'
                  else 'c.id::text = %s::text' end, expression)
$$;
revoke all on function evpower.client_is(text) from public, anon, authenticated, service_role;
comment on function evpower.client_is(text) is
  'evpower 0.2.0: returns the condition that a client has an id';

-- 0150_session_details.sql
-- The optional facts of a charging session: text columns of public.charging_sessions, null while unknown.
-- public.evpower_apply writes them and public.evpower_digest compares them, from this list alone.
create or replace function evpower.session_details() returns text[]
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select array['vehicle_plate']
$$;
revoke all on function evpower.session_details() from public, anon, authenticated, service_role;
comment on function evpower.session_details() is
  'evpower 0.2.0: returns the columns of a session''s optional facts';

-- 0151_session_limits.sql
-- Whether public.charging_sessions has the columns of an older backend for what limits a session, of types that hold it:
-- limit_type energy, amount or none; limit_value in kWh or som. EvPower never adds them. It is asked at each call, so
-- the project may add or drop them at any time.
create or replace function evpower.session_limits() returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select count(*) = 2
    from pg_catalog.pg_attribute a
   where a.attrelid = to_regclass('public.charging_sessions') and a.attnum > 0 and not a.attisdropped
         and a.attgenerated = ''
         and case a.attname
           when 'limit_type' then
             a.atttypid = 'text'::regtype
             or a.atttypid = 'varchar'::regtype and (a.atttypmod < 0 or a.atttypmod >= 4 + length('energy'))
             or (select count(*) = 3 from pg_catalog.pg_enum e
                  where e.enumtypid = a.atttypid and e.enumlabel in ('energy', 'amount', 'none'))
           when 'limit_value' then
             a.atttypid = 'float8'::regtype
             or a.atttypid = 'numeric'::regtype and (a.atttypmod < 0 or (a.atttypmod - 4) & 65535 >= 2)
           else false end
$$;
revoke all on function evpower.session_limits() from public, anon, authenticated, service_role;
comment on function evpower.session_limits() is
  'evpower 0.2.0: returns whether sessions have columns for their limits';

-- 0155_old_tables.sql
-- The tables of an older backend that EvPower writes where they are: what phones read of stations, tariffs and
-- payments.
create or replace function evpower.old_tables() returns text[]
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce(array_agg(t.name order by t.nr), '{}')
    from unnest(array['locations', 'tariff_plans', 'tariff_rules', 'stations', 'connectors', 'client_tariffs',
                      'balance_topups', 'payment_transactions_odengi'])
         with ordinality t (name, nr)
    join pg_catalog.pg_class c on c.oid = to_regclass('public.' || t.name) and c.relkind in ('r', 'p')
$$;
revoke all on function evpower.old_tables() from public, anon, authenticated, service_role;
comment on function evpower.old_tables() is
  'evpower 0.2.0: returns which tables of an older backend are here';

-- 0156_tables_of_others.sql
-- The tables of an older backend that EvPower can't guard, because another role owns them.
create or replace function evpower.tables_of_others() returns table (name text, owner text)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select 'public.' || t.name, pg_get_userbyid(c.relowner)::text
    from unnest(evpower.old_tables()) with ordinality t (name, nr)
    join pg_class c on c.oid = to_regclass('public.' || t.name)
   where not pg_has_role(c.relowner, 'USAGE')
   order by t.nr
$$;
revoke all on function evpower.tables_of_others() from public, anon, authenticated, service_role;
comment on function evpower.tables_of_others() is
  'evpower 0.2.0: returns the tables of an older backend that another role owns';

-- 0160_guard.sql
-- The switch between an older backend and EvPower. While it is enabled only EvPower writes money, stations and
-- tariffs; while it is disabled EvPower writes nothing, and the older backend works as before.
--
-- In a project that an older backend writes to, it begins disabled: `evpower supabase guard enable` at the switch.
create table if not exists evpower.guard (
  only_row boolean primary key default true check (only_row),
  is_enabled boolean not null,
  changed_at timestamptz not null default now()
);
revoke all on evpower.guard from public, anon, authenticated, service_role;
comment on table evpower.guard is
  'evpower 0.2.0: whether only EvPower writes money, stations and tariffs';
do $migration$
declare
  is_in_use boolean := false;
begin
  if exists (select from evpower.guard) then
    return;
  end if;
  if evpower.column_type('public.clients', 'evpower_revision') is not null then
    execute 'select exists (select from public.clients c where c.evpower_revision > 0)' into is_in_use;
  end if;
  insert into evpower.guard (is_enabled)
  values (is_in_use or to_regclass('public.clients') is null
          or evpower.old_tables() = '{}');
end
$migration$;

-- 0170_is_guarded.sql
-- Whether only EvPower may write. Triggers ask for whoever writes: so everyone may. Volatile, so that a statement that
-- waited for the switch sees it.
create or replace function evpower.is_guarded() returns boolean
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce((select g.is_enabled from evpower.guard g), true)
$$;
grant execute on function evpower.is_guarded() to public, anon, authenticated, service_role;
comment on function evpower.is_guarded() is
  'evpower 0.2.0: returns whether only EvPower may write money, stations and tariffs';

-- 0200_clients.sql
-- A client's row, which the apps read: profile, status, balance. Drivers read their own row, change their own profile,
-- and never write money.
--
-- Additive: creates what is missing and changes nothing else, also where the project already has the table, ids are
-- varchar or the status is an enum. Policies of the project stay; what they would allow is limited by the grants here
-- and by triggers (0230_refuse_money.sql, 0240_refuse_id.sql). The table's own comment is the project's.
create table if not exists public.clients (
  id uuid primary key,
  email text,
  phone text,
  name text,
  balance numeric(14, 2) not null default 0,
  status text not null default 'active',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
alter table public.clients add column if not exists email text;
alter table public.clients add column if not exists phone text;
alter table public.clients add column if not exists name text;
alter table public.clients add column if not exists balance numeric(14, 2) not null default 0;
alter table public.clients add column if not exists held numeric(14, 2) not null default 0;
alter table public.clients add column if not exists currency text not null default 'KGS';
alter table public.clients add column if not exists status text not null default 'active';
alter table public.clients add column if not exists created_at timestamptz not null default now();
alter table public.clients add column if not exists updated_at timestamptz not null default now();
-- The order of what EvPower writes: money by its version, then holds, then everything else.
alter table public.clients add column if not exists balance_version bigint not null default 0;
alter table public.clients add column if not exists wallet_revision bigint not null default 0;
alter table public.clients add column if not exists evpower_revision bigint not null default 0;
comment on column public.clients.balance is 'Som. Written by evpower_apply alone; a trigger refuses others.';
comment on column public.clients.held is 'Som set aside for running sessions; available = balance - held.';

-- Where the status is an enum it gets EvPower's words: a status that the enum lacks could never be written, and the
-- client's money would wait with it.
do $migration$
declare
  word text;
  kind oid := (select a.atttypid from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
                where a.attrelid = 'public.clients'::regclass and a.attname = 'status' and t.typtype = 'e');
begin
  foreach word in array array['active', 'inactive', 'blocked'] loop
    if kind is not null then
      execute format('alter type %s add value if not exists %L', kind::regtype, word);
    end if;
  end loop;
exception
  when insufficient_privilege then raise warning 'evpower: the status of a client lacks a word: %', sqlerrm;
end
$migration$;

alter table public.clients enable row level security;
do $migration$
declare
  -- In a sub-select the id is read once a statement, not once a row.
  own text := format('id = (select auth.uid()%s)',
                     case evpower.column_type('public.clients', 'id')
                       when 'uuid' then '' else '::text' end);
begin
  drop policy if exists evpower_own_select on public.clients;
  execute format('create policy evpower_own_select on public.clients for select to authenticated'
                 ' using (%s)', own);
  drop policy if exists evpower_own_insert on public.clients;
  execute format('create policy evpower_own_insert on public.clients for insert to authenticated'
                 ' with check (%s)', own);
  drop policy if exists evpower_own_update on public.clients;
  execute format('create policy evpower_own_update on public.clients for update to authenticated'
                 ' using (%1$s) with check (%1$s)', own);
end
$migration$;
comment on policy evpower_own_select on public.clients is
  'evpower 0.2.0: a driver reads the own row';
comment on policy evpower_own_insert on public.clients is
  'evpower 0.2.0: an app may create its own row at the first login';
comment on policy evpower_own_update on public.clients is
  'evpower 0.2.0: a driver changes the own profile, in the columns that are granted';

revoke insert, update, delete, truncate, references, trigger on public.clients from public, anon, authenticated;
grant select on public.clients to authenticated;
-- An upsert of supabase-js names every column it sends in its update, the id too. A policy of this project may be wider
-- than ours, so a trigger keeps the id (0240_refuse_id.sql).
grant insert (id, email, phone, name, balance), update (id, email, phone, name, updated_at)
  on public.clients to authenticated;
do $migration$
begin
  if evpower.column_type('public.clients', 'delete_requested_at') is not null then
    grant update (delete_requested_at) on public.clients to authenticated;
  end if;
end
$migration$;
grant select, insert, update, delete on public.clients to service_role;

-- Apps listen to changes of their balance where Realtime exists.
do $migration$
begin
  if exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime' and not puballtables)
     and not exists (select from pg_catalog.pg_publication_tables
                      where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = 'clients') then
    alter publication supabase_realtime add table public.clients;
  end if;
exception
  when insufficient_privilege then raise notice 'public.clients is not in supabase_realtime: %', sqlerrm;
end
$migration$;

-- 0210_transactions.sql
-- A wallet's transactions, which the apps read and only public.evpower_apply writes. No foreign key to clients:
-- deleting a user where the project allows it goes on working.
do $migration$
declare
  client_id text := evpower.column_type('public.clients', 'id');
begin
  execute format($sql$
    create table if not exists public.transactions (
      id uuid primary key default gen_random_uuid(),
      client_id %1$s not null,
      version bigint,
      type text not null check (type in ('topup', 'charge', 'refund')),
      amount numeric(14, 2) not null,
      balance_before numeric(14, 2) not null,
      balance_after numeric(14, 2) not null,
      created_at timestamptz not null default now()
    )$sql$, client_id);
  execute format('alter table public.transactions add column if not exists client_id %s', client_id);
  alter table public.transactions add column if not exists version bigint;
  alter table public.transactions add column if not exists type text;
  alter table public.transactions add column if not exists amount numeric(14, 2);
  alter table public.transactions add column if not exists balance_before numeric(14, 2);
  alter table public.transactions add column if not exists balance_after numeric(14, 2);
  alter table public.transactions add column if not exists invoice_id text;
  alter table public.transactions add column if not exists session_id uuid;
  alter table public.transactions add column if not exists event_at timestamptz;
  alter table public.transactions add column if not exists created_at timestamptz not null default now();
end
$migration$;
create unique index if not exists transactions_client_version_key on public.transactions (client_id, version);
create index if not exists transactions_client_newest on public.transactions (client_id, created_at desc);
comment on index public.transactions_client_version_key is
  'evpower 0.2.0: a version of a client''s balance is made by one transaction';
comment on index public.transactions_client_newest is 'evpower 0.2.0: a client''s newest transactions';
alter table public.transactions enable row level security;
do $migration$
declare
  -- In a sub-select the id is read once a statement, not once a row.
  own text := format('client_id = (select auth.uid()%s)',
                     case evpower.column_type('public.transactions', 'client_id')
                       when 'uuid' then '' else '::text' end);
begin
  drop policy if exists evpower_own_select on public.transactions;
  execute format('create policy evpower_own_select on public.transactions for select to authenticated'
                 ' using (%s)', own);
end
$migration$;
comment on policy evpower_own_select on public.transactions is
  'evpower 0.2.0: a driver reads the own transactions';
revoke insert, update, delete, truncate, references, trigger on public.transactions from public, anon, authenticated;
grant select on public.transactions to authenticated;
grant select, insert, update, delete on public.transactions to service_role;

-- 0220_charging_sessions.sql
-- Charging sessions, which the apps read and only public.evpower_apply writes. Both vocabularies are always filled
-- with the same: shipped apps read the older columns, the requirements name the newer. No foreign key to clients.
do $migration$
declare
  client_id text := evpower.column_type('public.clients', 'id');
  user_id text;
  detail text;
begin
  execute format($sql$
    create table if not exists public.charging_sessions (
      id uuid primary key,
      user_id %1$s,
      station_id text,
      start_time timestamptz,
      stop_time timestamptz,
      energy numeric(12, 3) not null default 0,
      amount numeric(14, 2) not null default 0,
      status text not null check (status in ('started', 'stopped', 'error')),
      created_at timestamptz not null default now()
    )$sql$, client_id);
  user_id := coalesce(evpower.column_type('public.charging_sessions', 'user_id'), client_id);
  execute format('alter table public.charging_sessions add column if not exists user_id %s', user_id);
  execute format('alter table public.charging_sessions add column if not exists client_id %s', user_id);
  alter table public.charging_sessions add column if not exists station_id text;
  alter table public.charging_sessions add column if not exists connector_id int;
  alter table public.charging_sessions add column if not exists start_time timestamptz;
  alter table public.charging_sessions add column if not exists stop_time timestamptz;
  alter table public.charging_sessions add column if not exists end_time timestamptz;
  alter table public.charging_sessions add column if not exists energy numeric(12, 3);
  alter table public.charging_sessions add column if not exists energy_consumed numeric(12, 3);
  alter table public.charging_sessions add column if not exists amount numeric(14, 2);
  alter table public.charging_sessions add column if not exists total_cost numeric(14, 2);
  alter table public.charging_sessions add column if not exists status text;
  alter table public.charging_sessions add column if not exists created_at timestamptz not null default now();
  alter table public.charging_sessions add column if not exists updated_at timestamptz not null default now();
  alter table public.charging_sessions add column if not exists revision bigint; -- null: not written by EvPower
  foreach detail in array evpower.session_details() loop
    execute format('alter table public.charging_sessions add column if not exists %I text', detail);
  end loop;
end
$migration$;
create index if not exists charging_sessions_user_newest on public.charging_sessions (user_id, created_at desc);
create index if not exists charging_sessions_client_newest on public.charging_sessions (client_id, created_at desc);
comment on index public.charging_sessions_user_newest is
  'evpower 0.2.0: a driver''s newest sessions, by the older column';
comment on index public.charging_sessions_client_newest is
  'evpower 0.2.0: a driver''s newest sessions, by the newer column';
alter table public.charging_sessions enable row level security;
do $migration$
declare
  -- In a sub-select the id is read once a statement, not once a row.
  own text := format('user_id = (select auth.uid()%s)',
                     case evpower.column_type('public.charging_sessions', 'user_id')
                       when 'uuid' then '' else '::text' end);
begin
  drop policy if exists evpower_own_select on public.charging_sessions;
  execute format('create policy evpower_own_select on public.charging_sessions for select to authenticated'
                 ' using (%s)', own);
end
$migration$;
comment on policy evpower_own_select on public.charging_sessions is
  'evpower 0.2.0: a driver reads the own sessions';
revoke insert, update, delete, truncate, references, trigger on public.charging_sessions
  from public, anon, authenticated;
grant select on public.charging_sessions to authenticated;
grant select, insert, update, delete on public.charging_sessions to service_role;

-- 0230_refuse_money.sql
-- Only evpower_apply sets a balance: no app, no server with the secret key, no session in psql. While the guard is
-- disabled an older backend does, and still no app.
create or replace function evpower.refuse_money() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'the balance of % is set by EvPower alone', new.id
    using errcode = 'insufficient_privilege',
          hint = 'Money moves in EvPower and reaches this row through evpower_apply.'
                 ' `evpower supabase guard disable` gives it back to an older backend.';
end
$$;
drop trigger if exists evpower_money_is_not_inserted on public.clients;
create trigger evpower_money_is_not_inserted before insert on public.clients for each row
  when (current_setting('evpower.applying', true) is distinct from 'on'
        and (coalesce(new.balance, 0) <> 0 or new.held <> 0 or new.balance_version <> 0
             or new.wallet_revision <> 0 or new.evpower_revision <> 0)
        and (current_user in ('anon', 'authenticated') or evpower.is_guarded()))
  execute function evpower.refuse_money();
drop trigger if exists evpower_money_is_not_updated on public.clients;
create trigger evpower_money_is_not_updated before update on public.clients for each row
  when (current_setting('evpower.applying', true) is distinct from 'on'
        and (new.balance is distinct from old.balance or new.held is distinct from old.held
             or new.balance_version is distinct from old.balance_version
             or new.wallet_revision is distinct from old.wallet_revision
             or new.evpower_revision is distinct from old.evpower_revision)
        and (current_user in ('anon', 'authenticated') or evpower.is_guarded()))
  execute function evpower.refuse_money();
revoke all on function evpower.refuse_money() from public, anon, authenticated, service_role;
comment on function evpower.refuse_money() is
  'evpower 0.2.0: refuses a balance that evpower_apply did not write';
comment on trigger evpower_money_is_not_inserted on public.clients is
  'evpower 0.2.0: a new row has no money';
comment on trigger evpower_money_is_not_updated on public.clients is
  'evpower 0.2.0: only evpower_apply changes money and its order';

-- 0240_refuse_id.sql
-- An app never changes the id of a row, whatever a policy of the project allows.
create or replace function evpower.refuse_id() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'the id of a client stays' using errcode = 'insufficient_privilege';
end
$$;
drop trigger if exists evpower_id_stays on public.clients;
create trigger evpower_id_stays before update on public.clients for each row
  when (new.id is distinct from old.id and current_user in ('anon', 'authenticated'))
  execute function evpower.refuse_id();
revoke all on function evpower.refuse_id() from public, anon, authenticated, service_role;
comment on function evpower.refuse_id() is
  'evpower 0.2.0: refuses another id';
comment on trigger evpower_id_stays on public.clients is
  'evpower 0.2.0: an app never changes the id of its row';

-- 0250_refuse_others.sql
-- Stations, tariffs and payments are EvPower's: another writer is refused with a hint, before any row is changed. What a
-- foreign key does to payments when a client is deleted is no writer: deleting a user goes on working. Nor is what only
-- takes the client from a payment: the project's own functions for a closed account (anonymize_client) do that.
create or replace function evpower.refuse_others() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_table_name in ('balance_topups', 'payment_transactions_odengi') and tg_op in ('UPDATE', 'DELETE')
     and pg_trigger_depth() > 1 then
    return new; -- null in a trigger for a statement, which ignores it
  end if;
  -- A generated column has no value yet.
  if tg_level = 'ROW' and to_jsonb(new) ->> 'client_id' is null and not exists (
      select from jsonb_each(to_jsonb(new)) n
       where n.value is distinct from to_jsonb(old) -> n.key
         and n.key <> 'updated_at' and not (n.key in ('client_id', 'user_id') and n.value = 'null')
         and not exists (select from pg_catalog.pg_attribute a
                          where a.attrelid = tg_relid and a.attname = n.key and a.attgenerated <> '')) then
    return new;
  end if;
  raise exception '%.% is written by EvPower alone', tg_table_schema, tg_table_name
    using errcode = 'insufficient_privilege',
          hint = case when tg_table_name in ('balance_topups', 'payment_transactions_odengi')
                   then 'Payments are changed by `evpower payments` and reach this table through evpower_apply.'
                   else 'Stations and tariffs are changed by `evpower station` and `evpower tariff`.' end ||
                 ' `evpower supabase guard disable` gives the table back to the older backend.';
end
$$;
revoke all on function evpower.refuse_others() from public, anon, authenticated, service_role;
comment on function evpower.refuse_others() is
  'evpower 0.2.0: refuses what evpower_apply did not write';

-- 0260_guard_tables.sql
-- Puts the guard on the tables of an older backend that are here; on one of another role it can't: evpower_guard then
-- refuses to enable, and `evpower doctor` names the table.
create or replace function evpower.guard_tables() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  table_name text;
  has_clients boolean; -- payments: of an update each row is looked at, because it may only take the client away
begin
  foreach table_name in array evpower.old_tables() loop
    has_clients := table_name in ('balance_topups', 'payment_transactions_odengi');
    begin
      execute format(
        'create or replace trigger evpower_others_are_refused'
        ' before insert or delete or truncate %s on public.%I for each statement'
        ' when (current_setting(''evpower.applying'', true) is distinct from ''on'' and evpower.is_guarded())'
        ' execute function evpower.refuse_others()', case when not has_clients then 'or update' end, table_name);
      execute format('comment on trigger evpower_others_are_refused on public.%I is %L', table_name,
                     'evpower ' || evpower.edition() || ': only evpower_apply writes it while the guard is enabled');
      if has_clients then
        execute format(
          'create or replace trigger evpower_others_only_unlink before update on public.%I for each row'
          ' when (current_setting(''evpower.applying'', true) is distinct from ''on'' and evpower.is_guarded())'
          ' execute function evpower.refuse_others()', table_name);
        execute format('comment on trigger evpower_others_only_unlink on public.%I is %L', table_name,
                       'evpower ' || evpower.edition() || ': another writer may only take the client away');
      end if;
    exception
      when insufficient_privilege then
        raise warning 'evpower: the guard is not on public.%: %', table_name, sqlerrm
          using hint = format('As the owner of the table: alter table public.%I owner to %I', table_name, current_user);
    end;
  end loop;
end
$$;
revoke all on function evpower.guard_tables() from public, anon, authenticated, service_role;
comment on function evpower.guard_tables() is
  'evpower 0.2.0: puts the guard on the tables of an older backend';
do $migration$ begin perform evpower.guard_tables(); end $migration$;

-- 0270_protect_tables.sql
-- Who reads the tables of an older backend that have a client's money: its driver, and never an app without a token,
-- whatever policies the project has. Called when the guard is enabled; before that the tables are as they were. An older
-- backend as the owner, or with the secret key, reads and writes them as before.
create or replace function evpower.protect_tables() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  table_name text;
begin
  foreach table_name in array evpower.old_tables() loop
    continue when table_name not in ('client_tariffs', 'balance_topups', 'payment_transactions_odengi')
      or evpower.column_type('public.' || table_name, 'client_id') is null;
    begin
      execute format('alter table public.%I enable row level security', table_name);
      execute format('drop policy if exists evpower_own_select on public.%I', table_name);
      execute format('create policy evpower_own_select on public.%I for select to authenticated'
                     ' using (client_id::text = (select auth.uid()::text))', table_name);
      execute format('drop policy if exists evpower_none_of_anon on public.%I', table_name);
      execute format('create policy evpower_none_of_anon on public.%I as restrictive for all to anon'
                     ' using (false)', table_name);
      execute format('comment on policy evpower_own_select on public.%I is %L', table_name,
                     'evpower ' || evpower.edition() || ': a driver reads the own rows');
      execute format('comment on policy evpower_none_of_anon on public.%I is %L', table_name,
                     'evpower ' || evpower.edition() || ': without a token nothing is read');
      execute format('revoke insert, update, delete, truncate, references, trigger on public.%I'
                     ' from public, anon, authenticated', table_name);
      execute format('grant select on public.%I to authenticated', table_name);
    exception
      when insufficient_privilege then
        raise warning 'evpower: public.% is not protected: %', table_name, sqlerrm
          using hint = format('As the owner of the table: alter table public.%I owner to %I', table_name, current_user);
    end;
  end loop;
end
$$;
revoke all on function evpower.protect_tables() from public, anon, authenticated, service_role;
comment on function evpower.protect_tables() is
  'evpower 0.2.0: lets a driver read the own rows of an older backend''s tables';
do $migration$ begin if evpower.is_guarded() then perform evpower.protect_tables(); end if; end $migration$;

-- 0300_changes.sql
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
  'evpower 0.2.0: the log of changes to clients and users';
comment on index evpower.changes_in_order is 'evpower 0.2.0: the order in which EvPower reads the log';

-- 0310_statuses_under_block.sql
-- What the status of a client said before EvPower's block was written over it: the status can hold only one of the two,
-- and a requested deletion must not be lost.
create table if not exists evpower.statuses_under_block (
  client_id text primary key,
  status text not null,
  at timestamptz not null default now()
);
revoke all on evpower.statuses_under_block from public, anon, authenticated, service_role;
comment on table evpower.statuses_under_block is
  'evpower 0.2.0: the status of a client before EvPower''s block';

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

-- 0320_pending_contacts.sql
-- New emails and phones of logins that could not be carried to the profile, because its row was missing or locked.
-- Carried when EvPower next pulls changes, unless the profile was written since.
create table if not exists evpower.pending_contacts (
  user_id text not null,
  contact text not null check (contact in ('email', 'phone')),
  since timestamptz not null default now(),
  primary key (user_id, contact)
);
revoke all on evpower.pending_contacts from public, anon, authenticated, service_role;
comment on table evpower.pending_contacts is
  'evpower 0.2.0: contacts of logins that the profile does not have yet';

-- The table's name before 0.1.0.
do $migration$
begin
  if to_regclass('evpower.uncarried') is not null then
    insert into evpower.pending_contacts (user_id, contact, since)
    select u.user_id, u.contact, u.since from evpower.uncarried u on conflict (user_id, contact) do nothing;
    drop table evpower.uncarried;
  end if;
end
$migration$;

-- 0330_log_change.sql
-- Logs a change of a row if one of the watched paths differs. A client whose id changes is a deletion and an insertion.
-- Columns are read from the row as JSON, so that columns this project lacks are no error and Auth may alter its own.
drop function if exists evpower.note(text, text, jsonb, jsonb, text[]); -- its name before 0.1.0
create or replace function evpower.log_change(
  source_table text, operation text, old_row jsonb, new_row jsonb, watched_paths text[]
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if source_table = 'clients' and operation = 'UPDATE' and old_row ->> 'id' <> new_row ->> 'id' then
    insert into evpower.changes ("table", row_id, op)
    values (source_table, old_row ->> 'id', 'delete'), (source_table, new_row ->> 'id', 'insert');
  elsif operation <> 'UPDATE' or exists (select from unnest(watched_paths) w (path)
                                          where old_row #> w.path::text[] is distinct from new_row #> w.path::text[])
  then
    insert into evpower.changes ("table", row_id, op)
    values (source_table, coalesce(new_row, old_row) ->> 'id', lower(operation));
  end if;
end
$$;
revoke all on function evpower.log_change(text, text, jsonb, jsonb, text[])
  from public, anon, authenticated, service_role;
comment on function evpower.log_change(text, text, jsonb, jsonb, text[]) is
  'evpower 0.2.0: logs a change of a client or user';

-- 0340_note_client.sql
-- Logs who changed in public.clients, and ends what waited for that client: what is written now is newer. Like every
-- trigger function of the change log it runs as its owner (Auth's role has no rights here), never fails and never
-- waits long, whatever state this schema is in: a lost entry is found by the nightly reconciliation, a refused
-- sign-up by the driver.
create or replace function evpower.note_client() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
declare
  old_row jsonb;
  new_row jsonb;
begin
  begin
    old_row := to_jsonb(old); -- null of an insert
    new_row := to_jsonb(new);
    perform evpower.log_change('clients', tg_op, old_row, new_row,
                               array['{email}', '{phone}', '{name}', '{status}', '{delete_requested_at}']);
  exception
    when others then raise warning 'evpower: a change of a client was not logged: % %', sqlstate, sqlerrm;
  end;
  -- What is written here now is newer than what waits to be written.
  begin
    if new_row is not null then
      delete from evpower.pending_contacts p
       where p.user_id = new_row ->> 'id'
         and (old_row is null or old_row -> p.contact is distinct from new_row -> p.contact);
      if old_row is null or old_row -> 'status' is distinct from new_row -> 'status' then
        delete from evpower.statuses_under_block s where s.client_id = new_row ->> 'id';
      end if;
    end if;
  exception
    when others then raise warning 'evpower: what waits for a client was not removed: % %', sqlstate, sqlerrm;
  end;
  return null;
end
$$;
drop trigger if exists evpower_note_client on public.clients;
create trigger evpower_note_client after insert or update or delete on public.clients for each row
  when (current_setting('evpower.applying', true) is distinct from 'on')
  execute function evpower.note_client();
revoke all on function evpower.note_client() from public, anon, authenticated, service_role;
comment on function evpower.note_client() is
  'evpower 0.2.0: logs a change of a client';
comment on trigger evpower_note_client on public.clients is
  'evpower 0.2.0: logs changes that EvPower did not write';

-- 0350_note_user.sql
-- Logs who changed in auth.users. A sign-in changes last_sign_in_at and logs nothing. Like every trigger function of
-- the change log it runs as its owner (Auth's role has no rights here), never fails and never waits long, whatever
-- state this schema is in: a lost entry is found by the nightly reconciliation, a refused sign-up by the driver.
create or replace function evpower.note_user() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
begin
  perform evpower.log_change('users', tg_op, to_jsonb(old), to_jsonb(new),
                             array['{email}', '{phone}', '{email_confirmed_at}', '{phone_confirmed_at}',
                                   '{raw_user_meta_data}', '{deleted_at}', '{banned_until}',
                                   '{raw_app_meta_data,evpower_email_unverified}']);
  return null;
exception
  when others then
    raise warning 'evpower: a change of a user was not logged: % %', sqlstate, sqlerrm;
    return null;
end
$$;
-- auth.users belongs to Auth: we may create a trigger on it, and on older projects not drop it again. It names no
-- column, or Auth could not change the column's type. It has no comment, which only the table's owner may write.
do $migration$
begin
  if to_regclass('auth.users') is null then
    raise warning 'evpower: there is no auth.users, sign-ups are not logged';
  elsif not exists (select from pg_catalog.pg_trigger t
                     where t.tgrelid = 'auth.users'::regclass and t.tgname = 'evpower_note_user')
  then
    create trigger evpower_note_user after insert or update or delete on auth.users for each row
      execute function evpower.note_user();
  end if;
end
$migration$;
revoke all on function evpower.note_user() from public, anon, authenticated, service_role;
comment on function evpower.note_user() is
  'evpower 0.2.0: logs a change of a user';

-- 0360_note_truncate.sql
-- Truncating clients deletes each of them. Of users no deletion is logged, or one command would close every client in
-- EvPower: they are only to be read again, and the reconciliation reports those that are missing.
create or replace function evpower.note_truncate() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
begin
  begin
    raise warning 'evpower: %.% is truncated', tg_table_schema, tg_table_name;
    if tg_table_name = 'clients' then
      insert into evpower.changes ("table", row_id, op) select 'clients', c.id::text, 'delete' from public.clients c;
    else
      insert into evpower.changes ("table", row_id, op) select 'users', u.id::text, 'update' from auth.users u;
    end if;
  exception
    when others then raise warning 'evpower: a truncation was not logged: % %', sqlstate, sqlerrm;
  end;
  return null;
end
$$;
drop trigger if exists evpower_note_truncate on public.clients;
create trigger evpower_note_truncate before truncate on public.clients for each statement
  execute function evpower.note_truncate();
-- auth.users belongs to Auth: we may create a trigger on it, and on older projects not drop it again. It names no
-- column, or Auth could not change the column's type. It has no comment, which only the table's owner may write.
do $migration$
begin
  if to_regclass('auth.users') is null then
    raise warning 'evpower: there is no auth.users, its truncation is not logged';
  elsif not exists (select from pg_catalog.pg_trigger t
                     where t.tgrelid = 'auth.users'::regclass and t.tgname = 'evpower_note_truncate')
  then
    create trigger evpower_note_truncate before truncate on auth.users for each statement
      execute function evpower.note_truncate();
  end if;
end
$migration$;
revoke all on function evpower.note_truncate() from public, anon, authenticated, service_role;
comment on function evpower.note_truncate() is
  'evpower 0.2.0: logs that clients or users are truncated';
comment on trigger evpower_note_truncate on public.clients is
  'evpower 0.2.0: logs each client that a truncation deletes';

-- 0370_preserve_block.sql
-- A block set before EvPower's first write is a decision of this project: it stays, and the log tells EvPower of it.
drop trigger if exists evpower_keep_blocked on public.clients; -- its name before 0.1.0
drop function if exists evpower.keep_blocked();
create or replace function evpower.preserve_block() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if old.status::text = 'blocked' and new.status::text <> 'blocked' then
    new.status := old.status;
    insert into evpower.changes ("table", row_id, op) values ('clients', new.id::text, 'blocked_before');
  end if;
  return new;
end
$$;
drop trigger if exists evpower_preserve_block on public.clients;
create trigger evpower_preserve_block before update on public.clients for each row
  when (current_setting('evpower.applying', true) = 'on' and old.evpower_revision = 0 and new.evpower_revision <> 0)
  execute function evpower.preserve_block();
revoke all on function evpower.preserve_block() from public, anon, authenticated, service_role;
comment on function evpower.preserve_block() is
  'evpower 0.2.0: keeps a block from before EvPower';
comment on trigger evpower_preserve_block on public.clients is
  'evpower 0.2.0: the first write of evpower_apply lifts no block of the project';

-- 0380_save_status_under_block.sql
-- EvPower's block replaces a requested deletion in the status, and gives it back when the block is lifted.
drop trigger if exists evpower_keep_wish on public.clients; -- its name before 0.1.0
drop function if exists evpower.keep_wish();
create or replace function evpower.save_status_under_block() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  saved_status text;
begin
  if new.status::text = 'blocked' then
    insert into evpower.statuses_under_block (client_id, status) values (new.id::text, old.status::text)
    on conflict (client_id) do update set status = excluded.status, at = now();
  else
    delete from evpower.statuses_under_block s where s.client_id = new.id::text returning s.status into saved_status;
    if saved_status in ('inactive', 'pending_deletion') then
      new.status := saved_status;
    end if;
  end if;
  return new;
end
$$;
drop trigger if exists evpower_save_status_under_block on public.clients;
create trigger evpower_save_status_under_block before update on public.clients for each row
  when (current_setting('evpower.applying', true) = 'on'
        and (old.status::text in ('active', 'inactive', 'pending_deletion') and new.status::text = 'blocked'
             or old.status::text = 'blocked' and new.status::text in ('active', 'inactive')))
  execute function evpower.save_status_under_block();
revoke all on function evpower.save_status_under_block() from public, anon, authenticated, service_role;
comment on function evpower.save_status_under_block() is
  'evpower 0.2.0: saves and restores what EvPower''s block is written over';
comment on trigger evpower_save_status_under_block on public.clients is
  'evpower 0.2.0: a block loses no requested deletion';

-- 0400_write_profile_contact.sql
-- Writes a login's email or phone to its profile, which the apps read. Auth keeps a phone's digits alone; the profile
-- has them with "+".
drop function if exists evpower.carry(uuid, text, text); -- its name before 0.1.0
do $migration$
declare
  body text := $body$
create or replace function evpower.write_profile_contact(of_user uuid, contact_name text, new_value text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $function$
begin
  new_value := nullif(new_value, '');
  if contact_name = 'email' then
    update public.clients c set email = new_value, updated_at = now()
     where <own> and c.email is distinct from new_value;
  else
    update public.clients c set phone = '+' || new_value, updated_at = now()
     where <own> and regexp_replace(c.phone, '\D', '', 'g') is distinct from new_value;
  end if;
end
$function$
$body$;
begin
  body := replace(body, '<own>', evpower.client_is('of_user'));
  execute body;
end
$migration$;
revoke all on function evpower.write_profile_contact(uuid, text, text) from public, anon, authenticated, service_role;
comment on function evpower.write_profile_contact(uuid, text, text) is
  'evpower 0.2.0: writes a login''s email or phone to its profile';

-- 0410_carry_contact.sql
-- A new email or phone of the login becomes the profile's. One that Auth emptied is emptied in the profile only where
-- it was the same. A login that is deleted gets hashes for both: these are not carried. Never fails and never waits
-- long: what could not be carried, or not while an older backend writes, is stored in evpower.pending_contacts.
do $migration$
declare
  body text := $body$
create or replace function evpower.carry_contact() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $function$
declare
  contact_name text;
  old_row jsonb;
  new_row jsonb;
begin
  foreach contact_name in array array['email', 'phone'] loop
    begin
      old_row := to_jsonb(old);
      new_row := to_jsonb(new);
      continue when new_row ->> 'deleted_at' is not null
        or nullif(new_row ->> contact_name, '') is not distinct from nullif(old_row ->> contact_name, '');
      if not evpower.is_guarded() or not exists (select from public.clients c where <own>) then
        insert into evpower.pending_contacts (user_id, contact) values (new.id::text, contact_name)
        on conflict do nothing;
      elsif new_row ->> contact_name <> '' or exists (
              select from public.clients c
               where <own> and case contact_name when 'email' then lower(c.email) = lower(old_row ->> 'email')
                               else regexp_replace(c.phone, '\D', '', 'g') = old_row ->> 'phone' end) then
        perform evpower.write_profile_contact(new.id, contact_name, new_row ->> contact_name);
      end if;
    exception
      when others then
        raise warning 'evpower: % of a login was not carried to the profile: % %', contact_name, sqlstate, sqlerrm;
        begin
          insert into evpower.pending_contacts (user_id, contact) values (new.id::text, contact_name)
          on conflict do nothing;
        exception
          when others then raise warning 'evpower: nor stored for later: % %', sqlstate, sqlerrm;
        end;
    end;
  end loop;
  return null;
end
$function$
$body$;
begin
  body := replace(body, '<own>', evpower.client_is('new.id'));
  execute body;
end
$migration$;
-- auth.users belongs to Auth: we may create a trigger on it, and on older projects not drop it again. It names no
-- column, or Auth could not change the column's type. It has no comment, which only the table's owner may write.
do $migration$
begin
  if to_regclass('auth.users') is null then
    raise warning 'evpower: there is no auth.users, contacts are not carried';
  elsif not exists (select from pg_catalog.pg_trigger t
                     where t.tgrelid = 'auth.users'::regclass and t.tgname = 'evpower_carry_contact')
  then
    create trigger evpower_carry_contact after update on auth.users for each row
      execute function evpower.carry_contact();
  end if;
end
$migration$;
revoke all on function evpower.carry_contact() from public, anon, authenticated, service_role;
comment on function evpower.carry_contact() is
  'evpower 0.2.0: carries a new email or phone of a login to its profile';

-- 0420_carry_pending_contacts.sql
-- Carries the contacts that wait, 100 at most and for 2 s at most: a call of public.evpower_changes waits for it.
drop function if exists evpower.carry_left(); -- its name before 0.1.0
do $migration$
declare
  body text := $body$
create or replace function evpower.carry_pending_contacts() returns void
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '500ms' as $function$
declare
  pending record;
  deadline constant timestamptz := clock_timestamp() + interval '2 s';
begin
  if not evpower.is_guarded() or not exists (select from evpower.pending_contacts) then
    return;
  end if;
  for pending in
    select p.user_id, p.contact, u.facts ->> p.contact as new_value
      from evpower.pending_contacts p
     cross join lateral (select u.id, to_jsonb(u) as facts from auth.users u where u.id = p.user_id::uuid offset 0) u
     where (select true from public.clients c where <own_u>)
     order by p.since limit 100 for update of p skip locked
  loop
    exit when clock_timestamp() > deadline;
    begin
      perform from public.clients c where <own_pending> for update skip locked;
      continue when not found;
      perform evpower.write_profile_contact(pending.user_id::uuid, pending.contact, pending.new_value);
    exception
      when lock_not_available or deadlock_detected or serialization_failure then continue; -- at the next pull
      when others then
        raise warning 'evpower: the profile refuses % of a login: % %', pending.contact, sqlstate, sqlerrm;
    end;
    delete from evpower.pending_contacts p where p.user_id = pending.user_id and p.contact = pending.contact;
  end loop;
end
$function$
$body$;
begin
  body := replace(body, '<own_u>', evpower.client_is('u.id'));
  body := replace(body, '<own_pending>', evpower.client_is('pending.user_id'));
  execute body;
end
$migration$;
revoke all on function evpower.carry_pending_contacts() from public, anon, authenticated, service_role;
comment on function evpower.carry_pending_contacts() is
  'evpower 0.2.0: carries the contacts of logins that waited';

-- 0430_prune_without_owner.sql
-- Deletes contacts that wait for a login that is deleted, and saved statuses of clients that are.
drop function if exists evpower.forget_left(); -- its name before 0.1.0
do $migration$
declare
  body text := $body$
create or replace function evpower.prune_without_owner() returns void
language sql set search_path = pg_catalog, pg_temp set enable_seqscan = off as $function$
  delete from evpower.statuses_under_block s using (
    select f.client_id from evpower.statuses_under_block f
     where not exists (select from public.clients c where <own>) for update skip locked) deleted
   where s.client_id = deleted.client_id;
  <pending_contacts>
$function$
$body$;
begin
  body := replace(body, '<own>', evpower.client_is('f.client_id'));
  -- A function in SQL is read when it is made: without auth.users it may not name the table.
  body := replace(body, '<pending_contacts>', case when to_regclass('auth.users') is null then '' else $sql$
  delete from evpower.pending_contacts p using (
    select f.user_id, f.contact from evpower.pending_contacts f
     where not exists (select from auth.users u where u.id = f.user_id::uuid) for update skip locked) deleted
   where p.user_id = deleted.user_id and p.contact = deleted.contact;$sql$ end);
  execute body;
end
$migration$;
revoke all on function evpower.prune_without_owner() from public, anon, authenticated, service_role;
comment on function evpower.prune_without_owner() is
  'evpower 0.2.0: deletes what waits for users and clients that are gone';

-- 0500_clients_and_users.sql
-- Clients and users as they are now, in the order of the ids; an id may be no UUID, and unknown to both tables.
--   {"id", "client": null | {...}, "user": null | {...}}
-- Texts are cut: the driver sets their length, and one long text would hold up the changes of all others.
-- Everything is read by an index in its order: plans live long, and one made while a table was small would
-- read and sort all of it. Without "offset 0" one made while it was empty joins every row with every other.
drop function if exists evpower.people_of(text[]); -- its name before 0.1.0
do $migration$
declare
  id_type text := evpower.column_type('public.clients', 'id');
  is_uuid constant text := $$~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'$$;
  client_is_i constant text := case
    when id_type = 'uuid' then 'c.id = case when i.id <is_uuid> then i.id::uuid end'
    when id_type in ('text', 'character varying') then 'c.id = i.id'
    else 'c.id::text = i.id' end;
  body text := $body$
create or replace function evpower.clients_and_users(ids text[]) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off as $function$
declare
  entries jsonb;
begin
  select jsonb_agg(jsonb_build_object('id', i.id, 'client', c.facts, 'user', u.facts) order by i.nr)
    into entries
    from unnest(ids) with ordinality as i (id, nr)
    left join lateral (
      select jsonb_build_object(
               'email', left(c.email::text, 1000), 'phone', left(c.phone::text, 1000),
               'name', left(c.name::text, 1000), 'status', c.status,
               'delete_requested_at', (select delete_requested_at from (select c.*) own),
               'status_under_block', (select s.status from evpower.statuses_under_block s where s.client_id = i.id),
               'written', c.evpower_revision > 0) as facts
        -- Not every project has that column, and some get it later: then the name means this one.
        from public.clients c cross join (select null::timestamptz as delete_requested_at) absent
       where <client_is_i> offset 0) c on true
    left join lateral (
      select jsonb_build_object(
               'email', nullif(u.email, ''), 'phone', nullif(u.phone, ''),
               'email_confirmed', u.email_confirmed_at is not null,
               'phone_confirmed', u.phone_confirmed_at is not null,
               'metadata', jsonb_build_object('phone', left(u.raw_user_meta_data ->> 'phone', 1000),
                                              'name', left(u.raw_user_meta_data ->> 'name', 1000),
                                              'full_name', left(u.raw_user_meta_data ->> 'full_name', 1000)),
               'deleted', u.deleted_at is not null, 'banned_until',
               case when u.banned_until is not null then least(u.banned_until, '9999-12-31T00:00:00Z') end,
               'anonymous', (select is_anonymous from (select u.*) own),
               'email_unverified', u.raw_app_meta_data ->> 'evpower_email_unverified' is not distinct from 'true'
             ) as facts
        -- Older Auth servers have no is_anonymous: there the name means this one.
        from auth.users u cross join (select false as is_anonymous) absent
       where u.id = case when i.id <is_uuid> then i.id::uuid end offset 0) u on true;
  return coalesce(entries, '[]');
end
$function$
$body$;
begin
  body := replace(body, '<client_is_i>', client_is_i);
  body := replace(body, '<is_uuid>', is_uuid);
  execute body;
end
$migration$;
revoke all on function evpower.clients_and_users(text[]) from public, anon, authenticated, service_role;
comment on function evpower.clients_and_users(text[]) is
  'evpower 0.2.0: returns clients and users by their ids';

-- 0510_evpower_people.sql
-- public.evpower_people({"ids": [...]}) or ({"after": id | null, "limit": n}) -> {"people": [...], "next": id | null}.
-- Each entry is a client, a user, or both. A full scan reads both tables: first the ids that are UUIDs, in their
-- order, then the others.
do $migration$
declare
  id_type text := evpower.column_type('public.clients', 'id');
  is_uuid constant text := $$~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'$$;
  body text := $body$
create or replace function public.evpower_people(payload jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $function$
declare
  size int;
  after text;
  ids text[];
begin
  if jsonb_typeof(payload) = 'string' then -- some gateways pass a jsonb argument as text
    payload := (payload #>> '{}')::jsonb;
  end if;
  if jsonb_typeof(payload -> 'ids') = 'array' then
    if jsonb_array_length(payload -> 'ids') > 5000 then
      raise exception 'at most 5000 ids at once' using errcode = 'invalid_parameter_value';
    end if;
    select array_agg(distinct i) into ids from jsonb_array_elements_text(payload -> 'ids') i;
    return jsonb_build_object('people', evpower.clients_and_users(ids), 'next', null);
  end if;
  size := least(greatest(coalesce((payload ->> 'limit')::int, 1000), 1), 5000);
  after := nullif(payload ->> 'after', '');
  if after is null or after <is_uuid> then
    select array_agg(w.id::text order by w.id) into ids from (
      (select u.id from auth.users u
        where u.id > coalesce(after, '00000000-0000-0000-0000-000000000000')::uuid order by u.id limit size + 1)
      union
      (select <uuid_of_c> from public.clients c
        where <client_after_uuid> order by c.id limit size + 1)
      order by 1 limit size + 1) w;
    after := '';
  end if;
  if coalesce(cardinality(ids), 0) <= size and '<id_type>' <> 'uuid' then
    ids := ids || array(
      select <text_of_c> from public.clients c
       where <text_of_c> > after and <text_of_c> !<is_uuid>
       order by <text_of_c> limit size + 1 - coalesce(cardinality(ids), 0));
  end if;
  return jsonb_build_object('people', evpower.clients_and_users(ids[:size]),
                            'next', case when cardinality(ids) > size then ids[size] end);
end
$function$
$body$;
begin
  if id_type = 'uuid' then
    body := replace(body, '<uuid_of_c>', 'c.id');
    body := replace(body, '<client_after_uuid>',
      'c.id > coalesce(after, ''00000000-0000-0000-0000-000000000000'')::uuid');
    body := replace(body, '<text_of_c>', 'c.id::text');
  else
    body := replace(body, '<uuid_of_c>', '<text_of_c>::uuid');
    -- UUIDs written in small letters have the same order as text.
    body := replace(body, '<client_after_uuid>', '<text_of_c> > coalesce(after, ''0'') and <text_of_c> <is_uuid>');
    body := replace(body, 'order by c.id limit', 'order by <text_of_c> limit');
    body := replace(body, '<text_of_c>',
      case when id_type in ('text', 'character varying') then 'c.id' else 'c.id::text' end);
  end if;
  body := replace(body, '<is_uuid>', is_uuid);
  body := replace(body, '<id_type>', id_type);
  execute body;
  if id_type <> 'uuid' then -- few among many: not to be looked for row by row
    execute format('create index if not exists evpower_other_ids on public.clients ((%1$s)) where %1$s !%2$s',
                   case when id_type in ('text', 'character varying') then 'id' else 'id::text' end, is_uuid);
    comment on index public.evpower_other_ids is 'evpower 0.2.0: clients whose ids are no UUIDs';
  end if;
end
$migration$;
revoke all on function public.evpower_people(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_people(jsonb) to service_role;
comment on function public.evpower_people(jsonb) is
  'evpower 0.2.0: returns clients and users, by ids or page by page';
notify pgrst, 'reload schema';

-- 0520_own_restored_changes.sql
-- Rows restored from a dump into a younger cluster carry transaction numbers from its future. They would hold
-- nothing up, but stay unseen until this cluster gets there: they are made rows of now.
create or replace function evpower.own_restored_changes() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- What a statement sees is below the end of its snapshot, but for the own transaction's rows.
  if not exists (select from evpower.changes c
                  where c.xid >= pg_snapshot_xmax(pg_current_snapshot())
                    and c.xid is distinct from pg_current_xact_id_if_assigned())
     or not pg_try_advisory_xact_lock(hashtextextended('evpower.changes', 0)) then
    return;
  end if;
  update evpower.changes c set xid = pg_current_xact_id()
   where c.seq = any (array(
     select f.seq from evpower.changes f
      where f.xid >= pg_snapshot_xmax(pg_current_snapshot())
        and f.xid is distinct from pg_current_xact_id_if_assigned() for update skip locked));
  -- The numbers go on above them, even if the sequence was not restored.
  perform setval(s.name, greatest(nextval(s.name), (select max(c.seq) from evpower.changes c)))
     from (select pg_get_serial_sequence('evpower.changes', 'seq')::regclass as name) s;
end
$$;
revoke all on function evpower.own_restored_changes() from public, anon, authenticated, service_role;
comment on function evpower.own_restored_changes() is
  'evpower 0.2.0: gives restored rows of the log numbers of this cluster';

-- 0530_pg_net_transactions.sql
-- The transactions of pg_net's worker. It keeps one open while it waits for the responses of all webhooks of this
-- project, and writes nothing but its own tables. None where this role may not see other sessions, or where a trigger
-- on those tables could make the worker change a client.
create or replace function evpower.pg_net_transactions() returns setof xid
language sql stable set search_path = pg_catalog, pg_temp as $$
  select a.backend_xid from pg_stat_activity a
   where a.backend_type ilike '%pg_net%' and a.backend_xid is not null
     and not exists (select from pg_trigger t join pg_class c on c.oid = t.tgrelid
                       join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'net' and not t.tgisinternal)
$$;
revoke all on function evpower.pg_net_transactions() from public, anon, authenticated, service_role;
comment on function evpower.pg_net_transactions() is
  'evpower 0.2.0: returns the open transactions of pg_net''s worker';

-- 0540_horizon.sql
-- Below it every transaction that can write a change has ended: the oldest that runs, pg_net's worker left out.
create or replace function evpower.horizon() returns xid8
language sql volatile set search_path = pg_catalog, pg_temp as $$
  with here as materialized (select pg_current_snapshot() as snapshot)
  select coalesce(
    (select min(x.xid) from here, pg_snapshot_xip(here.snapshot) as x (xid)
      where not exists (select from evpower.pg_net_transactions() as w (xid) where w.xid = x.xid::xid)),
    (select pg_snapshot_xmax(here.snapshot) from here))
$$;
revoke all on function evpower.horizon() from public, anon, authenticated, service_role;
comment on function evpower.horizon() is
  'evpower 0.2.0: returns the transaction below which the log is complete';

-- 0550_evpower_changes.sql
-- public.evpower_changes({"after": {"xid": "<text>", "seq": n} | null, "limit": 1..1000}) ->
--   {"changes": [{"xid", "seq", "table", "op", "id", "at"}], "people": [every id named there, as it is now],
--    "more": whether there is more now, "held": whether a transaction that still runs holds some back,
--    "reset": whether `after` is none of this log (it was restored or emptied)}
create or replace function public.evpower_changes(payload jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  size int;
  after_xid xid8 := '0';
  after_seq bigint := 0;
  changes jsonb;
  ids text[];
  more boolean;
  horizon xid8;
begin
  if jsonb_typeof(payload) = 'string' then -- some gateways pass a jsonb argument as text
    payload := (payload #>> '{}')::jsonb;
  end if;
  size := least(greatest(coalesce((payload ->> 'limit')::int, 500), 1), 1000);
  perform evpower.own_restored_changes();
  perform evpower.carry_pending_contacts();
  horizon := evpower.horizon(); -- one for the page and for what it holds back
  if jsonb_typeof(payload -> 'after') = 'object' then
    after_xid := (payload #>> '{after,xid}')::xid8;
    after_seq := (payload #>> '{after,seq}')::bigint;
    -- The last row that was given is never pruned: where it is missing, this is not the log it came from.
    if after_seq <> 0 and not exists (select from evpower.changes c where c.seq = after_seq and c.xid = after_xid) then
      return '{"changes": [], "people": [], "more": false, "held": false, "reset": true}';
    end if;
  end if;
  with page as materialized (
    select c.xid, c.seq, c."table", c.op, c.row_id, c.at, row_number() over (order by c.xid, c.seq) as nr
      from evpower.changes c
     where (c.xid, c.seq) > (after_xid, after_seq) and c.xid < horizon
     order by c.xid, c.seq limit size + 1)
  select jsonb_agg(jsonb_build_object('xid', p.xid::text, 'seq', p.seq, 'table', p."table", 'op', p.op,
                                      'id', p.row_id, 'at', p.at) order by p.nr) filter (where p.nr <= size),
         array_agg(distinct p.row_id) filter (where p.nr <= size),
         count(*) > size
    into changes, ids, more from page p;
  return jsonb_build_object('changes', coalesce(changes, '[]'), 'people', evpower.clients_and_users(ids),
                            'more', more, 'reset', false,
                            'held', exists (select from evpower.changes c where c.xid >= horizon));
end
$$;
revoke all on function public.evpower_changes(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_changes(jsonb) to service_role;
comment on function public.evpower_changes(jsonb) is
  'evpower 0.2.0: returns a page of the change log';
notify pgrst, 'reload schema';

-- 0560_evpower_changes_prune.sql
-- public.evpower_changes_prune({"before": {"xid", "seq"}, "keep_days": 7}) -> {"pruned": n}, 20,000 at most.
-- `before` is the last row that was applied; it stays, and so does everything if it is not there.
create or replace function public.evpower_changes_prune(payload jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  last_xid xid8;
  last_seq bigint;
  pruned bigint;
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  last_xid := (payload #>> '{before,xid}')::xid8;
  last_seq := (payload #>> '{before,seq}')::bigint;
  if not exists (select from evpower.changes c where c.seq = last_seq and c.xid = last_xid) then
    return '{"pruned": 0}';
  end if;
  delete from evpower.changes d where d.seq = any (array(
    select c.seq from evpower.changes c
     where (c.xid, c.seq) < (last_xid, last_seq)
       and c.at < now() - make_interval(days => coalesce((payload ->> 'keep_days')::int, 7))
     order by c.xid, c.seq limit 20000 for update skip locked));
  get diagnostics pruned = row_count;
  perform evpower.prune_without_owner();
  return jsonb_build_object('pruned', pruned);
end
$$;
revoke all on function public.evpower_changes_prune(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_changes_prune(jsonb) to service_role;
comment on function public.evpower_changes_prune(jsonb) is
  'evpower 0.2.0: deletes old rows of the change log';
notify pgrst, 'reload schema';

-- 0600_webhook.sql
-- The change notification: a signed call of EvPower's webhook, so that it pulls at once. Once a transaction, through
-- pg_net where the project has it (at most once, never repeated); without it EvPower polls every few seconds.
--
-- Its URL, and where its secret is stored: in Vault where the project has it, else in evpower.secrets.
create table if not exists evpower.webhook (
  single boolean primary key default true check (single),
  url text,
  kept_in text check (kept_in in ('vault', 'table')),
  changed_at timestamptz not null default now()
);
insert into evpower.webhook default values on conflict do nothing;
revoke all on evpower.webhook from public, anon, authenticated, service_role;
comment on table evpower.webhook is
  'evpower 0.2.0: the URL of EvPower''s webhook, and where its secret is stored';

-- 0610_secrets.sql
-- The webhook's secret, where the project has no Vault. The owner alone reads it, whatever the default privileges say.
create table if not exists evpower.secrets (
  name text primary key,
  secret text not null,
  changed_at timestamptz not null default now()
);
alter table evpower.secrets enable row level security;
revoke all on evpower.secrets from public, anon, authenticated, service_role;
comment on table evpower.secrets is
  'evpower 0.2.0: the webhook''s secret where there is no Vault';

-- 0620_hmac_sha256.sql
-- RFC 2104 on the core's sha256(): no extension is needed.
create or replace function evpower.hmac_sha256(key bytea, message bytea) returns bytea
language plpgsql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  inner_key bytea := decode(repeat('36', 64), 'hex');
  outer_key bytea := decode(repeat('5c', 64), 'hex');
begin
  if octet_length(key) > 64 then
    key := sha256(key);
  end if;
  for i in 0 .. octet_length(key) - 1 loop
    inner_key := set_byte(inner_key, i, get_byte(key, i) # 54);
    outer_key := set_byte(outer_key, i, get_byte(key, i) # 92);
  end loop;
  return sha256(outer_key || sha256(inner_key || message));
end
$$;
revoke all on function evpower.hmac_sha256(bytea, bytea) from public, anon, authenticated, service_role;
comment on function evpower.hmac_sha256(bytea, bytea) is
  'evpower 0.2.0: returns an HMAC-SHA256';

-- 0630_sign.sql
-- Standard Webhooks: "v1,<base64>" over id.timestamp.body with the bytes behind "whsec_".
create or replace function evpower.sign(secret text, id text, sent_at bigint, body text) returns text
language sql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
  select 'v1,' || encode(evpower.hmac_sha256(decode(substr(secret, 7), 'base64'),
                                             convert_to(concat_ws('.', id, sent_at, body), 'UTF8')), 'base64')
$$;
revoke all on function evpower.sign(text, text, bigint, text) from public, anon, authenticated, service_role;
comment on function evpower.sign(text, text, bigint, text) is
  'evpower 0.2.0: returns a signature of Standard Webhooks';

-- 0640_http_post.sql
-- pg_net's net.http_post, wherever and whenever it was installed; null: there is none.
create or replace function evpower.http_post() returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format('%I.%I', n.nspname, p.proname)
    from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
   where p.proname = 'http_post' and p.proargtypes[1] = 'jsonb'::regtype
     and p.proargnames @> array['url', 'body', 'headers', 'timeout_milliseconds']
     and (n.nspname = 'net' or exists (
           select from pg_catalog.pg_depend d join pg_catalog.pg_extension e on e.oid = d.refobjid
            where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid
              and d.refclassid = 'pg_catalog.pg_extension'::regclass and e.extname = 'pg_net'))
   order by n.nspname = 'net' desc limit 1
$$;
revoke all on function evpower.http_post() from public, anon, authenticated, service_role;
comment on function evpower.http_post() is
  'evpower 0.2.0: returns the name of pg_net''s function';

-- 0650_webhook_secret.sql
-- The webhook's secret from where it is stored; null: there is none.
create or replace function evpower.webhook_secret() returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  place text := (select w.kept_in from evpower.webhook w);
  stored_secret text;
begin
  if place = 'vault' then
    execute 'select v.decrypted_secret from vault.decrypted_secrets v where v.name = $1'
       into stored_secret using 'evpower_webhook';
  elsif place = 'table' then
    select s.secret into stored_secret from evpower.secrets s where s.name = 'evpower_webhook';
  end if;
  return stored_secret;
end
$$;
revoke all on function evpower.webhook_secret() from public, anon, authenticated, service_role;
comment on function evpower.webhook_secret() is
  'evpower 0.2.0: returns the webhook''s secret';

-- 0660_post_webhook.sql
-- Queues one signed call of the webhook; returns pg_net's id of it, null where none is configured or possible.
create or replace function evpower.post_webhook(body jsonb) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  target text := (select w.url from evpower.webhook w where w.url is not null);
  secret text;
  post text;
  id text;
  sent_at bigint;
  signature text;
  request_id bigint;
begin
  if target is null then
    return null;
  end if;
  secret := evpower.webhook_secret();
  post := evpower.http_post();
  if secret is null or post is null then
    return null;
  end if;
  id := 'msg_' || replace(gen_random_uuid()::text, '-', '');
  sent_at := extract(epoch from clock_timestamp())::bigint;
  signature := evpower.sign(secret, id, sent_at, body::text); -- pg_net sends body::text
  execute format('select %s(url := $1, body := $2, headers := $3, timeout_milliseconds := $4)', post)
     into request_id
    using target, body, jsonb_build_object(
      'Content-Type', 'application/json', 'webhook-id', id, 'webhook-timestamp', sent_at::text,
      'webhook-signature', signature, 'X-Supabase-Signature', signature), 3000;
  return request_id;
end
$$;
revoke all on function evpower.post_webhook(jsonb) from public, anon, authenticated, service_role;
comment on function evpower.post_webhook(jsonb) is
  'evpower 0.2.0: queues a signed call of the webhook';

-- 0670_notify_webhook.sql
-- After each statement that logs changes; the first of a transaction notifies. An error here fails no transaction.
drop trigger if exists evpower_ring on evpower.changes; -- its name before 0.1.0
drop function if exists evpower.ring();
create or replace function evpower.notify_webhook() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  change record;
begin
  if current_setting('evpower.notified', true) = pg_current_xact_id()::text then
    return null;
  end if;
  begin
    select * into change from fresh f order by f.seq limit 1;
    if not found then
      return null;
    end if;
    perform evpower.post_webhook(jsonb_build_object(
      'type', case change.op when 'blocked_before' then 'UPDATE' else upper(change.op) end,
      'table', change."table", 'schema', case change."table" when 'users' then 'auth' else 'public' end,
      'record', jsonb_build_object('id', change.row_id),
      'old_record', case when change.op <> 'insert' then jsonb_build_object('id', change.row_id) end,
      'seq', change.seq));
  exception
    when others then raise warning 'evpower: the change notification was not sent: % %', sqlstate, sqlerrm;
  end;
  perform set_config('evpower.notified', pg_current_xact_id()::text, true);
  return null;
end
$$;
-- Only where it is missing: to make it again locks the table, and a sign-up that waits for it is not logged.
do $migration$
begin
  if not exists (select from pg_catalog.pg_trigger t
                  where t.tgrelid = 'evpower.changes'::regclass and t.tgname = 'evpower_notify') then
    create trigger evpower_notify after insert on evpower.changes
      referencing new table as fresh for each statement execute function evpower.notify_webhook();
  end if;
end
$migration$;
revoke all on function evpower.notify_webhook() from public, anon, authenticated, service_role;
comment on function evpower.notify_webhook() is
  'evpower 0.2.0: notifies EvPower of the first change of a transaction';
comment on trigger evpower_notify on evpower.changes is
  'evpower 0.2.0: a logged change notifies EvPower';

-- 0680_webhook_facts.sql
-- What is configured, of the secret only its SHA-256.
create or replace function evpower.webhook_facts() returns jsonb
language sql stable set search_path = pg_catalog, pg_temp as $$
  select jsonb_build_object(
           'pg_net', evpower.http_post() is not null, 'url', w.url, 'kept_in', w.kept_in,
           'secret_sha256', encode(sha256(convert_to(evpower.webhook_secret(), 'UTF8')), 'hex'))
    from evpower.webhook w
$$;
revoke all on function evpower.webhook_facts() from public, anon, authenticated, service_role;
comment on function evpower.webhook_facts() is
  'evpower 0.2.0: returns what is configured of the webhook';

-- 0690_store_secret.sql
-- Stores the secret in Vault, or where that refuses, in evpower.secrets; returns where.
drop function if exists evpower.keep_secret(text); -- its name before 0.1.0
create or replace function evpower.store_secret(new_secret text) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  existing_id uuid;
  place text := 'table';
begin
  if to_regclass('vault.decrypted_secrets') is not null then
    begin
      execute 'select v.id from vault.decrypted_secrets v where v.name = $1' into existing_id using 'evpower_webhook';
      if existing_id is null then
        execute 'select vault.create_secret($1, $2, $3)'
          using new_secret, 'evpower_webhook', 'Signs the calls of EvPower''s webhook';
      else
        execute 'select vault.update_secret($1, $2)' using existing_id, new_secret;
      end if;
      delete from evpower.secrets where name = 'evpower_webhook';
      place := 'vault';
    exception
      when others then raise warning 'evpower: Vault refuses the secret: % %', sqlstate, sqlerrm;
    end;
  end if;
  if place = 'table' then
    insert into evpower.secrets (name, secret) values ('evpower_webhook', new_secret)
    on conflict (name) do update set secret = excluded.secret, changed_at = now();
  end if;
  return place;
end
$$;
revoke all on function evpower.store_secret(text) from public, anon, authenticated, service_role;
comment on function evpower.store_secret(text) is
  'evpower 0.2.0: stores the webhook''s secret';

-- 0700_evpower_webhook_configure.sql
-- public.evpower_webhook_configure({"url": text | null, "secret": "whsec_<base64>"}) ->
--   {"pg_net", "url", "kept_in": "vault" | "table" | null, "secret_sha256"}
-- What is absent stays as it is; url null: no notification.
create or replace function public.evpower_webhook_configure(payload jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  new_secret text;
begin
  if jsonb_typeof(payload) = 'string' then -- some gateways pass a jsonb argument as text
    payload := (payload #>> '{}')::jsonb;
  end if;
  new_secret := payload ->> 'secret';
  if new_secret is not null then
    if new_secret !~ '^whsec_([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$'
       or octet_length(decode(substr(new_secret, 7), 'base64')) not between 24 and 64 then
      raise exception 'the secret must be whsec_ and the base64 of 24 to 64 bytes'
        using errcode = 'invalid_parameter_value';
    end if;
    update evpower.webhook set kept_in = evpower.store_secret(new_secret), changed_at = now() where single;
  end if;
  if payload ? 'url' then
    if payload ->> 'url' !~ '^https?://[^[:space:]]+$' then
      raise exception 'the url must begin with http:// or https://' using errcode = 'invalid_parameter_value';
    end if;
    if payload ->> 'url' is not null and evpower.webhook_secret() is null then
      raise exception 'without a secret the calls would not be signed' using errcode = 'invalid_parameter_value';
    end if;
    update evpower.webhook set url = payload ->> 'url', changed_at = now() where single;
  end if;
  return evpower.webhook_facts();
end
$$;
revoke all on function public.evpower_webhook_configure(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_webhook_configure(jsonb) to service_role;
comment on function public.evpower_webhook_configure(jsonb) is
  'evpower 0.2.0: sets the URL and the secret of the webhook';
notify pgrst, 'reload schema';

-- 0710_evpower_webhook_status.sql
-- public.evpower_webhook_status({"after": {"xid", "seq"}}) -> what is configured, and
--   "changes": how many rows there are (behind `after`, where given; 100,000 at most), "oldest": of these,
--   "held_back": how many of these a transaction that is still running holds back.
create or replace function public.evpower_webhook_status(payload jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  waiting jsonb;
  horizon constant xid8 := evpower.horizon();
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  select jsonb_build_object('changes', count(*), 'oldest', min(c.at), 'held_back',
                            count(*) filter (where c.xid >= horizon))
    into waiting
    from (select c.xid, c.at from evpower.changes c
           where (c.xid, c.seq) > (coalesce(payload #>> '{after,xid}', '0')::xid8,
                                   coalesce((payload #>> '{after,seq}')::bigint, 0))
           order by c.xid, c.seq limit 100000) c;
  return evpower.webhook_facts() || waiting;
end
$$;
revoke all on function public.evpower_webhook_status(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_webhook_status(jsonb) to service_role;
comment on function public.evpower_webhook_status(jsonb) is
  'evpower 0.2.0: returns what is configured and how many changes wait';
notify pgrst, 'reload schema';

-- 0720_evpower_webhook_test.sql
-- public.evpower_webhook_test({}) -> {"request_id": n | null}: calls the webhook on purpose; null: none is configured.
create or replace function public.evpower_webhook_test(payload jsonb) returns jsonb
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  select jsonb_build_object('request_id', evpower.post_webhook(
           '{"type": "TEST", "table": "evpower_test", "schema": "public", "record": null, "old_record": null}'))
$$;
revoke all on function public.evpower_webhook_test(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_webhook_test(jsonb) to service_role;
comment on function public.evpower_webhook_test(jsonb) is
  'evpower 0.2.0: calls the webhook on purpose';
notify pgrst, 'reload schema';

-- 0730_evpower_webhook_result.sql
-- public.evpower_webhook_result({"request_id": n}) -> {"response": null | {"status", "error", "content"}}: what pg_net
-- got for that call; null: nothing yet. `error` is its word for having got no response, `content` is cut.
create or replace function public.evpower_webhook_result(payload jsonb) returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  response jsonb;
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  if to_regclass('net._http_response') is not null then
    execute $query$
      select jsonb_build_object('status', r.status_code,
               'error', coalesce(r.error_msg, case when r.timed_out then 'no response in time' end),
               'content', left(r.content, 200))
        from net._http_response r where r.id = $1 order by r.created desc limit 1
    $query$ into response using (payload ->> 'request_id')::bigint;
  end if;
  return jsonb_build_object('response', response);
end
$$;
revoke all on function public.evpower_webhook_result(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_webhook_result(jsonb) to service_role;
comment on function public.evpower_webhook_result(jsonb) is
  'evpower 0.2.0: returns the response to a call of the webhook';
notify pgrst, 'reload schema';

-- 0800_contact_of_closed.sql
-- What stands for a contact or the name of a closed client: nothing, or where this project refuses that, a value that
-- is unique by the client's id and fits the column.
create or replace function evpower.contact_of_closed(contact text, id text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case when a.attnotnull then
           left(replace(id, '-', '') || case contact when 'email' then '@closed.invalid' else '' end,
                case when a.atttypmod > 4 then a.atttypmod - 4 else 1000 end) end
    from pg_catalog.pg_attribute a
   where a.attrelid = 'public.clients'::regclass and a.attname = contact
$$;
revoke all on function evpower.contact_of_closed(text, text) from public, anon, authenticated, service_role;
comment on function evpower.contact_of_closed(text, text) is
  'evpower 0.2.0: returns what a closed client has for a contact';

-- 0801_deletion_requested.sql
-- Whether a client asked for deletion here. EvPower may not know it yet.
create or replace function evpower.deletion_requested(client text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  is_requested boolean;
begin
  -- Planned at each call: the table may have been empty, or may get the column delete_requested_at. Without it the name
  -- means that of "absent".
  execute format($sql$
    select c.status::text in ('inactive', 'pending_deletion')
           or (select delete_requested_at from (select c.*) own) is not null
           or c.status::text = 'blocked' and exists (
                select from evpower.statuses_under_block s
                 where s.client_id = $1 and s.status in ('inactive', 'pending_deletion'))
      from public.clients c cross join (select null::timestamptz as delete_requested_at) absent
     where %s$sql$, evpower.client_is('$1')) into is_requested using client;
  return coalesce(is_requested, false);
end
$$;
revoke all on function evpower.deletion_requested(text) from public, anon, authenticated, service_role;
comment on function evpower.deletion_requested(text) is
  'evpower 0.2.0: returns whether a client asked for deletion';

-- 0805_applied_rows.sql
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
  'evpower 0.2.0: the last change of each station, location, tariff plan and payment';

-- 0808_fits.sql
-- Whether each of these texts is short enough for its column: an older backend's invoice_id is varchar(12).
create or replace function evpower.fits(relation text, texts jsonb) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select not exists (
    select from jsonb_each_text(texts) t
      join pg_catalog.pg_attribute a
        on a.attrelid = to_regclass(relation) and a.attname = t.key and not a.attisdropped
           and a.atttypid in ('varchar'::regtype, 'bpchar'::regtype) and a.atttypmod >= 4
     where length(t.value) > a.atttypmod - 4)
$$;
revoke all on function evpower.fits(text, jsonb) from public, anon, authenticated, service_role;
comment on function evpower.fits(text, jsonb) is
  'evpower 0.2.0: returns whether texts are short enough for their columns';

-- 0809_row_id.sql
-- The id of the row that a write of evpower.write_row finds by its match; null where there is none.
create or replace function evpower.row_id(write jsonb) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  relation constant text := format('public.%I', write ->> 'table');
  same_row text;
  found_id text;
begin
  if write ->> 'table' <> all (evpower.old_tables()) or not evpower.fits(relation, write -> 'match') then
    return null;
  end if;
  select string_agg(format('(t.%1$I = (jsonb_populate_record(null::%2$s, $1)).%1$I)%3$s', m.key, relation,
                           case m.key when write ->> 'owner' then ' is not false' end), ' and ')
    into same_row from jsonb_object_keys(write -> 'match') m (key);
  execute format('select t.id::text from %s t where %s limit 1', relation, same_row) into found_id using write -> 'match';
  return found_id;
end
$$;
revoke all on function evpower.row_id(jsonb) from public, anon, authenticated, service_role;
comment on function evpower.row_id(jsonb) is
  'evpower 0.2.0: returns the id of a row of an older backend''s table';

-- 0810_apply_set.sql
-- Writes a payload of public.evpower_apply as one set.
--
-- A balance that EvPower never wrote (evpower_revision is 0) is money from before EvPower. It is written over only
-- when exactly it was imported; force changes nothing about that. The same holds for a status of the project's own
-- words: it is written over only if the client carries that very word in status_before.
--
-- Nothing waits for a lock: rows are locked with "skip locked", and what waits all the same (an insert for another's
-- uncommitted row, a trigger or foreign key of this project) ends after 500 ms.
--
-- Planned at each call, which takes half a millisecond: a connection lives long, and a plan made while a table was
-- empty would read all of it from then on.
do $migration$
declare
  clients text := evpower.record_of('public.clients', array['id', 'email', 'phone', 'name', 'balance', 'held',
    'currency', 'balance_version', 'wallet_revision', 'status', 'created_at', 'updated_at'])
    || ', revision bigint, from_version bigint, force boolean, partial boolean, adopted numeric, closed boolean,'
    || ' deletion_requested boolean, status_before text';
  transactions text := evpower.record_of('public.transactions', array['id', 'client_id', 'version', 'type',
    'amount', 'balance_before', 'balance_after', 'invoice_id', 'session_id', 'event_at', 'created_at']);
  sessions text := evpower.record_of('public.charging_sessions', array['id', 'user_id', 'client_id', 'station_id',
    'connector_id', 'start_time', 'stop_time', 'end_time', 'energy', 'energy_consumed', 'amount', 'total_cost',
    'status', 'revision', 'created_at', 'updated_at']) || ', force boolean, details jsonb, unlinkable boolean';
  detail text;
  key_type text := evpower.column_type('public.clients', 'id');
  contact text;
  -- What the status here becomes. Whether a client is on the way out (inactive, pending_deletion) is this project's
  -- decision while the client is active in EvPower: what EvPower knows of it (deletion_requested) is for a row that is
  -- created again, or was blocked.
  next_status constant text := $sql$case
              when c.status::text in ('inactive', 'pending_deletion')
                   and (%1$s.status::text = 'active' or c.id = any (deletion_requested_ids))
                or c.status::text = 'active' and c.id = any (deletion_requested_ids) then c.status
              when c.status::text = 'blocked' and c.id = any (deletion_requested_ids) then coalesce(
                (select u.status from evpower.statuses_under_block u where u.client_id = c.id::text)::<status>,
                %1$s.status)
              else %1$s.status end$sql$;
  body text;
begin
  body := $body$
create or replace function evpower.apply_set(payload jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $function$
declare
  forced <key>[];
  deletion_requested_ids <key>[];
  closed_ids <key>[];
  busy <key>[];
  excluded_ids <key>[];
  applied_clients <key>[];
  applied_sessions text[];
  busy_sessions text[] := '{}';
  unlinkable_sessions <session>[] := '{}';
  orphans text[];
  answers jsonb;
  sent bigint;
  written bigint;
begin
  -- As strong as the update itself needs: the check of a foreign key elsewhere makes no client busy.
  with sent as materialized (
    select r.id from jsonb_to_recordset(payload -> 'clients') as r (id <key>)
  ), locked as materialized (
    select c.id from public.clients c where c.id in (select s.id from sent s)
     order by c.id for no key update skip locked
  ) select coalesce(array_agg(s.id), '{}') into busy
      from sent s
     where s.id not in (select l.id from locked l) and exists (select from public.clients c where c.id = s.id);
  select array_agg(s.id) filter (where s.force and s.refusal is null),
         array_agg(s.id) filter (where s.gap or s.refusal is not null or s.busy),
         jsonb_agg(case when s.busy then jsonb_build_array('client', s.id, 'busy', null)
                        when s.gap then jsonb_build_array('client', s.id, 'gap', s.version)
                        else jsonb_build_array('client', s.id, 'refused', s.refusal) end)
           filter (where s.gap or s.refusal is not null or s.busy)
    into forced, excluded_ids, answers
    from (
      select r.id, r.id = any (busy) as busy, r.force is true as force, coalesce(c.balance_version, 0) as version,
             r.force is not true and r.from_version > coalesce(c.balance_version, 0) as gap,
             case when c.evpower_revision = 0 and round(c.balance::numeric, 2) <> 0
                   and round(c.balance::numeric, 2) is distinct from r.adopted
                  then format('opening_balance: Supabase has %s, EvPower %s', round(c.balance::numeric, 2), case
                         when r.adopted is not null then format('imported %s', r.adopted)
                         when r.balance_version > 0
                           then format('has %s transactions and none of them is it', r.balance_version)
                         else 'has no transactions' end)
                  when c.evpower_revision = 0 and btrim(c.status::text) <> ''
                   and c.status::text not in ('active', 'blocked', 'inactive', 'pending_deletion')
                   and left(c.status::text, 200) is distinct from r.status_before
                  then format('status_unmapped: Supabase says %s', left(c.status::text, 200))
             end as refusal
        from jsonb_to_recordset(payload -> 'clients') as r (<clients>)
        left join public.clients c on c.id = r.id) s;
  select coalesce(array_agg(r.id) filter (where r.deletion_requested), '{}'),
         coalesce(array_agg(r.id) filter (where r.closed), '{}')
    into deletion_requested_ids, closed_ids
    from jsonb_to_recordset(payload -> 'clients') as r (id <key>, deletion_requested boolean, closed boolean);
  forced := coalesce(forced, '{}');
  excluded_ids := coalesce(excluded_ids, '{}');

  if jsonb_array_length(payload -> 'transactions') > 0 then
    -- Of a row that is here already and is the same one the links and times are EvPower's, too.
    insert into public.transactions as t (<transaction_columns>)
    select <transaction_values> from jsonb_to_recordset(payload -> 'transactions') as r (<transactions>)
     where r.client_id <> all (excluded_ids) and r.client_id <> all (forced)
     order by r.client_id, r.version
    on conflict (client_id, version) do update
      set invoice_id = excluded.invoice_id, session_id = excluded.session_id, event_at = excluded.event_at,
          created_at = excluded.created_at
    where (t.type, t.amount, t.balance_before, t.balance_after)
          = (excluded.type, excluded.amount, excluded.balance_before, excluded.balance_after)
      and <same row>
      and (t.invoice_id, t.session_id, t.event_at, t.created_at)
          is distinct from (excluded.invoice_id, excluded.session_id, excluded.event_at, excluded.created_at);
    get diagnostics written = row_count;
    if forced <> '{}' then
      insert into public.transactions as t (<transaction_columns>)
      select <transaction_values> from jsonb_to_recordset(payload -> 'transactions') as r (<transactions>)
       where r.client_id = any (forced)
       order by r.client_id, r.version
      on conflict (client_id, version) do update
        set type = excluded.type, amount = excluded.amount, balance_before = excluded.balance_before,
            balance_after = excluded.balance_after, invoice_id = excluded.invoice_id,
            session_id = excluded.session_id, event_at = excluded.event_at, created_at = excluded.created_at
      where (t.type, t.amount, t.balance_before, t.balance_after, t.invoice_id, t.session_id, t.event_at, t.created_at)
            is distinct from (excluded.type, excluded.amount, excluded.balance_before, excluded.balance_after,
                              excluded.invoice_id, excluded.session_id, excluded.event_at, excluded.created_at);
    end if;
    sent := jsonb_array_length(payload -> 'transactions');
    if excluded_ids <> '{}' or forced <> '{}' then
      select count(*) into sent from jsonb_to_recordset(payload -> 'transactions') as r (client_id <key>)
       where r.client_id <> all (excluded_ids) and r.client_id <> all (forced);
    end if;
    -- What was here already must be the same; a forged row is not taken for ours.
    if written < sent and exists (
        select from jsonb_to_recordset(payload -> 'transactions') as r (<transactions>)
          join public.transactions t on t.client_id = r.client_id and t.version = r.version
         where r.client_id <> all (excluded_ids) and r.client_id <> all (forced)
           and (t.type, t.amount, t.balance_before, t.balance_after)
               is distinct from (r.type, r.amount, r.balance_before, r.balance_after)) then
      raise exception 'a transaction with the same version but other amounts is here'
        using errcode = 'integrity_constraint_violation';
    end if;
  end if;

  -- Money and status are EvPower's. The profile is this project's own and is only given to a new row; a closed
  -- client's is taken away, so that another may register with the same email or phone.
  with written as (
    insert into public.clients as c (id, email, phone, name, balance, held, currency, balance_version,
                                     wallet_revision, evpower_revision, status, created_at, updated_at)
    select r.id, <closed email r>, <closed phone r>, <closed name r>, r.balance, r.held, r.currency, r.balance_version,
           r.wallet_revision, r.revision, r.status, r.created_at, r.updated_at
      from jsonb_to_recordset(payload -> 'clients') as r (<clients>)
     where r.id <> all (excluded_ids)
     order by r.id
    on conflict (id) do update
      set balance = excluded.balance, held = excluded.held, currency = excluded.currency,
          balance_version = excluded.balance_version, wallet_revision = excluded.wallet_revision,
          evpower_revision = excluded.evpower_revision,
          status = <next status excluded>,
          updated_at = greatest(c.updated_at, excluded.updated_at)
    where (excluded.balance_version, excluded.wallet_revision, excluded.evpower_revision)
          > (c.balance_version, c.wallet_revision, c.evpower_revision)
       or c.id = any (forced)
    returning c.id
  ) select coalesce(array_agg(id), '{}') into applied_clients from written;
  if closed_ids <> '{}' then -- by itself: contacts in the update above would take a stronger lock of every client
    update public.clients c set email = <closed email c>, phone = <closed phone c>, name = <closed name c>
     where c.id = any (closed_ids) and c.id = any (applied_clients);
  end if;

  if jsonb_array_length(payload -> 'sessions') > 0 then
    -- The session's own row, and its client's: the check of a foreign key would wait for that.
    with sent as materialized (
      select r.id, r.user_id, r.unlinkable
        from jsonb_to_recordset(payload -> 'sessions') as r (id <session>, user_id <key>, unlinkable boolean)
    ), locked as materialized (
      select s.id from public.charging_sessions s where s.id in (select k.id from sent k)
       order by s.id for no key update skip locked
    ), shared as materialized (
      select c.id from public.clients c where c.id in (select k.user_id from sent k)
       order by c.id for key share skip locked
    ) select coalesce(array_agg(k.id::text) filter (
               where k.id not in (select l.id from locked l)
                     and exists (select from public.charging_sessions s where s.id = k.id)
                  or k.user_id not in (select c.id from shared c)
                     and exists (select from public.clients c where c.id = k.user_id)), '{}'),
             coalesce(array_agg(k.id) filter (where k.unlinkable), '{}')
        into busy_sessions, unlinkable_sessions
        from sent k;
  end if;

  -- A row of a client is whole or not there: a session never makes one.
  select coalesce(array_agg(o.id), '{}') into orphans
    from jsonb_to_recordset(payload -> 'sessions') as o (id text, user_id <key>)
   where o.id <> all (busy_sessions) and not exists (select from public.clients c where c.id = o.user_id);

  with written as (
    insert into public.charging_sessions as s (id, user_id, client_id, station_id, connector_id, start_time,
        stop_time, end_time, energy, energy_consumed, amount, total_cost, status, revision, created_at, updated_at
        <detail columns>)
    select r.id, r.user_id, r.client_id, r.station_id, r.connector_id, r.start_time, r.stop_time, r.end_time,
           r.energy, r.energy_consumed, r.amount, r.total_cost, r.status, r.revision, r.created_at, r.updated_at
           <detail values>
      from jsonb_to_recordset(payload -> 'sessions') as r (<sessions>)
     where r.id::text <> all (orphans) and r.id::text <> all (busy_sessions)
     order by r.id
    on conflict (id) do update
      -- What the project took from a client who asked for deletion stays taken, also before EvPower knows of that.
      set user_id = case when s.user_id is null and (s.id = any (unlinkable_sessions)
                              or evpower.deletion_requested(excluded.user_id::text)) then null
                         else excluded.user_id end,
          client_id = case when s.client_id is null and (s.id = any (unlinkable_sessions)
                                or evpower.deletion_requested(excluded.client_id::text)) then null
                           else excluded.client_id end, station_id = excluded.station_id,
          connector_id = excluded.connector_id, start_time = excluded.start_time, stop_time = excluded.stop_time,
          end_time = excluded.end_time, energy = excluded.energy, energy_consumed = excluded.energy_consumed,
          amount = excluded.amount, total_cost = excluded.total_cost, status = excluded.status,
          revision = excluded.revision, created_at = excluded.created_at, updated_at = excluded.updated_at
          <detail changes>
    where excluded.revision > coalesce(s.revision, 0)
       or s.id::text in (select f.id from jsonb_to_recordset(payload -> 'sessions') as f (id text, force boolean)
                          where f.force)
    returning s.id
  ) select coalesce(array_agg(id::text), '{}') into applied_sessions from written;
  -- By itself, where the project has the columns: a session without a limit_type here is another system's, and keeps
  -- what it has. No value is the same as 0.
  if applied_sessions <> '{}' and evpower.session_limits() then
    execute format($sql$
      update public.charging_sessions s set limit_type = r.limit_type::%s, limit_value = r.limit_value
        from jsonb_to_recordset($1 -> 'sessions') as r (id <session>, limit_type text, limit_value numeric)
       where r.limit_type is not null and s.id = r.id and r.id::text = any ($2)
         and (s.limit_type::text, round(coalesce(s.limit_value, 0)::numeric, 2))
             is distinct from (r.limit_type, round(r.limit_value, 2))$sql$,
      evpower.column_type('public.charging_sessions', 'limit_type')) using payload, applied_sessions;
  end if;

  return coalesce(answers, '[]')
    || coalesce((select jsonb_agg(case
                          when r.id = any (applied_clients) then jsonb_build_array('client', r.id, 'applied', null)
                          else jsonb_build_array('client', r.id, 'stale', (
                            select 'status' from public.clients c
                             where c.id = r.id and c.status is distinct from <next status r>
                               and (c.balance_version, c.wallet_revision) = (r.balance_version, r.wallet_revision)))
                          end)
                   from jsonb_to_recordset(payload -> 'clients') as r (<clients>)
                  where r.id <> all (excluded_ids)), '[]')
    || coalesce((select jsonb_agg(jsonb_build_array('session', r.id,
                          case when r.id = any (applied_sessions) then 'applied'
                               when r.id = any (busy_sessions) then 'busy'
                               when r.id = any (orphans) then 'orphan' else 'stale' end, null))
                   from jsonb_to_recordset(payload -> 'sessions') as r (id text)), '[]');
end
$function$
$body$;
  foreach contact in array array['email', 'phone', 'name'] loop
    body := replace(body, format('<closed %s r>', contact),
      format('case when r.closed then evpower.contact_of_closed(%1$L, r.id::text)::%2$s else r.%1$I end',
             contact, evpower.column_type('public.clients', contact)));
    body := replace(body, format('<closed %s c>', contact),
      format('evpower.contact_of_closed(%L, c.id::text)::%s', contact,
             evpower.column_type('public.clients', contact)));
  end loop;
  body := replace(body, '<next status excluded>', format(next_status, 'excluded'));
  body := replace(body, '<next status r>', format(next_status, 'r'));
  foreach detail in array evpower.session_details() loop
    body := replace(body, '<detail columns>', format(', %I<detail columns>', detail));
    body := replace(body, '<detail values>', format(', (r.details ->> %L)::%s<detail values>', detail,
                                                    evpower.column_type('public.charging_sessions', detail)));
    body := replace(body, '<detail changes>', format(', %1$I = excluded.%1$I<detail changes>', detail));
  end loop;
  body := regexp_replace(body, '<detail (columns|values|changes)>', '', 'g');
  body := replace(body, '<session>', evpower.column_type('public.charging_sessions', 'id'));
  body := replace(body, '<clients>', clients);
  body := replace(body, '<transactions>', transactions);
  body := replace(body, '<sessions>', sessions);
  body := replace(body, '<key>', key_type);
  body := replace(body, '<status>', evpower.column_type('public.clients', 'status'));
  -- Where transactions.id is a number of the project's own, it stays so; (client_id, version) is the name.
  if evpower.column_type('public.transactions', 'id') in ('uuid', 'text', 'character varying') then
    body := replace(body, '<transaction_columns>', 'id, <transaction_columns>');
    body := replace(body, '<transaction_values>', 'r.id, <transaction_values>');
    body := replace(body, '<same row>', 't.id = excluded.id');
  else
    body := replace(body, evpower.record_of('public.transactions', array['id']) || ', client_id ', 'client_id ');
    body := replace(body, '<same row>', case
      when evpower.column_type('public.transactions', 'created_at') like 'timestamp%'
        then 't.created_at = excluded.created_at'
      else 'false' end);
  end if;
  body := replace(body, '<transaction_columns>', 'client_id, version, type, amount, balance_before, '
    'balance_after, invoice_id, session_id, event_at, created_at');
  body := replace(body, '<transaction_values>', 'r.client_id, r.version, r.type, r.amount, r.balance_before, '
    'r.balance_after, r.invoice_id, r.session_id, r.event_at, r.created_at');
  execute body;
end
$migration$;
revoke all on function evpower.apply_set(jsonb) from public, anon, authenticated, service_role;
comment on function evpower.apply_set(jsonb) is
  'evpower 0.2.0: writes clients, transactions and sessions as one set';

-- 0812_write_row.sql
-- Writes one row of an older backend's table, in the columns that the table has; returns how the row differed:
-- {"table", "match", "here": {column: EvPower's value}, "there": {column: the table's value}}, `there` null where there was
-- no row; null where it was equal.
--
-- wanted: {"table", "match": {column: value}, "always": {...}, "at_first": {...}}. `match` finds the row. A new row
--   gets all three; one that is here gets `always`, where it differs.
--   Or {"table", "match", "keep": [id, ...], "always"}: all rows that match, and whose id is not among these.
--   Besides "named": [topic, key] of a row without a name of its own: its id is stored in evpower.applied_rows.
--   "refers": {column: write}: the column is the id of the row that the other write would find. Raises
--   foreign_key_violation where that row is missing, except that it can't be there because its name is too long.
--   "owner": a column with the client, which the project may have emptied: then the row is found all the same. It stays
--   empty where "unlinkable" is true, or the client asked for deletion here.
--   A row whose "match" has a text that is too long for its column is not written.
-- Values are read by the columns' own types: an enum that lacks a word refuses it. Where EvPower has no value and the
-- column refuses null, it keeps what it has, or gets its default.
drop function if exists evpower.write_row(jsonb, boolean); -- an unreleased edition returned a boolean
create function evpower.write_row(wanted jsonb, only_compare boolean) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  table_name constant text := wanted ->> 'table';
  relation constant text := format('public.%I', table_name);
  always jsonb;
  complete jsonb;
  present jsonb;
  difference jsonb;
  typed jsonb;
  same_row text;
  names text;
  reference record;
  id_there text;
  column_fact record;
  filler text;
begin
  if table_name is null or table_name <> all (evpower.old_tables()) then
    return null;
  end if;
  if not evpower.fits(relation, wanted -> 'match') then
    return null;
  end if;
  for reference in select r.key as name, r.value as write from jsonb_each(wanted -> 'refers') r loop
    id_there := evpower.row_id(reference.write);
    if id_there is null and reference.write ->> 'table' = any (evpower.old_tables())
       and evpower.fits(format('public.%I', reference.write ->> 'table'), reference.write -> 'match') then
      raise exception '% has no row for %', reference.write ->> 'table', reference.write -> 'match'
        using errcode = 'foreign_key_violation';
    end if;
    wanted := jsonb_set(wanted, array['always', reference.name], coalesce(to_jsonb(id_there), 'null'));
  end loop;
  if wanted ? 'named' then
    select a.row_id into id_there from evpower.applied_rows a
     where a.topic = wanted -> 'named' ->> 0 and a.key = wanted -> 'named' ->> 1;
    wanted := jsonb_set(wanted, '{match}', jsonb_build_object('id', id_there));
  end if;
  select coalesce(jsonb_object_agg(v.key, v.value), '{}') into always
    from jsonb_each(wanted -> 'always') v
   where evpower.column_type(relation, v.key) is not null and (v.value <> 'null' or not exists (
       select from pg_catalog.pg_attribute a
        where a.attrelid = relation::regclass and a.attname = v.key and a.attnotnull));
  select string_agg(format('(t.%1$I = (jsonb_populate_record(null::%2$s, $1)).%1$I)%3$s', m.key, relation,
                           case m.key when wanted ->> 'owner' then ' is not false' end), ' and ')
    into same_row from jsonb_object_keys(wanted -> 'match') m (key);
  execute format('select to_jsonb(jsonb_populate_record(null::%s, $1))', relation) into typed using always;

  if not wanted ? 'keep' then
    execute format('select to_jsonb(t) from %s t where %s limit 1', relation, same_row)
      into present using wanted -> 'match';
    if present -> (wanted ->> 'owner') is not distinct from 'null' and (wanted -> 'unlinkable' = 'true' or evpower.deletion_requested(
         coalesce(wanted -> 'always' ->> (wanted ->> 'owner'), wanted -> 'match' ->> (wanted ->> 'owner')))) then
      always := always - (wanted ->> 'owner');
    end if;
  end if;
  select string_agg(format('%I', n.key), ', ' order by n.key) into names from jsonb_object_keys(always) n (key);

  if wanted ? 'keep' then
    if names is null then
      return null;
    end if;
    same_row := same_row || ' and t.id::text <> all (array(select jsonb_array_elements_text($3)))'
      || ' and not to_jsonb(t) @> (select jsonb_object_agg(k, $4 -> k) from jsonb_object_keys($2) k)';
    execute format('select to_jsonb(t) from %s t where %s limit 1', relation, same_row)
      into present using wanted -> 'match', always, wanted -> 'keep', typed;
    select jsonb_build_object('table', table_name, 'match', wanted -> 'match', 'here', jsonb_object_agg(k, typed -> k),
                              'there', jsonb_object_agg(k, present -> k))
      into difference from jsonb_object_keys(always) k where present -> k is distinct from typed -> k;
    if present is not null and not only_compare then
      execute format('update %1$s t set (%2$s) = (select %3$s from jsonb_populate_record(null::%1$s, $2) r)'
                     ' where %4$s', relation, names, replace(' ' || names, ' ', ' r.'), same_row)
        using wanted -> 'match', always, wanted -> 'keep', typed;
    end if;
    return case when present is not null then difference end;
  end if;

  select jsonb_build_object('table', table_name, 'match', wanted -> 'match', 'here', jsonb_object_agg(k, typed -> k),
                            'there', case when present is not null then jsonb_object_agg(k, present -> k) end)
    into difference from jsonb_object_keys(always) k where present is null or present -> k is distinct from typed -> k;
  if present is not null and difference -> 'here' = 'null' then
    return null;
  end if;
  if only_compare then
    return difference;
  end if;
  if present is not null then
    execute format('update %1$s t set (%2$s) = (select %3$s from jsonb_populate_record(null::%1$s, $2) r)'
                   ' where %4$s', relation, names, replace(' ' || names, ' ', ' r.'), same_row)
      using wanted -> 'match', always;
    return difference;
  end if;
  complete := case when wanted ? 'named' then '{}' else wanted -> 'match' end || coalesce(wanted -> 'at_first', '{}') || always;
  -- What the older backend demands of a row and EvPower has not: an id of its own, and an owner among its users.
  for column_fact in
    select a.attname::text as name, format_type(a.atttypid, null) as type
      from pg_catalog.pg_attribute a
     where a.attrelid = relation::regclass and a.attnum > 0 and not a.attisdropped and a.attnotnull
       and not a.atthasdef and a.attidentity = '' and not complete ? a.attname::text
       and a.attname in ('id', 'user_id')
  loop
    filler := null;
    if column_fact.name = 'id' then
      filler := case when column_fact.type in ('uuid', 'text', 'character varying') then gen_random_uuid()::text end;
    elsif to_regclass('public.users') is not null then
      if table_name = 'stations' and evpower.column_type('public.locations', 'user_id') is not null then
        execute 'select l.user_id::text from public.locations l where l.id::text = $1'
          into filler using complete ->> 'location_id';
      end if;
      if filler is null then
        execute 'select u.id::text from public.users u order by u.id limit 1' into filler;
      end if;
    end if;
    complete := complete || jsonb_strip_nulls(jsonb_build_object(column_fact.name, filler));
  end loop;
  select string_agg(format('%I', n.key), ', ' order by n.key) into names
    from jsonb_object_keys(complete) n (key) where evpower.column_type(relation, n.key) is not null;
  if wanted ? 'named' then
    execute format('insert into %1$s (%2$s) select %2$s from jsonb_populate_record(null::%1$s, $1) r returning id::text',
                   relation, names) into id_there using complete;
    update evpower.applied_rows a set row_id = id_there
     where a.topic = wanted -> 'named' ->> 0 and a.key = wanted -> 'named' ->> 1;
  else
    execute format('insert into %1$s (%2$s) select %2$s from jsonb_populate_record(null::%1$s, $1) r', relation, names)
      using complete;
  end if;
  return difference;
end
$$;
revoke all on function evpower.write_row(jsonb, boolean) from public, anon, authenticated, service_role;
comment on function evpower.write_row(jsonb, boolean) is
  'evpower 0.2.0: writes or compares a row of an older backend''s table';

-- 0814_apply_rows.sql
-- Writes stations, locations, tariff plans and payments into the tables of an older backend, each by itself; nothing
-- where there are none. It ends well before money has to wait for it: the rows left then are busy, and are sent again.
-- `rows`: [{"topic", "key", "number", "force", "writes": [evpower.write_row's], ...}]
-- A payment that names what is not here yet (its client, session or bill) is an orphan: EvPower sends that first.
create or replace function evpower.apply_rows(rows jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  answers jsonb := '[]';
  item jsonb;
  write jsonb;
  is_newer boolean;
  deadline constant timestamptz := clock_timestamp() + interval '1 s';
begin
  for item in select r.value from jsonb_array_elements(rows) with ordinality r order by r.ordinality loop
    if clock_timestamp() > deadline then
      answers := answers || jsonb_build_array(jsonb_build_array(item ->> 'topic', item ->> 'key', 'busy', null));
      continue;
    end if;
    begin
      insert into evpower.applied_rows as a (topic, key, number)
      values (item ->> 'topic', item ->> 'key', (item ->> 'number')::bigint)
      on conflict (topic, key) do update set number = excluded.number
        where a.number < excluded.number or (item ->> 'force')::boolean
      returning true into is_newer;
      if is_newer is true then
        for write in select w.value from jsonb_array_elements(item -> 'writes') with ordinality w order by w.ordinality
        loop
          perform evpower.write_row(write, false);
        end loop;
      end if;
      answers := answers || jsonb_build_array(jsonb_build_array(
        item ->> 'topic', item ->> 'key', case when is_newer is true then 'applied' else 'stale' end, null));
    exception
      when deadlock_detected or serialization_failure or lock_not_available then
        answers := answers || jsonb_build_array(jsonb_build_array(item ->> 'topic', item ->> 'key', 'busy', 'waited'));
      when foreign_key_violation then
        answers := answers || jsonb_build_array(case when item ->> 'topic' in ('payment', 'transaction')
          then jsonb_build_array(item ->> 'topic', item ->> 'key', 'orphan', left(sqlerrm, 300))
          else jsonb_build_array(item ->> 'topic', item ->> 'key', 'refused', left(sqlstate || ': ' || sqlerrm, 300)) end);
      when others then
        answers := answers || jsonb_build_array(jsonb_build_array(
          item ->> 'topic', item ->> 'key', 'refused', left(sqlstate || ': ' || sqlerrm, 300)));
    end;
  end loop;
  return answers;
end
$$;
revoke all on function evpower.apply_rows(jsonb) from public, anon, authenticated, service_role;
comment on function evpower.apply_rows(jsonb) is
  'evpower 0.2.0: writes stations, locations, tariff plans and payments one by one';

-- 0820_apply_each.sql
-- Writes one key at a time, each in its own subtransaction: the slow way, for a set that can't be written whole. It
-- ends well within hosted's statement time-out: the keys left then are busy, and are sent again.
-- A session that names a station or client that is not here, or that another call is writing, is an orphan.
create or replace function evpower.apply_each(payload jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  answers jsonb := '[]';
  item record;
  broken_key text;
  missing text;
  deadline constant timestamptz := clock_timestamp() + interval '3 s';
begin
  for item in
    select 'client' as topic, c.value ->> 'id' as id,
           jsonb_build_object('clients', jsonb_build_array(c.value), 'transactions', coalesce(t.list, '[]')) as part
      from jsonb_array_elements(payload -> 'clients') c
      left join (select x.value ->> 'client_id' as client_id, jsonb_agg(x.value) as list
                   from jsonb_array_elements(payload -> 'transactions') x group by 1) t
        on t.client_id = c.value ->> 'id'
    union all
    select 'session', s.value ->> 'id', jsonb_build_object('sessions', jsonb_build_array(s.value))
      from jsonb_array_elements(payload -> 'sessions') s
  loop
    if clock_timestamp() > deadline then
      answers := answers || jsonb_build_array(jsonb_build_array(item.topic, item.id, 'busy', null));
      continue;
    end if;
    begin
      answers := answers || evpower.apply_set(
        '{"clients": [], "transactions": [], "sessions": []}' || item.part);
    exception
      when deadlock_detected or serialization_failure or lock_not_available then
        answers := answers || jsonb_build_array(jsonb_build_array(item.topic, item.id, 'busy', 'waited'));
      when foreign_key_violation then
        get stacked diagnostics broken_key = constraint_name;
        select k.confrelid::regclass::text into missing from pg_catalog.pg_constraint k
         where item.topic = 'session' and k.conrelid = 'public.charging_sessions'::regclass and k.conname = broken_key;
        answers := answers || jsonb_build_array(case missing
          when 'public.clients' then jsonb_build_array(item.topic, item.id, 'orphan', null)
          when 'public.stations' then jsonb_build_array(item.topic, item.id, 'orphan', 'station')
          else jsonb_build_array(item.topic, item.id, 'refused', left(sqlstate || ': ' || sqlerrm, 300)) end);
      when others then
        answers := answers || jsonb_build_array(jsonb_build_array(
          item.topic, item.id, 'refused', left(sqlstate || ': ' || sqlerrm, 300)));
    end;
  end loop;
  return answers;
end
$$;
revoke all on function evpower.apply_each(jsonb) from public, anon, authenticated, service_role;
comment on function evpower.apply_each(jsonb) is
  'evpower 0.2.0: writes clients, transactions and sessions one by one';

-- 0830_evpower_apply.sql
-- The only way EvPower writes: public.evpower_apply(payload).
--
-- payload: {"clients": [...], "transactions": [...], "sessions": [...], "rows": [...], "payments": [...]}, money as text
--   in som. `rows`: stations, locations and tariff plans for the tables of an older backend (evpower.apply_rows), before
--   the sessions. `payments`: its top-ups and ledger, after the clients and sessions that they name.
--   A client carries from_version (the version EvPower thinks is here), revision (EvPower's order), and may carry
--   force (write whatever is here), partial (more of its transactions follow), adopted (the balance from before
--   EvPower that was imported), deletion_requested and closed (their contacts go).
--   A session may carry limit_type and limit_value (text): only then they are written, where the project has the columns.
--   It may carry unlinkable (its client is closed or asked for deletion): where this project emptied its client, it stays
--   empty.
-- Raises object_not_in_prerequisite_state while the guard is disabled: nothing is written then.
-- returns: {"keys": [["client" | "session" | the topic of a row, id, outcome, reason], ...],
--   "tables": those of an older backend that are here}
--   applied; stale: the same or newer is here, with the reason "status" if only the order of the status says so, and
--   the status here is another; busy: another transaction holds the row, or, with the reason "waited", something that
--   the row needs; gap: earlier transactions are missing, the reason is the last
--   version here; orphan: a session whose client is not here, EvPower sends the client whole and the session again
--   (a row made for the session would look like a client from before EvPower), or, with the reason "station", a session
--   whose station is not here, or a payment whose client, session or bill is not here; refused: the reason is "sqlstate: message", "opening_balance: ..." or "status_unmapped: ...". A
--   busy or refused key never holds up the others.
create or replace function public.evpower_apply(payload jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
declare
  answers jsonb;
  written jsonb;
begin
  if jsonb_typeof(payload) = 'string' then -- some gateways pass a jsonb argument as text
    payload := (payload #>> '{}')::jsonb;
  end if;
  payload := '{"clients": [], "transactions": [], "sessions": [], "rows": [], "payments": []}' || payload;
  perform pg_advisory_xact_lock_shared(hashtextextended('evpower.guard', 0));
  if not evpower.is_guarded() then
    raise exception 'the guard is disabled: an older backend writes here'
      using errcode = 'object_not_in_prerequisite_state', hint = '`evpower supabase guard enable` at the switch.';
  end if;
  perform set_config('evpower.applying', 'on', true);
  written := evpower.apply_rows(payload -> 'rows');
  begin
    answers := evpower.apply_set(payload);
  exception
    when others then answers := evpower.apply_each(payload);
  end;
  written := written || evpower.apply_rows(payload -> 'payments');
  perform set_config('evpower.applying', 'off', true);
  return jsonb_build_object('keys', written || answers, 'tables', to_jsonb(evpower.old_tables()));
end
$$;
revoke all on function public.evpower_apply(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_apply(jsonb) to service_role;
comment on function public.evpower_apply(jsonb) is
  'evpower 0.2.0: the only way EvPower writes clients, transactions and sessions';
notify pgrst, 'reload schema';

-- 0840_evpower_digest.sql
-- What is here, in short, so that EvPower can compare: public.evpower_digest(payload).
--
-- payload and what is returned, by topic ("clients", "sessions", "people", "users", "transactions"):
--   {"topic": "clients" | "sessions", "ids": [...]} or {"topic", "after", "limit"}: {"rows": [...], "next"}
--     clients: id, balance, held, version, written (by EvPower, ever), status, count, sum, last of the
--     transactions that have a version, moment (a weighted sum that sees swapped rows), foreign (transactions
--     EvPower never wrote), history (a hash of every transaction with its id). Money in som.
--     sessions: id, client_id, revision (null: not EvPower's), status, energy, cost, details (the optional facts that are
--     known), same (both vocabularies), facts (station_id, connector_id, and in microseconds start_time, stop_time and
--     created_at, where these are timestamps). "limited": one boolean for each id: whether EvPower knows what limits the
--     session; the details then have it, where this project has the columns, which "limits" tells. "unlinkable": for
--     each id the client that an emptied one counts as; null where the client must be here. "units" tells to how many
--     microseconds this project's columns round start_time, stop_time and created_at.
--   {"topic": "clients" | "sessions" | "people", "ids", "chunk": n}: {"hashes": [one for each n ids], "by"}
--     "whole": true in the payload of clients: the currency and each transaction's invoice_id, session_id, event_at and
--     created_at count, too; "whole" then tells to how many microseconds this project's columns round both times (null:
--     no timestamp, not compared). Not where transactions are recognised by nothing: links of another one may be the
--     only record of it.
--     The order is that of `ids`, so no collation has a say. "by" tells by what a transaction is recognised:
--     its id; its time where the project numbers its own; none. "deletion_requested" lists clients whose status is
--     not compared. people: the profile as the apps see it, brought to one form, whether it has a user, which of its
--     contacts that user has verified, and until when the user is banned.
--   {"topic": "clients" | "sessions" | "users", "after", "limit", "short": true}: {"ids", "foreign", "next"}
--     sessions: only those EvPower wrote; foreign counts the others, of clients the transactions.
--   {"topic": "transactions", "clients": [[id, after version], ...], "limit"}:
--     {"rows": [[id, version, what it is recognised by], ...], "more"}, in the order asked.
do $migration$
declare
  transaction_id text := evpower.column_type('public.transactions', 'id');
  seen_by text;
  units jsonb;
  transaction_units jsonb;
  coarsest text; -- of two columns for one time the type of which both are compared
  body text := $body$
create or replace function public.evpower_digest(payload jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $function$
declare
  client_ids <client>[];
  session_ids <session>[];
  requested <client>[];
  topic text;
  size int;
  chunk int;
  short boolean;
  limits boolean;
  whole boolean;
  rows jsonb;
  last text;
  strange bigint;
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  topic := payload ->> 'topic';
  size := least(greatest(coalesce((payload ->> 'limit')::int, 1000), 1), 5000);
  chunk := case when payload ->> 'chunk' is not null then least(greatest((payload ->> 'chunk')::int, 1), 5000) end;
  short := coalesce((payload ->> 'short')::boolean, false);
  whole := coalesce((payload ->> 'whole')::boolean, false) and '<by>' <> 'none';

  limits := topic = 'sessions' and evpower.session_limits();
  if topic = 'clients' and chunk is not null then
    select coalesce(array_agg(i::<client>), '{}') into requested
      from jsonb_array_elements_text(coalesce(payload -> 'deletion_requested', '[]')) i;
    select jsonb_agg(h.hash order by h.part) into rows from (
      select k.part, encode(sha256(convert_to(string_agg(array_to_string(array[
               c.id::text, trim_scale(c.balance::numeric * 100)::text, trim_scale(c.held * 100)::text,
               c.balance_version::text,
               case when c.id = any (requested) and c.status::text in ('active', 'inactive', 'pending_deletion')
                    then '-' else c.status::text end,
               t.history] || case when whole then array[c.currency::text] else '{}' end,
               '|', '~'), e'\n' order by k.nr), 'UTF8')), 'hex') as hash
        from (select i.value::<client> as id, i.nr, (i.nr - 1) / chunk as part
                from jsonb_array_elements_text(payload -> 'ids') with ordinality i (value, nr)) k
        left join public.clients c on c.id = k.id
        left join lateral (
          select <history> as history
            from public.transactions x where x.client_id = c.id and x.version is not null) t on true
       group by k.part) h;
    return jsonb_build_object('hashes', coalesce(rows, '[]'), 'by', '<by>',
                              'whole', case when whole then '<transaction units>'::jsonb end);

  elsif topic = 'sessions' and chunk is not null then
    select jsonb_agg(h.hash order by h.part) into rows from (
      select k.part, encode(sha256(convert_to(string_agg(array_to_string(array[
               s.id::text, coalesce(s.user_id::text, k.client), s.revision::text, s.status::text,
               trim_scale(s.energy::numeric * 1000)::text, trim_scale(s.amount::numeric * 100)::text,
               s.station_id::text, s.connector_id::text, <instants>,
               (<details>)::text, (<same>)::text], '|', '~'), e'\n' order by k.nr), 'UTF8')), 'hex') as hash
        from (select i.value::<session> as id, i.limited::boolean and limits as limited, i.client, i.nr,
                     (i.nr - 1) / chunk as part
                from rows from (jsonb_array_elements_text(payload -> 'ids'),
                                jsonb_array_elements_text(payload -> 'limited'),
                                jsonb_array_elements_text(payload -> 'unlinkable'))
                     with ordinality i (value, limited, client, nr)
               where i.value is not null) k
        left join public.charging_sessions s on s.id = k.id
       group by k.part) h;
    return jsonb_build_object('hashes', coalesce(rows, '[]'), 'by', '<by>', 'limits', limits, 'units', '<units>'::jsonb);

  elsif topic = 'people' then
    select jsonb_agg(h.hash order by h.part) into rows from (
      select k.part, encode(sha256(convert_to(string_agg(array_to_string(array[
               k.id,
               nullif(lower(btrim(left(case when c.id is null then u.email::text else c.email::text end, 1000))), ''),
               nullif(regexp_replace(left(case when c.id is null
                   then coalesce(nullif(u.phone::text, ''), u.raw_user_meta_data ->> 'phone')
                   else c.phone::text end, 1000), '\D', '', 'g'), ''),
               nullif(btrim(regexp_replace(left(case when c.id is null
                   then coalesce(nullif(u.raw_user_meta_data ->> 'name', ''), u.raw_user_meta_data ->> 'full_name')
                   else c.name::text end, 1000), '\s+', ' ', 'g')), ''),
               case when u.id is null or u.deleted_at is not null then '-' else 'u' end
                 || case when <on the way out> then 'l' else '-' end
                 || case when c.status::text = 'blocked' and c.evpower_revision = 0 then 'b' else '-' end
                 || case when lower(c.email::text) <> lower(u.email::text) then 'e' else '-' end
                 || case when u.email_confirmed_at is not null and u.deleted_at is null
                          and u.raw_app_meta_data ->> 'evpower_email_unverified' is distinct from 'true'
                          and (c.id is null or lower(btrim(c.email::text)) = lower(u.email::text)) then 'v' else '-' end
                 || case when u.phone_confirmed_at is not null and u.deleted_at is null and u.phone::text <> ''
                          and (c.id is null or regexp_replace(left(c.phone::text, 1000), '\D', '', 'g') = u.phone::text)
                         then 'v' else '-' end
                 || coalesce(floor(extract(epoch from case when u.banned_until is not null then
                        least(u.banned_until, '9999-12-31T00:00:00Z') end))::bigint::text, '-')
             ], '|', '~'), e'\n' order by k.nr), 'UTF8')), 'hex') as hash
        from (select i.value as id, i.nr, (i.nr - 1) / coalesce(chunk, 5000) as part
                from jsonb_array_elements_text(payload -> 'ids') with ordinality i (value, nr)) k
        left join public.clients c on c.id = k.id::<client>
        left join auth.users u on u.id = k.id::uuid
       group by k.part) h;
    return jsonb_build_object('hashes', coalesce(rows, '[]'), 'by', '<by>');

  elsif topic = 'users' then
    select jsonb_agg(p.id) filter (where not p.deleted), (array_agg(p.id::text))[size] into rows, last from (
      select u.id, u.deleted_at is not null as deleted from auth.users u
       where u.id > coalesce((payload ->> 'after')::uuid, '00000000-0000-0000-0000-000000000000'::uuid)
       order by u.id limit size) p;
    return jsonb_build_object('ids', coalesce(rows, '[]'), 'foreign', 0, 'next', last);

  elsif topic = 'transactions' then
    select jsonb_agg(jsonb_build_array(p.client, p.version, p.print) order by p.nr, p.version) into rows from (
      select k.nr, k.client, x.version, <print> as print
        from (select i.value ->> 0 as client, (i.value ->> 0)::<client> as id, (i.value ->> 1)::bigint as after, i.nr
                from jsonb_array_elements(payload -> 'clients') with ordinality i (value, nr)) k
       cross join lateral (
         select * from public.transactions a where a.client_id = k.id and a.version > k.after
          order by a.version limit size + 1) x
       order by k.nr, x.version limit size + 1) p;
    rows := coalesce(rows, '[]');
    return jsonb_build_object('rows', case when jsonb_array_length(rows) > size then rows - size else rows end,
                              'more', jsonb_array_length(rows) > size);
  end if;

  if topic = 'clients' then
    if jsonb_typeof(payload -> 'ids') = 'array' then
      select array_agg(i::<client>) into client_ids from jsonb_array_elements_text(payload -> 'ids') i;
    else
      select array_agg(p.id), (array_agg(p.id::text))[size] into client_ids, last from (
        select c.id from public.clients c
         where c.id > coalesce((payload ->> 'after')::<client>, '<least client>'::<client>)
         order by c.id limit size) p;
    end if;
    if short then
      select count(*) into strange from public.transactions x
       where x.client_id = any (client_ids) and x.version is null;
      return jsonb_build_object('ids', coalesce(to_jsonb(client_ids), '[]'), 'foreign', strange, 'next', last);
    end if;
    select jsonb_agg(jsonb_build_object(
             'id', c.id, 'balance', c.balance::numeric::text, 'held', c.held::text, 'version', c.balance_version,
             'currency', c.currency, 'written', c.evpower_revision > 0, 'status', c.status, 'count', t.count,
             'sum', t.sum, 'last', t.last,
             'moment', t.moment, 'foreign', t.strange, 'history', t.history))
      into rows
      from public.clients c
      left join lateral (
        select count(x.version) as count, count(*) - count(x.version) as strange,
               coalesce(sum(x.amount::numeric) filter (where x.version is not null), 0)::text as sum,
               coalesce(max(x.version), 0) as last,
               trim_scale(coalesce(sum(x.version * (x.amount::numeric * 31 + x.balance_after::numeric * 7
                 + case x.type::text when 'topup' then 1 when 'charge' then 2 when 'refund' then 3 else 5 end)),
                 0))::text as moment,
               encode(sha256(convert_to(<history> filter (where x.version is not null), 'UTF8')), 'hex') as history
          from public.transactions x where x.client_id = c.id) t on true
     where c.id = any (client_ids);
  elsif topic = 'sessions' then
    if jsonb_typeof(payload -> 'ids') = 'array' then
      select array_agg(i::<session>) into session_ids from jsonb_array_elements_text(payload -> 'ids') i;
    else
      select array_agg(p.id), (array_agg(p.id::text))[size] into session_ids, last from (
        select s.id from public.charging_sessions s
         where s.id > coalesce((payload ->> 'after')::<session>, '<least session>'::<session>)
         order by s.id limit size) p;
    end if;
    if short then
      select jsonb_agg(s.id) filter (where s.revision is not null), count(*) - count(s.revision)
        into rows, strange
        from public.charging_sessions s where s.id = any (session_ids);
      return jsonb_build_object('ids', coalesce(rows, '[]'), 'foreign', strange, 'next', last);
    end if;
    select jsonb_agg(jsonb_build_object(
             'id', s.id, 'client_id', coalesce(s.user_id::text, k.client), 'revision', s.revision, 'status', s.status,
             'energy', s.energy::numeric::text, 'cost', s.amount::numeric::text, 'details', <details>,
             'same', <same>, 'facts', <facts>))
      into rows
      from (select i.id, i.limited::boolean and limits as limited, i.client
              from rows from (unnest(session_ids),
                              jsonb_array_elements_text(payload -> 'limited'),
                              jsonb_array_elements_text(payload -> 'unlinkable')) as i (id, limited, client)
             where i.id is not null) k
      join public.charging_sessions s on s.id = k.id;
  else
    raise exception 'there is no topic %', topic using errcode = 'invalid_parameter_value';
  end if;
  return jsonb_build_object('rows', coalesce(rows, '[]'), 'next', last, 'by', '<by>', 'limits', limits,
                            'units', '<units>'::jsonb,
                            'whole', case when whole then '<transaction units>'::jsonb end);
end
$function$
$body$;
begin
  if transaction_id in ('uuid', 'text', 'character varying') then
    seen_by := 'id';
  elsif exists (select from pg_catalog.pg_attribute a
                 where a.attrelid = 'public.transactions'::regclass and a.attname = 'created_at'
                   and a.atttypid in ('timestamp'::regtype, 'timestamptz'::regtype) and a.atttypmod in (-1, 6)) then
    seen_by := 'time';
  else
    seen_by := 'none';
  end if;
  body := replace(body, '<history>', $sql$string_agg(concat_ws(':', x.version, x.type,
            trim_scale(x.amount::numeric * 100), trim_scale(x.balance_before::numeric * 100),
            trim_scale(x.balance_after::numeric * 100), <print>, case when whole then concat_ws(':',
              coalesce(x.invoice_id::text, '~'), coalesce(x.session_id::text, '~'), <transaction times>) end),
            ',' order by x.version)$sql$);
  select replace(body, '<transaction times>', string_agg(case when i.unit is null then $sql$'-'$sql$ else format(
           $sql$case when isfinite(x.%1$I) then (extract(epoch from x.%1$I) * 1000000)::bigint::text else '~' end$sql$,
           i.name) end, ', ' order by i.nr)),
         jsonb_agg(i.unit order by i.nr)
    into body, transaction_units
    from (select c.name, c.nr, case when a.atttypmod >= 0 then (10 ^ (6 - a.atttypmod))::int
                                    when a.atttypmod = -1 then 1 end as unit
            from unnest(array['event_at', 'created_at']) with ordinality c (name, nr)
            left join pg_catalog.pg_attribute a
              on a.attrelid = 'public.transactions'::regclass and a.attname = c.name
                 and a.atttypid in ('timestamp'::regtype, 'timestamptz'::regtype)) i;
  body := replace(body, '<transaction units>', transaction_units::text);
  body := replace(body, '<print>', case seen_by
    when 'id' then 'x.id::text'
    when 'time' then '(extract(epoch from x.created_at) * 1000000)::bigint::text'
    else '''''' end);
  body := replace(body, '<details>', format('jsonb_strip_nulls(jsonb_build_object(%s))', coalesce((
    select string_agg(format('%1$L, s.%1$I::text', d.name), ', ' order by d.nr)
      from unnest(evpower.session_details()) with ordinality d (name, nr)), ''))
    || $sql$ || case when k.limited then jsonb_build_object('limit_type', coalesce(to_jsonb(s) ->> 'limit_type', ''),
         'limit_value', trim_scale(round(coalesce(to_jsonb(s) ->> 'limit_value', '0')::numeric, 2))::text)
       else '{}' end$sql$);
  -- A column that is no timestamp is not compared: its hash always differs, which only says where to look.
  select replace(replace(body, '<instants>', string_agg(coalesce(i.value || '::text', 'null'), ', ' order by c.nr)),
                 '<facts>', $sql$jsonb_build_object('station_id', s.station_id::text,
             'connector_id', s.connector_id::text$sql$
             || coalesce(string_agg(format(', %L, %s', c.name, i.value), '' order by c.nr)
                         filter (where i.value is not null), '') || ')')
    into body
    from unnest(array['start_time', 'stop_time', 'created_at']) with ordinality c (name, nr)
   cross join lateral (
     select case when evpower.column_type('public.charging_sessions', c.name) like 'timestamp%'
                 then format('case when isfinite(s.%1$I) then (extract(epoch from s.%1$I) * 1000000)::bigint end', c.name)
            end) i (value);
  select jsonb_agg(case when a.atttypmod >= 0 then (10 ^ (6 - a.atttypmod))::int else 1 end order by c.nr) into units
    from unnest(array['start_time', 'stop_time', 'created_at']) with ordinality c (name, nr)
    left join pg_catalog.pg_attribute a
      on a.attrelid = 'public.charging_sessions'::regclass and a.attname = c.name
         and a.atttypid in ('timestamp'::regtype, 'timestamptz'::regtype);
  body := replace(body, '<units>', units::text);
  select pg_catalog.format_type(a.atttypid, a.atttypmod) into coarsest
    from pg_catalog.pg_attribute a
   where a.attrelid = 'public.charging_sessions'::regclass and a.attname in ('stop_time', 'end_time')
     and a.atttypid in ('timestamp'::regtype, 'timestamptz'::regtype) and a.atttypmod >= 0
   order by a.atttypmod limit 1;
  body := replace(body, '<same>', $sql$coalesce(s.client_id::text, k.client) = coalesce(s.user_id::text, k.client)
            and s.energy_consumed::numeric = s.energy::numeric and s.total_cost::numeric = s.amount::numeric
            and s.end_time<coarsest> is not distinct from s.stop_time<coarsest>$sql$);
  body := replace(body, '<coarsest>', coalesce('::' || coarsest, ''));
  body := replace(body, '<on the way out>', $sql$c.status::text in ('inactive', 'pending_deletion')$sql$
    || case when evpower.column_type('public.clients', 'delete_requested_at') is null then ''
            else ' or c.delete_requested_at is not null' end);
  body := replace(body, '<by>', seen_by);
  -- However a page is planned, it must find where it begins by the index.
  body := replace(body, '<least client>', case evpower.column_type('public.clients', 'id')
    when 'uuid' then '00000000-0000-0000-0000-000000000000' else '' end);
  body := replace(body, '<least session>', case evpower.column_type('public.charging_sessions', 'id')
    when 'uuid' then '00000000-0000-0000-0000-000000000000' else '' end);
  body := replace(body, '<client>', evpower.column_type('public.clients', 'id'));
  body := replace(body, '<session>', evpower.column_type('public.charging_sessions', 'id'));
  execute body;
end
$migration$;
revoke all on function public.evpower_digest(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_digest(jsonb) to service_role;
comment on function public.evpower_digest(jsonb) is
  'evpower 0.2.0: returns what is here as hashes, to be compared';
notify pgrst, 'reload schema';

-- 0846_evpower_compare_rows.sql
-- Which stations, locations, tariff plans and payments differ from what EvPower has: public.evpower_compare_rows(payload).
--
-- payload: {"rows": [as of evpower_apply]}
-- returns: {"keys": [[topic, key, "same" | "differs" | "refused", reason], ...],
--   "differing": [[topic, key, {"table", "match", "here", "there"}], ...] (evpower.write_row)}; none while the guard is disabled:
--   the tables are the older backend's then.
create or replace function public.evpower_compare_rows(payload jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  answers jsonb := '[]';
  item jsonb;
  differing jsonb;
  facts jsonb := '[]';
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  for item in select r.value from jsonb_array_elements(coalesce(payload -> 'rows', '[]')) r where evpower.is_guarded()
  loop
    begin
      select jsonb_agg(jsonb_build_array(item -> 'topic', item -> 'key', d.difference)) into differing
        from jsonb_array_elements(item -> 'writes') w
       cross join lateral (select evpower.write_row(w.value, true) as difference) d
       where d.difference is not null;
      facts := facts || coalesce(differing, '[]');
      answers := answers || jsonb_build_array(jsonb_build_array(
        item ->> 'topic', item ->> 'key', case when differing is null then 'same' else 'differs' end,
        (select string_agg(f.value -> 2 ->> 'table', ', ') from jsonb_array_elements(differing) f)));
    exception
      when others then
        answers := answers || jsonb_build_array(jsonb_build_array(
          item ->> 'topic', item ->> 'key', 'refused', left(sqlstate || ': ' || sqlerrm, 300)));
    end;
  end loop;
  return jsonb_build_object('keys', answers, 'differing', facts);
end
$$;
revoke all on function public.evpower_compare_rows(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_compare_rows(jsonb) to service_role;
comment on function public.evpower_compare_rows(jsonb) is
  'evpower 0.2.0: returns which stations and tariffs differ here';

-- 0850_evpower_openings.sql
-- Balances EvPower never wrote: public.evpower_openings(payload).
--
-- payload: {"after": the last id or null, "limit"}.
-- returns: {"rows": [{id, balance, email, phone, name, status}], "next": the last id or null,
--   "total": all there are, with the first page}. Balances are exact, in som.
do $migration$
declare
  body text := $body$
create or replace function public.evpower_openings(payload jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $function$
declare
  size int;
  after <client>;
  rows jsonb;
  last text;
  total bigint;
begin
  if jsonb_typeof(payload) = 'string' then -- some gateways pass a jsonb argument as text
    payload := (payload #>> '{}')::jsonb;
  end if;
  size := least(greatest(coalesce((payload ->> 'limit')::int, 500), 1), 5000);
  after := (payload ->> 'after')::<client>;
  if after is null then
    select count(*) into total from public.clients c
     where c.evpower_revision = 0 and round(c.balance::numeric, 2) <> 0;
  end if;
  select jsonb_agg(jsonb_build_object('id', p.id, 'balance', p.balance::numeric::text, 'email', p.email,
                                      'phone', p.phone, 'name', p.name, 'status', p.status) order by p.id),
         (array_agg(p.id::text order by p.id))[size]
    into rows, last
    from (select c.id, c.balance, c.email, c.phone, c.name, c.status
            from public.clients c
           where c.evpower_revision = 0 and round(c.balance::numeric, 2) <> 0 and (after is null or c.id > after)
           order by c.id limit size) p;
  return jsonb_build_object('rows', coalesce(rows, '[]'), 'next', last, 'total', total);
end
$function$
$body$;
begin
  execute replace(body, '<client>', evpower.column_type('public.clients', 'id'));
end
$migration$;
revoke all on function public.evpower_openings(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_openings(jsonb) to service_role;
comment on function public.evpower_openings(jsonb) is
  'evpower 0.2.0: returns balances that EvPower never wrote';
notify pgrst, 'reload schema';

-- 0860_evpower_status_words.sql
-- Status words of rows that EvPower never wrote, and that it does not know by itself: public.evpower_status_words({})
--   -> {"words": [[word, how many rows], ...]}, 100 at most.
create or replace function public.evpower_status_words(payload jsonb) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select jsonb_build_object(
           'words', coalesce(jsonb_agg(jsonb_build_array(w.word, w.rows) order by w.rows desc, w.word), '[]'))
    from (select left(c.status::text, 200) as word, count(*) as rows from public.clients c
           where c.evpower_revision = 0 and btrim(c.status::text) <> ''
             and c.status::text not in ('active', 'blocked', 'inactive', 'pending_deletion')
           group by 1 order by 2 desc, 1 limit 100) w
$$;
revoke all on function public.evpower_status_words(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_status_words(jsonb) to service_role;
comment on function public.evpower_status_words(jsonb) is
  'evpower 0.2.0: returns status words of the project''s own';
notify pgrst, 'reload schema';

-- 0870_archive.sql
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
  'evpower 0.2.0: rows from before EvPower''s data was written over them';

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

-- 0880_evpower_archive.sql
-- Archives rows before they are written over: public.evpower_archive(payload).
--
-- payload: {"clients": [[id, version], ...], "sessions": [id, ...]}. Of a client, its row is copied and its
--   transactions with a version above `version` are moved; a session's row is copied.
-- returns: {"transactions": how many were moved}
drop function if exists public.evpower_set_aside(jsonb); -- its name before 0.1.0
do $migration$
declare
  body text := $body$
create or replace function public.evpower_archive(payload jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '500ms' as $function$
declare
  moved bigint;
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  payload := '{"clients": [], "sessions": []}' || payload;
  perform pg_advisory_xact_lock_shared(hashtextextended('evpower.guard', 0));
  if not evpower.is_guarded() then
    raise exception 'the guard is disabled: an older backend writes here'
      using errcode = 'object_not_in_prerequisite_state', hint = '`evpower supabase guard enable` at the switch.';
  end if;
  insert into evpower.archive (relation, client_id, archived_row)
  select 'clients', c.id::text, to_jsonb(c)
    from jsonb_array_elements(payload -> 'clients') a join public.clients c on c.id = (a.value ->> 0)::<client>;
  insert into evpower.archive (relation, client_id, archived_row)
  select 'charging_sessions', s.client_id::text, to_jsonb(s)
    from jsonb_array_elements_text(payload -> 'sessions') a
    join public.charging_sessions s on s.id = a.value::<session>;
  with deleted as (
    delete from public.transactions t using jsonb_array_elements(payload -> 'clients') a
     where t.client_id = (a.value ->> 0)::<client> and t.version > (a.value ->> 1)::bigint
    returning t.*
  ), archived as (
    insert into evpower.archive (relation, client_id, archived_row)
    select 'transactions', d.client_id::text, to_jsonb(d) from deleted d returning 1
  ) select count(*) into moved from archived;
  return jsonb_build_object('transactions', moved);
end
$function$
$body$;
begin
  body := replace(body, '<client>', evpower.column_type('public.clients', 'id'));
  body := replace(body, '<session>', evpower.column_type('public.charging_sessions', 'id'));
  execute body;
end
$migration$;
revoke all on function public.evpower_archive(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_archive(jsonb) to service_role;
comment on function public.evpower_archive(jsonb) is
  'evpower 0.2.0: archives rows before they are written over';
notify pgrst, 'reload schema';

-- 0890_evpower_guard.sql
-- The switch between an older backend and EvPower: public.evpower_guard(payload).
--
-- payload: {"enable": true | false}; without it nothing changes.
-- returns: {"is_enabled", "changed_at", "has_changed", "tables": of an older backend that EvPower writes,
--   "invoice_id": the type of balance_topups.invoice_id, null where there is no such table}
-- Enabling waits for writers that have begun: what they wrote is there, and no other begins. It is refused where another
-- role owns one of the tables: it could be written beside EvPower.
create or replace function public.evpower_guard(payload jsonb) returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
  wanted boolean;
  has_changed boolean := false;
  table_name text;
  of_others text;
  remedies text;
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  wanted := (payload ->> 'enable')::boolean;
  if wanted is distinct from evpower.is_guarded() and wanted is not null then
    perform pg_advisory_xact_lock(hashtextextended('evpower.guard', 0)); -- every evpower_apply has ended
    if wanted then
      select string_agg(format('%s belongs to %s', t.name, t.owner), ', '),
             string_agg(format('alter table %s owner to %I', t.name, current_user), '; ')
        into of_others, remedies
        from evpower.tables_of_others() t;
      if of_others is not null then
        raise exception 'the guard can not be put on tables of another role: %', of_others
          using errcode = 'insufficient_privilege',
                hint = 'As the present owner, or in the SQL editor of the dashboard: ' || remedies;
      end if;
      lock table public.clients in share row exclusive mode;
      foreach table_name in array evpower.old_tables() loop
        execute format('lock table public.%I in share row exclusive mode', table_name);
      end loop;
      perform evpower.guard_tables();
      perform evpower.protect_tables();
      begin
        -- A second payment of a bill has an id that is longer than the older backend's.
        if exists (select from pg_catalog.pg_attribute a
                    where a.attrelid = to_regclass('public.balance_topups') and a.attname = 'invoice_id'
                      and a.atttypid = 'varchar'::regtype and a.atttypmod between 0 and 67) then
          alter table public.balance_topups alter column invoice_id type varchar(64);
        end if;
      exception
        when insufficient_privilege or feature_not_supported then
          raise warning 'evpower: balance_topups.invoice_id stays short: %', sqlerrm;
      end;
    end if;
    update evpower.guard set is_enabled = wanted, changed_at = now() where is_enabled <> wanted;
    has_changed := found;
    perform evpower.store_definitions(); -- what the guard put up is expected from now on
  end if;
  return (
    select jsonb_build_object(
             'is_enabled', g.is_enabled, 'changed_at', g.changed_at, 'has_changed', has_changed,
             'tables', to_jsonb(evpower.old_tables()),
             'invoice_id', (select format_type(a.atttypid, a.atttypmod) from pg_catalog.pg_attribute a
                             where a.attrelid = to_regclass('public.balance_topups') and a.attname = 'invoice_id'))
      from evpower.guard g);
end
$$;
revoke all on function public.evpower_guard(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_guard(jsonb) to service_role;
comment on function public.evpower_guard(jsonb) is
  'evpower 0.2.0: switches between an older backend and EvPower';
notify pgrst, 'reload schema';

-- 0900_function_bodies.sql
-- How each function, policy and trigger was installed, as the digest of its definition. A comment outlives "create or
-- replace function" and "alter policy": without this an older file, run over a newer one, would leave a function that
-- calls itself new, and a policy that lets every driver read all rows as if it were unchanged.
create table if not exists evpower.function_bodies (
  name text primary key,
  md5 text not null
);
-- The version of PostgreSQL: another one may print the same policy or trigger in other words.
alter table evpower.function_bodies add column if not exists server int not null
  default current_setting('server_version_num')::int / 10000;
revoke all on evpower.function_bodies from public, anon, authenticated, service_role;
comment on table evpower.function_bodies is
  'evpower 0.2.0: the definitions of functions, policies and triggers as they were installed';

-- 0910_expected_objects.sql
-- All that EvPower installs, one row an object: the file of supabase/source that makes it, and who has which rights,
-- as letters of PostgreSQL's access lists (r select, a insert, w update, d delete, X execute).
-- public.evpower_installed and `evpower doctor` know what belongs here from this list alone.
create or replace function evpower.expected_objects()
returns table (file text, kind text, name text, grants text)
language sql stable set search_path = pg_catalog, pg_temp as $$
  values
    ('0110_schema', 'schema', 'evpower', ''),
    ('0115_edition', 'function', 'evpower.edition()', ''),
    ('0120_column_type', 'function', 'evpower.column_type(text,text)', ''),
    ('0130_record_of', 'function', 'evpower.record_of(text,text[])', ''),
    ('0140_client_is', 'function', 'evpower.client_is(text)', ''),
    ('0150_session_details', 'function', 'evpower.session_details()', ''),
    ('0151_session_limits', 'function', 'evpower.session_limits()', ''),
    ('0155_old_tables', 'function', 'evpower.old_tables()', ''),
    ('0156_tables_of_others', 'function', 'evpower.tables_of_others()', ''),
    ('0160_guard', 'table', 'evpower.guard', ''),
    ('0170_is_guarded', 'function', 'evpower.is_guarded()', 'anon=X authenticated=X service_role=X'),
    ('0200_clients', 'table', 'public.clients', 'authenticated=r service_role=arwd'),
    ('0200_clients', 'policy', 'evpower_own_insert on public.clients', ''),
    ('0200_clients', 'policy', 'evpower_own_select on public.clients', ''),
    ('0200_clients', 'policy', 'evpower_own_update on public.clients', ''),
    ('0210_transactions', 'table', 'public.transactions', 'authenticated=r service_role=arwd'),
    ('0210_transactions', 'index', 'public.transactions_client_newest', ''),
    ('0210_transactions', 'index', 'public.transactions_client_version_key', ''),
    ('0210_transactions', 'policy', 'evpower_own_select on public.transactions', ''),
    ('0220_charging_sessions', 'table', 'public.charging_sessions', 'authenticated=r service_role=arwd'),
    ('0220_charging_sessions', 'index', 'public.charging_sessions_client_newest', ''),
    ('0220_charging_sessions', 'index', 'public.charging_sessions_user_newest', ''),
    ('0220_charging_sessions', 'policy', 'evpower_own_select on public.charging_sessions', ''),
    ('0230_refuse_money', 'function', 'evpower.refuse_money()', ''),
    ('0230_refuse_money', 'trigger', 'evpower_money_is_not_inserted on public.clients', ''),
    ('0230_refuse_money', 'trigger', 'evpower_money_is_not_updated on public.clients', ''),
    ('0240_refuse_id', 'function', 'evpower.refuse_id()', ''),
    ('0240_refuse_id', 'trigger', 'evpower_id_stays on public.clients', ''),
    ('0250_refuse_others', 'function', 'evpower.refuse_others()', ''),
    ('0260_guard_tables', 'function', 'evpower.guard_tables()', ''),
    ('0270_protect_tables', 'function', 'evpower.protect_tables()', ''),
    ('0300_changes', 'table', 'evpower.changes', ''),
    ('0300_changes', 'index', 'evpower.changes_in_order', ''),
    ('0310_statuses_under_block', 'table', 'evpower.statuses_under_block', ''),
    ('0320_pending_contacts', 'table', 'evpower.pending_contacts', ''),
    ('0330_log_change', 'function', 'evpower.log_change(text,text,jsonb,jsonb,text[])', ''),
    ('0340_note_client', 'function', 'evpower.note_client()', ''),
    ('0340_note_client', 'trigger', 'evpower_note_client on public.clients', ''),
    ('0350_note_user', 'function', 'evpower.note_user()', ''),
    ('0350_note_user', 'trigger', 'evpower_note_user on auth.users', ''),
    ('0360_note_truncate', 'function', 'evpower.note_truncate()', ''),
    ('0360_note_truncate', 'trigger', 'evpower_note_truncate on auth.users', ''),
    ('0360_note_truncate', 'trigger', 'evpower_note_truncate on public.clients', ''),
    ('0370_preserve_block', 'function', 'evpower.preserve_block()', ''),
    ('0370_preserve_block', 'trigger', 'evpower_preserve_block on public.clients', ''),
    ('0380_save_status_under_block', 'function', 'evpower.save_status_under_block()', ''),
    ('0380_save_status_under_block', 'trigger', 'evpower_save_status_under_block on public.clients', ''),
    ('0400_write_profile_contact', 'function', 'evpower.write_profile_contact(uuid,text,text)', ''),
    ('0410_carry_contact', 'function', 'evpower.carry_contact()', ''),
    ('0410_carry_contact', 'trigger', 'evpower_carry_contact on auth.users', ''),
    ('0420_carry_pending_contacts', 'function', 'evpower.carry_pending_contacts()', ''),
    ('0430_prune_without_owner', 'function', 'evpower.prune_without_owner()', ''),
    ('0500_clients_and_users', 'function', 'evpower.clients_and_users(text[])', ''),
    ('0510_evpower_people', 'function', 'public.evpower_people(jsonb)', 'service_role=X'),
    ('0520_own_restored_changes', 'function', 'evpower.own_restored_changes()', ''),
    ('0530_pg_net_transactions', 'function', 'evpower.pg_net_transactions()', ''),
    ('0540_horizon', 'function', 'evpower.horizon()', ''),
    ('0550_evpower_changes', 'function', 'public.evpower_changes(jsonb)', 'service_role=X'),
    ('0560_evpower_changes_prune', 'function', 'public.evpower_changes_prune(jsonb)', 'service_role=X'),
    ('0600_webhook', 'table', 'evpower.webhook', ''),
    ('0610_secrets', 'table', 'evpower.secrets', ''),
    ('0620_hmac_sha256', 'function', 'evpower.hmac_sha256(bytea,bytea)', ''),
    ('0630_sign', 'function', 'evpower.sign(text,text,bigint,text)', ''),
    ('0640_http_post', 'function', 'evpower.http_post()', ''),
    ('0650_webhook_secret', 'function', 'evpower.webhook_secret()', ''),
    ('0660_post_webhook', 'function', 'evpower.post_webhook(jsonb)', ''),
    ('0670_notify_webhook', 'function', 'evpower.notify_webhook()', ''),
    ('0670_notify_webhook', 'trigger', 'evpower_notify on evpower.changes', ''),
    ('0680_webhook_facts', 'function', 'evpower.webhook_facts()', ''),
    ('0690_store_secret', 'function', 'evpower.store_secret(text)', ''),
    ('0700_evpower_webhook_configure', 'function', 'public.evpower_webhook_configure(jsonb)', 'service_role=X'),
    ('0710_evpower_webhook_status', 'function', 'public.evpower_webhook_status(jsonb)', 'service_role=X'),
    ('0720_evpower_webhook_test', 'function', 'public.evpower_webhook_test(jsonb)', 'service_role=X'),
    ('0730_evpower_webhook_result', 'function', 'public.evpower_webhook_result(jsonb)', 'service_role=X'),
    ('0800_contact_of_closed', 'function', 'evpower.contact_of_closed(text,text)', ''),
    ('0801_deletion_requested', 'function', 'evpower.deletion_requested(text)', ''),
    ('0805_applied_rows', 'table', 'evpower.applied_rows', ''),
    ('0808_fits', 'function', 'evpower.fits(text,jsonb)', ''),
    ('0809_row_id', 'function', 'evpower.row_id(jsonb)', ''),
    ('0810_apply_set', 'function', 'evpower.apply_set(jsonb)', ''),
    ('0812_write_row', 'function', 'evpower.write_row(jsonb,boolean)', ''),
    ('0814_apply_rows', 'function', 'evpower.apply_rows(jsonb)', ''),
    ('0820_apply_each', 'function', 'evpower.apply_each(jsonb)', ''),
    ('0830_evpower_apply', 'function', 'public.evpower_apply(jsonb)', 'service_role=X'),
    ('0840_evpower_digest', 'function', 'public.evpower_digest(jsonb)', 'service_role=X'),
    ('0846_evpower_compare_rows', 'function', 'public.evpower_compare_rows(jsonb)', 'service_role=X'),
    ('0850_evpower_openings', 'function', 'public.evpower_openings(jsonb)', 'service_role=X'),
    ('0860_evpower_status_words', 'function', 'public.evpower_status_words(jsonb)', 'service_role=X'),
    ('0870_archive', 'table', 'evpower.archive', ''),
    ('0880_evpower_archive', 'function', 'public.evpower_archive(jsonb)', 'service_role=X'),
    ('0890_evpower_guard', 'function', 'public.evpower_guard(jsonb)', 'service_role=X'),
    ('0900_function_bodies', 'table', 'evpower.function_bodies', ''),
    ('0910_expected_objects', 'function', 'evpower.expected_objects()', ''),
    ('0915_definitions', 'function', 'evpower.definitions()', ''),
    ('0916_store_definitions', 'function', 'evpower.store_definitions()', ''),
    ('0920_object_faults', 'function', 'evpower.object_faults()', ''),
    ('0930_evpower_installed', 'function', 'public.evpower_installed(jsonb)', 'service_role=X')
  union all
  select '0510_evpower_people', 'index', 'public.evpower_other_ids', ''
   where evpower.column_type('public.clients', 'id') <> 'uuid'
  union all
  select '0260_guard_tables', 'trigger', 'evpower_others_are_refused on public.' || t.name, ''
    from unnest(evpower.old_tables()) t (name)
  union all
  select '0260_guard_tables', 'trigger', 'evpower_others_only_unlink on public.' || t.name, ''
    from unnest(evpower.old_tables()) t (name)
   where t.name in ('balance_topups', 'payment_transactions_odengi')
  union all
  select '0270_protect_tables', 'policy', p.name || ' on public.' || t.name, ''
    from unnest(evpower.old_tables()) t (name)
   cross join unnest(array['evpower_own_select', 'evpower_none_of_anon']) p (name)
   where t.name in ('client_tariffs', 'balance_topups', 'payment_transactions_odengi') and evpower.is_guarded()
         and evpower.column_type('public.' || t.name, 'client_id') is not null
  union all
  select '0200_clients', 'column', 'public.clients.' || c.name, c.grants
    from (values ('id', 'authenticated=aw'), ('email', 'authenticated=aw'), ('phone', 'authenticated=aw'),
                 ('name', 'authenticated=aw'), ('balance', 'authenticated=a'), ('held', ''), ('currency', ''),
                 ('status', ''), ('created_at', ''), ('updated_at', 'authenticated=w'), ('balance_version', ''),
                 ('wallet_revision', ''), ('evpower_revision', '')) as c (name, grants)
  union all
  select '0210_transactions', 'column', 'public.transactions.' || c.name, ''
    from unnest(array['id', 'client_id', 'version', 'type', 'amount', 'balance_before', 'balance_after',
                      'invoice_id', 'session_id', 'event_at', 'created_at']) as c (name)
  union all
  select '0220_charging_sessions', 'column', 'public.charging_sessions.' || c.name, ''
    from unnest(array['id', 'user_id', 'client_id', 'station_id', 'connector_id', 'start_time', 'stop_time',
                      'end_time', 'energy', 'energy_consumed', 'amount', 'total_cost', 'status', 'created_at',
                      'updated_at', 'revision'] || evpower.session_details()) as c (name)
$$;
revoke all on function evpower.expected_objects() from public, anon, authenticated, service_role;
comment on function evpower.expected_objects() is
  'evpower 0.2.0: returns all that EvPower installs';

-- 0915_definitions.sql
-- The digests of what is there now of evpower.expected_objects(): a function's body, a policy's command, roles and
-- conditions, a trigger without its state. The search path is fixed, because it decides how names are written.
create or replace function evpower.definitions() returns table (file text, kind text, name text, md5 text)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select e.file, e.kind, e.name, md5(p.prosrc)
    from evpower.expected_objects() e join pg_proc p on p.oid = to_regprocedure(e.name)
   where e.kind = 'function'
  union all
  select e.file, e.kind, e.name, md5(concat_ws(E'\n', p.polcmd, p.polpermissive,
           (select string_agg(case r.role when 0 then 'public' else pg_get_userbyid(r.role) end, ' '
                              order by pg_get_userbyid(r.role)) from unnest(p.polroles) r (role)),
           'using ' || pg_get_expr(p.polqual, p.polrelid), 'check ' || pg_get_expr(p.polwithcheck, p.polrelid)))
    from evpower.expected_objects() e
    join pg_policy p on p.polrelid = to_regclass(split_part(e.name, ' on ', 2))
         and p.polname = split_part(e.name, ' on ', 1)
   where e.kind = 'policy'
  union all
  select e.file, e.kind, e.name, md5(pg_get_triggerdef(t.oid))
    from evpower.expected_objects() e
    join pg_trigger t on t.tgrelid = to_regclass(split_part(e.name, ' on ', 2))
         and t.tgname = split_part(e.name, ' on ', 1)
   where e.kind = 'trigger'
$$;
revoke all on function evpower.definitions() from public, anon, authenticated, service_role;
comment on function evpower.definitions() is
  'evpower 0.2.0: returns the digests of functions, policies and triggers as they are';

-- 0916_store_definitions.sql
-- Stores how objects were installed that were not there before. What was altered since then stays a fault: only the
-- migration, which makes everything anew, forgets the earlier digests.
create or replace function evpower.store_definitions() returns void
language sql volatile set search_path = pg_catalog, pg_temp as $$
  insert into evpower.function_bodies (name, md5)
  select d.name, d.md5 from evpower.definitions() d on conflict (name) do nothing
$$;
revoke all on function evpower.store_definitions() from public, anon, authenticated, service_role;
comment on function evpower.store_definitions() is
  'evpower 0.2.0: stores the definitions of what is there';

-- 0920_object_faults.sql
-- What differs from evpower.expected_objects(), a row a fault:
--   missing; older, newer: by the stamp; changed: a function, policy or trigger that is not as it was installed;
--   unknown: a policy or trigger of which this PostgreSQL prints other words than the one that it was installed in, which
--   says nothing of a change;
--   disabled: a trigger, or a table's row level security; wrong_owner: of a role whose rights this one does not have
--   (what is not on an older backend's table for that reason is no fault besides);
--   wrong_grant: apps or EvPower's key may do more or less than they should.
-- A select that anon has on a table of public, and what service_role may do there besides, is the project's decision.
create or replace function evpower.object_faults()
returns table (file text, kind text, name text, fault text, detail text)
language sql stable set search_path = pg_catalog, pg_temp as $$
  with of_others as (
    select t.name, t.owner from evpower.tables_of_others() t
  ), located as (
    select e.file, e.kind, e.name, e.grants, split_part(e.name, ' on ', 1) as object,
           to_regclass(case e.kind when 'column' then regexp_replace(e.name, '\.[^.]*$', '')
                                   else split_part(e.name, ' on ', 2) end) as relation
      from evpower.expected_objects() e
  ), objects as (
    select l.*, p.oid, p.proowner as owner, obj_description(p.oid, 'pg_proc') as stamp, true as enabled
      from located l left join pg_proc p on p.oid = to_regprocedure(l.name) where l.kind = 'function'
    union all
    select l.*, c.oid, case l.kind when 'table' then c.relowner end, obj_description(c.oid, 'pg_class'),
           c.relrowsecurity or l.kind = 'index' or l.name like 'evpower.%' and l.name <> 'evpower.secrets'
      from located l left join pg_class c on c.oid = to_regclass(l.name) where l.kind in ('table', 'index')
    union all
    select l.*, n.oid, n.nspowner, obj_description(n.oid, 'pg_namespace'), true
      from located l left join pg_namespace n on n.nspname = l.name where l.kind = 'schema'
    union all
    select l.*, t.oid, null, obj_description(t.oid, 'pg_trigger'), t.tgenabled in ('O', 'A')
      from located l left join pg_trigger t on t.tgrelid = l.relation and t.tgname = l.object where l.kind = 'trigger'
    union all
    select l.*, p.oid, null, obj_description(p.oid, 'pg_policy'), true
      from located l left join pg_policy p on p.polrelid = l.relation and p.polname = l.object where l.kind = 'policy'
    union all
    select l.*, a.attrelid, null, null, true
      from located l
      left join pg_attribute a on a.attrelid = l.relation and not a.attisdropped
           and a.attname = regexp_replace(l.name, '^.*\.', '')
     where l.kind = 'column'
  ), stamped as (
    select o.*, string_to_array(substring(o.stamp from '^evpower (\d+\.\d+\.\d+)'), '.')::int[] as version,
           string_to_array(evpower.edition(), '.')::int[] as edition
      from objects o
     where o.oid is not null and o.kind <> 'column' and o.relation is distinct from to_regclass('auth.users')
       and not (o.kind = 'table' and o.name like 'public.%')
  ), rights as (
    select o.file, o.kind, o.name, r.rolname, replace(lower(a.action), 'usage', 'use') as action,
           case o.kind
             when 'function' then has_function_privilege(r.oid, o.oid, a.action)
             when 'schema' then has_schema_privilege(r.oid, o.oid, a.action)
             when 'table' then has_table_privilege(r.oid, o.oid, a.action)
             else has_column_privilege(r.oid, o.oid, regexp_replace(o.name, '^.*\.', ''), a.action)
           end as has,
           strpos(coalesce(substring(o.grants from r.rolname || '=([[:alpha:]]+)'), ''), a.letter) > 0 as due
      from objects o
      join pg_roles r on r.rolname in ('anon', 'authenticated', 'service_role')
      join (values ('function', 'EXECUTE', 'X'), ('schema', 'USAGE', 'U'), ('schema', 'CREATE', 'C'),
                   ('table', 'SELECT', 'r'), ('table', 'INSERT', 'a'), ('table', 'UPDATE', 'w'),
                   ('table', 'DELETE', 'd'), ('table', 'TRUNCATE', 'D'), ('table', 'REFERENCES', 'x'),
                   ('table', 'TRIGGER', 't'), ('column', 'INSERT', 'a'), ('column', 'UPDATE', 'w')
           ) as a (kind, action, letter) on a.kind = o.kind
     where o.oid is not null -- a right to all columns is the table's fault
       and not (o.kind = 'column' and (r.rolname = 'service_role' or has_table_privilege(r.oid, o.oid, a.action)))
  )
  select o.file, o.kind, o.name, 'missing', null from objects o
   where o.oid is null and not exists (select from of_others t where to_regclass(t.name) = o.relation)
  union all
  select s.file, s.kind, s.name, case when s.version > s.edition then 'newer' else 'older' end,
         coalesce(array_to_string(s.version, '.'), 'without a version')
    from stamped s where s.version is distinct from s.edition
  union all
  select d.file, d.kind, d.name, s.fault, case s.fault when 'unknown' then format('PostgreSQL was %s', b.server) end
    from evpower.definitions() d
    join evpower.function_bodies b on b.name = d.name
   cross join lateral (
     select case when d.kind = 'function' or b.server = current_setting('server_version_num')::int / 10000
                 then 'changed' else 'unknown' end as fault) s
   where b.md5 <> d.md5
  union all
  select o.file, o.kind, o.name, 'disabled', null from objects o where not o.enabled
  union all
  select o.file, o.kind, o.name, 'wrong_owner', pg_get_userbyid(o.owner)::text
    from objects o where o.owner is not null and not pg_has_role(o.owner, 'USAGE')
  union all
  select '0156_tables_of_others', 'table', t.name, 'wrong_owner', t.owner from of_others t
  union all
  select r.file, r.kind, r.name, 'wrong_grant',
         string_agg(format(case when r.has then '%s may %s' else '%s may not %s' end, r.rolname, r.action), ', '
                    order by r.rolname, r.action)
    from rights r
   where r.has <> r.due
     and not (r.has and r.kind = 'table' and r.name like 'public.%'
              and (r.rolname = 'service_role' or r.rolname = 'anon' and r.action = 'select'))
   group by r.file, r.kind, r.name
$$;
revoke all on function evpower.object_faults() from public, anon, authenticated, service_role;
comment on function evpower.object_faults() is
  'evpower 0.2.0: returns what differs from what EvPower installs';

-- 0930_evpower_installed.sql
-- Whether what EvPower installed here is complete, of one edition, and as it was installed:
-- public.evpower_installed(payload).
--
-- returns: {"version": of this edition, "owner": the role that owns it,
--   "faults": [{"file", "kind", "name", "fault", "detail"}, ...] (evpower.object_faults),
--   "lacking": [[file, what], ...]: the same for an EvPower that reads no faults,
--   "history": versions of EvPower's files that the Supabase CLI has recorded as applied}
create or replace function public.evpower_installed(payload jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  history text[];
begin
  if to_regclass('supabase_migrations.schema_migrations') is not null then
    begin
      execute $query$
        select array_agg(m.version order by m.version) from supabase_migrations.schema_migrations m
         where m.name like 'evpower%'
      $query$ into history;
    exception
      when insufficient_privilege or undefined_column then null; -- not ours to read: nothing is said of it
    end;
  end if;
  return (
    select jsonb_build_object(
             'version', evpower.edition(), 'owner', current_user, 'history', coalesce(to_jsonb(history), '[]'),
             'faults', coalesce(jsonb_agg(jsonb_build_object(
                         'file', f.file || '.sql', 'kind', f.kind, 'name', f.name, 'fault', f.fault,
                         'detail', f.detail) order by f.file, f.name, f.fault), '[]'),
             'lacking', coalesce(jsonb_agg(jsonb_build_array(f.file || '.sql', case
                          when f.fault in ('older', 'newer', 'changed', 'unknown')
                            then 'the newest edition of ' || split_part(f.name, '(', 1)
                          when f.fault = 'wrong_owner'
                            then format('%s, which belongs to %s and not to %s', f.name, f.detail, current_user)
                          when f.fault = 'wrong_grant' then format('the rights of %s: %s', f.name, f.detail)
                          else f.kind || ' ' || f.name end) order by f.file, f.name, f.fault), '[]'))
      from evpower.object_faults() f);
end
$$;
revoke all on function public.evpower_installed(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_installed(jsonb) to service_role;
comment on function public.evpower_installed(jsonb) is
  'evpower 0.2.0: returns what is missing or differs of EvPower';

-- How all was installed, after all is made.
delete from evpower.function_bodies;
do $migration$ begin perform evpower.store_definitions(); end $migration$;
notify pgrst, 'reload schema';

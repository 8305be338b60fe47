-- What the apps read: clients with their balance, transactions, charging sessions.
-- Additive: creates what is missing and touches nothing else, in a new project and in one that already
-- lives, where ids may be varchar and charging_sessions has older columns.
--
-- Tables that an older dashboard or a self-hosted Studio made belong to supabase_admin, and then nothing below could be
-- done. Said here, before anything is changed.
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

create schema if not exists evpower;
revoke all on schema evpower from public, anon, authenticated;

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

-- A column's type as it is here, to be used for the columns that must match it.
create or replace function evpower.column_type(table_name text, column_name text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select pg_catalog.format_type(a.atttypid, null)
    from pg_catalog.pg_attribute a
   where a.attrelid = pg_catalog.to_regclass(table_name) and a.attname = column_name and not a.attisdropped
$$;

-- The definition of a record with the columns' types as they are here, so that varchar ids, floats and enums are
-- read by their own input functions.
create or replace function evpower.record_of(table_name text, columns text[]) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select string_agg(format('%I %s', c.name, evpower.column_type(table_name, c.name)), ', ' order by c.nr)
    from unnest(columns) with ordinality as c (name, nr)
$$;

do $migration$
declare
  client_id text := evpower.column_type('public.clients', 'id');
  user_id text;
begin
  -- No foreign keys to clients: deleting a user where the project allows it goes on working.
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
  -- Both vocabularies, always filled the same: shipped apps read the older, the requirements name the newer.
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
end
$migration$;

create unique index if not exists transactions_client_version_key on public.transactions (client_id, version);
create index if not exists transactions_client_newest on public.transactions (client_id, created_at desc);
create index if not exists charging_sessions_user_newest on public.charging_sessions (user_id, created_at desc);
create index if not exists charging_sessions_client_newest on public.charging_sessions (client_id, created_at desc);

-- EvPower's words for a client, where they are an enum's: one that is missing could never be written, and the
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

revoke all on all functions in schema evpower from public, anon, authenticated;

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
  'evpower {edition}: a driver reads the own row';
comment on policy evpower_own_insert on public.clients is
  'evpower {edition}: an app may create its own row at the first login';
comment on policy evpower_own_update on public.clients is
  'evpower {edition}: a driver changes the own profile, in the columns that are granted';

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

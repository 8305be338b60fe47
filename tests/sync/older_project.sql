-- A Supabase project that lived before EvPower: varchar ids, floats, enums, foreign keys, its own policies.
create type public.client_status as enum ('active', 'inactive', 'pending_deletion', 'suspended');
create type public.session_status as enum ('started', 'stopped', 'error');
create type public.limit_type as enum ('none', 'energy', 'amount');

create table public.clients (
  id varchar primary key,
  name text,
  phone varchar unique,
  email varchar unique,
  balance double precision default 0,
  status public.client_status not null default 'active',
  delete_requested_at timestamptz,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);
alter table public.clients enable row level security;
create policy clients_select_own on public.clients for select using (auth.uid()::text = id);
create policy clients_update_own on public.clients for update to authenticated
  using (auth.uid()::text = id); -- without a limit of columns: it let a driver change the balance

create table public.stations (id varchar primary key, model text);
insert into public.stations values ('CHR-BGK-001', 'AC 22'), ('CHR-BGK-002', 'DC 60');

create table public.charging_sessions (
  id varchar primary key default gen_random_uuid()::text,
  user_id varchar references public.clients (id),
  station_id varchar references public.stations (id),
  start_time timestamptz default now(),
  stop_time timestamptz,
  energy double precision default 0,
  amount double precision default 0,
  status public.session_status not null default 'started',
  transaction_id text,
  limit_type public.limit_type not null default 'none',
  limit_value double precision,
  reserved_amount double precision,
  created_at timestamptz default now()
);

insert into public.clients (id, name, phone, email, balance)
values ('0b5a1d7e-0000-4000-8000-000000000001', 'Old Driver', '+996700000001', 'old@example.kg', 250.5);
insert into public.charging_sessions (id, user_id, station_id, stop_time, energy, amount, status, limit_type)
values ('0b5a1d7e-0000-4000-8000-0000000000a1', '0b5a1d7e-0000-4000-8000-000000000001', 'CHR-BGK-001', now(),
        12.5, 168.75, 'stopped', 'energy');

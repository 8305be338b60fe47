-- A Supabase project that an older backend writes to: its tables with the types and demands of its ORM.
create type public.client_status as enum ('active', 'inactive', 'blocked', 'pending_deletion');
create type public.session_status as enum ('started', 'stopped', 'error');
create type public.station_status as enum ('active', 'inactive', 'maintenance');
create type public.tariff_type as enum ('per_kwh', 'per_minute', 'session_fee', 'parking_fee');

create table public.users (id varchar primary key, email varchar, role varchar);
insert into public.users values ('u-1', 'owner@example.kg', 'admin'), ('u-2', 'partner@example.kg', 'operator');

create table public.clients (
  id varchar primary key,
  name text,
  phone varchar unique,
  email varchar unique,
  balance double precision default 0,
  status public.client_status not null default 'active',
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);
create table public.locations (
  id varchar primary key,
  name varchar not null,
  address varchar not null,
  city varchar,
  country varchar,
  latitude double precision,
  longitude double precision,
  user_id varchar not null references public.users (id),
  status varchar default 'active',
  stations_count int default 0,
  connectors_count int default 0,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);
create table public.tariff_plans (
  id varchar primary key,
  name varchar not null,
  description text,
  is_default boolean default false,
  is_active boolean default true,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);
create table public.tariff_rules (
  id varchar primary key,
  tariff_plan_id varchar not null references public.tariff_plans (id),
  name varchar not null,
  tariff_type public.tariff_type not null,
  connector_type varchar default 'ALL',
  power_range_min numeric default 0,
  power_range_max numeric default 1000,
  price numeric not null,
  price_per_minute numeric,
  session_fee numeric,
  parking_fee_per_minute numeric,
  currency varchar default 'KGS',
  time_start time,
  time_end time,
  is_weekend boolean default false,
  days_of_week int[],
  priority int default 0,
  is_active boolean default true,
  valid_from date,
  valid_until date,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);
create table public.client_tariffs (
  id varchar primary key,
  client_id varchar not null,
  tariff_plan_id varchar references public.tariff_plans (id),
  discount_percent numeric,
  fixed_rate_per_kwh numeric,
  is_active boolean default true,
  valid_from timestamptz,
  valid_until timestamptz,
  description text,
  created_at timestamptz default now()
);
create table public.stations (
  id varchar primary key,
  serial_number varchar not null unique,
  model varchar not null,
  manufacturer varchar not null,
  location_id varchar not null references public.locations (id),
  power_capacity double precision not null,
  connector_types text[] not null,
  installation_date varchar,
  firmware_version varchar,
  status public.station_status not null default 'active',
  user_id varchar not null references public.users (id),
  connectors_count int default 1,
  tariff_plan_id varchar references public.tariff_plans (id),
  price_per_kwh numeric default 0,
  session_fee numeric default 0,
  currency varchar default 'KGS',
  is_available boolean default false,
  last_heartbeat_at timestamptz,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);
create table public.connectors (
  id uuid primary key default gen_random_uuid(),
  station_id varchar not null references public.stations (id),
  connector_number int not null,
  connector_type text not null,
  power_kw numeric,
  status text default 'available',
  error_code text,
  last_status_update timestamptz
);
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
  limit_type varchar not null default 'none',
  limit_value double precision,
  created_at timestamptz default now()
);
-- Several defaults are the ORM's, not the table's.
create type public.payment_status as enum ('processing', 'approved', 'canceled', 'refunded', 'partial_refund');
create type public.transaction_type as enum ('balance_topup', 'charge_reserve', 'charge_refund', 'charge_payment');
create table public.balance_topups (
  id serial primary key,
  invoice_id varchar(12) not null unique,
  order_id varchar(128) not null unique,
  merchant_id varchar(32) not null,
  client_id varchar not null references public.clients (id) on delete cascade,
  requested_amount numeric not null,
  paid_amount numeric,
  currency char(3) not null,
  status public.payment_status not null,
  odengi_status int not null,
  created_at timestamptz not null,
  paid_at timestamptz,
  completed_at timestamptz,
  qr_expires_at timestamptz not null,
  invoice_expires_at timestamptz not null,
  description text,
  qr_code_url varchar(500),
  app_link varchar(500),
  last_webhook_at timestamptz,
  webhook_count int not null,
  last_status_check_at timestamptz,
  status_check_count int not null,
  needs_status_check boolean not null,
  payment_provider text not null
);
create table public.payment_transactions_odengi (
  id serial primary key,
  client_id varchar references public.clients (id) on delete cascade,
  transaction_type public.transaction_type not null,
  amount numeric not null,
  balance_before numeric not null,
  balance_after numeric not null,
  currency char(3) default 'KGS',
  balance_topup_id int references public.balance_topups (id) on delete cascade,
  charging_session_id varchar references public.charging_sessions (id) on delete set null,
  description text,
  created_at timestamptz default now()
);
grant select on public.balance_topups, public.payment_transactions_odengi, public.client_tariffs to anon, authenticated;

alter table public.locations enable row level security;
alter table public.stations enable row level security;
alter table public.connectors enable row level security;
alter table public.tariff_rules enable row level security;
create policy read_locations on public.locations for select using (true);
create policy read_stations on public.stations for select using (true);
create policy read_connectors on public.connectors for select using (true);
create policy read_rules on public.tariff_rules for select using (true);

insert into public.locations (id, name, address, city, country, user_id)
values ('loc-1', 'Old Mall', 'Chui 1', 'Bishkek', 'Кыргызстан', 'u-2');
insert into public.stations (id, serial_number, model, manufacturer, location_id, power_capacity, connector_types, user_id,
                             price_per_kwh)
values ('CHR-BGK-001', 'SN-1', 'AC 22', 'Star', 'loc-1', 22, '{Type2}', 'u-2', 13.5);
insert into public.connectors (station_id, connector_number, connector_type, power_kw) values ('CHR-BGK-001', 1, 'Type2', 22);

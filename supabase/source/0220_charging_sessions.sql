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
  'evpower {edition}: a driver''s newest sessions, by the older column';
comment on index public.charging_sessions_client_newest is
  'evpower {edition}: a driver''s newest sessions, by the newer column';
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
  'evpower {edition}: a driver reads the own sessions';
revoke insert, update, delete, truncate, references, trigger on public.charging_sessions
  from public, anon, authenticated;
grant select on public.charging_sessions to authenticated;
grant select, insert, update, delete on public.charging_sessions to service_role;

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
  'evpower {edition}: a version of a client''s balance is made by one transaction';
comment on index public.transactions_client_newest is 'evpower {edition}: a client''s newest transactions';
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
  'evpower {edition}: a driver reads the own transactions';
revoke insert, update, delete, truncate, references, trigger on public.transactions from public, anon, authenticated;
grant select on public.transactions to authenticated;
grant select, insert, update, delete on public.transactions to service_role;

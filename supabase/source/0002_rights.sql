-- A driver reads the own rows, changes the own profile, and never writes money.
-- Policies of the project stay as they are; what they would allow is limited by the grants and the trigger.
alter table public.clients enable row level security;
alter table public.transactions enable row level security;
alter table public.charging_sessions enable row level security;

do $migration$
declare
  rule record;
  same text;
  policy text;
begin
  for rule in
    select * from (values
      ('clients', 'id', 'select', 'using'),
      ('clients', 'id', 'insert', 'with check'),
      ('clients', 'id', 'update', 'using'),
      ('transactions', 'client_id', 'select', 'using'),
      ('charging_sessions', 'user_id', 'select', 'using')
    ) as r (relation, owner, command, clause)
  loop
    -- In a sub-select the id is read once a statement, not once a row.
    same := format('%I = (select auth.uid()%s)', rule.owner,
                   case evpower.column_type('public.' || rule.relation, rule.owner)
                     when 'uuid' then '' else '::text' end);
    policy := format('evpower_own_%s', rule.command);
    execute format('drop policy if exists %I on public.%I', policy, rule.relation);
    execute format('create policy %I on public.%I for %s to authenticated %s (%s)%s', policy, rule.relation,
                   rule.command, rule.clause, same,
                   case rule.command when 'update' then format(' with check (%s)', same) else '' end);
  end loop;
end
$migration$;

revoke insert, update, delete, truncate, references, trigger
  on public.clients, public.transactions, public.charging_sessions from public, anon, authenticated;
grant select on public.clients, public.transactions, public.charging_sessions to authenticated;
-- The app may make the own row at the first login (the trigger below wants its balance to be 0).
-- An upsert of supabase-js names every column it sends in its update, the id too. A policy of this project may be wider
-- than ours, so a trigger below keeps the id.
grant insert (id, email, phone, name, balance), update (id, email, phone, name, updated_at)
  on public.clients to authenticated;
do $migration$
begin
  if evpower.column_type('public.clients', 'delete_requested_at') is not null then
    grant update (delete_requested_at) on public.clients to authenticated;
  end if;
end
$migration$;
grant select, insert, update, delete on public.clients, public.transactions, public.charging_sessions to service_role;

-- Only evpower_apply sets a balance: no app, no server with the secret key, no session in psql.
create or replace function evpower.refuse_money() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'the balance of % is set by EvPower alone', new.id
    using errcode = 'insufficient_privilege',
          hint = 'Money moves in EvPower and reaches this row through evpower_apply.';
end
$$;
drop trigger if exists evpower_money_is_not_inserted on public.clients;
create trigger evpower_money_is_not_inserted before insert on public.clients for each row
  when (current_setting('evpower.applying', true) is distinct from 'on'
        and (coalesce(new.balance, 0) <> 0 or new.held <> 0 or new.balance_version <> 0
             or new.wallet_revision <> 0 or new.evpower_revision <> 0))
  execute function evpower.refuse_money();
drop trigger if exists evpower_money_is_not_updated on public.clients;
create trigger evpower_money_is_not_updated before update on public.clients for each row
  when (current_setting('evpower.applying', true) is distinct from 'on'
        and (new.balance is distinct from old.balance or new.held is distinct from old.held
             or new.balance_version is distinct from old.balance_version
             or new.wallet_revision is distinct from old.wallet_revision
             or new.evpower_revision is distinct from old.evpower_revision))
  execute function evpower.refuse_money();

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

revoke all on all functions in schema evpower from public, anon, authenticated;

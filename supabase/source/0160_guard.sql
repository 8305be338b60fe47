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
  'evpower {edition}: whether only EvPower writes money, stations and tariffs';
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

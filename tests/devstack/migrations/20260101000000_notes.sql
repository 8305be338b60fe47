-- A small schema with what EvPower's own migrations rely on.
create table public.notes (
  id bigint generated always as identity primary key,
  owner uuid not null default auth.uid() references auth.users (id) on delete cascade,
  body text,
  amount numeric(12, 2) not null default 100.10,
  at timestamptz not null default '2026-01-02 03:04:05.678901+00'
);
alter table public.notes enable row level security;
create policy own_notes on public.notes to authenticated
  using ((select auth.uid()) = owner) with check ((select auth.uid()) = owner);
revoke update on public.notes from anon, authenticated;
grant update (body) on public.notes to authenticated;

create table public.seen (id uuid primary key, name text);
alter table public.seen enable row level security;
create function public.on_new_user() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.seen values (new.id, new.raw_user_meta_data ->> 'name');
  return new;
end $$;
create trigger on_new_user after insert on auth.users
  for each row execute function public.on_new_user();

create function public.measure(batch jsonb) returns jsonb language plpgsql as $$
begin
  return jsonb_build_object(
    'type', jsonb_typeof(batch), 'rows', jsonb_array_length(batch), 'role', current_user);
end $$;
revoke execute on function public.measure(jsonb) from public, anon, authenticated;

create function public.whoami() returns uuid language sql stable as 'select auth.uid()';

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
  'evpower {edition}: refuses another id';
comment on trigger evpower_id_stays on public.clients is
  'evpower {edition}: an app never changes the id of its row';

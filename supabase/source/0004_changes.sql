-- The log of changes to clients and users, which EvPower pulls (0006_reading.sql).
--
-- A row of evpower.changes is written in the transaction of the change itself. Rows are given in the order of
-- (xid, seq) and only below the oldest running transaction: seq alone would skip a row whose transaction took
-- its number earlier and committed later. What EvPower writes through evpower_apply is not logged.
create table if not exists evpower.changes (
  seq bigint generated always as identity primary key,
  "table" text not null check ("table" in ('clients', 'users')),
  row_id text not null,
  op text not null check (op in ('insert', 'update', 'delete', 'blocked_before')),
  at timestamptz not null default clock_timestamp(),
  xid xid8 not null default pg_current_xact_id()
);
create index if not exists changes_in_order on evpower.changes (xid, seq);

revoke all on evpower.changes from public, anon, authenticated, service_role;

-- The trigger functions run as their owner: Auth's role (supabase_auth_admin) has no rights here. They never fail
-- and never wait long, whatever state this schema is in: a lost entry is found by the nightly reconciliation, a
-- refused sign-up by the driver. Columns are read from the row as JSON, so that columns this
-- project lacks are no error and Auth may alter its own.
--
-- Logs a change of the watched paths into the row. A client whose id changes is a deletion and an insertion.
create or replace function evpower.note(what text, op text, was jsonb, became jsonb, watched text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if what = 'clients' and op = 'UPDATE' and was ->> 'id' <> became ->> 'id' then
    insert into evpower.changes ("table", row_id, op)
    values (what, was ->> 'id', 'delete'), (what, became ->> 'id', 'insert');
  elsif op <> 'UPDATE' or exists (select from unnest(watched) w (path)
                                   where was #> w.path::text[] is distinct from became #> w.path::text[]) then
    insert into evpower.changes ("table", row_id, op) values (what, coalesce(became, was) ->> 'id', lower(op));
  end if;
end
$$;

create or replace function evpower.note_client() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
declare
  was jsonb;
  became jsonb;
begin
  begin
    was := to_jsonb(old); -- null of an insert
    became := to_jsonb(new);
    perform evpower.note('clients', tg_op, was, became,
                         array['{email}', '{phone}', '{name}', '{status}', '{delete_requested_at}']);
  exception
    when others then raise warning 'evpower: a change of a client was not noted: % %', sqlstate, sqlerrm;
  end;
  -- What is written here now is newer than what waits to be written.
  begin
    if became is not null then
      delete from evpower.uncarried u
       where u.user_id = became ->> 'id' and (was is null or was -> u.contact is distinct from became -> u.contact);
      if was is null or was -> 'status' is distinct from became -> 'status' then
        delete from evpower.wishes w where w.client_id = became ->> 'id';
      end if;
    end if;
  exception
    when others then raise warning 'evpower: what waits for a client was not ended: % %', sqlstate, sqlerrm;
  end;
  return null;
end
$$;

create or replace function evpower.note_user() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
begin
  -- A sign-in changes last_sign_in_at and must write nothing.
  perform evpower.note('users', tg_op, to_jsonb(old), to_jsonb(new),
                       array['{email}', '{phone}', '{email_confirmed_at}', '{phone_confirmed_at}',
                             '{raw_user_meta_data}', '{deleted_at}', '{banned_until}',
                             '{raw_app_meta_data,evpower_email_unverified}']);
  return null;
exception
  when others then
    raise warning 'evpower: a change of a user was not noted: % %', sqlstate, sqlerrm;
    return null;
end
$$;

-- Truncating clients deletes each of them. Of users no deletion is logged, or one command would close every client
-- in EvPower: they are only to be read again, and the reconciliation reports those that are missing.
create or replace function evpower.note_truncate() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
begin
  begin
    raise warning 'evpower: %.% is truncated', tg_table_schema, tg_table_name;
    if tg_table_name = 'clients' then
      insert into evpower.changes ("table", row_id, op) select 'clients', c.id::text, 'delete' from public.clients c;
    else
      insert into evpower.changes ("table", row_id, op) select 'users', u.id::text, 'update' from auth.users u;
    end if;
  exception
    when others then raise warning 'evpower: a truncation was not noted: % %', sqlstate, sqlerrm;
  end;
  return null;
end
$$;

drop trigger if exists evpower_note_client on public.clients;
create trigger evpower_note_client after insert or update or delete on public.clients for each row
  when (current_setting('evpower.applying', true) is distinct from 'on')
  execute function evpower.note_client();
drop trigger if exists evpower_note_truncate on public.clients;
create trigger evpower_note_truncate before truncate on public.clients for each statement
  execute function evpower.note_truncate();

revoke all on all functions in schema evpower from public, anon, authenticated;

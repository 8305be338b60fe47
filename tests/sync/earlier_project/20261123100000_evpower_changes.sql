-- What happens to people here, for EvPower to fetch: public.evpower_changes, _people, _changes_prune.
--
-- A row of evpower.changes is written in the transaction of the change itself. Rows are given in the order of
-- (xid, seq) and only below the oldest running transaction: seq alone would skip a row whose transaction took
-- its number earlier and committed later. What EvPower writes through evpower_apply is not noted.
create table if not exists evpower.changes (
  seq bigint generated always as identity primary key,
  "table" text not null check ("table" in ('clients', 'users')),
  row_id text not null,
  op text not null check (op in ('insert', 'update', 'delete', 'blocked_before')),
  at timestamptz not null default clock_timestamp(),
  xid xid8 not null default pg_current_xact_id()
);
create index if not exists changes_in_order on evpower.changes (xid, seq);

-- A contact of a login that did not get to the profile: its row was not there yet, or was locked.
create table if not exists evpower.uncarried (
  user_id text not null,
  contact text not null check (contact in ('email', 'phone')),
  since timestamptz not null default now(),
  primary key (user_id, contact)
);

-- What a blocked client's status said last, but for the block: whether they asked to be deleted. It can say only
-- one of the two.
create table if not exists evpower.wishes (
  client_id text primary key,
  status text not null,
  at timestamptz not null default now()
);
revoke all on evpower.changes, evpower.uncarried, evpower.wishes from public, anon, authenticated, service_role;

-- The trigger functions run as their owner: whoever signs a person up (supabase_auth_admin) has no rights here.
-- They never fail and never wait long, whatever has become of this schema: a lost note is found by the nightly
-- comparison, a refused sign-up by the driver. Columns are read from the row as JSON, so that columns this
-- project lacks are no error and Auth may alter its own.
--
-- Notes a change of what is watched: paths into the row. A client whose id changes is two.
create or replace function evpower.note(what text, op text, was jsonb, became jsonb, watched text[]) returns void
language plpgsql set search_path = '' as $$
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
language plpgsql security definer set search_path = '' set lock_timeout = '500ms' as $$
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
  -- What somebody writes here now is newer than what waits to be written.
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
language plpgsql security definer set search_path = '' set lock_timeout = '500ms' as $$
begin
  -- A sign-in changes last_sign_in_at and must write nothing.
  perform evpower.note('users', tg_op, to_jsonb(old), to_jsonb(new),
                       array['{email}', '{phone}', '{email_confirmed_at}', '{phone_confirmed_at}',
                             '{raw_user_meta_data}', '{deleted_at}', '{raw_app_meta_data,evpower_email_unverified}']);
  return null;
exception
  when others then
    raise warning 'evpower: a change of a user was not noted: % %', sqlstate, sqlerrm;
    return null;
end
$$;

-- Truncating clients removes each of them. Of users no deletion is noted, or one command would close every
-- client in EvPower: they are only to be looked at again, and the comparison reports those that are gone.
create or replace function evpower.note_truncate() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '500ms' as $$
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

-- A new email or phone of the login becomes the profile's, which the apps read. Auth keeps a phone's digits
-- alone; the profile has them with "+". One that Auth emptied is emptied here only where it was the same. A
-- login that is deleted gets hashes for both: not carried.
--
-- What could not be carried is carried when EvPower next asks for changes, unless somebody wrote the profile since.
do $migration$
declare
  id_type text := evpower.column_type('public.clients', 'id');
  body text := $body$
create or replace function evpower.carry(of_user uuid, what text, said text) returns void
language plpgsql set search_path = '' as $function$
begin
  said := nullif(said, '');
  if what = 'email' then
    update public.clients c set email = said, updated_at = now()
     where <own> and c.email is distinct from said;
  else
    update public.clients c set phone = '+' || said, updated_at = now()
     where <own> and regexp_replace(c.phone, '\D', '', 'g') is distinct from said;
  end if;
end
$function$;

create or replace function evpower.carry_contact() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '500ms' as $function$
declare
  what text;
  was jsonb;
  became jsonb;
begin
  foreach what in array array['email', 'phone'] loop
    begin
      was := to_jsonb(old);
      became := to_jsonb(new);
      continue when became ->> 'deleted_at' is not null
        or nullif(became ->> what, '') is not distinct from nullif(was ->> what, '');
      if not exists (select from public.clients c where <own_new>) then
        insert into evpower.uncarried (user_id, contact) values (new.id::text, what) on conflict do nothing;
      elsif became ->> what <> '' or exists (
              select from public.clients c
               where <own_new> and case what when 'email' then lower(c.email) = lower(was ->> 'email')
                                   else regexp_replace(c.phone, '\D', '', 'g') = was ->> 'phone' end) then
        perform evpower.carry(new.id, what, became ->> what);
      end if;
    exception
      when others then
        raise warning 'evpower: % of a login was not carried to the profile: % %', what, sqlstate, sqlerrm;
        begin
          insert into evpower.uncarried (user_id, contact) values (new.id::text, what) on conflict do nothing;
        exception
          when others then raise warning 'evpower: nor kept for later: % %', sqlstate, sqlerrm;
        end;
    end;
  end loop;
  return null;
end
$function$;

create or replace function evpower.carry_left() returns void
language plpgsql set search_path = '' set plan_cache_mode = force_custom_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $function$
declare
  waiting record;
begin
  if not exists (select from evpower.uncarried) then
    return;
  end if;
  for waiting in
    select w.user_id, w.contact, u.facts ->> w.contact as said
      from evpower.uncarried w
     cross join lateral (select u.id, to_jsonb(u) as facts from auth.users u where u.id = w.user_id::uuid offset 0) u
     where (select true from public.clients c where <own_u>)
     order by w.since limit 100 for update of w skip locked
  loop
    begin
      perform from public.clients c where <own_waiting> for update skip locked;
      continue when not found;
      perform evpower.carry(waiting.user_id::uuid, waiting.contact, waiting.said);
    exception
      when others then
        raise warning 'evpower: % of a login is not taken by the profile: % %', waiting.contact, sqlstate, sqlerrm;
    end;
    delete from evpower.uncarried w where w.user_id = waiting.user_id and w.contact = waiting.contact;
  end loop;
end
$function$;

create or replace function evpower.forget_left() returns void
language sql set search_path = '' set enable_seqscan = off as $function$
  delete from evpower.uncarried w where not exists (select from auth.users u where u.id = w.user_id::uuid);
  <forget_wishes>
$function$
$body$;
  own text := case
    when id_type = 'uuid' then 'c.id = %s::uuid'
    when id_type in ('text', 'character varying') then 'c.id = %s::text'
    else 'c.id::text = %s::text' end;
  forget_wishes text := format('delete from evpower.wishes w where not exists (select from public.clients c where %s)',
                               format(own, 'w.client_id'));
begin
  if to_regclass('auth.users') is null then
    execute 'create or replace function evpower.carry_left() returns void language sql as $function$ $function$';
    execute format('create or replace function evpower.forget_left() returns void language sql'
                   ' as $function$ %s $function$', forget_wishes);
    return;
  end if;
  body := replace(body, '<forget_wishes>', forget_wishes);
  body := replace(body, '<own_new>', format(own, 'new.id'));
  body := replace(body, '<own_u>', format(own, 'u.id'));
  body := replace(body, '<own_waiting>', format(own, 'waiting.user_id'));
  body := replace(body, '<own>', format(own, 'of_user'));
  execute body;
end
$migration$;

-- EvPower's words for a client, where they are an enum's: one that is missing could never be written, and the
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

-- Blocked before EvPower's first word is a decision of this project: it stays, and EvPower is told.
create or replace function evpower.keep_blocked() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if old.status::text = 'blocked' and new.status::text <> 'blocked' then
    new.status := old.status;
    insert into evpower.changes ("table", row_id, op) values ('clients', new.id::text, 'blocked_before');
  end if;
  return new;
end
$$;

-- EvPower's block is written over what the status says, and gives a wish to be deleted back when it is lifted.
create or replace function evpower.keep_wish() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  wish text;
begin
  if new.status::text = 'blocked' then
    insert into evpower.wishes (client_id, status) values (new.id::text, old.status::text)
    on conflict (client_id) do update set status = excluded.status, at = now();
  else
    delete from evpower.wishes w where w.client_id = new.id::text returning w.status into wish;
    if wish in ('inactive', 'pending_deletion') then
      new.status := wish;
    end if;
  end if;
  return new;
end
$$;

drop trigger if exists evpower_keep_wish on public.clients;
create trigger evpower_keep_wish before update on public.clients for each row
  when (current_setting('evpower.applying', true) = 'on'
        and (old.status::text in ('active', 'inactive', 'pending_deletion') and new.status::text = 'blocked'
             or old.status::text = 'blocked' and new.status::text in ('active', 'inactive')))
  execute function evpower.keep_wish();
drop trigger if exists evpower_keep_blocked on public.clients;
create trigger evpower_keep_blocked before update on public.clients for each row
  when (current_setting('evpower.applying', true) = 'on' and old.evpower_revision = 0 and new.evpower_revision <> 0)
  execute function evpower.keep_blocked();
drop trigger if exists evpower_note_client on public.clients;
create trigger evpower_note_client after insert or update or delete on public.clients for each row
  when (current_setting('evpower.applying', true) is distinct from 'on')
  execute function evpower.note_client();
drop trigger if exists evpower_note_truncate on public.clients;
create trigger evpower_note_truncate before truncate on public.clients for each statement
  execute function evpower.note_truncate();

-- auth.users belongs to Auth: we may create triggers on it, and on older projects not drop them again. No
-- trigger names a column, or Auth could not change its type.
do $migration$
declare
  wanted record;
begin
  if to_regclass('auth.users') is null then
    raise warning 'evpower: there is no auth.users, sign-ups are not noted';
    return;
  end if;
  for wanted in
    select * from (values
      ('evpower_carry_contact', 'after update', 'row', 'evpower.carry_contact()'),
      ('evpower_note_user', 'after insert or update or delete', 'row', 'evpower.note_user()'),
      ('evpower_note_truncate', 'before truncate', 'statement', 'evpower.note_truncate()')
    ) as w (name, moment, level, function)
     where not exists (select from pg_catalog.pg_trigger t
                        where t.tgrelid = 'auth.users'::regclass and t.tgname = w.name)
  loop
    execute format('create trigger %I %s on auth.users for each %s execute function %s',
                   wanted.name, wanted.moment, wanted.level, wanted.function);
  end loop;
end
$migration$;

-- People as they are now, in the order of the ids; ids may be none of a UUID, and known to neither side.
--   {"id", "client": null | {...}, "user": null | {...}}
-- Texts are cut: their owner may write a book, and nobody else's change would come through.
-- Everything is read by an index in its order: plans live long, and one made while a table was small would
-- read and sort all of it. Without "offset 0" one made while it was empty joins everybody with everybody.
do $migration$
declare
  id_type text := evpower.column_type('public.clients', 'id');
  is_uuid constant text := $$~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'$$;
  body text := $body$
create or replace function evpower.people_of(ids text[]) returns jsonb
language plpgsql stable set search_path = '' set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off as $function$
declare
  people jsonb;
begin
  select jsonb_agg(jsonb_build_object('id', i.id, 'client', c.facts, 'user', u.facts) order by i.nr)
    into people
    from unnest(ids) with ordinality as i (id, nr)
    left join lateral (
      select jsonb_build_object(
               'email', left(c.email::text, 1000), 'phone', left(c.phone::text, 1000),
               'name', left(c.name::text, 1000), 'status', c.status,
               'delete_requested_at', (select delete_requested_at from (select c.*) own),
               'wish', (select w.status from evpower.wishes w where w.client_id = i.id),
               'written', c.evpower_revision > 0) as facts
        -- Not every project has that column, and some get it later: then the name means this one.
        from public.clients c cross join (select null::timestamptz as delete_requested_at) absent
       where <client_is_i> offset 0) c on true
    left join lateral (
      select jsonb_build_object(
               'email', nullif(u.email, ''), 'phone', nullif(u.phone, ''),
               'email_confirmed', u.email_confirmed_at is not null,
               'phone_confirmed', u.phone_confirmed_at is not null,
               'metadata', jsonb_build_object('phone', left(u.raw_user_meta_data ->> 'phone', 1000),
                                              'name', left(u.raw_user_meta_data ->> 'name', 1000),
                                              'full_name', left(u.raw_user_meta_data ->> 'full_name', 1000)),
               'deleted', u.deleted_at is not null,
               'email_unverified', u.raw_app_meta_data ->> 'evpower_email_unverified' is not distinct from 'true'
             ) as facts
        from auth.users u where u.id = case when i.id <is_uuid> then i.id::uuid end offset 0) u on true;
  return coalesce(people, '[]');
end
$function$;

-- public.evpower_people({"ids": [...]}) or ({"after": id | null, "limit": n}) -> {"people": [...], "next": id | null}.
-- The walk goes over both tables: first the ids that are UUIDs, in their order, then the others.
create or replace function public.evpower_people(payload jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $function$
declare
  size int;
  after text;
  ids text[];
begin
  if jsonb_typeof(payload) = 'string' then -- some gateways pass a jsonb argument as text
    payload := (payload #>> '{}')::jsonb;
  end if;
  if jsonb_typeof(payload -> 'ids') = 'array' then
    if jsonb_array_length(payload -> 'ids') > 5000 then
      raise exception 'at most 5000 ids at once' using errcode = 'invalid_parameter_value';
    end if;
    select array_agg(distinct i) into ids from jsonb_array_elements_text(payload -> 'ids') i;
    return jsonb_build_object('people', evpower.people_of(ids), 'next', null);
  end if;
  size := least(greatest(coalesce((payload ->> 'limit')::int, 1000), 1), 5000);
  after := nullif(payload ->> 'after', '');
  if after is null or after <is_uuid> then
    select array_agg(w.id::text order by w.id) into ids from (
      (select u.id from auth.users u
        where u.id > coalesce(after, '00000000-0000-0000-0000-000000000000')::uuid order by u.id limit size + 1)
      union
      (select <uuid_of_c> from public.clients c
        where <client_after_uuid> order by c.id limit size + 1)
      order by 1 limit size + 1) w;
    after := '';
  end if;
  if coalesce(cardinality(ids), 0) <= size and '<id_type>' <> 'uuid' then
    ids := ids || array(
      select <text_of_c> from public.clients c
       where <text_of_c> > after and <text_of_c> !<is_uuid>
       order by <text_of_c> limit size + 1 - coalesce(cardinality(ids), 0));
  end if;
  return jsonb_build_object('people', evpower.people_of(ids[:size]),
                            'next', case when cardinality(ids) > size then ids[size] end);
end
$function$
$body$;
begin
  if id_type = 'uuid' then
    body := replace(body, '<client_is_i>', 'c.id = case when i.id <is_uuid> then i.id::uuid end');
    body := replace(body, '<uuid_of_c>', 'c.id');
    body := replace(body, '<client_after_uuid>',
      'c.id > coalesce(after, ''00000000-0000-0000-0000-000000000000'')::uuid');
    body := replace(body, '<text_of_c>', 'c.id::text');
  else
    body := replace(body, '<client_is_i>', '<text_of_c> = i.id');
    body := replace(body, '<uuid_of_c>', '<text_of_c>::uuid');
    -- UUIDs written in small letters have the same order as text.
    body := replace(body, '<client_after_uuid>', '<text_of_c> > coalesce(after, ''0'') and <text_of_c> <is_uuid>');
    body := replace(body, 'order by c.id limit', 'order by <text_of_c> limit');
    body := replace(body, '<text_of_c>',
      case when id_type in ('text', 'character varying') then 'c.id' else 'c.id::text' end);
  end if;
  body := replace(body, '<is_uuid>', is_uuid);
  body := replace(body, '<id_type>', id_type);
  execute body;
  if id_type <> 'uuid' then -- few among many: not to be looked for row by row
    execute format('create index if not exists evpower_other_ids on public.clients ((%1$s)) where %1$s !%2$s',
                   case when id_type in ('text', 'character varying') then 'id' else 'id::text' end, is_uuid);
  end if;
end
$migration$;

-- Rows restored from a dump into a younger cluster carry transaction numbers from its future. They would hold
-- nothing up, but stay unseen until this cluster gets there: they are made rows of now.
create or replace function evpower.own_restored_changes() returns void
language plpgsql set search_path = '' as $$
begin
  -- What a statement sees is below the end of its snapshot, but for the own transaction's rows.
  if not exists (select from evpower.changes c
                  where c.xid >= pg_snapshot_xmax(pg_current_snapshot())
                    and c.xid is distinct from pg_current_xact_id_if_assigned())
     or not pg_try_advisory_xact_lock(hashtextextended('evpower.changes', 0)) then
    return;
  end if;
  update evpower.changes c set xid = pg_current_xact_id()
   where c.xid >= pg_snapshot_xmax(pg_current_snapshot())
     and c.xid is distinct from pg_current_xact_id_if_assigned();
  -- The numbers go on above them, even if the sequence was not restored.
  perform setval(s.name, greatest(nextval(s.name), (select max(c.seq) from evpower.changes c)))
     from (select pg_get_serial_sequence('evpower.changes', 'seq')::regclass as name) s;
end
$$;

-- public.evpower_changes({"after": {"xid": "<text>", "seq": n} | null, "limit": 1..1000}) ->
--   {"changes": [{"xid", "seq", "table", "op", "id", "at"}], "people": [everybody named there, as they are now],
--    "more": whether there is more now, "held": whether a transaction that still runs holds some back,
--    "reset": whether `after` is none of this log (it was restored or emptied)}
create or replace function public.evpower_changes(payload jsonb) returns jsonb
language plpgsql security definer set search_path = '' set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  size int;
  after_xid xid8 := '0';
  after_seq bigint := 0;
  changes jsonb;
  ids text[];
  more boolean;
  horizon xid8;
begin
  if jsonb_typeof(payload) = 'string' then -- some gateways pass a jsonb argument as text
    payload := (payload #>> '{}')::jsonb;
  end if;
  size := least(greatest(coalesce((payload ->> 'limit')::int, 500), 1), 1000);
  perform evpower.own_restored_changes();
  perform evpower.carry_left();
  horizon := pg_snapshot_xmin(pg_current_snapshot()); -- one for the page and for what it holds back
  if jsonb_typeof(payload -> 'after') = 'object' then
    after_xid := (payload #>> '{after,xid}')::xid8;
    after_seq := (payload #>> '{after,seq}')::bigint;
    -- The last row that was given is never pruned: where it is missing, this is not the log it came from.
    if after_seq <> 0 and not exists (select from evpower.changes c where c.seq = after_seq and c.xid = after_xid) then
      return '{"changes": [], "people": [], "more": false, "held": false, "reset": true}';
    end if;
  end if;
  with page as materialized (
    select c.xid, c.seq, c."table", c.op, c.row_id, c.at, row_number() over (order by c.xid, c.seq) as nr
      from evpower.changes c
     where (c.xid, c.seq) > (after_xid, after_seq) and c.xid < horizon
     order by c.xid, c.seq limit size + 1)
  select jsonb_agg(jsonb_build_object('xid', p.xid::text, 'seq', p.seq, 'table', p."table", 'op', p.op,
                                      'id', p.row_id, 'at', p.at) order by p.nr) filter (where p.nr <= size),
         array_agg(distinct p.row_id) filter (where p.nr <= size),
         count(*) > size
    into changes, ids, more from page p;
  return jsonb_build_object('changes', coalesce(changes, '[]'), 'people', evpower.people_of(ids),
                            'more', more, 'reset', false,
                            'held', exists (select from evpower.changes c where c.xid >= horizon));
end
$$;

-- public.evpower_changes_prune({"before": {"xid", "seq"}, "keep_days": 7}) -> {"pruned": n}, 20,000 at most.
-- `before` is the last row that was taken in; it stays, and so does everything if it is not there.
create or replace function public.evpower_changes_prune(payload jsonb) returns jsonb
language plpgsql security definer set search_path = '' set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  last_xid xid8;
  last_seq bigint;
  pruned bigint;
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  last_xid := (payload #>> '{before,xid}')::xid8;
  last_seq := (payload #>> '{before,seq}')::bigint;
  if not exists (select from evpower.changes c where c.seq = last_seq and c.xid = last_xid) then
    return '{"pruned": 0}';
  end if;
  delete from evpower.changes d where d.seq = any (array(
    select c.seq from evpower.changes c
     where (c.xid, c.seq) < (last_xid, last_seq)
       and c.at < now() - make_interval(days => coalesce((payload ->> 'keep_days')::int, 7))
     order by c.xid, c.seq limit 20000));
  get diagnostics pruned = row_count;
  perform evpower.forget_left();
  return jsonb_build_object('pruned', pruned);
end
$$;

revoke all on function public.evpower_people(jsonb), public.evpower_changes(jsonb), public.evpower_changes_prune(jsonb)
  from public, anon, authenticated;
grant execute on function public.evpower_people(jsonb), public.evpower_changes(jsonb),
  public.evpower_changes_prune(jsonb) to service_role;
revoke all on all functions in schema evpower from public, anon, authenticated;
notify pgrst, 'reload schema';

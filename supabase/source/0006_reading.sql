-- What EvPower pulls: public.evpower_people, evpower_changes, evpower_changes_prune.
--
-- Clients and users as they are now, in the order of the ids; an id may be no UUID, and unknown to both tables.
--   {"id", "client": null | {...}, "user": null | {...}}
-- Texts are cut: the driver sets their length, and one long text would hold up the changes of all others.
-- Everything is read by an index in its order: plans live long, and one made while a table was small would
-- read and sort all of it. Without "offset 0" one made while it was empty joins every row with every other.
do $migration$
declare
  id_type text := evpower.column_type('public.clients', 'id');
  is_uuid constant text := $$~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'$$;
  body text := $body$
create or replace function evpower.people_of(ids text[]) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
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
               'deleted', u.deleted_at is not null, 'banned_until',
               case when u.banned_until is not null then least(u.banned_until, '9999-12-31T00:00:00Z') end,
               'anonymous', (select is_anonymous from (select u.*) own),
               'email_unverified', u.raw_app_meta_data ->> 'evpower_email_unverified' is not distinct from 'true'
             ) as facts
        -- Older Auth servers have no is_anonymous: there the name means this one.
        from auth.users u cross join (select false as is_anonymous) absent
       where u.id = case when i.id <is_uuid> then i.id::uuid end offset 0) u on true;
  return coalesce(people, '[]');
end
$function$;

-- public.evpower_people({"ids": [...]}) or ({"after": id | null, "limit": n}) -> {"people": [...], "next": id | null}.
-- The full scan reads both tables: first the ids that are UUIDs, in their order, then the others.
create or replace function public.evpower_people(payload jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
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
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- What a statement sees is below the end of its snapshot, but for the own transaction's rows.
  if not exists (select from evpower.changes c
                  where c.xid >= pg_snapshot_xmax(pg_current_snapshot())
                    and c.xid is distinct from pg_current_xact_id_if_assigned())
     or not pg_try_advisory_xact_lock(hashtextextended('evpower.changes', 0)) then
    return;
  end if;
  update evpower.changes c set xid = pg_current_xact_id()
   where c.seq = any (array(
     select f.seq from evpower.changes f
      where f.xid >= pg_snapshot_xmax(pg_current_snapshot())
        and f.xid is distinct from pg_current_xact_id_if_assigned() for update skip locked));
  -- The numbers go on above them, even if the sequence was not restored.
  perform setval(s.name, greatest(nextval(s.name), (select max(c.seq) from evpower.changes c)))
     from (select pg_get_serial_sequence('evpower.changes', 'seq')::regclass as name) s;
end
$$;

-- The transactions of pg_net's worker. It keeps one open while it waits for the responses of all webhooks of this
-- project, and writes nothing but its own tables. None where this role may not see other sessions, or where a trigger
-- on those tables could make the worker change a client.
create or replace function evpower.pg_net_transactions() returns setof xid
language sql stable set search_path = pg_catalog, pg_temp as $$
  select a.backend_xid from pg_stat_activity a
   where a.backend_type ilike '%pg_net%' and a.backend_xid is not null
     and not exists (select from pg_trigger t join pg_class c on c.oid = t.tgrelid
                       join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'net' and not t.tgisinternal)
$$;

-- Below it every transaction that can write a change has ended: the oldest that runs, pg_net's worker left out.
create or replace function evpower.horizon() returns xid8
language sql volatile set search_path = pg_catalog, pg_temp as $$
  with here as materialized (select pg_current_snapshot() as snapshot)
  select coalesce(
    (select min(x.xid) from here, pg_snapshot_xip(here.snapshot) as x (xid)
      where not exists (select from evpower.pg_net_transactions() as w (xid) where w.xid = x.xid::xid)),
    (select pg_snapshot_xmax(here.snapshot) from here))
$$;

-- public.evpower_changes({"after": {"xid": "<text>", "seq": n} | null, "limit": 1..1000}) ->
--   {"changes": [{"xid", "seq", "table", "op", "id", "at"}], "people": [every id named there, as it is now],
--    "more": whether there is more now, "held": whether a transaction that still runs holds some back,
--    "reset": whether `after` is none of this log (it was restored or emptied)}
create or replace function public.evpower_changes(payload jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
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
  horizon := evpower.horizon(); -- one for the page and for what it holds back
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
-- `before` is the last row that was applied; it stays, and so does everything if it is not there.
create or replace function public.evpower_changes_prune(payload jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
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
     order by c.xid, c.seq limit 20000 for update skip locked));
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

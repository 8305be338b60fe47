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
  perform evpower.carry_pending_contacts();
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
  return jsonb_build_object('changes', coalesce(changes, '[]'), 'people', evpower.clients_and_users(ids),
                            'more', more, 'reset', false,
                            'held', exists (select from evpower.changes c where c.xid >= horizon));
end
$$;
revoke all on function public.evpower_changes(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_changes(jsonb) to service_role;
comment on function public.evpower_changes(jsonb) is
  'evpower {edition}: returns a page of the change log';
notify pgrst, 'reload schema';

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
  perform evpower.prune_without_owner();
  return jsonb_build_object('pruned', pruned);
end
$$;
revoke all on function public.evpower_changes_prune(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_changes_prune(jsonb) to service_role;
comment on function public.evpower_changes_prune(jsonb) is
  'evpower {edition}: deletes old rows of the change log';
notify pgrst, 'reload schema';

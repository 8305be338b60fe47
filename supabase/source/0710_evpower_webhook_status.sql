-- public.evpower_webhook_status({"after": {"xid", "seq"}}) -> what is configured, and
--   "changes": how many rows there are (behind `after`, where given; 100,000 at most), "oldest": of these,
--   "held_back": how many of these a transaction that is still running holds back.
create or replace function public.evpower_webhook_status(payload jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  waiting jsonb;
  horizon constant xid8 := evpower.horizon();
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  select jsonb_build_object('changes', count(*), 'oldest', min(c.at), 'held_back',
                            count(*) filter (where c.xid >= horizon))
    into waiting
    from (select c.xid, c.at from evpower.changes c
           where (c.xid, c.seq) > (coalesce(payload #>> '{after,xid}', '0')::xid8,
                                   coalesce((payload #>> '{after,seq}')::bigint, 0))
           order by c.xid, c.seq limit 100000) c;
  return evpower.webhook_facts() || waiting;
end
$$;
revoke all on function public.evpower_webhook_status(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_webhook_status(jsonb) to service_role;
comment on function public.evpower_webhook_status(jsonb) is
  'evpower {edition}: returns what is configured and how many changes wait';
notify pgrst, 'reload schema';

-- Whether a client asked for deletion here. EvPower may not know it yet.
create or replace function evpower.deletion_requested(client text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  is_requested boolean;
begin
  -- Planned at each call: the table may have been empty, or may get the column delete_requested_at. Without it the name
  -- means that of "absent".
  execute format($sql$
    select c.status::text in ('inactive', 'pending_deletion')
           or (select delete_requested_at from (select c.*) own) is not null
           or c.status::text = 'blocked' and exists (
                select from evpower.statuses_under_block s
                 where s.client_id = $1 and s.status in ('inactive', 'pending_deletion'))
      from public.clients c cross join (select null::timestamptz as delete_requested_at) absent
     where %s$sql$, evpower.client_is('$1')) into is_requested using client;
  return coalesce(is_requested, false);
end
$$;
revoke all on function evpower.deletion_requested(text) from public, anon, authenticated, service_role;
comment on function evpower.deletion_requested(text) is
  'evpower {edition}: returns whether a client asked for deletion';

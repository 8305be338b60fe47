-- public.evpower_webhook_result({"request_id": n}) -> {"response": null | {"status", "error", "content"}}: what pg_net
-- got for that call; null: nothing yet. `error` is its word for having got no response, `content` is cut.
create or replace function public.evpower_webhook_result(payload jsonb) returns jsonb
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  response jsonb;
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  if to_regclass('net._http_response') is not null then
    execute $query$
      select jsonb_build_object('status', r.status_code,
               'error', coalesce(r.error_msg, case when r.timed_out then 'no response in time' end),
               'content', left(r.content, 200))
        from net._http_response r where r.id = $1 order by r.created desc limit 1
    $query$ into response using (payload ->> 'request_id')::bigint;
  end if;
  return jsonb_build_object('response', response);
end
$$;
revoke all on function public.evpower_webhook_result(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_webhook_result(jsonb) to service_role;
comment on function public.evpower_webhook_result(jsonb) is
  'evpower {edition}: returns the response to a call of the webhook';
notify pgrst, 'reload schema';

-- public.evpower_webhook_test({}) -> {"request_id": n | null}: calls the webhook on purpose; null: none is configured.
create or replace function public.evpower_webhook_test(payload jsonb) returns jsonb
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  select jsonb_build_object('request_id', evpower.post_webhook(
           '{"type": "TEST", "table": "evpower_test", "schema": "public", "record": null, "old_record": null}'))
$$;
revoke all on function public.evpower_webhook_test(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_webhook_test(jsonb) to service_role;
comment on function public.evpower_webhook_test(jsonb) is
  'evpower {edition}: calls the webhook on purpose';
notify pgrst, 'reload schema';

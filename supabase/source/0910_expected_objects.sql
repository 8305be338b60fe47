-- All that EvPower installs, one row an object: the file of supabase/source that makes it, and who has which rights,
-- as letters of PostgreSQL's access lists (r select, a insert, w update, d delete, X execute).
-- public.evpower_installed and `evpower doctor` know what belongs here from this list alone.
create or replace function evpower.expected_objects()
returns table (file text, kind text, name text, grants text)
language sql stable set search_path = pg_catalog, pg_temp as $$
  values
    ('0110_schema', 'schema', 'evpower', ''),
    ('0115_edition', 'function', 'evpower.edition()', ''),
    ('0120_column_type', 'function', 'evpower.column_type(text,text)', ''),
    ('0130_record_of', 'function', 'evpower.record_of(text,text[])', ''),
    ('0140_client_is', 'function', 'evpower.client_is(text)', ''),
    ('0150_session_details', 'function', 'evpower.session_details()', ''),
    ('0151_session_limits', 'function', 'evpower.session_limits()', ''),
    ('0155_old_tables', 'function', 'evpower.old_tables()', ''),
    ('0156_tables_of_others', 'function', 'evpower.tables_of_others()', ''),
    ('0160_guard', 'table', 'evpower.guard', ''),
    ('0170_is_guarded', 'function', 'evpower.is_guarded()', 'anon=X authenticated=X service_role=X'),
    ('0200_clients', 'table', 'public.clients', 'authenticated=r service_role=arwd'),
    ('0200_clients', 'policy', 'evpower_own_insert on public.clients', ''),
    ('0200_clients', 'policy', 'evpower_own_select on public.clients', ''),
    ('0200_clients', 'policy', 'evpower_own_update on public.clients', ''),
    ('0210_transactions', 'table', 'public.transactions', 'authenticated=r service_role=arwd'),
    ('0210_transactions', 'index', 'public.transactions_client_newest', ''),
    ('0210_transactions', 'index', 'public.transactions_client_version_key', ''),
    ('0210_transactions', 'policy', 'evpower_own_select on public.transactions', ''),
    ('0220_charging_sessions', 'table', 'public.charging_sessions', 'authenticated=r service_role=arwd'),
    ('0220_charging_sessions', 'index', 'public.charging_sessions_client_newest', ''),
    ('0220_charging_sessions', 'index', 'public.charging_sessions_user_newest', ''),
    ('0220_charging_sessions', 'policy', 'evpower_own_select on public.charging_sessions', ''),
    ('0230_refuse_money', 'function', 'evpower.refuse_money()', ''),
    ('0230_refuse_money', 'trigger', 'evpower_money_is_not_inserted on public.clients', ''),
    ('0230_refuse_money', 'trigger', 'evpower_money_is_not_updated on public.clients', ''),
    ('0240_refuse_id', 'function', 'evpower.refuse_id()', ''),
    ('0240_refuse_id', 'trigger', 'evpower_id_stays on public.clients', ''),
    ('0250_refuse_others', 'function', 'evpower.refuse_others()', ''),
    ('0260_guard_tables', 'function', 'evpower.guard_tables()', ''),
    ('0270_protect_tables', 'function', 'evpower.protect_tables()', ''),
    ('0300_changes', 'table', 'evpower.changes', ''),
    ('0300_changes', 'index', 'evpower.changes_in_order', ''),
    ('0310_statuses_under_block', 'table', 'evpower.statuses_under_block', ''),
    ('0320_pending_contacts', 'table', 'evpower.pending_contacts', ''),
    ('0330_log_change', 'function', 'evpower.log_change(text,text,jsonb,jsonb,text[])', ''),
    ('0340_note_client', 'function', 'evpower.note_client()', ''),
    ('0340_note_client', 'trigger', 'evpower_note_client on public.clients', ''),
    ('0350_note_user', 'function', 'evpower.note_user()', ''),
    ('0350_note_user', 'trigger', 'evpower_note_user on auth.users', ''),
    ('0360_note_truncate', 'function', 'evpower.note_truncate()', ''),
    ('0360_note_truncate', 'trigger', 'evpower_note_truncate on auth.users', ''),
    ('0360_note_truncate', 'trigger', 'evpower_note_truncate on public.clients', ''),
    ('0370_preserve_block', 'function', 'evpower.preserve_block()', ''),
    ('0370_preserve_block', 'trigger', 'evpower_preserve_block on public.clients', ''),
    ('0380_save_status_under_block', 'function', 'evpower.save_status_under_block()', ''),
    ('0380_save_status_under_block', 'trigger', 'evpower_save_status_under_block on public.clients', ''),
    ('0400_write_profile_contact', 'function', 'evpower.write_profile_contact(uuid,text,text)', ''),
    ('0410_carry_contact', 'function', 'evpower.carry_contact()', ''),
    ('0410_carry_contact', 'trigger', 'evpower_carry_contact on auth.users', ''),
    ('0420_carry_pending_contacts', 'function', 'evpower.carry_pending_contacts()', ''),
    ('0430_prune_without_owner', 'function', 'evpower.prune_without_owner()', ''),
    ('0500_clients_and_users', 'function', 'evpower.clients_and_users(text[])', ''),
    ('0510_evpower_people', 'function', 'public.evpower_people(jsonb)', 'service_role=X'),
    ('0520_own_restored_changes', 'function', 'evpower.own_restored_changes()', ''),
    ('0530_pg_net_transactions', 'function', 'evpower.pg_net_transactions()', ''),
    ('0540_horizon', 'function', 'evpower.horizon()', ''),
    ('0550_evpower_changes', 'function', 'public.evpower_changes(jsonb)', 'service_role=X'),
    ('0560_evpower_changes_prune', 'function', 'public.evpower_changes_prune(jsonb)', 'service_role=X'),
    ('0600_webhook', 'table', 'evpower.webhook', ''),
    ('0610_secrets', 'table', 'evpower.secrets', ''),
    ('0620_hmac_sha256', 'function', 'evpower.hmac_sha256(bytea,bytea)', ''),
    ('0630_sign', 'function', 'evpower.sign(text,text,bigint,text)', ''),
    ('0640_http_post', 'function', 'evpower.http_post()', ''),
    ('0650_webhook_secret', 'function', 'evpower.webhook_secret()', ''),
    ('0660_post_webhook', 'function', 'evpower.post_webhook(jsonb)', ''),
    ('0670_notify_webhook', 'function', 'evpower.notify_webhook()', ''),
    ('0670_notify_webhook', 'trigger', 'evpower_notify on evpower.changes', ''),
    ('0680_webhook_facts', 'function', 'evpower.webhook_facts()', ''),
    ('0690_store_secret', 'function', 'evpower.store_secret(text)', ''),
    ('0700_evpower_webhook_configure', 'function', 'public.evpower_webhook_configure(jsonb)', 'service_role=X'),
    ('0710_evpower_webhook_status', 'function', 'public.evpower_webhook_status(jsonb)', 'service_role=X'),
    ('0720_evpower_webhook_test', 'function', 'public.evpower_webhook_test(jsonb)', 'service_role=X'),
    ('0730_evpower_webhook_result', 'function', 'public.evpower_webhook_result(jsonb)', 'service_role=X'),
    ('0800_contact_of_closed', 'function', 'evpower.contact_of_closed(text,text)', ''),
    ('0801_deletion_requested', 'function', 'evpower.deletion_requested(text)', ''),
    ('0805_applied_rows', 'table', 'evpower.applied_rows', ''),
    ('0808_fits', 'function', 'evpower.fits(text,jsonb)', ''),
    ('0809_row_id', 'function', 'evpower.row_id(jsonb)', ''),
    ('0810_apply_set', 'function', 'evpower.apply_set(jsonb)', ''),
    ('0812_write_row', 'function', 'evpower.write_row(jsonb,boolean)', ''),
    ('0814_apply_rows', 'function', 'evpower.apply_rows(jsonb)', ''),
    ('0820_apply_each', 'function', 'evpower.apply_each(jsonb)', ''),
    ('0830_evpower_apply', 'function', 'public.evpower_apply(jsonb)', 'service_role=X'),
    ('0840_evpower_digest', 'function', 'public.evpower_digest(jsonb)', 'service_role=X'),
    ('0846_evpower_compare_rows', 'function', 'public.evpower_compare_rows(jsonb)', 'service_role=X'),
    ('0850_evpower_openings', 'function', 'public.evpower_openings(jsonb)', 'service_role=X'),
    ('0860_evpower_status_words', 'function', 'public.evpower_status_words(jsonb)', 'service_role=X'),
    ('0870_archive', 'table', 'evpower.archive', ''),
    ('0880_evpower_archive', 'function', 'public.evpower_archive(jsonb)', 'service_role=X'),
    ('0890_evpower_guard', 'function', 'public.evpower_guard(jsonb)', 'service_role=X'),
    ('0900_function_bodies', 'table', 'evpower.function_bodies', ''),
    ('0910_expected_objects', 'function', 'evpower.expected_objects()', ''),
    ('0915_definitions', 'function', 'evpower.definitions()', ''),
    ('0916_store_definitions', 'function', 'evpower.store_definitions()', ''),
    ('0920_object_faults', 'function', 'evpower.object_faults()', ''),
    ('0930_evpower_installed', 'function', 'public.evpower_installed(jsonb)', 'service_role=X')
  union all
  select '0510_evpower_people', 'index', 'public.evpower_other_ids', ''
   where evpower.column_type('public.clients', 'id') <> 'uuid'
  union all
  select '0260_guard_tables', 'trigger', 'evpower_others_are_refused on public.' || t.name, ''
    from unnest(evpower.old_tables()) t (name)
  union all
  select '0260_guard_tables', 'trigger', 'evpower_others_only_unlink on public.' || t.name, ''
    from unnest(evpower.old_tables()) t (name)
   where t.name in ('balance_topups', 'payment_transactions_odengi')
  union all
  select '0270_protect_tables', 'policy', p.name || ' on public.' || t.name, ''
    from unnest(evpower.old_tables()) t (name)
   cross join unnest(array['evpower_own_select', 'evpower_none_of_anon']) p (name)
   where t.name in ('client_tariffs', 'balance_topups', 'payment_transactions_odengi') and evpower.is_guarded()
         and evpower.column_type('public.' || t.name, 'client_id') is not null
  union all
  select '0200_clients', 'column', 'public.clients.' || c.name, c.grants
    from (values ('id', 'authenticated=aw'), ('email', 'authenticated=aw'), ('phone', 'authenticated=aw'),
                 ('name', 'authenticated=aw'), ('balance', 'authenticated=a'), ('held', ''), ('currency', ''),
                 ('status', ''), ('created_at', ''), ('updated_at', 'authenticated=w'), ('balance_version', ''),
                 ('wallet_revision', ''), ('evpower_revision', '')) as c (name, grants)
  union all
  select '0210_transactions', 'column', 'public.transactions.' || c.name, ''
    from unnest(array['id', 'client_id', 'version', 'type', 'amount', 'balance_before', 'balance_after',
                      'invoice_id', 'session_id', 'event_at', 'created_at']) as c (name)
  union all
  select '0220_charging_sessions', 'column', 'public.charging_sessions.' || c.name, ''
    from unnest(array['id', 'user_id', 'client_id', 'station_id', 'connector_id', 'start_time', 'stop_time',
                      'end_time', 'energy', 'energy_consumed', 'amount', 'total_cost', 'status', 'created_at',
                      'updated_at', 'revision'] || evpower.session_details()) as c (name)
$$;
revoke all on function evpower.expected_objects() from public, anon, authenticated, service_role;
comment on function evpower.expected_objects() is
  'evpower {edition}: returns all that EvPower installs';

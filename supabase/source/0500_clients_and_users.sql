-- Clients and users as they are now, in the order of the ids; an id may be no UUID, and unknown to both tables.
--   {"id", "client": null | {...}, "user": null | {...}}
-- Texts are cut: the driver sets their length, and one long text would hold up the changes of all others.
-- Everything is read by an index in its order: plans live long, and one made while a table was small would
-- read and sort all of it. Without "offset 0" one made while it was empty joins every row with every other.
drop function if exists evpower.people_of(text[]); -- its name before 0.1.0
do $migration$
declare
  id_type text := evpower.column_type('public.clients', 'id');
  is_uuid constant text := $$~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'$$;
  client_is_i constant text := case
    when id_type = 'uuid' then 'c.id = case when i.id <is_uuid> then i.id::uuid end'
    when id_type in ('text', 'character varying') then 'c.id = i.id'
    else 'c.id::text = i.id' end;
  body text := $body$
create or replace function evpower.clients_and_users(ids text[]) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off as $function$
declare
  entries jsonb;
begin
  select jsonb_agg(jsonb_build_object('id', i.id, 'client', c.facts, 'user', u.facts) order by i.nr)
    into entries
    from unnest(ids) with ordinality as i (id, nr)
    left join lateral (
      select jsonb_build_object(
               'email', left(c.email::text, 1000), 'phone', left(c.phone::text, 1000),
               'name', left(c.name::text, 1000), 'status', c.status,
               'delete_requested_at', (select delete_requested_at from (select c.*) own),
               'status_under_block', (select s.status from evpower.statuses_under_block s where s.client_id = i.id),
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
  return coalesce(entries, '[]');
end
$function$
$body$;
begin
  body := replace(body, '<client_is_i>', client_is_i);
  body := replace(body, '<is_uuid>', is_uuid);
  execute body;
end
$migration$;
revoke all on function evpower.clients_and_users(text[]) from public, anon, authenticated, service_role;
comment on function evpower.clients_and_users(text[]) is
  'evpower {edition}: returns clients and users by their ids';

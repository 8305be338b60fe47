-- public.evpower_people({"ids": [...]}) or ({"after": id | null, "limit": n}) -> {"people": [...], "next": id | null}.
-- Each entry is a client, a user, or both. A full scan reads both tables: first the ids that are UUIDs, in their
-- order, then the others.
do $migration$
declare
  id_type text := evpower.column_type('public.clients', 'id');
  is_uuid constant text := $$~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'$$;
  body text := $body$
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
    return jsonb_build_object('people', evpower.clients_and_users(ids), 'next', null);
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
  return jsonb_build_object('people', evpower.clients_and_users(ids[:size]),
                            'next', case when cardinality(ids) > size then ids[size] end);
end
$function$
$body$;
begin
  if id_type = 'uuid' then
    body := replace(body, '<uuid_of_c>', 'c.id');
    body := replace(body, '<client_after_uuid>',
      'c.id > coalesce(after, ''00000000-0000-0000-0000-000000000000'')::uuid');
    body := replace(body, '<text_of_c>', 'c.id::text');
  else
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
    comment on index public.evpower_other_ids is 'evpower {edition}: clients whose ids are no UUIDs';
  end if;
end
$migration$;
revoke all on function public.evpower_people(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_people(jsonb) to service_role;
comment on function public.evpower_people(jsonb) is
  'evpower {edition}: returns clients and users, by ids or page by page';
notify pgrst, 'reload schema';

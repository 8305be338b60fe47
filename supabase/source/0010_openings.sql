-- Balances from before EvPower, and rows archived before EvPower's data is written over them.

-- Balances EvPower never wrote: public.evpower_openings(payload).
--
-- payload: {"after": the last id or null, "limit"}.
-- returns: {"rows": [{id, balance, email, phone, name, status}], "next": the last id or null,
--   "total": all there are, with the first page}. Balances are exact, in som.
do $migration$
declare
  body text := $body$
create or replace function public.evpower_openings(payload jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $function$
declare
  size int;
  after <client>;
  rows jsonb;
  last text;
  total bigint;
begin
  if jsonb_typeof(payload) = 'string' then -- some gateways pass a jsonb argument as text
    payload := (payload #>> '{}')::jsonb;
  end if;
  size := least(greatest(coalesce((payload ->> 'limit')::int, 500), 1), 5000);
  after := (payload ->> 'after')::<client>;
  if after is null then
    select count(*) into total from public.clients c
     where c.evpower_revision = 0 and round(c.balance::numeric, 2) <> 0;
  end if;
  select jsonb_agg(jsonb_build_object('id', p.id, 'balance', p.balance::numeric::text, 'email', p.email,
                                      'phone', p.phone, 'name', p.name, 'status', p.status) order by p.id),
         (array_agg(p.id::text order by p.id))[size]
    into rows, last
    from (select c.id, c.balance, c.email, c.phone, c.name, c.status
            from public.clients c
           where c.evpower_revision = 0 and round(c.balance::numeric, 2) <> 0 and (after is null or c.id > after)
           order by c.id limit size) p;
  return jsonb_build_object('rows', coalesce(rows, '[]'), 'next', last, 'total', total);
end
$function$
$body$;
begin
  execute replace(body, '<client>', evpower.column_type('public.clients', 'id'));
end
$migration$;
revoke all on function public.evpower_openings(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_openings(jsonb) to service_role;

-- Status words of rows that EvPower never wrote, and that it does not know by itself: public.evpower_status_words({})
--   -> {"words": [[word, how many rows], ...]}, 100 at most.
create or replace function public.evpower_status_words(payload jsonb) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select jsonb_build_object(
           'words', coalesce(jsonb_agg(jsonb_build_array(w.word, w.rows) order by w.rows desc, w.word), '[]'))
    from (select left(c.status::text, 200) as word, count(*) as rows from public.clients c
           where c.evpower_revision = 0 and btrim(c.status::text) <> ''
             and c.status::text not in ('active', 'blocked', 'inactive', 'pending_deletion')
           group by 1 order by 2 desc, 1 limit 100) w
$$;
revoke all on function public.evpower_status_words(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_status_words(jsonb) to service_role;

-- Rows as they were before an operator decided that EvPower is right although Supabase was ahead.
create table if not exists evpower.set_aside (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  relation text not null check (relation in ('clients', 'transactions', 'charging_sessions')),
  client_id text,
  was jsonb not null
);
revoke all on evpower.set_aside from public, anon, authenticated;

-- Archives rows: public.evpower_set_aside(payload).
--
-- payload: {"clients": [[id, version], ...], "sessions": [id, ...]}. Of a client, its row is copied and its
--   transactions with a version above `version` are moved; a session's row is copied.
-- returns: {"transactions": how many were moved}
do $migration$
declare
  body text := $body$
create or replace function public.evpower_set_aside(payload jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '500ms' as $function$
declare
  moved bigint;
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  payload := '{"clients": [], "sessions": []}' || payload;
  insert into evpower.set_aside (relation, client_id, was)
  select 'clients', c.id::text, to_jsonb(c)
    from jsonb_array_elements(payload -> 'clients') a join public.clients c on c.id = (a.value ->> 0)::<client>;
  insert into evpower.set_aside (relation, client_id, was)
  select 'charging_sessions', s.client_id::text, to_jsonb(s)
    from jsonb_array_elements_text(payload -> 'sessions') a
    join public.charging_sessions s on s.id = a.value::<session>;
  with gone as (
    delete from public.transactions t using jsonb_array_elements(payload -> 'clients') a
     where t.client_id = (a.value ->> 0)::<client> and t.version > (a.value ->> 1)::bigint
    returning t.*
  ), kept as (
    insert into evpower.set_aside (relation, client_id, was)
    select 'transactions', g.client_id::text, to_jsonb(g) from gone g returning 1
  ) select count(*) into moved from kept;
  return jsonb_build_object('transactions', moved);
end
$function$
$body$;
begin
  body := replace(body, '<client>', evpower.column_type('public.clients', 'id'));
  body := replace(body, '<session>', evpower.column_type('public.charging_sessions', 'id'));
  execute body;
end
$migration$;
revoke all on function public.evpower_set_aside(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_set_aside(jsonb) to service_role;
notify pgrst, 'reload schema';

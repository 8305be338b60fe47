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
comment on function public.evpower_openings(jsonb) is
  'evpower {edition}: returns balances that EvPower never wrote';
notify pgrst, 'reload schema';

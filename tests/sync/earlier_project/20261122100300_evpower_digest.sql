-- What is here, in short, so that EvPower can compare: public.evpower_digest(payload).
--
-- payload: {"topic": "clients" | "sessions", "ids": [...]} for these, or {"topic", "after", "limit"} for a page
--   in the order of the ids (after: null at first).
-- answer: {"rows": [...], "next": the last id or null}. Money in som.
--   clients: id, balance, held, version, written (by EvPower, ever), status, count and sum and last of the transactions that have a
--   version, moment (a weighted sum that sees swapped rows), foreign (transactions EvPower never wrote).
--   sessions: id, client_id, revision (null: not EvPower's), status, energy, cost, both vocabularies equal or not.
do $migration$
declare
  body text := $body$
create or replace function public.evpower_digest(payload jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $function$
declare
  client_ids <client>[];
  session_ids <session>[];
  size int;
  rows jsonb;
  last text;
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  size := least(greatest(coalesce((payload ->> 'limit')::int, 1000), 1), 5000);
  if payload ->> 'topic' = 'clients' then
    if jsonb_typeof(payload -> 'ids') = 'array' then
      select array_agg(i::<client>) into client_ids from jsonb_array_elements_text(payload -> 'ids') i;
    else
      select array_agg(p.id), (array_agg(p.id::text))[size] into client_ids, last from (
        select c.id from public.clients c
         where payload ->> 'after' is null or c.id > (payload ->> 'after')::<client>
         order by c.id limit size) p;
    end if;
    select jsonb_agg(jsonb_build_object(
             'id', c.id, 'balance', c.balance::numeric::text, 'held', c.held::text, 'version', c.balance_version,
             'written', c.evpower_revision > 0, 'status', c.status, 'count', t.count, 'sum', t.sum, 'last', t.last, 'moment', t.moment,
             'foreign', t.strange))
      into rows
      from public.clients c
      left join lateral (
        select count(x.version) as count, count(*) - count(x.version) as strange,
               coalesce(sum(x.amount::numeric) filter (where x.version is not null), 0)::text as sum,
               coalesce(max(x.version), 0) as last,
               trim_scale(coalesce(sum(x.version * (x.amount::numeric * 31 + x.balance_after::numeric * 7
                 + case x.type::text when 'topup' then 1 when 'charge' then 2 when 'refund' then 3 else 5 end)),
                 0))::text as moment
          from public.transactions x where x.client_id = c.id) t on true
     where c.id = any (client_ids);
  elsif payload ->> 'topic' = 'sessions' then
    if jsonb_typeof(payload -> 'ids') = 'array' then
      select array_agg(i::<session>) into session_ids from jsonb_array_elements_text(payload -> 'ids') i;
    else
      select array_agg(p.id), (array_agg(p.id::text))[size] into session_ids, last from (
        select s.id from public.charging_sessions s
         where payload ->> 'after' is null or s.id > (payload ->> 'after')::<session>
         order by s.id limit size) p;
    end if;
    select jsonb_agg(jsonb_build_object(
             'id', s.id, 'client_id', s.user_id, 'revision', s.revision, 'status', s.status,
             'energy', s.energy::numeric::text, 'cost', s.amount::numeric::text,
             'same', s.client_id::text = s.user_id::text and s.energy_consumed::numeric = s.energy::numeric
                     and s.total_cost::numeric = s.amount::numeric
                     and s.end_time is not distinct from s.stop_time))
      into rows
      from public.charging_sessions s where s.id = any (session_ids);
  else
    raise exception 'topic must be clients or sessions' using errcode = 'invalid_parameter_value';
  end if;
  return jsonb_build_object('rows', coalesce(rows, '[]'), 'next', last);
end
$function$
$body$;
begin
  body := replace(body, '<client>', evpower.column_type('public.clients', 'id'));
  body := replace(body, '<session>', evpower.column_type('public.charging_sessions', 'id'));
  execute body;
end
$migration$;
revoke all on function public.evpower_digest(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_digest(jsonb) to service_role;
notify pgrst, 'reload schema';

-- What is here, in short, so that EvPower can compare: public.evpower_digest(payload).
--
-- payload and what is returned, by topic ("clients", "sessions", "people", "users", "transactions"):
--   {"topic": "clients" | "sessions", "ids": [...]} or {"topic", "after", "limit"}: {"rows": [...], "next"}
--     clients: id, balance, held, version, written (by EvPower, ever), status, count, sum, last of the
--     transactions that have a version, moment (a weighted sum that sees swapped rows), foreign (transactions
--     EvPower never wrote), history (a hash of every transaction with its id). Money in som.
--     sessions: id, client_id, revision (null: not EvPower's), status, energy, cost, details (the optional facts that are
--     known), same (both vocabularies), facts (station_id, connector_id, and in microseconds start_time, stop_time and
--     created_at, where these are timestamps). "limited": one boolean for each id: whether EvPower knows what limits the
--     session; the details then have it, where this project has the columns, which "limits" tells. "unlinkable": for
--     each id the client that an emptied one counts as; null where the client must be here. "units" tells to how many
--     microseconds this project's columns round start_time, stop_time and created_at.
--   {"topic": "clients" | "sessions" | "people", "ids", "chunk": n}: {"hashes": [one for each n ids], "by"}
--     "whole": true in the payload of clients: the currency and each transaction's invoice_id, session_id, event_at and
--     created_at count, too; "whole" then tells to how many microseconds this project's columns round both times (null:
--     no timestamp, not compared). Not where transactions are recognised by nothing: links of another one may be the
--     only record of it.
--     The order is that of `ids`, so no collation has a say. "by" tells by what a transaction is recognised:
--     its id; its time where the project numbers its own; none. "deletion_requested" lists clients whose status is
--     not compared. people: the profile as the apps see it, brought to one form, whether it has a user, which of its
--     contacts that user has verified, and until when the user is banned.
--   {"topic": "clients" | "sessions" | "users", "after", "limit", "short": true}: {"ids", "foreign", "next"}
--     sessions: only those EvPower wrote; foreign counts the others, of clients the transactions.
--   {"topic": "transactions", "clients": [[id, after version], ...], "limit"}:
--     {"rows": [[id, version, what it is recognised by], ...], "more"}, in the order asked.
do $migration$
declare
  transaction_id text := evpower.column_type('public.transactions', 'id');
  seen_by text;
  units jsonb;
  transaction_units jsonb;
  coarsest text; -- of two columns for one time the type of which both are compared
  body text := $body$
create or replace function public.evpower_digest(payload jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $function$
declare
  client_ids <client>[];
  session_ids <session>[];
  requested <client>[];
  topic text;
  size int;
  chunk int;
  short boolean;
  limits boolean;
  whole boolean;
  rows jsonb;
  last text;
  strange bigint;
begin
  if jsonb_typeof(payload) = 'string' then
    payload := (payload #>> '{}')::jsonb;
  end if;
  topic := payload ->> 'topic';
  size := least(greatest(coalesce((payload ->> 'limit')::int, 1000), 1), 5000);
  chunk := case when payload ->> 'chunk' is not null then least(greatest((payload ->> 'chunk')::int, 1), 5000) end;
  short := coalesce((payload ->> 'short')::boolean, false);
  whole := coalesce((payload ->> 'whole')::boolean, false) and '<by>' <> 'none';

  limits := topic = 'sessions' and evpower.session_limits();
  if topic = 'clients' and chunk is not null then
    select coalesce(array_agg(i::<client>), '{}') into requested
      from jsonb_array_elements_text(coalesce(payload -> 'deletion_requested', '[]')) i;
    select jsonb_agg(h.hash order by h.part) into rows from (
      select k.part, encode(sha256(convert_to(string_agg(array_to_string(array[
               c.id::text, trim_scale(c.balance::numeric * 100)::text, trim_scale(c.held * 100)::text,
               c.balance_version::text,
               case when c.id = any (requested) and c.status::text in ('active', 'inactive', 'pending_deletion')
                    then '-' else c.status::text end,
               t.history] || case when whole then array[c.currency::text] else '{}' end,
               '|', '~'), e'\n' order by k.nr), 'UTF8')), 'hex') as hash
        from (select i.value::<client> as id, i.nr, (i.nr - 1) / chunk as part
                from jsonb_array_elements_text(payload -> 'ids') with ordinality i (value, nr)) k
        left join public.clients c on c.id = k.id
        left join lateral (
          select <history> as history
            from public.transactions x where x.client_id = c.id and x.version is not null) t on true
       group by k.part) h;
    return jsonb_build_object('hashes', coalesce(rows, '[]'), 'by', '<by>',
                              'whole', case when whole then '<transaction units>'::jsonb end);

  elsif topic = 'sessions' and chunk is not null then
    select jsonb_agg(h.hash order by h.part) into rows from (
      select k.part, encode(sha256(convert_to(string_agg(array_to_string(array[
               s.id::text, coalesce(s.user_id::text, k.client), s.revision::text, s.status::text,
               trim_scale(s.energy::numeric * 1000)::text, trim_scale(s.amount::numeric * 100)::text,
               s.station_id::text, s.connector_id::text, <instants>,
               (<details>)::text, (<same>)::text], '|', '~'), e'\n' order by k.nr), 'UTF8')), 'hex') as hash
        from (select i.value::<session> as id, i.limited::boolean and limits as limited, i.client, i.nr,
                     (i.nr - 1) / chunk as part
                from rows from (jsonb_array_elements_text(payload -> 'ids'),
                                jsonb_array_elements_text(payload -> 'limited'),
                                jsonb_array_elements_text(payload -> 'unlinkable'))
                     with ordinality i (value, limited, client, nr)
               where i.value is not null) k
        left join public.charging_sessions s on s.id = k.id
       group by k.part) h;
    return jsonb_build_object('hashes', coalesce(rows, '[]'), 'by', '<by>', 'limits', limits, 'units', '<units>'::jsonb);

  elsif topic = 'people' then
    select jsonb_agg(h.hash order by h.part) into rows from (
      select k.part, encode(sha256(convert_to(string_agg(array_to_string(array[
               k.id,
               nullif(lower(btrim(left(case when c.id is null then u.email::text else c.email::text end, 1000))), ''),
               nullif(regexp_replace(left(case when c.id is null
                   then coalesce(nullif(u.phone::text, ''), u.raw_user_meta_data ->> 'phone')
                   else c.phone::text end, 1000), '\D', '', 'g'), ''),
               nullif(btrim(regexp_replace(left(case when c.id is null
                   then coalesce(nullif(u.raw_user_meta_data ->> 'name', ''), u.raw_user_meta_data ->> 'full_name')
                   else c.name::text end, 1000), '\s+', ' ', 'g')), ''),
               case when u.id is null or u.deleted_at is not null then '-' else 'u' end
                 || case when <on the way out> then 'l' else '-' end
                 || case when c.status::text = 'blocked' and c.evpower_revision = 0 then 'b' else '-' end
                 || case when lower(c.email::text) <> lower(u.email::text) then 'e' else '-' end
                 || case when u.email_confirmed_at is not null and u.deleted_at is null
                          and u.raw_app_meta_data ->> 'evpower_email_unverified' is distinct from 'true'
                          and (c.id is null or lower(btrim(c.email::text)) = lower(u.email::text)) then 'v' else '-' end
                 || case when u.phone_confirmed_at is not null and u.deleted_at is null and u.phone::text <> ''
                          and (c.id is null or regexp_replace(left(c.phone::text, 1000), '\D', '', 'g') = u.phone::text)
                         then 'v' else '-' end
                 || coalesce(floor(extract(epoch from case when u.banned_until is not null then
                        least(u.banned_until, '9999-12-31T00:00:00Z') end))::bigint::text, '-')
             ], '|', '~'), e'\n' order by k.nr), 'UTF8')), 'hex') as hash
        from (select i.value as id, i.nr, (i.nr - 1) / coalesce(chunk, 5000) as part
                from jsonb_array_elements_text(payload -> 'ids') with ordinality i (value, nr)) k
        left join public.clients c on c.id = k.id::<client>
        left join auth.users u on u.id = k.id::uuid
       group by k.part) h;
    return jsonb_build_object('hashes', coalesce(rows, '[]'), 'by', '<by>');

  elsif topic = 'users' then
    select jsonb_agg(p.id) filter (where not p.deleted), (array_agg(p.id::text))[size] into rows, last from (
      select u.id, u.deleted_at is not null as deleted from auth.users u
       where u.id > coalesce((payload ->> 'after')::uuid, '00000000-0000-0000-0000-000000000000'::uuid)
       order by u.id limit size) p;
    return jsonb_build_object('ids', coalesce(rows, '[]'), 'foreign', 0, 'next', last);

  elsif topic = 'transactions' then
    select jsonb_agg(jsonb_build_array(p.client, p.version, p.print) order by p.nr, p.version) into rows from (
      select k.nr, k.client, x.version, <print> as print
        from (select i.value ->> 0 as client, (i.value ->> 0)::<client> as id, (i.value ->> 1)::bigint as after, i.nr
                from jsonb_array_elements(payload -> 'clients') with ordinality i (value, nr)) k
       cross join lateral (
         select * from public.transactions a where a.client_id = k.id and a.version > k.after
          order by a.version limit size + 1) x
       order by k.nr, x.version limit size + 1) p;
    rows := coalesce(rows, '[]');
    return jsonb_build_object('rows', case when jsonb_array_length(rows) > size then rows - size else rows end,
                              'more', jsonb_array_length(rows) > size);
  end if;

  if topic = 'clients' then
    if jsonb_typeof(payload -> 'ids') = 'array' then
      select array_agg(i::<client>) into client_ids from jsonb_array_elements_text(payload -> 'ids') i;
    else
      select array_agg(p.id), (array_agg(p.id::text))[size] into client_ids, last from (
        select c.id from public.clients c
         where c.id > coalesce((payload ->> 'after')::<client>, '<least client>'::<client>)
         order by c.id limit size) p;
    end if;
    if short then
      select count(*) into strange from public.transactions x
       where x.client_id = any (client_ids) and x.version is null;
      return jsonb_build_object('ids', coalesce(to_jsonb(client_ids), '[]'), 'foreign', strange, 'next', last);
    end if;
    select jsonb_agg(jsonb_build_object(
             'id', c.id, 'balance', c.balance::numeric::text, 'held', c.held::text, 'version', c.balance_version,
             'currency', c.currency, 'written', c.evpower_revision > 0, 'status', c.status, 'count', t.count,
             'sum', t.sum, 'last', t.last,
             'moment', t.moment, 'foreign', t.strange, 'history', t.history))
      into rows
      from public.clients c
      left join lateral (
        select count(x.version) as count, count(*) - count(x.version) as strange,
               coalesce(sum(x.amount::numeric) filter (where x.version is not null), 0)::text as sum,
               coalesce(max(x.version), 0) as last,
               trim_scale(coalesce(sum(x.version * (x.amount::numeric * 31 + x.balance_after::numeric * 7
                 + case x.type::text when 'topup' then 1 when 'charge' then 2 when 'refund' then 3 else 5 end)),
                 0))::text as moment,
               encode(sha256(convert_to(<history> filter (where x.version is not null), 'UTF8')), 'hex') as history
          from public.transactions x where x.client_id = c.id) t on true
     where c.id = any (client_ids);
  elsif topic = 'sessions' then
    if jsonb_typeof(payload -> 'ids') = 'array' then
      select array_agg(i::<session>) into session_ids from jsonb_array_elements_text(payload -> 'ids') i;
    else
      select array_agg(p.id), (array_agg(p.id::text))[size] into session_ids, last from (
        select s.id from public.charging_sessions s
         where s.id > coalesce((payload ->> 'after')::<session>, '<least session>'::<session>)
         order by s.id limit size) p;
    end if;
    if short then
      select jsonb_agg(s.id) filter (where s.revision is not null), count(*) - count(s.revision)
        into rows, strange
        from public.charging_sessions s where s.id = any (session_ids);
      return jsonb_build_object('ids', coalesce(rows, '[]'), 'foreign', strange, 'next', last);
    end if;
    select jsonb_agg(jsonb_build_object(
             'id', s.id, 'client_id', coalesce(s.user_id::text, k.client), 'revision', s.revision, 'status', s.status,
             'energy', s.energy::numeric::text, 'cost', s.amount::numeric::text, 'details', <details>,
             'same', <same>, 'facts', <facts>))
      into rows
      from (select i.id, i.limited::boolean and limits as limited, i.client
              from rows from (unnest(session_ids),
                              jsonb_array_elements_text(payload -> 'limited'),
                              jsonb_array_elements_text(payload -> 'unlinkable')) as i (id, limited, client)
             where i.id is not null) k
      join public.charging_sessions s on s.id = k.id;
  else
    raise exception 'there is no topic %', topic using errcode = 'invalid_parameter_value';
  end if;
  return jsonb_build_object('rows', coalesce(rows, '[]'), 'next', last, 'by', '<by>', 'limits', limits,
                            'units', '<units>'::jsonb,
                            'whole', case when whole then '<transaction units>'::jsonb end);
end
$function$
$body$;
begin
  if transaction_id in ('uuid', 'text', 'character varying') then
    seen_by := 'id';
  elsif exists (select from pg_catalog.pg_attribute a
                 where a.attrelid = 'public.transactions'::regclass and a.attname = 'created_at'
                   and a.atttypid in ('timestamp'::regtype, 'timestamptz'::regtype) and a.atttypmod in (-1, 6)) then
    seen_by := 'time';
  else
    seen_by := 'none';
  end if;
  body := replace(body, '<history>', $sql$string_agg(concat_ws(':', x.version, x.type,
            trim_scale(x.amount::numeric * 100), trim_scale(x.balance_before::numeric * 100),
            trim_scale(x.balance_after::numeric * 100), <print>, case when whole then concat_ws(':',
              coalesce(x.invoice_id::text, '~'), coalesce(x.session_id::text, '~'), <transaction times>) end),
            ',' order by x.version)$sql$);
  select replace(body, '<transaction times>', string_agg(case when i.unit is null then $sql$'-'$sql$ else format(
           $sql$case when isfinite(x.%1$I) then (extract(epoch from x.%1$I) * 1000000)::bigint::text else '~' end$sql$,
           i.name) end, ', ' order by i.nr)),
         jsonb_agg(i.unit order by i.nr)
    into body, transaction_units
    from (select c.name, c.nr, case when a.atttypmod >= 0 then (10 ^ (6 - a.atttypmod))::int
                                    when a.atttypmod = -1 then 1 end as unit
            from unnest(array['event_at', 'created_at']) with ordinality c (name, nr)
            left join pg_catalog.pg_attribute a
              on a.attrelid = 'public.transactions'::regclass and a.attname = c.name
                 and a.atttypid in ('timestamp'::regtype, 'timestamptz'::regtype)) i;
  body := replace(body, '<transaction units>', transaction_units::text);
  body := replace(body, '<print>', case seen_by
    when 'id' then 'x.id::text'
    when 'time' then '(extract(epoch from x.created_at) * 1000000)::bigint::text'
    else '''''' end);
  body := replace(body, '<details>', format('jsonb_strip_nulls(jsonb_build_object(%s))', coalesce((
    select string_agg(format('%1$L, s.%1$I::text', d.name), ', ' order by d.nr)
      from unnest(evpower.session_details()) with ordinality d (name, nr)), ''))
    || $sql$ || case when k.limited then jsonb_build_object('limit_type', coalesce(to_jsonb(s) ->> 'limit_type', ''),
         'limit_value', trim_scale(round(coalesce(to_jsonb(s) ->> 'limit_value', '0')::numeric, 2))::text)
       else '{}' end$sql$);
  -- A column that is no timestamp is not compared: its hash always differs, which only says where to look.
  select replace(replace(body, '<instants>', string_agg(coalesce(i.value || '::text', 'null'), ', ' order by c.nr)),
                 '<facts>', $sql$jsonb_build_object('station_id', s.station_id::text,
             'connector_id', s.connector_id::text$sql$
             || coalesce(string_agg(format(', %L, %s', c.name, i.value), '' order by c.nr)
                         filter (where i.value is not null), '') || ')')
    into body
    from unnest(array['start_time', 'stop_time', 'created_at']) with ordinality c (name, nr)
   cross join lateral (
     select case when evpower.column_type('public.charging_sessions', c.name) like 'timestamp%'
                 then format('case when isfinite(s.%1$I) then (extract(epoch from s.%1$I) * 1000000)::bigint end', c.name)
            end) i (value);
  select jsonb_agg(case when a.atttypmod >= 0 then (10 ^ (6 - a.atttypmod))::int else 1 end order by c.nr) into units
    from unnest(array['start_time', 'stop_time', 'created_at']) with ordinality c (name, nr)
    left join pg_catalog.pg_attribute a
      on a.attrelid = 'public.charging_sessions'::regclass and a.attname = c.name
         and a.atttypid in ('timestamp'::regtype, 'timestamptz'::regtype);
  body := replace(body, '<units>', units::text);
  select pg_catalog.format_type(a.atttypid, a.atttypmod) into coarsest
    from pg_catalog.pg_attribute a
   where a.attrelid = 'public.charging_sessions'::regclass and a.attname in ('stop_time', 'end_time')
     and a.atttypid in ('timestamp'::regtype, 'timestamptz'::regtype) and a.atttypmod >= 0
   order by a.atttypmod limit 1;
  body := replace(body, '<same>', $sql$coalesce(s.client_id::text, k.client) = coalesce(s.user_id::text, k.client)
            and s.energy_consumed::numeric = s.energy::numeric and s.total_cost::numeric = s.amount::numeric
            and s.end_time<coarsest> is not distinct from s.stop_time<coarsest>$sql$);
  body := replace(body, '<coarsest>', coalesce('::' || coarsest, ''));
  body := replace(body, '<on the way out>', $sql$c.status::text in ('inactive', 'pending_deletion')$sql$
    || case when evpower.column_type('public.clients', 'delete_requested_at') is null then ''
            else ' or c.delete_requested_at is not null' end);
  body := replace(body, '<by>', seen_by);
  -- However a page is planned, it must find where it begins by the index.
  body := replace(body, '<least client>', case evpower.column_type('public.clients', 'id')
    when 'uuid' then '00000000-0000-0000-0000-000000000000' else '' end);
  body := replace(body, '<least session>', case evpower.column_type('public.charging_sessions', 'id')
    when 'uuid' then '00000000-0000-0000-0000-000000000000' else '' end);
  body := replace(body, '<client>', evpower.column_type('public.clients', 'id'));
  body := replace(body, '<session>', evpower.column_type('public.charging_sessions', 'id'));
  execute body;
end
$migration$;
revoke all on function public.evpower_digest(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_digest(jsonb) to service_role;
comment on function public.evpower_digest(jsonb) is
  'evpower {edition}: returns what is here as hashes, to be compared';
notify pgrst, 'reload schema';

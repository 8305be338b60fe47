-- Writes a payload of public.evpower_apply as one set.
--
-- A balance that EvPower never wrote (evpower_revision is 0) is money from before EvPower. It is written over only
-- when exactly it was imported; force changes nothing about that. The same holds for a status of the project's own
-- words: it is written over only if the client carries that very word in status_before.
--
-- Nothing waits for a lock: rows are locked with "skip locked", and what waits all the same (an insert for another's
-- uncommitted row, a trigger or foreign key of this project) ends after 500 ms.
--
-- Planned at each call, which takes half a millisecond: a connection lives long, and a plan made while a table was
-- empty would read all of it from then on.
do $migration$
declare
  clients text := evpower.record_of('public.clients', array['id', 'email', 'phone', 'name', 'balance', 'held',
    'currency', 'balance_version', 'wallet_revision', 'status', 'created_at', 'updated_at'])
    || ', revision bigint, from_version bigint, force boolean, partial boolean, adopted numeric, closed boolean,'
    || ' deletion_requested boolean, status_before text';
  transactions text := evpower.record_of('public.transactions', array['id', 'client_id', 'version', 'type',
    'amount', 'balance_before', 'balance_after', 'invoice_id', 'session_id', 'event_at', 'created_at']);
  sessions text := evpower.record_of('public.charging_sessions', array['id', 'user_id', 'client_id', 'station_id',
    'connector_id', 'start_time', 'stop_time', 'end_time', 'energy', 'energy_consumed', 'amount', 'total_cost',
    'status', 'revision', 'created_at', 'updated_at']) || ', force boolean, details jsonb, unlinkable boolean';
  detail text;
  key_type text := evpower.column_type('public.clients', 'id');
  contact text;
  -- What the status here becomes. Whether a client is on the way out (inactive, pending_deletion) is this project's
  -- decision while the client is active in EvPower: what EvPower knows of it (deletion_requested) is for a row that is
  -- created again, or was blocked.
  next_status constant text := $sql$case
              when c.status::text in ('inactive', 'pending_deletion')
                   and (%1$s.status::text = 'active' or c.id = any (deletion_requested_ids))
                or c.status::text = 'active' and c.id = any (deletion_requested_ids) then c.status
              when c.status::text = 'blocked' and c.id = any (deletion_requested_ids) then coalesce(
                (select u.status from evpower.statuses_under_block u where u.client_id = c.id::text)::<status>,
                %1$s.status)
              else %1$s.status end$sql$;
  body text;
begin
  body := $body$
create or replace function evpower.apply_set(payload jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $function$
declare
  forced <key>[];
  deletion_requested_ids <key>[];
  closed_ids <key>[];
  busy <key>[];
  excluded_ids <key>[];
  applied_clients <key>[];
  applied_sessions text[];
  busy_sessions text[] := '{}';
  unlinkable_sessions <session>[] := '{}';
  orphans text[];
  answers jsonb;
  sent bigint;
  written bigint;
begin
  -- As strong as the update itself needs: the check of a foreign key elsewhere makes no client busy.
  with sent as materialized (
    select r.id from jsonb_to_recordset(payload -> 'clients') as r (id <key>)
  ), locked as materialized (
    select c.id from public.clients c where c.id in (select s.id from sent s)
     order by c.id for no key update skip locked
  ) select coalesce(array_agg(s.id), '{}') into busy
      from sent s
     where s.id not in (select l.id from locked l) and exists (select from public.clients c where c.id = s.id);
  select array_agg(s.id) filter (where s.force and s.refusal is null),
         array_agg(s.id) filter (where s.gap or s.refusal is not null or s.busy),
         jsonb_agg(case when s.busy then jsonb_build_array('client', s.id, 'busy', null)
                        when s.gap then jsonb_build_array('client', s.id, 'gap', s.version)
                        else jsonb_build_array('client', s.id, 'refused', s.refusal) end)
           filter (where s.gap or s.refusal is not null or s.busy)
    into forced, excluded_ids, answers
    from (
      select r.id, r.id = any (busy) as busy, r.force is true as force, coalesce(c.balance_version, 0) as version,
             r.force is not true and r.from_version > coalesce(c.balance_version, 0) as gap,
             case when c.evpower_revision = 0 and round(c.balance::numeric, 2) <> 0
                   and round(c.balance::numeric, 2) is distinct from r.adopted
                  then format('opening_balance: Supabase has %s, EvPower %s', round(c.balance::numeric, 2), case
                         when r.adopted is not null then format('imported %s', r.adopted)
                         when r.balance_version > 0
                           then format('has %s transactions and none of them is it', r.balance_version)
                         else 'has no transactions' end)
                  when c.evpower_revision = 0 and btrim(c.status::text) <> ''
                   and c.status::text not in ('active', 'blocked', 'inactive', 'pending_deletion')
                   and left(c.status::text, 200) is distinct from r.status_before
                  then format('status_unmapped: Supabase says %s', left(c.status::text, 200))
             end as refusal
        from jsonb_to_recordset(payload -> 'clients') as r (<clients>)
        left join public.clients c on c.id = r.id) s;
  select coalesce(array_agg(r.id) filter (where r.deletion_requested), '{}'),
         coalesce(array_agg(r.id) filter (where r.closed), '{}')
    into deletion_requested_ids, closed_ids
    from jsonb_to_recordset(payload -> 'clients') as r (id <key>, deletion_requested boolean, closed boolean);
  forced := coalesce(forced, '{}');
  excluded_ids := coalesce(excluded_ids, '{}');

  if jsonb_array_length(payload -> 'transactions') > 0 then
    -- Of a row that is here already and is the same one the links and times are EvPower's, too.
    insert into public.transactions as t (<transaction_columns>)
    select <transaction_values> from jsonb_to_recordset(payload -> 'transactions') as r (<transactions>)
     where r.client_id <> all (excluded_ids) and r.client_id <> all (forced)
     order by r.client_id, r.version
    on conflict (client_id, version) do update
      set invoice_id = excluded.invoice_id, session_id = excluded.session_id, event_at = excluded.event_at,
          created_at = excluded.created_at
    where (t.type, t.amount, t.balance_before, t.balance_after)
          = (excluded.type, excluded.amount, excluded.balance_before, excluded.balance_after)
      and <same row>
      and (t.invoice_id, t.session_id, t.event_at, t.created_at)
          is distinct from (excluded.invoice_id, excluded.session_id, excluded.event_at, excluded.created_at);
    get diagnostics written = row_count;
    if forced <> '{}' then
      insert into public.transactions as t (<transaction_columns>)
      select <transaction_values> from jsonb_to_recordset(payload -> 'transactions') as r (<transactions>)
       where r.client_id = any (forced)
       order by r.client_id, r.version
      on conflict (client_id, version) do update
        set type = excluded.type, amount = excluded.amount, balance_before = excluded.balance_before,
            balance_after = excluded.balance_after, invoice_id = excluded.invoice_id,
            session_id = excluded.session_id, event_at = excluded.event_at, created_at = excluded.created_at
      where (t.type, t.amount, t.balance_before, t.balance_after, t.invoice_id, t.session_id, t.event_at, t.created_at)
            is distinct from (excluded.type, excluded.amount, excluded.balance_before, excluded.balance_after,
                              excluded.invoice_id, excluded.session_id, excluded.event_at, excluded.created_at);
    end if;
    sent := jsonb_array_length(payload -> 'transactions');
    if excluded_ids <> '{}' or forced <> '{}' then
      select count(*) into sent from jsonb_to_recordset(payload -> 'transactions') as r (client_id <key>)
       where r.client_id <> all (excluded_ids) and r.client_id <> all (forced);
    end if;
    -- What was here already must be the same; a forged row is not taken for ours.
    if written < sent and exists (
        select from jsonb_to_recordset(payload -> 'transactions') as r (<transactions>)
          join public.transactions t on t.client_id = r.client_id and t.version = r.version
         where r.client_id <> all (excluded_ids) and r.client_id <> all (forced)
           and (t.type, t.amount, t.balance_before, t.balance_after)
               is distinct from (r.type, r.amount, r.balance_before, r.balance_after)) then
      raise exception 'a transaction with the same version but other amounts is here'
        using errcode = 'integrity_constraint_violation';
    end if;
  end if;

  -- Money and status are EvPower's. The profile is this project's own and is only given to a new row; a closed
  -- client's is taken away, so that another may register with the same email or phone.
  with written as (
    insert into public.clients as c (id, email, phone, name, balance, held, currency, balance_version,
                                     wallet_revision, evpower_revision, status, created_at, updated_at)
    select r.id, <closed email r>, <closed phone r>, <closed name r>, r.balance, r.held, r.currency, r.balance_version,
           r.wallet_revision, r.revision, r.status, r.created_at, r.updated_at
      from jsonb_to_recordset(payload -> 'clients') as r (<clients>)
     where r.id <> all (excluded_ids)
     order by r.id
    on conflict (id) do update
      set balance = excluded.balance, held = excluded.held, currency = excluded.currency,
          balance_version = excluded.balance_version, wallet_revision = excluded.wallet_revision,
          evpower_revision = excluded.evpower_revision,
          status = <next status excluded>,
          updated_at = greatest(c.updated_at, excluded.updated_at)
    where (excluded.balance_version, excluded.wallet_revision, excluded.evpower_revision)
          > (c.balance_version, c.wallet_revision, c.evpower_revision)
       or c.id = any (forced)
    returning c.id
  ) select coalesce(array_agg(id), '{}') into applied_clients from written;
  if closed_ids <> '{}' then -- by itself: contacts in the update above would take a stronger lock of every client
    update public.clients c set email = <closed email c>, phone = <closed phone c>, name = <closed name c>
     where c.id = any (closed_ids) and c.id = any (applied_clients);
  end if;

  if jsonb_array_length(payload -> 'sessions') > 0 then
    -- The session's own row, and its client's: the check of a foreign key would wait for that.
    with sent as materialized (
      select r.id, r.user_id, r.unlinkable
        from jsonb_to_recordset(payload -> 'sessions') as r (id <session>, user_id <key>, unlinkable boolean)
    ), locked as materialized (
      select s.id from public.charging_sessions s where s.id in (select k.id from sent k)
       order by s.id for no key update skip locked
    ), shared as materialized (
      select c.id from public.clients c where c.id in (select k.user_id from sent k)
       order by c.id for key share skip locked
    ) select coalesce(array_agg(k.id::text) filter (
               where k.id not in (select l.id from locked l)
                     and exists (select from public.charging_sessions s where s.id = k.id)
                  or k.user_id not in (select c.id from shared c)
                     and exists (select from public.clients c where c.id = k.user_id)), '{}'),
             coalesce(array_agg(k.id) filter (where k.unlinkable), '{}')
        into busy_sessions, unlinkable_sessions
        from sent k;
  end if;

  -- A row of a client is whole or not there: a session never makes one.
  select coalesce(array_agg(o.id), '{}') into orphans
    from jsonb_to_recordset(payload -> 'sessions') as o (id text, user_id <key>)
   where o.id <> all (busy_sessions) and not exists (select from public.clients c where c.id = o.user_id);

  with written as (
    insert into public.charging_sessions as s (id, user_id, client_id, station_id, connector_id, start_time,
        stop_time, end_time, energy, energy_consumed, amount, total_cost, status, revision, created_at, updated_at
        <detail columns>)
    select r.id, r.user_id, r.client_id, r.station_id, r.connector_id, r.start_time, r.stop_time, r.end_time,
           r.energy, r.energy_consumed, r.amount, r.total_cost, r.status, r.revision, r.created_at, r.updated_at
           <detail values>
      from jsonb_to_recordset(payload -> 'sessions') as r (<sessions>)
     where r.id::text <> all (orphans) and r.id::text <> all (busy_sessions)
     order by r.id
    on conflict (id) do update
      -- What the project took from a client who asked for deletion stays taken, also before EvPower knows of that.
      set user_id = case when s.user_id is null and (s.id = any (unlinkable_sessions)
                              or evpower.deletion_requested(excluded.user_id::text)) then null
                         else excluded.user_id end,
          client_id = case when s.client_id is null and (s.id = any (unlinkable_sessions)
                                or evpower.deletion_requested(excluded.client_id::text)) then null
                           else excluded.client_id end, station_id = excluded.station_id,
          connector_id = excluded.connector_id, start_time = excluded.start_time, stop_time = excluded.stop_time,
          end_time = excluded.end_time, energy = excluded.energy, energy_consumed = excluded.energy_consumed,
          amount = excluded.amount, total_cost = excluded.total_cost, status = excluded.status,
          revision = excluded.revision, created_at = excluded.created_at, updated_at = excluded.updated_at
          <detail changes>
    where excluded.revision > coalesce(s.revision, 0)
       or s.id::text in (select f.id from jsonb_to_recordset(payload -> 'sessions') as f (id text, force boolean)
                          where f.force)
    returning s.id
  ) select coalesce(array_agg(id::text), '{}') into applied_sessions from written;
  -- By itself, where the project has the columns: a session without a limit_type here is another system's, and keeps
  -- what it has. No value is the same as 0.
  if applied_sessions <> '{}' and evpower.session_limits() then
    execute format($sql$
      update public.charging_sessions s set limit_type = r.limit_type::%s, limit_value = r.limit_value
        from jsonb_to_recordset($1 -> 'sessions') as r (id <session>, limit_type text, limit_value numeric)
       where r.limit_type is not null and s.id = r.id and r.id::text = any ($2)
         and (s.limit_type::text, round(coalesce(s.limit_value, 0)::numeric, 2))
             is distinct from (r.limit_type, round(r.limit_value, 2))$sql$,
      evpower.column_type('public.charging_sessions', 'limit_type')) using payload, applied_sessions;
  end if;

  return coalesce(answers, '[]')
    || coalesce((select jsonb_agg(case
                          when r.id = any (applied_clients) then jsonb_build_array('client', r.id, 'applied', null)
                          else jsonb_build_array('client', r.id, 'stale', (
                            select 'status' from public.clients c
                             where c.id = r.id and c.status is distinct from <next status r>
                               and (c.balance_version, c.wallet_revision) = (r.balance_version, r.wallet_revision)))
                          end)
                   from jsonb_to_recordset(payload -> 'clients') as r (<clients>)
                  where r.id <> all (excluded_ids)), '[]')
    || coalesce((select jsonb_agg(jsonb_build_array('session', r.id,
                          case when r.id = any (applied_sessions) then 'applied'
                               when r.id = any (busy_sessions) then 'busy'
                               when r.id = any (orphans) then 'orphan' else 'stale' end, null))
                   from jsonb_to_recordset(payload -> 'sessions') as r (id text)), '[]');
end
$function$
$body$;
  foreach contact in array array['email', 'phone', 'name'] loop
    body := replace(body, format('<closed %s r>', contact),
      format('case when r.closed then evpower.contact_of_closed(%1$L, r.id::text)::%2$s else r.%1$I end',
             contact, evpower.column_type('public.clients', contact)));
    body := replace(body, format('<closed %s c>', contact),
      format('evpower.contact_of_closed(%L, c.id::text)::%s', contact,
             evpower.column_type('public.clients', contact)));
  end loop;
  body := replace(body, '<next status excluded>', format(next_status, 'excluded'));
  body := replace(body, '<next status r>', format(next_status, 'r'));
  foreach detail in array evpower.session_details() loop
    body := replace(body, '<detail columns>', format(', %I<detail columns>', detail));
    body := replace(body, '<detail values>', format(', (r.details ->> %L)::%s<detail values>', detail,
                                                    evpower.column_type('public.charging_sessions', detail)));
    body := replace(body, '<detail changes>', format(', %1$I = excluded.%1$I<detail changes>', detail));
  end loop;
  body := regexp_replace(body, '<detail (columns|values|changes)>', '', 'g');
  body := replace(body, '<session>', evpower.column_type('public.charging_sessions', 'id'));
  body := replace(body, '<clients>', clients);
  body := replace(body, '<transactions>', transactions);
  body := replace(body, '<sessions>', sessions);
  body := replace(body, '<key>', key_type);
  body := replace(body, '<status>', evpower.column_type('public.clients', 'status'));
  -- Where transactions.id is a number of the project's own, it stays so; (client_id, version) is the name.
  if evpower.column_type('public.transactions', 'id') in ('uuid', 'text', 'character varying') then
    body := replace(body, '<transaction_columns>', 'id, <transaction_columns>');
    body := replace(body, '<transaction_values>', 'r.id, <transaction_values>');
    body := replace(body, '<same row>', 't.id = excluded.id');
  else
    body := replace(body, evpower.record_of('public.transactions', array['id']) || ', client_id ', 'client_id ');
    body := replace(body, '<same row>', case
      when evpower.column_type('public.transactions', 'created_at') like 'timestamp%'
        then 't.created_at = excluded.created_at'
      else 'false' end);
  end if;
  body := replace(body, '<transaction_columns>', 'client_id, version, type, amount, balance_before, '
    'balance_after, invoice_id, session_id, event_at, created_at');
  body := replace(body, '<transaction_values>', 'r.client_id, r.version, r.type, r.amount, r.balance_before, '
    'r.balance_after, r.invoice_id, r.session_id, r.event_at, r.created_at');
  execute body;
end
$migration$;
revoke all on function evpower.apply_set(jsonb) from public, anon, authenticated, service_role;
comment on function evpower.apply_set(jsonb) is
  'evpower {edition}: writes clients, transactions and sessions as one set';

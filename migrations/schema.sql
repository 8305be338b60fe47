-- The sum of all migrations, for reading. Written by `make snapshots`, never by hand.

CREATE SCHEMA alerts;

CREATE SCHEMA charging;

CREATE SCHEMA client_migration;

CREATE SCHEMA foundation;

CREATE SCHEMA identity;

CREATE SCHEMA ocpp;

CREATE SCHEMA payments;

CREATE SCHEMA push;

CREATE SCHEMA stations;

CREATE SCHEMA sync;

CREATE SCHEMA tariffs;

CREATE SCHEMA wallet;

CREATE TYPE payments.decision AS (
	ord integer,
	provider text,
	event_id text,
	body_sha256 bytea,
	payment_id bigint,
	order_id text,
	provider_ref text,
	status text,
	paid_minor bigint,
	currency text,
	refunded_minor bigint,
	occurred_at timestamp with time zone,
	outcome text,
	review text,
	reference text,
	refund_minor bigint,
	seen boolean,
	is_further boolean
);

CREATE TYPE payments.incoming AS (
	ord integer,
	provider text,
	event_id text,
	body_sha256 bytea,
	payment_id bigint,
	order_id text,
	provider_ref text,
	status text,
	paid_minor bigint,
	currency text,
	refunded_minor bigint,
	occurred_at timestamp with time zone,
	doubt text
);

CREATE TYPE wallet.result AS (
	outcome text,
	cause_id bigint,
	client_id uuid,
	transaction_id uuid,
	amount_minor bigint,
	balance_minor bigint,
	held_minor bigint,
	version bigint,
	revision bigint,
	debt_minor bigint,
	session_id uuid
);

CREATE TYPE wallet.transaction_kind AS ENUM (
    'topup',
    'charge',
    'refund'
);

CREATE FUNCTION alerts.guard_alert() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if tg_op = 'UPDATE' and old.closed_at is null and new.count >= old.count
     and (new.id, new.kind, new.subject, new.opened_at)
         is not distinct from (old.id, old.kind, old.subject, old.opened_at) then
    return new;
  end if;
  raise exception 'alert % stays as it is', old.id using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION alerts.write_messages() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  settles_for interval := '15 minutes';
  is_again boolean;
begin
  if new.closed_at is null then
    select exists (select from alerts.alerts a
                    where a.kind = new.kind and a.subject = new.subject and a.id <> new.id
                      and a.closed_at > new.opened_at - settles_for) into is_again;
    insert into alerts.messages (alert_id, channel, event, count, created_at, due_at)
    select new.id, channel, 'opened', new.count, new.opened_at,
           new.opened_at + case when is_again then settles_for else interval '0' end
      from unnest(array['webhook', 'email']) channel;
    return null;
  end if;
  with unsent as (
    delete from alerts.messages m
     where m.alert_id = new.id and m.event = 'opened' and m.attempts = 0 and m.due_at > new.closed_at
    returning m.channel)
  insert into alerts.messages (alert_id, channel, event, count, created_at, due_at)
  select new.id, channel, 'closed', new.count, new.closed_at, new.closed_at
    from unnest(array['webhook', 'email']) channel
   where channel not in (select u.channel from unsent u);
  return null;
end
$$;

CREATE TABLE stations.commands (
    id bigint NOT NULL,
    station_id text NOT NULL,
    connector integer,
    action text NOT NULL,
    payload jsonb DEFAULT '{}'::jsonb NOT NULL,
    state text DEFAULT 'queued'::text NOT NULL,
    actor text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    sent_at timestamp with time zone,
    epoch bigint,
    ended_at timestamp with time zone,
    response jsonb,
    bulk_id uuid,
    CONSTRAINT commands_action_check CHECK ((action = ANY (ARRAY['remote_start'::text, 'remote_stop'::text, 'reset'::text, 'unlock'::text, 'change_availability'::text, 'get_configuration'::text, 'change_configuration'::text, 'clear_cache'::text, 'trigger'::text, 'data_transfer'::text, 'set_charging_profile'::text, 'clear_charging_profile'::text]))),
    CONSTRAINT commands_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200))),
    CONSTRAINT commands_are_sent_before_they_expire CHECK ((sent_at < expires_at)),
    CONSTRAINT commands_are_sent_on_a_socket CHECK (((sent_at IS NULL) = (epoch IS NULL))),
    CONSTRAINT commands_connector_check CHECK ((connector >= 0)),
    CONSTRAINT commands_in_their_state CHECK (
CASE state
    WHEN 'queued'::text THEN ((sent_at IS NULL) AND (ended_at IS NULL) AND (response IS NULL))
    WHEN 'sent'::text THEN ((sent_at IS NOT NULL) AND (ended_at IS NULL) AND (response IS NULL))
    WHEN 'timed_out'::text THEN ((ended_at IS NOT NULL) AND (response IS NULL))
    ELSE ((sent_at IS NOT NULL) AND (ended_at IS NOT NULL))
END),
    CONSTRAINT commands_payload_check CHECK ((jsonb_typeof(payload) = 'object'::text)),
    CONSTRAINT commands_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'sent'::text, 'accepted'::text, 'refused'::text, 'timed_out'::text])))
);

CREATE FUNCTION charging.begin_start(for_session uuid, for_client uuid, at_station text, at_connector integer, tag text, energy_wh bigint, amount_minor bigint, soc_percent integer, plate text, no_token boolean, window_ends_at timestamp with time zone, at timestamp with time zone, by_plan text, by_version integer, by_snapshot jsonb, payload jsonb, actor text, expires_at timestamp with time zone, on_epoch bigint, hold_minor bigint, least_minor bigint, OUT command_id bigint, OUT posting wallet.result, OUT charges boolean, OUT on_hold_minor bigint, OUT claimed stations.commands) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
begin
  select c.id into strict command_id
    from stations.queue_command(at_station, 'remote_start', payload, at_connector, actor, at, expires_at, null) c;
  insert into charging.sessions
    (id, client_id, station_id, connector_id, state, source, started_by, id_tag, limit_energy_wh, limit_amount_minor,
     limit_soc_percent, vehicle_plate, without_token, start_command_id, start_window_ends_at, created_at)
  values (for_session, for_client, at_station, at_connector, 'requested', 'evpower', 'app', tag, energy_wh, amount_minor,
          soc_percent, plate, no_token, command_id, window_ends_at, at);
  insert into charging.session_tariffs (session_id, plan, version, snapshot)
  values (for_session, by_plan, by_version, by_snapshot);
  posting := wallet.hold(for_session, hold_minor, least_minor, 1);
  if posting.outcome <> 'held' then
    return;  -- the caller refuses, and nothing of this is committed
  end if;
  -- The wallet is locked now, so every other start of this client has ended or waits.
  select exists (select from charging.sessions s
                  where s.client_id = for_client and s.source = 'evpower' and s.state = 'charging'),
         coalesce((select h.amount_minor from wallet.holds_public h
                    where h.session_id = for_session and h.state = 'open'), 0)
    into charges, on_hold_minor;
  if not charges and on_epoch is not null then
    select c.* into claimed from stations.claim_command(at_station, on_epoch, at) c;
  end if;
end
$$;

CREATE FUNCTION charging.check_cdr() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if exists (select from charging.settlements b join charging.sessions s on s.id = b.session_id
              where b.id = new.id and s.started_by is not null
                and not exists (select from charging.cdrs c where c.settlement_id = b.id
                                   and c.session_id = b.session_id
                                   and c.energy_wh = b.energy_wh and c.ended_at = b.ended_at)) then
    raise exception 'bill % has no record of what it rests on', new.id using errcode = 'check_violation';
  end if;
  return null;
end
$$;

CREATE FUNCTION charging.check_session() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if exists (
      select from charging.sessions s left join charging.transactions t on t.session_id = s.id
       where s.id = new.id and (
         s.started_by = 'app' and not exists (select from charging.session_tariffs f where f.session_id = s.id)
         or s.state in ('charging', 'stopping', 'finished', 'settled') and t.id is null
         or s.state in ('finished', 'settled') and t.ended_at is null)) then
    raise exception 'session % has no tariff or transaction of its state', new.id using errcode = 'check_violation';
  end if;
  return null;
end
$$;

CREATE FUNCTION charging.guard_free_period() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if tg_op = 'UPDATE' and old.ended_at is null
     and (new.id, new.station_id, new.begins_at, new.ends_at, new.reason, new.actor)
         is not distinct from (old.id, old.station_id, old.begins_at, old.ends_at, old.reason, old.actor) then
    return new;
  end if;
  raise exception 'free period % stays as it is', old.id using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION charging.guard_session() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if (new.id, new.client_id, new.source, new.station_id, new.started_by, new.id_tag, new.limit_energy_wh,
      new.limit_amount_minor, new.limit_soc_percent, new.created_at)
     is distinct from
     (old.id, old.client_id, old.source, old.station_id, old.started_by, old.id_tag, old.limit_energy_wh,
      old.limit_amount_minor, old.limit_soc_percent, old.created_at) then
    raise exception 'session % keeps its client, station, tag, limits and source', old.id
      using errcode = 'check_violation';
  end if;
  if new.state <> old.state and (old.state, new.state) not in (
      ('requested', 'starting'), ('requested', 'refused'), ('requested', 'cancelled'), ('requested', 'expired'),
      ('requested', 'failed'), ('requested', 'charging'),
      ('starting', 'charging'), ('starting', 'refused'), ('starting', 'cancelled'), ('starting', 'expired'),
      ('starting', 'failed'),
      ('charging', 'stopping'), ('charging', 'finished'),
      ('stopping', 'finished'),
      ('finished', 'settled'))
     -- A start that comes late, after its session was given up: nothing was billed yet.
     and not (new.source = 'evpower' and new.state = 'charging'
              and old.state in ('expired', 'refused', 'cancelled', 'failed'))
     -- Another system may report that a session failed while it charged, and goes on after a stop. Ours always ends with a bill.
     and not (new.source = 'import' and (old.state, new.state) in (
       ('charging', 'failed'), ('stopping', 'failed'), ('stopping', 'charging'))) then
    raise exception 'session % cannot go from % to %', old.id, old.state, new.state
      using errcode = 'check_violation';
  end if;
  -- A station may begin the session on another of its connectors than it was asked to.
  if new.connector_id <> old.connector_id and not (old.state <> 'charging' and new.state = 'charging')
     or new.started_at <> old.started_at and old.state in ('charging', 'stopping') then
    raise exception 'session % keeps its connector and start', old.id using errcode = 'check_violation';
  end if;
  if old.state in ('finished', 'settled')
     and (new.started_at, new.billed_elsewhere, new.vehicle_plate)
         is distinct from (old.started_at, old.billed_elsewhere, old.vehicle_plate)
     -- In a settled session these change together with its next bill, which the wallet checks at commit.
     or old.state = 'finished' and (new.ended_at, new.energy_wh, new.cost_minor)
         is distinct from (old.ended_at, old.energy_wh, old.cost_minor) then
    raise exception 'session % is finished: its facts stay', old.id using errcode = 'check_violation';
  end if;
  -- A session is shown with its revision and that of its progress: when it ends, its own takes over both.
  new.revision := old.revision + 1;
  if old.state in ('charging', 'stopping') and new.state not in ('charging', 'stopping') then
    new.revision := new.revision + coalesce((select p.revision from charging.progress p where p.session_id = old.id), 0);
  end if;
  new.updated_at := now();
  return new;
end
$$;

CREATE FUNCTION charging.guard_settlement() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  s charging.sessions;
  billed bigint;
begin
  if tg_op = 'INSERT' then
    select * into s from charging.sessions where id = new.session_id;
    if s.state is distinct from 'settled' or s.billed_elsewhere then
      raise exception 'session % is not settled here: it has no bill', new.session_id
        using errcode = 'check_violation';
    end if;
    -- A bill has its session's facts. Its number is unique and its due amount is checked here, so the checks at commit
    -- need to run only for the session, which changes whenever the total does.
    if new.bill_number is not null then
      if (s.cost_minor, s.energy_wh, s.ended_at) is distinct from (new.total_minor, new.energy_wh, new.ended_at) then
        raise exception 'bill % is not of the facts of session %', new.bill_number, new.session_id
          using errcode = 'check_violation';
      end if;
      select b.total_minor into billed from charging.settlements b
       where b.session_id = new.session_id and b.bill_number = new.bill_number - 1;
      if (new.bill_number > 1 and not found)
         or new.due_minor is distinct from greatest(new.total_minor - coalesce(billed, 0), 0) then
        raise exception 'bill % of session % does not follow the bill before it', new.bill_number, new.session_id
          using errcode = 'check_violation';
      end if;
    elsif not exists (select from wallet.debts d join charging.settlements b on b.id = d.settlement_id
                       where d.id = new.collects_debt_id and b.session_id = new.session_id) then
      raise exception 'debt % is not of session %', new.collects_debt_id, new.session_id
        using errcode = 'check_violation';
    end if;
    return new;
  end if;
  if tg_op = 'DELETE'
     or (new.id, new.session_id, new.client_id, new.bill_number, new.total_minor, new.energy_wh, new.ended_at,
         new.due_minor, new.debited_minor, new.collects_debt_id, new.actor, new.reason, new.created_at)
        is distinct from
        (old.id, old.session_id, old.client_id, old.bill_number, old.total_minor, old.energy_wh, old.ended_at,
         old.due_minor, old.debited_minor, old.collects_debt_id, old.actor, old.reason, old.created_at) then
    raise exception 'settlement % stays as it is', old.id using errcode = 'check_violation';
  end if;
  return new;
end
$$;

CREATE FUNCTION charging.guard_stop() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if tg_op = 'UPDATE' and old.transaction_id is null
     and (new.id, new.station_id, new.id_as_sent, new.meter_stop_wh, new.station_time, new.id_tag, new.reason,
          new.received_at)
         is not distinct from
         (old.id, old.station_id, old.id_as_sent, old.meter_stop_wh, old.station_time, old.id_tag, old.reason,
          old.received_at) then
    return new;
  end if;
  raise exception 'stop % stays as it is', old.id using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION charging.guard_stop_step() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if tg_op = 'UPDATE'
     and (new.id, new.transaction_id, new.step, new.cause, new.command_id, new.base_wh, new.taken_at)
         is not distinct from
         (old.id, old.transaction_id, old.step, old.cause, old.command_id, old.base_wh, old.taken_at)
     and (old.outcome is null or (new.outcome, new.ended_at) is not distinct from (old.outcome, old.ended_at))
     and (old.cleared_at is null or new.cleared_at is not distinct from old.cleared_at) then
    return new;
  end if;
  raise exception 'step % stays as it is', old.id using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION charging.guard_transaction() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if tg_op = 'DELETE'
     or (new.id, new.station_id, new.connector, new.is_connector_guessed, new.id_tag, new.purpose, new.session_id,
         new.started_at, new.start_station_time, new.start_station_at, new.received_at, new.start_key, new.start_number,
         new.technician_tag, new.limit_energy_wh)
        is distinct from
        (old.id, old.station_id, old.connector, old.is_connector_guessed, old.id_tag, old.purpose, old.session_id,
         old.started_at, old.start_station_time, old.start_station_at, old.received_at, old.start_key, old.start_number,
         old.technician_tag, old.limit_energy_wh)
     or old.meter_start_wh is not null and new.meter_start_wh is distinct from old.meter_start_wh
     or old.start_shift_s is not null and new.start_shift_s is distinct from old.start_shift_s
     or old.end_kind is not null and new.end_kind is null
     -- A stop by the station with its register is final; an estimated end may still become one.
     or old.end_kind = 'stop' and old.meter_stop_wh is not null
        and (new.meter_stop_wh, new.ended_at, new.stop_station_time, new.stop_reason, new.end_kind)
            is distinct from
            (old.meter_stop_wh, old.ended_at, old.stop_station_time, old.stop_reason, old.end_kind) then
    raise exception 'transaction % stays as it is', old.id using errcode = 'restrict_violation';
  end if;
  return new;
end
$$;

CREATE FUNCTION charging.keep_meter_values(today date, keep_days integer) RETURNS TABLE(outcome text, day date)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  insert into charging.quarantined_meter_values
  select t.session_id, v.*
    from charging.sessions s join charging.transactions t on t.session_id = s.id
    join charging.meter_values v on v.transaction_id = t.id
   where s.quarantined_at is not null and v.received_at < (today - keep_days)::timestamp at time zone 'UTC';
  return query select * from foundation.keep_partitions('charging', 'meter_values', today, keep_days, 7);
end
$$;

CREATE FUNCTION charging.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  raise exception '% of charging are kept as they are', tg_table_name using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION charging.refuse_settled() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  raise exception 'session % is not charged yet: it cannot begin as settled', new.id
    using errcode = 'check_violation';
end
$$;

CREATE FUNCTION charging.start_barriers(for_client uuid, at_station text, at timestamp with time zone) RETURNS TABLE(status text, banned_until timestamp with time zone, unmapped_status text, deletion_requested_at timestamp with time zone, client_has_open boolean, station_has_open boolean, is_free boolean)
    LANGUAGE plpgsql ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
begin
  return query
  select c.status, c.banned_until, c.unmapped_status, c.deletion_requested_at,
         exists (select from charging.sessions s
                  where s.client_id = for_client and s.source = 'evpower'
                    and s.state in ('requested', 'starting', 'charging', 'stopping')),
         exists (select from charging.sessions s
                  where s.station_id = at_station and s.source = 'evpower'
                    and s.state in ('requested', 'starting', 'charging', 'stopping')),
         exists (select from charging.free_periods f
                  where f.station_id = at_station and f.begins_at <= at and at < coalesce(f.ended_at, f.ends_at))
    from (select) as always left join identity.clients_public c on c.id = for_client;
end
$$;

CREATE FUNCTION client_migration.is_untouched(client uuid) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  select not exists (select from wallet.wallets w where w.client_id = client and (w.version > 0 or w.revision > 0))
     and not exists (select from payments.payments p where p.client_id = client)
     and not exists (select from charging.sessions s where s.client_id = client)
$$;

CREATE FUNCTION foundation.keep_partitions(of_schema text, of_table text, today date, keep_days integer, ahead_days integer) RETURNS TABLE(outcome text, day date)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
  of_default text := format('%I.%I', of_schema, of_table || '_default');
  made text;
  begins timestamptz;
  ends timestamptz;
  old record;
begin
  if num_nulls(today, keep_days, ahead_days) > 0 or keep_days < 1 or ahead_days < 1 then
    raise exception 'partitions are kept for at least a day' using errcode = 'check_violation';
  end if;
  execute format('delete from %s where received_at < %L', of_default, (today - keep_days)::timestamp at time zone 'UTC');
  for day, outcome in execute format(
    'select d, max(what) from (select %1$L::date + n as d, ''made'' as what from generate_series(0, %2$s) n '
    'union all select distinct (received_at at time zone ''UTC'')::date, ''moved'' from %3$s) days group by d order by d',
    today, ahead_days, of_default)
  loop
    made := format('%I.%I', of_schema, of_table || to_char(day, '"_"YYYYMMDD'));
    continue when to_regclass(made) is not null;
    begins := day::timestamp at time zone 'UTC';
    ends := (day + 1)::timestamp at time zone 'UTC';
    execute format('create table %s (like %I.%I including defaults including constraints)', made, of_schema, of_table);
    if outcome = 'moved' then
      execute format('with moved as (delete from %s where received_at >= %L and received_at < %L returning *) '
                     'insert into %s select * from moved', of_default, begins, ends, made);
    end if;
    execute format('alter table %I.%I attach partition %s for values from (%L) to (%L)', of_schema, of_table, made,
                   begins, ends);
    return next;
  end loop;
  for old in
    select c.relname::text as name, to_date(right(c.relname, 8), 'YYYYMMDD') as made_for
      from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent = to_regclass(format('%I.%I', of_schema, of_table)) and c.relname ~ '_[0-9]{8}$'
     order by c.relname
  loop
    if old.made_for < today - keep_days then
      execute format('drop table %I.%I', of_schema, old.name);
      outcome := 'dropped';
      day := old.made_for;
      return next;
    end if;
  end loop;
end
$_$;

CREATE FUNCTION identity.add_id_tag(tag text, of_client uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  perform from identity.clients c where c.id = of_client and c.status <> 'closed' for key share;
  if not found then
    return 'not_found';
  end if;
  insert into identity.aliases (kind, alias, client_id, confirmed_at)
  select 'id_tag', identity.folded_tag(tag), of_client, now()
   where not exists (select from identity.aliases a
                      where a.kind = 'id_tag' and identity.folded_tag(a.alias) = identity.folded_tag(tag))
  on conflict do nothing;
  if found then
    return 'added';
  end if;
  return case when (select bool_and(a.client_id = of_client) from identity.aliases a
                     where a.kind = 'id_tag' and identity.folded_tag(a.alias) = identity.folded_tag(tag))
              then 'repeated' else 'of_another' end;
end
$$;

CREATE FUNCTION identity.folded_tag(tag text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
  select regexp_replace(
    regexp_replace(lower(tag collate "C"),
      '[\u0009-\u000d\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000:-]', '', 'g'),
    '[^0-9a-z\u00c0-\u1fff\u2c00-\u2dff\u3040-\uffef]+$', '')
$_$;

CREATE FUNCTION identity.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  raise exception 'the audit is append-only' using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION identity.refuse_delete() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  raise exception 'clients are closed, never deleted' using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION identity.remove_id_tag(tag text) RETURNS TABLE(alias text, client_id uuid)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  delete from identity.aliases a where a.kind = 'id_tag' and identity.folded_tag(a.alias) = identity.folded_tag(tag)
  returning a.alias, a.client_id
$$;

CREATE FUNCTION ocpp.keep_frames(today date, keep_days integer) RETURNS TABLE(outcome text, day date)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  insert into ocpp.quarantined_frames
    (session_id, station_id, received_at, direction, message_type, message_id, action, frame)
  select s.id, f.station_id, f.received_at, f.direction, f.message_type, f.message_id, f.action, f.frame
    from charging.sessions s
    join ocpp.frames f on f.station_id = s.station_id and f.received_at >= s.created_at - interval '1 minute'
     and f.received_at < coalesce(s.ended_at, f.received_at) + interval '5 minutes'
   where s.quarantined_at is not null and s.created_at < (today - keep_days)::timestamp at time zone 'UTC'
     and f.received_at < (today - keep_days)::timestamp at time zone 'UTC';
  return query select * from foundation.keep_partitions('ocpp', 'frames', today, keep_days, 7);
  delete from ocpp.frames_default f where f.received_at < (today - keep_days)::timestamp at time zone 'UTC';
end
$$;

CREATE FUNCTION payments.apply_events(batch payments.incoming[]) RETURNS payments.decision[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
declare
  decided payments.decision[];
  confirmed bigint[];
  touched bigint[];
  returned_event record;
  known payments.decision;
  refund_id bigint;
  posted text;
  written int;
  any_further boolean;
begin
  with e as (
    select i.ord, i.provider, i.event_id, i.body_sha256, coalesce(a.id, i.payment_id) as payment_id, i.order_id,
           i.provider_ref, i.status, i.paid_minor, i.currency, i.refunded_minor, i.occurred_at,
           -- What an operator entered by hand is not credited once more, nor by its return; its receipt names the invoice or
           -- the reference.
           case when i.doubt is not null or i.status in ('canceled', 'processing') or i.provider_ref = p.credited_ref
                then i.doubt
                when exists (select from payments.payments c where c.provider = 'manual'
                                and c.provider_ref in (p.invoice_id, i.provider_ref)) then 'entered_as_cash'
                end as doubt,
           p.status as old_status, p.amount_minor as due, p.provider_ref as bill_ref, p.refunded_minor as old_refunded, p.credited_ref,
           p.paid_minor as credited_paid, p.credited_minor is not null as credited,
           p.resolved_at is not null as resolved,
           coalesce(i.currency = p.currency, false) as is_own_currency,
           coalesce(i.provider_ref, p.provider_ref) as reference,
           coalesce(i.paid_minor, 0) = 0 and coalesce(i.refunded_minor, 0) = 0 as without_money,
           case i.status when 'refunded' then coalesce(i.refunded_minor, p.amount_minor)
                         else coalesce(i.refunded_minor, 0) end as returned,
           s.body_sha256 <> i.body_sha256 as reused, s.outcome as seen_outcome
      from unnest(batch) i
      -- A further attempt that is credited already is a payment of its own.
      left join lateral (select o.id from (select x.id, x.provider, x.attempt_of from payments.payments x
                                            where x.credited_ref = i.provider_ref and x.credited_ref is not null
                                           offset 0) o
                          where o.provider = i.provider and o.attempt_of = i.payment_id) a on true
      left join lateral (select * from payments.payments where id = coalesce(a.id, i.payment_id) offset 0) p on true
      left join lateral (select * from payments.events s where s.provider = i.provider
                          and s.event_id = i.event_id and s.reuse = '' offset 0) s on true
  ), r as (
    select e.*,
      exists (select from payments.payments o where o.provider = e.provider
                 and o.provider_ref = e.reference and o.id <> e.payment_id)
      or exists (select from (select o.id, o.provider from payments.payments o
                    where o.credited_ref = e.reference and o.credited_ref is not null offset 0) o
                  where o.provider = e.provider and o.id <> e.payment_id) as is_of_another,
      -- A canceled attempt that is later than the credited one may be the return of its money, which no order explains.
      coalesce(credited and status = 'canceled' and without_money and paid_minor is null and old_refunded = 0
        and provider_ref <> credited_ref
        and exists (select from (select x.provider_ref, x.status, x.occurred_at from payments.events x
                                  where x.payment_id = e.payment_id offset 0) s
                     where s.provider_ref = credited_ref and s.status = 'approved' and s.occurred_at < e.occurred_at)
        and not exists (select from payments.bank_refunds b where b.payment_id = e.payment_id and b.ended_at is null),
        false) as is_return
      from e
  ), w as materialized (
    select r.*, case -- the reason for a review; null: none
        when doubt is not null then doubt
        when is_return then 'contradictory'
        when credited and provider_ref is distinct from credited_ref then case
          when provider_ref is null then 'reference_missing'
          when returned > 0 then 'second_payment_returned'
          else 'paid_twice' end
        when status in ('canceled', 'processing') then 'contradictory'
        when resolved and not credited then
          case when returned > 0 then 'returned_after_resolution' else 'paid_after_resolution' end
        when not is_own_currency then 'currency_mismatch'
        when credited and paid_minor <> credited_paid
             or not credited and (paid_minor is null or paid_minor < due or paid_minor > due and returned > 0)
          then 'amount_mismatch'
        when credited and credited_paid > due and returned > old_refunded then 'overpaid_returned'
        when returned > due then 'refund_exceeds'
        when case status when 'approved' then returned > 0
                         when 'refunded' then returned < due
                         else returned in (0, due) end then 'contradictory'
        when credited then null
        when reference is null then 'reference_missing'
        when is_of_another then 'reference_of_another' end as problem,
      -- Paid once more by another reference: a payment of its own, unless an operator was asked about that reference.
      -- The bill's own reference may mean the same money as a transaction's.
      credited and doubt is null and status = 'approved' and returned = 0 and is_own_currency and paid_minor >= due
        and provider_ref <> credited_ref and bill_ref is distinct from provider_ref
        and bill_ref is distinct from credited_ref and not is_of_another
        and not exists (select from (select x.provider_ref, x.outcome from payments.events x
                                      where x.payment_id = r.payment_id offset 0) s
                         where s.provider_ref = r.provider_ref and s.outcome in ('review', 'event_reused'))
        as is_further
      from r
  ), d as materialized (
    select w.*, case
        when reused then case when (select true from payments.events s where s.provider = w.provider
                                and s.event_id = w.event_id and s.reuse = w.body_sha256)
                              then 'repeated' else 'event_reused' end
        when seen_outcome <> 'unknown_payment' then 'repeated'
        when old_status is null then 'unknown_payment'
        when doubt is not null then case when payments.is_reviewed(
               payment_id, provider_ref, status, paid_minor, currency, refunded_minor) then 'repeated' else 'review' end
        when status = 'processing' and returned = 0 then 'ignored'
        when status = 'canceled' and without_money and not credited then
          case old_status when 'processing' then 'canceled' else 'ignored' end
        -- An older "nothing was paid" may arrive late. A cancellation without an amount may be a reversal.
        when status = 'canceled' and without_money
             and (paid_minor = 0 or provider_ref <> credited_ref) and not is_return then 'ignored'
        -- Some providers only say that it was returned, not how much.
        when status = 'canceled' and without_money and provider_ref = credited_ref and is_own_currency
             and old_refunded = due then 'ignored'
        when status = 'partial_refund' and refunded_minor is null and provider_ref = credited_ref and is_own_currency
             and coalesce(paid_minor = credited_paid, true) and old_refunded between 1 and due - 1 then 'repeated'
        when is_further then 'confirmed'
        when problem is not null then case when payments.is_reviewed(
               payment_id, provider_ref, status, paid_minor, currency, refunded_minor) then 'repeated' else 'review' end
        when not credited then 'confirmed'
        when returned > old_refunded then 'refunded'
        else 'repeated' end as outcome
      from w
  )
  select array_agg(row (ord, provider, event_id, body_sha256, payment_id, order_id, provider_ref, status, paid_minor,
           currency, refunded_minor, occurred_at, outcome,
           case outcome when 'event_reused' then 'event_reused'
                        when 'review' then case
                          when problem = 'amount_mismatch' and payments.is_reviewed_otherwise(
                               payment_id, provider_ref, paid_minor, currency) then 'several_amounts'
                          else problem end
                        when 'confirmed' then case when paid_minor > due then 'overpaid'
                                                   when is_further then 'paid_twice' end end,
           reference,
           case when outcome in ('confirmed', 'refunded') and not coalesce(is_further, false)
                then returned - old_refunded end,
           seen_outcome is not null, outcome = 'confirmed' and coalesce(is_further, false))::payments.decision),
         array_agg(payment_id) filter (where outcome = 'confirmed' and not coalesce(is_further, false)),
         array_agg(payment_id) filter (where outcome in ('confirmed', 'canceled', 'review', 'event_reused')
                                         and not (outcome = 'confirmed' and coalesce(is_further, false))),
         bool_or(outcome = 'confirmed' and is_further)
    into decided, confirmed, touched, any_further from d;

  update payments.payments p
     set status = case d.outcome when 'confirmed' then 'approved' when 'canceled' then 'canceled' else p.status end,
         paid_minor = case when p.credited_minor is null and d.outcome in ('confirmed', 'review')
                           then coalesce(case when d.currency = p.currency then d.paid_minor end, p.paid_minor)
                           else p.paid_minor end,
         confirmed_at = case d.outcome when 'confirmed' then now() else p.confirmed_at end,
         credited_ref = case d.outcome when 'confirmed' then d.reference else p.credited_ref end,
         review = case when d.review is not null then d.review
                       when p.review = 'no_reference' and d.outcome in ('confirmed', 'canceled') then null
                       when p.review is not null and d.outcome = 'confirmed'
                            and payments.is_reviewed_otherwise(d.payment_id, d.provider_ref) then 'several_amounts'
                       else p.review end,
         closed_at = case when d.outcome <> 'event_reused' then coalesce(p.closed_at, now()) else p.closed_at end,
         next_check_at = case when d.outcome <> 'event_reused' then payments.late_check(p) else p.next_check_at end,
         updated_at = now()
    from unnest(decided) d
   where p.id = any (touched) and p.id = d.payment_id; -- by key, so that the plan never scans the whole table

  if any_further then
    for i in 1 .. cardinality(decided) loop
      known := decided[i];
      if known.is_further then
        insert into payments.payments (invoice_id, order_id, client_id, provider, provider_ref, credited_ref, method,
                                       amount_minor, currency, status, paid_minor, confirmed_at, review, description,
                                       expires_at, closed_at, create_count, attempt_of)
        select p.invoice_id || '/' || n, p.order_id || '/' || n, p.client_id, p.provider, known.provider_ref,
               known.provider_ref, p.method, p.amount_minor, p.currency, 'approved', known.paid_minor, now(),
               known.review, p.description, p.expires_at, now(), 0, p.id
          from payments.payments p
         cross join lateral (select 2 + count(*) as n from payments.payments o where o.attempt_of = p.id) x
         where p.id = known.payment_id
        returning id into known.payment_id;
        decided[i] := known;
        confirmed := confirmed || known.payment_id;
      end if;
    end loop;
  end if;

  if confirmed is not null then
    perform wallet.credit_many(confirmed);
  end if;

  for returned_event in select d.*, p.client_id from unnest(decided) d
               cross join lateral (select * from payments.payments where id = d.payment_id offset 0) p
               where d.refund_minor > 0 order by p.id
  loop
    insert into wallet.refunds (client_id, payment_id, amount_minor, actor, reason, provider_ref)
    values (returned_event.client_id, returned_event.payment_id, returned_event.refund_minor,
            'provider:' || returned_event.provider, 'returned by the provider', returned_event.event_id)
    returning id into refund_id;
    select r.outcome into posted from wallet.refund(refund_id) r;
    if posted <> 'posted' then
      raise exception 'refund % of payment % is %', refund_id, returned_event.payment_id, posted;
    end if;
  end loop;

  insert into payments.events (provider, event_id, reuse, body_sha256, payment_id, order_id, provider_ref, status,
                               paid_minor, currency, refunded_minor, occurred_at, outcome, review)
  select d.provider, d.event_id, '', d.body_sha256, d.payment_id, d.order_id, d.provider_ref, d.status,
         d.paid_minor, d.currency, d.refunded_minor, d.occurred_at, d.outcome, d.review
    from unnest(decided) d where not d.seen order by d.provider, d.event_id
  on conflict do nothing;
  get diagnostics written = row_count;
  if written = cardinality(decided) then
    return decided;
  end if;
  if written <> (select count(*) from unnest(decided) d where not d.seen) then
    raise exception 'an event came twice at once, about different payments' using errcode = 'serialization_failure';
  end if;
  for known in select d.* from unnest(decided) d where d.seen order by d.provider, d.event_id loop
    if known.outcome = 'event_reused' then
      insert into payments.events (provider, event_id, reuse, body_sha256, payment_id, order_id, provider_ref, status,
                                   paid_minor, currency, refunded_minor, occurred_at, outcome, review)
      values (known.provider, known.event_id, known.body_sha256, known.body_sha256, known.payment_id, known.order_id,
              known.provider_ref, known.status, known.paid_minor, known.currency, known.refunded_minor,
              known.occurred_at, known.outcome, known.review)
      on conflict do nothing;
    elsif known.outcome not in ('repeated', 'unknown_payment') then
      update payments.events s set payment_id = known.payment_id, outcome = known.outcome, review = known.review
       where s.provider = known.provider and s.event_id = known.event_id and s.reuse = '';
    end if;
  end loop;
  return decided;
end
$$;

CREATE FUNCTION payments.confirm_many(providers text[], event_ids text[], digests bytea[], order_ids text[], provider_refs text[], statuses text[], paid_minors bigint[], currencies text[], refunded_minors bigint[], occurred_ats timestamp with time zone[], doubts text[]) RETURNS TABLE(outcome text, review text, payment_id bigint, invoice_id text, client_id uuid, balance_minor bigint, held_minor bigint, version bigint, revision bigint, debt_minor bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
#variable_conflict use_column
declare
  firsts payments.incoming[];
  others payments.incoming[]; -- further events of a payment or of an id: applied one by one, in order
  ids bigint[];
  returns_money boolean;
  decided payments.decision[];
  other payments.incoming;
begin
  with e as (
    select e.*, coalesce(
        (select p.id from (select coalesce(o.attempt_of, o.id) as id, o.provider from payments.payments o
                            where o.order_id = e.order_id offset 0) p
          where p.provider = e.provider),
        (select p.id from (select coalesce(o.attempt_of, o.id) as id, o.provider from payments.payments o
                            where o.credited_ref = e.provider_ref and o.credited_ref is not null offset 0) p
          where p.provider = e.provider),
        (select coalesce(p.attempt_of, p.id) from payments.payments p
          where p.provider = e.provider and p.provider_ref = e.provider_ref),
        -- The return of a second payment has that payment's own reference, which only the review of it contains.
        (select coalesce(p.attempt_of, p.id) from payments.payments p
          where p.id = (select min(s.payment_id) from (select r.payment_id, r.provider from payments.events r
                                where r.provider_ref = e.provider_ref and r.review is not null offset 0) s
                         where s.provider = e.provider))
      ) as payment_id
      from unnest(providers, event_ids, digests, order_ids, provider_refs, statuses, paid_minors, currencies,
                  refunded_minors, occurred_ats, doubts) with ordinality
        as e (provider, event_id, body_sha256, order_id, provider_ref, status, paid_minor, currency,
              refunded_minor, occurred_at, doubt, ord)
  ), ranked as (
    select row (ord, provider, event_id, body_sha256, payment_id, order_id, provider_ref, status, paid_minor,
                currency, refunded_minor, occurred_at, doubt)::payments.incoming as event, ord, payment_id,
           status in ('refunded', 'partial_refund') or refunded_minor > 0 as returns_money,
           row_number() over (partition by coalesce(payment_id, -ord) order by ord) = 1
           and row_number() over (partition by provider, event_id order by ord) = 1 as is_first
      from e
  )
  select array_agg(event order by ord) filter (where is_first),
         array_agg(event order by ord) filter (where not is_first),
         array_agg(payment_id), bool_or(r.returns_money)
    into firsts, others, ids, returns_money from ranked r;

  perform from payments.payments p where p.id = any (ids) or p.attempt_of = any (ids)
    order by p.id for no key update;
  -- Money is entered by hand before these events are decided, or sees what they credit. After the payments and before
  -- the wallets: whoever enters money or decides a review locks in this order, too.
  perform pg_advisory_xact_lock_shared(hashtextextended('payments.receipts', 0));
  if returns_money or others is not null then -- lock every wallet now, in order; later each would be locked when needed
    perform from wallet.wallets w
      where w.client_id = any (array(select p.client_id from payments.payments p where p.id = any (ids)))
      order by w.client_id for no key update;
  end if;

  decided := payments.apply_events(firsts);
  if others is not null then
    foreach other in array others loop
      decided := decided || payments.apply_events(array[other]);
    end loop;
  end if;

  return query
    select d.outcome, d.review, p.id, p.invoice_id, p.client_id,
           w.balance_minor, w.held_minor, w.version, w.revision, w.debt_minor
      from unnest(decided) d
      left join lateral (select * from payments.payments where id = d.payment_id offset 0) p on true
      left join lateral (select * from wallet.wallets where client_id = p.client_id offset 0) w on true
     order by d.ord;
end
$$;

CREATE FUNCTION payments.guard_bank_refund() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if tg_op = 'UPDATE' and old.ended_at is null
     and (new.state = old.state or new.state <> 'requested')
     and (new.id, new.payment_id, new.key, new.amount_minor, new.refunded_before_minor, new.actor, new.reason,
          new.requested_at)
         is not distinct from
         (old.id, old.payment_id, old.key, old.amount_minor, old.refunded_before_minor, old.actor, old.reason,
          old.requested_at) then
    return new;
  end if;
  raise exception 'refund % at the bank stays as it is', old.id using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION payments.guard_difference() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if tg_op = 'UPDATE' and old.closed_at is null and new.last_run >= old.last_run
     and (old.decision is null or (new.decision, new.decided_by, new.decided_at, new.reason)
          is not distinct from (old.decision, old.decided_by, old.decided_at, old.reason)) then
    return new;
  end if;
  raise exception 'difference % stays as it is', coalesce(old.id, 0) using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION payments.guard_event() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if tg_op = 'TRUNCATE' then
    raise exception 'events are kept' using errcode = 'restrict_violation';
  elsif tg_op = 'DELETE' then
    if old.payment_id is null then
      return old;
    end if;
  elsif (new.provider, new.event_id, new.reuse, new.body_sha256, new.order_id, new.provider_ref, new.status,
         new.paid_minor, new.currency, new.refunded_minor, new.occurred_at, new.received_at)
        is not distinct from
        (old.provider, old.event_id, old.reuse, old.body_sha256, old.order_id, old.provider_ref, old.status,
         old.paid_minor, old.currency, old.refunded_minor, old.occurred_at, old.received_at)
        and (old.resolved_at is null
             or (new.resolved_at, new.credited_by) is not distinct from (old.resolved_at, old.credited_by))
        and (old.payment_id is null
             or (new.payment_id, new.outcome, new.review)
                is not distinct from (old.payment_id, old.outcome, old.review)) then
    return new;
  end if;
  raise exception 'event % of % stays as it came', old.event_id, old.provider using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION payments.guard_payment() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if (new.id, new.client_id, new.amount_minor, new.currency, new.provider, new.invoice_id, new.order_id,
      new.attempt_of)
     is distinct from
     (old.id, old.client_id, old.amount_minor, old.currency, old.provider, old.invoice_id, old.order_id,
      old.attempt_of) then
    raise exception 'payment % keeps its client, amount, currency, provider, invoice, order and bill', old.id
      using errcode = 'check_violation';
  end if;
  if old.provider_ref is not null and new.provider_ref is distinct from old.provider_ref then
    raise exception 'payment % keeps its provider reference', old.id using errcode = 'check_violation';
  end if;
  if old.credited_minor is not null
     and (new.credited_ref, new.paid_minor, new.confirmed_at)
         is distinct from (old.credited_ref, old.paid_minor, old.confirmed_at) then
    raise exception 'payment % is credited: what was paid, when and by which reference stays', old.id
      using errcode = 'check_violation';
  end if;
  if new.status <> old.status and (old.status, new.status) not in (
      ('processing', 'approved'), ('processing', 'canceled'), ('canceled', 'approved'),
      ('approved', 'refunded'), ('approved', 'partial_refund'), ('partial_refund', 'refunded')) then
    raise exception 'payment % cannot go from % to %', old.id, old.status, new.status
      using errcode = 'check_violation';
  end if;
  return new;
end
$$;

CREATE FUNCTION payments.is_reviewed(for_payment bigint, reference text, of_status text, paid bigint, of_currency text, refunded bigint) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  select exists (
    select from payments.events s
     where s.payment_id = for_payment and s.outcome = 'review' and s.provider_ref = reference
       and (s.status, s.paid_minor, s.currency, s.refunded_minor)
           is not distinct from (of_status, paid, of_currency, refunded))
$$;

CREATE FUNCTION payments.is_reviewed_otherwise(for_payment bigint, reference text, amount_minor bigint DEFAULT NULL::bigint, of_currency text DEFAULT NULL::text) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  select exists (
    select from payments.events s
     where s.payment_id = for_payment and s.review is not null and s.resolved_at is null and s.paid_minor > 0
       and (s.provider_ref is distinct from reference
            or amount_minor is not null and (s.paid_minor, s.currency) is distinct from (amount_minor, of_currency)))
$$;

CREATE TABLE payments.payments (
    id bigint NOT NULL,
    invoice_id text NOT NULL,
    order_id text NOT NULL,
    client_id uuid NOT NULL,
    provider text NOT NULL,
    provider_ref text,
    credited_ref text,
    method text NOT NULL,
    amount_minor bigint NOT NULL,
    currency character(3) DEFAULT 'KGS'::bpchar NOT NULL,
    status text DEFAULT 'processing'::text NOT NULL,
    paid_minor bigint,
    confirmed_at timestamp with time zone,
    credited_minor bigint GENERATED ALWAYS AS (
CASE
    WHEN (status = ANY (ARRAY['approved'::text, 'refunded'::text, 'partial_refund'::text])) THEN amount_minor
    ELSE NULL::bigint
END) STORED,
    refunded_minor bigint DEFAULT 0 NOT NULL,
    review text,
    description text,
    qr_code text,
    qr_code_url text,
    app_link text,
    expires_at timestamp with time zone NOT NULL,
    closed_at timestamp with time zone,
    next_check_at timestamp with time zone,
    last_checked_at timestamp with time zone,
    check_count integer DEFAULT 0 NOT NULL,
    acknowledged_at timestamp with time zone,
    unknown_count integer DEFAULT 0 NOT NULL,
    unknown_since timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    resolved_at timestamp with time zone,
    resolved_by bigint,
    idempotency_key text,
    page_url text,
    create_count integer DEFAULT 1 NOT NULL,
    ask_at timestamp with time zone,
    doubted_at timestamp with time zone,
    without_token boolean DEFAULT false NOT NULL,
    attempt_of bigint,
    CONSTRAINT payments_amount_minor_check CHECK (((amount_minor >= 1) AND (amount_minor <= '100000000000'::bigint))),
    CONSTRAINT payments_attempts_are_credited CHECK (((attempt_of IS NULL) OR (credited_ref IS NOT NULL))),
    CONSTRAINT payments_check CHECK (((refunded_minor >= 0) AND (refunded_minor <= amount_minor))),
    CONSTRAINT payments_confirmed_in_full CHECK (((credited_minor IS NULL) OR ((paid_minor IS NOT NULL) AND (paid_minor >= amount_minor) AND (confirmed_at IS NOT NULL)))),
    CONSTRAINT payments_credited_by_a_reference CHECK (
CASE
    WHEN (provider = 'manual'::text) THEN ((provider_ref IS NOT NULL) AND (credited_ref IS NULL))
    ELSE ((credited_minor IS NOT NULL) = (credited_ref IS NOT NULL))
END),
    CONSTRAINT payments_description_check CHECK ((length(description) <= 500)),
    CONSTRAINT payments_idempotency_key_check CHECK (((length(idempotency_key) >= 1) AND (length(idempotency_key) <= 255))),
    CONSTRAINT payments_invoice_id_check CHECK (((length(invoice_id) >= 6) AND (length(invoice_id) <= 64))),
    CONSTRAINT payments_method_check CHECK ((method = ANY (ARRAY['qr'::text, 'card'::text, 'cash'::text]))),
    CONSTRAINT payments_order_id_check CHECK (((length(order_id) >= 6) AND (length(order_id) <= 128))),
    CONSTRAINT payments_paid_minor_check CHECK ((paid_minor >= 0)),
    CONSTRAINT payments_provider_check CHECK (((length(provider) >= 1) AND (length(provider) <= 40))),
    CONSTRAINT payments_refunds_match_status CHECK ((((status = 'refunded'::text) = (refunded_minor = amount_minor)) AND ((status = 'partial_refund'::text) = ((refunded_minor > 0) AND (refunded_minor < amount_minor))))),
    CONSTRAINT payments_status_check CHECK ((status = ANY (ARRAY['processing'::text, 'approved'::text, 'canceled'::text, 'refunded'::text, 'partial_refund'::text])))
);

CREATE FUNCTION payments.late_check(payment payments.payments) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  select case when payment.attempt_of is null and now() < payment.created_at + interval '24 hours 20 minutes'
              then now() + interval '1 hour' end
$$;

CREATE FUNCTION payments.purge_unknown_events(received_before timestamp with time zone, at_most integer) RETURNS integer
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  with old as (
    select ctid from payments.events
     where payment_id is null and received_at < least(received_before, now() - interval '90 days')
       and (review is null or resolved_at is not null)
     order by received_at limit at_most for update skip locked
  ), deleted as (
    delete from payments.events where ctid = any (array(select ctid from old)) returning 1
  )
  select count(*)::int from deleted
$$;

CREATE FUNCTION stations.claim_command(at_station text, on_epoch bigint, at timestamp with time zone) RETURNS SETOF stations.commands
    LANGUAGE plpgsql ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  perform from stations.sockets s where s.station_id = at_station and s.epoch = on_epoch for no key update;
  if not found then
    return;
  end if;
  return query
  update stations.commands c set state = 'sent', sent_at = at, epoch = on_epoch
   where c.id = (
     select q.id from stations.commands q
      where q.station_id = at_station and q.state = 'queued' and q.expires_at > at
      order by q.id limit 1 for update)
     and not exists (select from stations.commands f where f.station_id = at_station and f.state = 'sent')
  returning c.*;
end
$$;

CREATE FUNCTION stations.guard_command() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if tg_op = 'INSERT' then
    perform stations.refuse_retired(new.station_id);
    if new.state <> 'queued' then
      raise exception 'a command begins as queued' using errcode = 'restrict_violation';
    end if;
    return new;
  end if;
  -- A reply may come after the time-out: a time-out says that the outcome is unknown.
  if tg_op = 'UPDATE'
     and (new.id, new.station_id, new.connector, new.action, new.payload, new.actor, new.created_at, new.expires_at,
          new.bulk_id)
         is not distinct from
         (old.id, old.station_id, old.connector, old.action, old.payload, old.actor, old.created_at, old.expires_at,
          old.bulk_id)
     and (old.sent_at is null or (new.sent_at, new.epoch) is not distinct from (old.sent_at, old.epoch))
     and (old.state, new.state) in (
       ('queued', 'sent'), ('queued', 'timed_out'), ('sent', 'accepted'), ('sent', 'refused'), ('sent', 'timed_out'),
       ('timed_out', 'accepted'), ('timed_out', 'refused'))
     and (old.state <> 'queued' or new.state = 'sent' or new.sent_at is null)
     and (old.state <> 'timed_out' or old.sent_at is not null) then
    return new;
  end if;
  raise exception 'command % of station % is %, and can''t become %', old.id, old.station_id, old.state,
    coalesce(new.state, 'deleted') using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION stations.guard_connection() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if tg_op = 'INSERT' then
    perform stations.refuse_retired(new.station_id);
    return new;
  end if;
  if tg_op = 'DELETE' and old.closed_at < now() - interval '30 days' then
    return old;
  end if;
  if tg_op = 'UPDATE' and old.closed_at is null
     and (new.id, new.station_id, new.address, new.version, new.is_authenticated, new.opened_at)
         is not distinct from
         (old.id, old.station_id, old.address, old.version, old.is_authenticated, old.opened_at) then
    return new;
  end if;
  raise exception 'connection % of station % stays as it is', old.id, old.station_id
    using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION stations.guard_credential() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if tg_op = 'UPDATE' and old.ended_at is null
     and (old.activated_at is null or new.activated_at is not distinct from old.activated_at)
     and (new.id, new.station_id, new.secret_sha256, new.created_at)
         is not distinct from (old.id, old.station_id, old.secret_sha256, old.created_at) then
    return new;
  end if;
  raise exception 'password % of station % stays as it is', old.id, old.station_id
    using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION stations.guard_socket() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if new.station_id <> old.station_id or new.epoch < old.epoch or (new.epoch = old.epoch and new.node <> old.node) then
    raise exception 'station % has a newer socket', old.station_id using errcode = 'restrict_violation';
  end if;
  return new;
end
$$;

CREATE FUNCTION stations.guard_station() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if (new.id, new.id_key, new.post_code, new.is_simulated, new.created_at)
     is distinct from (old.id, old.id_key, old.post_code, old.is_simulated, old.created_at) then
    raise exception 'the id of station % stays as it is', old.id using errcode = 'restrict_violation';
  end if;
  if new.retired_at is not null and old.retired_at is null
     and exists (select from stations.connections c where c.station_id = old.id and c.closed_at is null) then
    raise exception 'station % is connected', old.id using errcode = 'restrict_violation';
  end if;
  return new;
end
$$;

CREATE TABLE stations.stations (
    id text NOT NULL,
    id_key text NOT NULL,
    post_code text NOT NULL,
    location_id text NOT NULL,
    owner text,
    wanted_availability text DEFAULT 'operative'::text NOT NULL,
    reported_availability text,
    status_stamp_at timestamp with time zone,
    vendor text,
    model text,
    firmware text,
    booted_at timestamp with time zone,
    no_auth boolean DEFAULT false NOT NULL,
    paid_only boolean DEFAULT true NOT NULL,
    cards_without_auth boolean DEFAULT false NOT NULL,
    is_simulated boolean DEFAULT false NOT NULL,
    pinned_version text,
    forward_url text,
    retired_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT cards_without_auth_needs_no_auth CHECK ((no_auth OR (NOT cards_without_auth))),
    CONSTRAINT stations_firmware_check CHECK ((length(firmware) <= 255)),
    CONSTRAINT stations_forward_url_check CHECK (((length(forward_url) <= 500) AND (forward_url ~ '^wss?://[^[:space:]/?#@]+[^[:space:]?#@]*[^[:space:]?#@/]$'::text))),
    CONSTRAINT stations_id_check CHECK (((length(id) >= 1) AND (length(id) <= 50))),
    CONSTRAINT stations_model_check CHECK ((length(model) <= 255)),
    CONSTRAINT stations_owner_check CHECK (((length(owner) >= 1) AND (length(owner) <= 200))),
    CONSTRAINT stations_pinned_version_check CHECK ((pinned_version = ANY (ARRAY['ocpp1.6'::text, 'ocpp2.0.1'::text]))),
    CONSTRAINT stations_post_code_check CHECK ((post_code ~ '^[0-9a-z]{4,12}$'::text)),
    CONSTRAINT stations_reported_availability_check CHECK ((reported_availability = ANY (ARRAY['operative'::text, 'inoperative'::text]))),
    CONSTRAINT stations_vendor_check CHECK ((length(vendor) <= 255)),
    CONSTRAINT stations_wanted_availability_check CHECK ((wanted_availability = ANY (ARRAY['operative'::text, 'inoperative'::text])))
);

CREATE FUNCTION stations.lock_for_start(named text, at_connector integer, setting text) RETURNS TABLE(station stations.stations, connector integer, connector_availability text, connector_status text, rated_power_w integer, last_frame_at timestamp with time zone, time_zone text, chosen_profile text, profile_overrides jsonb, setting_value text)
    LANGUAGE plpgsql ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
declare
  locked stations.stations;
begin
  select s.* into locked
    from stations.names n join stations.stations s on s.id = n.station_id
   where n.key = named for no key update of s;
  if not found then
    return;
  end if;
  -- A statement of its own: it sees what was committed while the lock was waited for.
  return query
  select locked, c.number, c.wanted_availability, c.reported_status, c.rated_power_w, o.last_frame_at, l.time_zone,
         p.profile, coalesce(p.overrides, '{}'::jsonb), stations.newest_setting(locked.id, setting)
    from stations.locations l
    left join stations.connectors c on c.station_id = locked.id and c.number = at_connector
    left join stations.profiles p on p.station_id = locked.id
    left join stations.sockets o on o.station_id = locked.id
   where l.id = locked.location_id;
end
$$;

CREATE FUNCTION stations.newest_setting(of_station text, setting text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  return (
    select k.item ->> 'value' from stations.commands c
     cross join lateral jsonb_array_elements(
       case jsonb_typeof(c.response -> 'configurationKey')
         when 'array' then c.response -> 'configurationKey' else '[]' end) k (item)
     where c.station_id = of_station and c.action = 'get_configuration' and c.state = 'accepted'
       and lower(k.item ->> 'key') = lower(setting)
     order by c.id desc limit 1);
end
$$;

CREATE FUNCTION stations.purge_logs(before timestamp with time zone, at_most integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  oldest timestamptz := least(before, now() - interval '30 days');
  statuses int;
  closed int;
begin
  delete from stations.status_log where id in (
    select l.id from stations.status_log l where l.received_at < oldest order by l.received_at limit at_most);
  get diagnostics statuses = row_count;
  delete from stations.connections where id in (
    select c.id from stations.connections c
     where c.closed_at < oldest
       and not exists (select from stations.commands m where m.epoch = c.id)
       and not exists (select from stations.sockets s where s.station_id = c.station_id and s.epoch = c.id)
     order by c.closed_at limit at_most);
  get diagnostics closed = row_count;
  return greatest(statuses, closed);
end
$$;

CREATE FUNCTION stations.queue_command(at_station text, action text, payload jsonb, connector integer, actor text, made_at timestamp with time zone, until timestamp with time zone, bulk_id uuid) RETURNS SETOF stations.commands
    LANGUAGE plpgsql ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
begin
  return query
  with station as (
    select s.id from stations.stations s where s.id = at_station and s.retired_at is null for no key update
  )
  insert into stations.commands as c
    (station_id, action, payload, connector, actor, created_at, expires_at, bulk_id)
  select s.id, queue_command.action, queue_command.payload, queue_command.connector, queue_command.actor, made_at, until,
         queue_command.bulk_id
    from station s returning c.*;
end
$$;

CREATE FUNCTION stations.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  raise exception '% of stations are kept as they are', tg_table_name using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION stations.refuse_retired(station text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  retired timestamptz;
begin
  select s.retired_at into retired from stations.stations s where s.id = station for share;
  if retired is not null then
    raise exception 'station % is retired', station using errcode = 'restrict_violation';
  end if;
end
$$;

CREATE FUNCTION sync.end_claims() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if not exists (select from changed v where (v.email_verified or v.phone_verified) and v.status <> 'closed') then
    return null;
  end if;
  with claims as materialized (
    select c.id, 'email' as contact, c.email as value, v.id as holder from changed v
      join identity.clients c on c.email = v.email
     where v.email_verified and v.status <> 'closed' and c.id <> v.id and c.status <> 'closed' and not c.email_verified
    union all
    select c.id, 'phone', c.phone, v.id from changed v
      join identity.clients c on c.phone = v.phone
     where v.phone_verified and v.status <> 'closed' and c.id <> v.id and c.status <> 'closed' and not c.phone_verified
  ), locked as materialized (
    select c.id from identity.clients c where c.id in (select k.id from claims k) order by c.id for no key update
  ), waiting as (
    insert into sync.contact_conflicts as w (client_id, contact, value, holder)
    select k.id, k.contact, k.value, k.holder from claims k join locked l on l.id = k.id
    on conflict (client_id, contact) do update
       set value = excluded.value, verified = false, holder = excluded.holder, since = now()
    returning w.client_id, w.contact, w.value
  )
  update identity.clients c -- a claim may have changed while its row was locked
     set email = case when e.value is distinct from c.email or c.email_verified then c.email end,
         phone = case when p.value is distinct from c.phone or c.phone_verified then c.phone end,
         updated_at = now()
    from locked l
    left join waiting e on e.client_id = l.id and e.contact = 'email'
    left join waiting p on p.client_id = l.id and p.contact = 'phone'
   where c.id = l.id;
  return null;
end
$$;

CREATE FUNCTION sync.enqueue_changed_payments() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if exists (select from sync.old_tables o where o.name = 'balance_topups') then
    perform sync.enqueue_ids('payment', (
      select array_agg(c.invoice_id)
        from changed c join before b on b.id = c.id
       where (c.status, c.paid_minor, c.confirmed_at, c.closed_at, c.expires_at, c.qr_code_url, c.app_link,
              c.updated_at >= c.expires_at)
             is distinct from (b.status, b.paid_minor, b.confirmed_at, b.closed_at, b.expires_at, b.qr_code_url,
                               b.app_link, b.updated_at >= b.expires_at)));
  end if;
  return null;
end
$$;

CREATE FUNCTION sync.enqueue_connectors() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  perform sync.enqueue_ids('station', (
    select array_agg(c.station_id)
      from changed c join before b on b.station_id = c.station_id and b.number = c.number
     where (c.reported_status, c.reported_error, c.reported_at, c.wanted_availability)
           is distinct from (b.reported_status, b.reported_error, b.reported_at, b.wanted_availability)));
  return null;
end
$$;

CREATE FUNCTION sync.enqueue_ids(of_topic text, ids text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
begin
  insert into sync.row_keys (key, topic, id)
  select sync.row_key($1, i.id), $1, i.id from (select distinct unnest($2) as id) i
   where not exists (select from sync.row_keys k where k.topic = $1 and k.id = i.id)
   order by 1
  on conflict do nothing;
  insert into sync.pending (topic, key)
  select $1, sync.row_key($1, i.id) from (select distinct unnest($2) as id) i order by 2
  on conflict (topic, key) do update
    set generation = excluded.generation, next_at = least(sync.pending.next_at, excluded.next_at), parked_at = null;
end
$_$;

CREATE FUNCTION sync.enqueue_locations() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  perform sync.enqueue_ids('location', (
    select array_agg(l.id)
      from changed c join before b on b.id = c.id
     cross join lateral (values (b.location_id), (c.location_id)) as l (id)
     where (c.location_id, c.retired_at is null) is distinct from (b.location_id, b.retired_at is null)));
  return null;
end
$$;

CREATE FUNCTION sync.enqueue_named() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  perform sync.enqueue_ids(tg_argv[0], (select array_agg(to_jsonb(c) ->> tg_argv[1]) from changed c));
  return null;
end
$$;

CREATE FUNCTION sync.enqueue_owners() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  insert into sync.pending (topic, key)
  select distinct tg_argv[0], c.client_id from changed c order by c.client_id
  on conflict (topic, key) do update
    set generation = excluded.generation, next_at = least(sync.pending.next_at, excluded.next_at), parked_at = null;
  return null;
end
$$;

CREATE FUNCTION sync.enqueue_payments() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if exists (select from sync.old_tables o where o.name = 'balance_topups') then
    perform sync.enqueue_ids('payment', (select array_agg(c.invoice_id) from changed c));
  end if;
  return null;
end
$$;

CREATE FUNCTION sync.enqueue_progress() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  insert into sync.pending (topic, key, next_at)
  select 'session', c.session_id, now() + interval '60 s' from changed c where c.session_id is not null
   order by c.session_id
  on conflict (topic, key) do update
    set generation = excluded.generation, next_at = least(sync.pending.next_at, excluded.next_at);
  return null;
end
$$;

CREATE FUNCTION sync.enqueue_rows() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  insert into sync.pending (topic, key)
  select tg_argv[0], c.id from changed c order by c.id
  on conflict (topic, key) do update
    set generation = excluded.generation, next_at = least(sync.pending.next_at, excluded.next_at), parked_at = null;
  return null;
end
$$;

CREATE FUNCTION sync.enqueue_tariffs() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  perform sync.enqueue_ids('tariff', (
    select array_agg(p.code) from changed c join tariffs.plans p on p.id = c.plan_id));
  perform sync.enqueue_ids('station', (select array_agg(s.id) from stations.stations s));
  return null;
end
$$;

CREATE FUNCTION sync.enqueue_transactions() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if exists (select from sync.old_tables o where o.name = 'payment_transactions_odengi') then
    perform sync.enqueue_ids('transaction', (
      select array_agg(c.client_id || ':' || c.version) from changed c));
  end if;
  return null;
end
$$;

CREATE FUNCTION sync.row_key(topic text, id text) RETURNS uuid
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  select md5(topic || ':' || id)::uuid
$$;

CREATE FUNCTION sync.set_old_tables(names text[]) RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
declare
  added text[];
begin
  lock table sync.old_tables in access exclusive mode;
  delete from sync.old_tables o where o.name <> all (names);
  with inserted as (
    insert into sync.old_tables (name) select distinct n from unnest(names) n order by 1
    on conflict do nothing returning name
  ) select coalesce(array_agg(i.name order by i.name), '{}') into added from inserted i;
  return added;
end
$$;

CREATE FUNCTION tariffs.choose(at_connector text, at_station text, at_location text, at timestamp with time zone, for_client uuid) RETURNS TABLE(plan text, plan_version integer, document_format integer, document jsonb, client_tariff bigint, discount_ppm integer, discount_on text[])
    LANGUAGE plpgsql ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
begin
  return query
  with own as (
    select c.id, c.plan_id, c.discount_ppm, c.discount_on from tariffs.client_tariffs c
     where c.client_id = for_client and c.valid_from <= at and (c.valid_until is null or c.valid_until > at)
     order by c.id desc limit 1)
  select p.code, v.number, v.format, v.document, own.id, own.discount_ppm, own.discount_on
    from (
      select v.id
        from (select 0 as width, o.plan_id from own o where o.plan_id is not null
              union all
              select s.width, a.plan_id
                from (values (1, 'connector', at_connector), (2, 'station', at_station), (3, 'location', at_location),
                             (4, 'everything', '')) as s (width, scope, scope_id)
               cross join lateral (
                 select a.plan_id from tariffs.assignments a
                  where a.scope = s.scope and a.scope_id = s.scope_id and a.valid_from <= at
                  order by a.valid_from desc, a.id desc limit 1) a) s
       cross join lateral (
         select v.id from tariffs.versions v
          where v.plan_id = s.plan_id and v.valid_from <= at
          order by v.valid_from desc, v.number desc limit 1) v
       order by s.width limit 1) chosen
    join tariffs.versions v on v.id = chosen.id
    join tariffs.plans p on p.id = v.plan_id
    left join own on true;
end
$$;

CREATE FUNCTION tariffs.guard_client_tariff() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if tg_op = 'UPDATE' and new.valid_until < coalesce(old.valid_until, 'infinity')
     and (new.id, new.client_id, new.plan_id, new.discount_ppm, new.discount_on, new.valid_from, new.actor, new.created_at)
         is not distinct from
         (old.id, old.client_id, old.plan_id, old.discount_ppm, old.discount_on, old.valid_from, old.actor, old.created_at)
  then
    return new;
  end if;
  raise exception 'tariff % of a client stays as it is', old.id using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION tariffs.guard_version() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if tg_op = 'UPDATE' and old.valid_from is null and new.valid_from is not null
     and (new.id, new.plan_id, new.number, new.format, new.document, new.actor, new.created_at)
         is not distinct from
         (old.id, old.plan_id, old.number, old.format, old.document, old.actor, old.created_at) then
    return new;
  end if;
  raise exception 'version % of tariff plan % stays as it is', old.number, old.plan_id
    using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION tariffs.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  raise exception '% of tariffs are kept as they are', tg_table_name using errcode = 'restrict_violation';
end
$$;

CREATE TABLE charging.sessions (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    station_id text NOT NULL,
    connector_id integer NOT NULL,
    state text NOT NULL,
    source text NOT NULL,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    energy_wh bigint DEFAULT 0 NOT NULL,
    cost_minor bigint DEFAULT 0 NOT NULL,
    billed_elsewhere boolean DEFAULT false NOT NULL,
    vehicle_plate text,
    revision bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    started_by text,
    without_token boolean DEFAULT false NOT NULL,
    id_tag text,
    limit_energy_wh bigint,
    limit_amount_minor bigint,
    limit_soc_percent integer,
    start_command_id bigint,
    start_window_ends_at timestamp with time zone,
    start_failure text,
    stop_requested_at timestamp with time zone,
    stop_requested_by text,
    asked_to_end_at timestamp with time zone,
    stop_reason text,
    end_reason text,
    is_estimated boolean DEFAULT false NOT NULL,
    quarantined_at timestamp with time zone,
    quarantine_reason text,
    free_reason text,
    station_lost_notified_at timestamp with time zone,
    CONSTRAINT sessions_are_free_at_no_cost CHECK (((free_reason IS NULL) OR (cost_minor = 0))),
    CONSTRAINT sessions_are_quarantined_for_a_reason CHECK (((quarantined_at IS NULL) = (quarantine_reason IS NULL))),
    CONSTRAINT sessions_charge_from_a_start CHECK (((started_by IS NULL) OR ((state = ANY (ARRAY['charging'::text, 'stopping'::text, 'finished'::text, 'settled'::text])) = (started_at IS NOT NULL)))),
    CONSTRAINT sessions_check CHECK (((ended_at IS NULL) OR (started_at IS NULL) OR (ended_at >= started_at))),
    CONSTRAINT sessions_check1 CHECK (((state <> ALL (ARRAY['finished'::text, 'settled'::text])) OR ((started_at IS NOT NULL) AND (ended_at IS NOT NULL)))),
    CONSTRAINT sessions_connector_id_check CHECK (((connector_id >= 1) AND (connector_id <= 1000))),
    CONSTRAINT sessions_cost_minor_check CHECK ((cost_minor >= 0)),
    CONSTRAINT sessions_end_reason_check CHECK ((end_reason ~ '^[a-z][a-z0-9_]{0,63}$'::text)),
    CONSTRAINT sessions_end_with_a_reason CHECK (((started_by IS NULL) OR ((state = ANY (ARRAY['finished'::text, 'settled'::text])) = (end_reason IS NOT NULL)))),
    CONSTRAINT sessions_energy_wh_check CHECK ((energy_wh >= 0)),
    CONSTRAINT sessions_fail_with_a_reason CHECK (((started_by IS NULL) OR ((state = ANY (ARRAY['expired'::text, 'refused'::text, 'cancelled'::text, 'failed'::text])) = (start_failure IS NOT NULL)))),
    CONSTRAINT sessions_free_reason_check CHECK ((free_reason ~ '^[a-z][a-z0-9_]{0,63}$'::text)),
    CONSTRAINT sessions_have_a_tag_by_app CHECK (((id_tag IS NOT NULL) = COALESCE((started_by = 'app'::text), false))),
    CONSTRAINT sessions_id_tag_check CHECK ((id_tag ~ '^[0-9A-F]{12}$'::text)),
    CONSTRAINT sessions_limit_amount_minor_check CHECK ((limit_amount_minor > 0)),
    CONSTRAINT sessions_limit_energy_wh_check CHECK ((limit_energy_wh > 0)),
    CONSTRAINT sessions_limit_soc_percent_check CHECK (((limit_soc_percent >= 1) AND (limit_soc_percent <= 100))),
    CONSTRAINT sessions_quarantine_reason_check CHECK (((length(quarantine_reason) >= 1) AND (length(quarantine_reason) <= 500))),
    CONSTRAINT sessions_source_check CHECK ((source = ANY (ARRAY['evpower'::text, 'import'::text]))),
    CONSTRAINT sessions_start_failure_check CHECK ((start_failure ~ '^[a-z][a-z0-9_]{0,63}$'::text)),
    CONSTRAINT sessions_started_by_check CHECK ((started_by = ANY (ARRAY['app'::text, 'card'::text]))),
    CONSTRAINT sessions_started_here_are_ours CHECK (((started_by IS NULL) OR (source = 'evpower'::text))),
    CONSTRAINT sessions_state_check CHECK ((state = ANY (ARRAY['requested'::text, 'starting'::text, 'charging'::text, 'stopping'::text, 'finished'::text, 'settled'::text, 'expired'::text, 'refused'::text, 'cancelled'::text, 'failed'::text]))),
    CONSTRAINT sessions_station_id_check CHECK (((length(station_id) >= 1) AND (length(station_id) <= 64))),
    CONSTRAINT sessions_stop_for_an_actor CHECK (((stop_requested_at IS NULL) = (stop_requested_by IS NULL))),
    CONSTRAINT sessions_stop_reason_check CHECK ((stop_reason ~ '^[a-z][a-z0-9_]{0,63}$'::text)),
    CONSTRAINT sessions_stop_requested_by_check CHECK (((length(stop_requested_by) >= 1) AND (length(stop_requested_by) <= 200))),
    CONSTRAINT sessions_vehicle_plate_check CHECK (((length(vehicle_plate) >= 1) AND (length(vehicle_plate) <= 16))),
    CONSTRAINT sessions_wait_for_their_start CHECK (((start_window_ends_at IS NOT NULL) OR COALESCE((started_by <> 'app'::text), true)))
);

CREATE TABLE charging.settlements (
    id bigint NOT NULL,
    session_id uuid NOT NULL,
    client_id uuid NOT NULL,
    bill_number integer,
    total_minor bigint,
    energy_wh bigint,
    ended_at timestamp with time zone,
    due_minor bigint NOT NULL,
    debited_minor bigint NOT NULL,
    debit_minor bigint GENERATED ALWAYS AS ((- debited_minor)) STORED,
    refunded_minor bigint DEFAULT 0 NOT NULL,
    collects_debt_id bigint,
    actor text,
    reason text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT settlements_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200))),
    CONSTRAINT settlements_bill_number_check CHECK ((bill_number > 0)),
    CONSTRAINT settlements_bill_or_collection CHECK ((num_nonnulls(bill_number, collects_debt_id) = 1)),
    CONSTRAINT settlements_bills_have_facts CHECK ((num_nulls(total_minor, energy_wh, ended_at) =
CASE
    WHEN (bill_number IS NULL) THEN 3
    ELSE 0
END)),
    CONSTRAINT settlements_check CHECK (((debited_minor >= 0) AND (debited_minor <= due_minor))),
    CONSTRAINT settlements_check1 CHECK (((refunded_minor >= 0) AND (refunded_minor <= debited_minor))),
    CONSTRAINT settlements_collect_whole CHECK (((collects_debt_id IS NULL) OR ((due_minor > 0) AND (debited_minor = due_minor)))),
    CONSTRAINT settlements_due_minor_check CHECK ((due_minor >= 0)),
    CONSTRAINT settlements_due_within_total CHECK (((total_minor IS NULL) OR (due_minor <= total_minor))),
    CONSTRAINT settlements_energy_wh_check CHECK ((energy_wh >= 0)),
    CONSTRAINT settlements_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 500))),
    CONSTRAINT settlements_say_why CHECK (((COALESCE(bill_number, 1) = 1) OR (num_nulls(actor, reason) = 0))),
    CONSTRAINT settlements_total_minor_check CHECK ((total_minor >= 0))
);

CREATE TABLE wallet.wallets (
    client_id uuid NOT NULL,
    currency character(3) DEFAULT 'KGS'::bpchar NOT NULL,
    balance_minor bigint DEFAULT 0 NOT NULL,
    held_minor bigint DEFAULT 0 NOT NULL,
    debt_minor bigint DEFAULT 0 NOT NULL,
    version bigint DEFAULT 0 NOT NULL,
    revision bigint DEFAULT 0 NOT NULL,
    spent_minor bigint DEFAULT 0 NOT NULL,
    last_topup_at timestamp with time zone,
    chain_version bigint GENERATED ALWAYS AS (NULLIF(version, 0)) STORED,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT wallets_balance_minor_check CHECK ((balance_minor >= 0)),
    CONSTRAINT wallets_check CHECK (((held_minor >= 0) AND (held_minor <= balance_minor))),
    CONSTRAINT wallets_check1 CHECK (((version > 0) OR (balance_minor = 0))),
    CONSTRAINT wallets_debt_minor_check CHECK ((debt_minor >= 0)),
    CONSTRAINT wallets_spent_minor_check CHECK ((spent_minor >= 0)),
    CONSTRAINT wallets_version_check CHECK ((version >= 0))
)
WITH (fillfactor='70');

CREATE FUNCTION wallet.bill(s charging.sessions, w wallet.wallets, number integer, due bigint, freed bigint, by_actor text, for_reason text) RETURNS charging.settlements
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  debited bigint;
  bill charging.settlements;
begin
  debited := least(due, w.balance_minor - w.held_minor + freed);
  insert into charging.settlements (session_id, client_id, bill_number, total_minor, energy_wh, ended_at, due_minor,
                                    debited_minor, actor, reason)
  values (s.id, s.client_id, number, s.cost_minor, s.energy_wh, s.ended_at, due, debited, by_actor, for_reason)
  returning * into strict bill;
  if debited < due then
    insert into wallet.debts (client_id, settlement_id, amount_minor) values (s.client_id, bill.id, due - debited);
  end if;
  update wallet.wallets
     set revision = revision + 1, updated_at = now(), held_minor = held_minor - freed,
         balance_minor = balance_minor - debited, debt_minor = debt_minor + due - debited,
         spent_minor = spent_minor + debited, version = version + (debited > 0)::int
   where client_id = s.client_id;
  if debited > 0 then
    insert into wallet.transactions (client_id, version, kind, amount_minor, balance_before_minor,
                                     balance_after_minor, settlement_id, event_at)
    values (s.client_id, w.version + 1, 'charge', -debited, w.balance_minor, w.balance_minor - debited, bill.id,
            s.ended_at);
  end if;
  return bill;
end
$$;

CREATE FUNCTION wallet.charge(for_session uuid) RETURNS wallet.result
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  s charging.sessions;
  w wallet.wallets;
  bill charging.settlements;
  freed bigint;
  outcome text;
  txn wallet.transactions;
begin
  select * into s from charging.sessions where id = for_session for no key update; -- lock order: session, then wallet
  if not found then
    return row ('not_found', null, null, null, null, null, null, null, null, null, for_session)::wallet.result;
  end if;
  select * into strict w from wallet.wallets where client_id = s.client_id for no key update;
  if s.state = 'settled' then
    select * into strict bill from charging.settlements where session_id = for_session and bill_number = 1;
    outcome := case bill.due_minor when 0 then 'nothing_due' else 'repeated' end;
  elsif s.billed_elsewhere then
    outcome := 'billed_elsewhere';
  elsif s.state <> 'finished' then
    outcome := 'not_finished';
  else
    update wallet.holds set state = 'charged', resolved_at = now()
      where session_id = for_session and state = 'open' returning amount_minor into freed;
    update charging.sessions set state = 'settled' where id = for_session;
    bill := wallet.bill(s, w, 1, s.cost_minor, coalesce(freed, 0), null, null);
    outcome := case bill.due_minor when 0 then 'nothing_due' else 'posted' end;
    if w.debt_minor > 0 then -- there is an older debt, and the hold may have been larger than the bill
      perform wallet.collect_debts(s.client_id);
    end if;
    select * into strict w from wallet.wallets where client_id = s.client_id;
  end if;
  select * into txn from wallet.transactions where settlement_id = bill.id;
  return row (outcome, bill.id, w.client_id, txn.id, txn.amount_minor, w.balance_minor, w.held_minor, w.version,
              w.revision, w.debt_minor, for_session)::wallet.result;
end
$$;

CREATE FUNCTION wallet.charge_many(session_ids uuid[]) RETURNS SETOF wallet.result
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  session uuid;
begin
  perform from charging.sessions x where x.id = any (session_ids) order by x.id for no key update;
  perform from wallet.wallets w
    where w.client_id in (select x.client_id from charging.sessions x where x.id = any (session_ids))
    order by w.client_id for no key update;
  for session in -- by client, the order in which triggers on wallets lock their own rows
    select a.id from (select distinct unnest(session_ids) as id) a
      left join charging.sessions x on x.id = a.id order by x.client_id, a.id
  loop
    return next wallet.charge(session);
  end loop;
end
$$;

CREATE FUNCTION wallet.check_bills(of_session uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if exists (
      select from charging.sessions x
        left join lateral (
          select b.id, b.total_minor, b.energy_wh, b.ended_at from charging.settlements b
           where b.session_id = x.id and b.bill_number is not null
           order by b.bill_number desc limit 1) last on true
       where x.id = of_session and (
         (x.state = 'settled') is distinct from (last.id is not null)
         or last.id is not null and (
           x.billed_elsewhere
           or (x.cost_minor, x.energy_wh, x.ended_at)
              is distinct from (last.total_minor, last.energy_wh, last.ended_at)
           or x.cost_minor is distinct from
              (select sum(b.due_minor) from charging.settlements b
                where b.session_id = x.id and b.bill_number is not null)
              - (select coalesce(sum(r.correction_minor), 0)
                   from charging.settlements b join wallet.refunds r on r.settlement_id = b.id
                  where b.session_id = x.id)
              - (select coalesce(sum(d.forgiven_minor), 0)
                   from charging.settlements b join wallet.debts d on d.settlement_id = b.id
                  where b.session_id = x.id)))) then
    raise exception 'session % does not match its bills', of_session using errcode = 'check_violation';
  end if;
end
$$;

CREATE FUNCTION wallet.check_debt(debt bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if exists (select from wallet.debts d where d.id = debt and (
       d.amount_minor is distinct from coalesce(
         (select s.due_minor - s.debited_minor from charging.settlements s
           where s.id = d.settlement_id and s.client_id = d.client_id),
         (select r.amount_minor + r.posted_minor from wallet.refunds r
           where r.id = d.refund_id and r.client_id = d.client_id))
       or d.collected_minor <>
          (select coalesce(sum(s.debited_minor), 0) from charging.settlements s where s.collects_debt_id = d.id)
          - (select coalesce(sum(r.posted_minor), 0) from wallet.refunds r where r.collects_debt_id = d.id))) then
    raise exception 'debt % does not match what was due and what was collected', debt
      using errcode = 'check_violation';
  end if;
end
$$;

CREATE FUNCTION wallet.check_debts() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  perform wallet.check_debt(new.id);
  if new.forgiven_minor > 0 then
    perform wallet.check_bills((select s.session_id from charging.settlements s where s.id = new.settlement_id));
  end if;
  return null;
end
$$;

CREATE FUNCTION wallet.check_open_hold() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  of_session uuid := case tg_table_name when 'holds' then to_jsonb(new) ->> 'session_id' else to_jsonb(new) ->> 'id' end;
begin
  if exists (select from wallet.holds h join charging.sessions s on s.id = h.session_id
              where h.session_id = of_session and h.state = 'open' and s.source = 'evpower'
                and s.state in ('expired', 'refused', 'cancelled', 'failed', 'settled')) then
    raise exception 'session % is over: its hold is resolved', of_session using errcode = 'check_violation';
  end if;
  return null;
end
$$;

CREATE FUNCTION wallet.check_payment(payment bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if exists (select from payments.payments p where p.id = payment and p.refunded_minor <>
       (select coalesce(sum(r.amount_minor), 0) from wallet.refunds r
         where r.payment_id = p.id and r.posted_minor is not null and r.collects_debt_id is null)) then
    raise exception 'payment % does not match its refunds', payment using errcode = 'check_violation';
  end if;
end
$$;

CREATE FUNCTION wallet.check_payments() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  perform wallet.check_payment(new.id);
  return null;
end
$$;

CREATE FUNCTION wallet.check_posted() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if exists (select from posted p join wallet.wallets w using (client_id) where w.version < p.version) then
    raise exception 'a transaction is ahead of its wallet' using errcode = 'check_violation';
  end if;
  return null;
end
$$;

CREATE FUNCTION wallet.check_refund() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if exists (select from wallet.refunds r where r.id = new.id and (
       (r.posted_minor <> 0) <> exists (select from wallet.transactions t where t.refund_id = r.id)
       or r.payment_id is not null and r.amount_minor + r.posted_minor <>
          coalesce((select d.amount_minor from wallet.debts d where d.refund_id = r.id), 0)
       or r.settlement_id is not null and not exists (
         select from charging.settlements s where s.id = r.settlement_id and s.refunded_minor =
           (select sum(x.posted_minor) from wallet.refunds x where x.settlement_id = s.id)))) then
    raise exception 'refund % does not match the ledger', new.id using errcode = 'check_violation';
  end if;
  if new.payment_id is not null then
    perform wallet.check_payment(new.payment_id);
  end if;
  if new.collects_debt_id is not null then
    perform wallet.check_debt(new.collects_debt_id);
  end if;
  if new.correction_minor > 0 then
    perform wallet.check_bills((select s.session_id from charging.settlements s where s.id = new.settlement_id));
  end if;
  return null;
end
$$;

CREATE FUNCTION wallet.check_reserved() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if exists (
      select from wallet.wallets w where w.client_id = new.client_id and (
        w.debt_minor > 0 and w.balance_minor > w.held_minor
        or w.held_minor <> (select coalesce(sum(h.amount_minor), 0) from wallet.holds h
                          where h.client_id = w.client_id and h.state = 'open')
        or w.debt_minor <> (select coalesce(sum(d.amount_minor - d.collected_minor - d.forgiven_minor), 0)
                              from wallet.debts d
                             where d.client_id = w.client_id
                               and d.collected_minor + d.forgiven_minor < d.amount_minor))) then
    raise exception 'wallet of % does not match its open holds and debts', new.client_id
      using errcode = 'check_violation';
  end if;
  return null;
end
$$;

CREATE FUNCTION wallet.check_session() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  perform wallet.check_bills(new.id);
  return null;
end
$$;

CREATE FUNCTION wallet.check_settlement() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if exists (select from charging.settlements s where s.id = new.id and (
       (s.debited_minor > 0) <> exists (select from wallet.transactions t where t.settlement_id = s.id)
       or s.due_minor - s.debited_minor <>
          coalesce((select d.amount_minor from wallet.debts d where d.settlement_id = s.id), 0)
       or s.refunded_minor <> (select coalesce(sum(r.posted_minor), 0) from wallet.refunds r
                                where r.settlement_id = s.id))) then
    raise exception 'settlement % does not match the ledger', new.id using errcode = 'check_violation';
  end if;
  if new.collects_debt_id is not null then
    perform wallet.check_debt(new.collects_debt_id);
  end if;
  return null;
end
$$;

CREATE FUNCTION wallet.collect_debts(for_client uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  w wallet.wallets;
  debt record;
  part bigint;
  cause bigint;
begin
  for debt in
    select d.id, d.settlement_id, d.refund_id,
           d.amount_minor - d.collected_minor - d.forgiven_minor as open_minor, s.session_id, r.payment_id
      from wallet.debts d
      left join charging.settlements s on s.id = d.settlement_id
      left join wallet.refunds r on r.id = d.refund_id
     where d.client_id = for_client and d.collected_minor + d.forgiven_minor < d.amount_minor
     order by d.id for no key update of d
  loop
    select * into strict w from wallet.wallets where client_id = for_client for no key update;
    part := least(debt.open_minor, w.balance_minor - w.held_minor);
    exit when part <= 0;
    if debt.settlement_id is not null then
      insert into charging.settlements (session_id, client_id, due_minor, debited_minor, collects_debt_id)
      values (debt.session_id, for_client, part, part, debt.id)
      returning id into strict cause;
    else
      insert into wallet.refunds (client_id, payment_id, amount_minor, posted_minor, posted_at,
                                  collects_debt_id, actor, reason)
      values (for_client, debt.payment_id, part, -part, now(), debt.id, 'wallet', 'debt collected')
      returning id into strict cause;
    end if;
    update wallet.debts set collected_minor = collected_minor + part where id = debt.id;
    update wallet.wallets
       set revision = revision + 1, updated_at = now(), version = version + 1,
           balance_minor = balance_minor - part, debt_minor = debt_minor - part,
           spent_minor = spent_minor + case when debt.settlement_id is not null then part else 0 end
     where client_id = for_client;
    insert into wallet.transactions (client_id, version, kind, amount_minor, balance_before_minor,
                                     balance_after_minor, settlement_id, refund_id, event_at)
    values (for_client, w.version + 1,
            case when debt.settlement_id is not null then 'charge' else 'refund' end::wallet.transaction_kind,
            -part, w.balance_minor, w.balance_minor - part,
            case when debt.settlement_id is not null then cause end,
            case when debt.refund_id is not null then cause end, now());
  end loop;
end
$$;

CREATE FUNCTION wallet.correct(for_session uuid, new_cost_minor bigint, new_energy_wh bigint, new_ended_at timestamp with time zone, by_actor text, for_reason text) RETURNS wallet.result
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  s charging.sessions;
  w wallet.wallets;
  bill charging.settlements;
  billed_minor bigint;
  refunds bigint[];
  outcome text;
  txn wallet.transactions;
begin
  if num_nulls(new_cost_minor, new_energy_wh, new_ended_at, by_actor, for_reason) > 0 then
    raise exception 'a correction says cost, energy, end, actor and reason' using errcode = 'check_violation';
  end if;
  select * into s from charging.sessions where id = for_session for no key update; -- lock order: session, then wallet
  if not found then
    return row ('not_found', null, null, null, null, null, null, null, null, null, for_session)::wallet.result;
  end if;
  select * into strict w from wallet.wallets where client_id = s.client_id for no key update;
  if s.state <> 'settled' then
    outcome := 'not_settled';
  elsif new_ended_at < s.started_at then
    outcome := 'end_before_start';
  else
    select * into strict bill from charging.settlements
     where session_id = for_session and bill_number is not null order by bill_number desc limit 1;
    outcome := 'repeated';
    if (s.cost_minor, s.energy_wh, s.ended_at) is distinct from (new_cost_minor, new_energy_wh, new_ended_at) then
      outcome := 'posted';
      billed_minor := s.cost_minor;
      update charging.sessions set cost_minor = new_cost_minor, energy_wh = new_energy_wh, ended_at = new_ended_at
       where id = for_session returning * into strict s;
      bill := wallet.bill(s, w, bill.bill_number + 1, greatest(s.cost_minor - billed_minor, 0), 0, by_actor,
                          for_reason);
      refunds := wallet.lower_bills(s, greatest(billed_minor - s.cost_minor, 0), by_actor, for_reason);
      select * into strict w from wallet.wallets where client_id = s.client_id;
    end if;
    if cardinality(refunds) > 0 then
      select * into strict txn from wallet.transactions where refund_id = refunds[cardinality(refunds)];
      select sum(r.posted_minor) into strict txn.amount_minor from wallet.refunds r where r.id = any (refunds);
    else
      select * into txn from wallet.transactions where settlement_id = bill.id;
    end if;
  end if;
  return row (outcome, bill.id, w.client_id, txn.id, txn.amount_minor, w.balance_minor, w.held_minor, w.version,
              w.revision, w.debt_minor, for_session)::wallet.result;
end
$$;

CREATE FUNCTION wallet.credit(payment_id bigint) RETURNS wallet.result
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  select * from wallet.credit_many(array[payment_id])
$$;

CREATE FUNCTION wallet.credit_many(payment_ids bigint[]) RETURNS SETOF wallet.result
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
declare
  posted bigint[];
  debtor uuid;
begin
  perform from wallet.wallets w
    where w.client_id in (select p.client_id from payments.payments p where p.id = any (payment_ids))
    order by w.client_id for no key update;

  with due as materialized (
    select p.id, p.client_id, p.credited_minor as amount, p.confirmed_at as event_at,
           max(p.confirmed_at) over chain as last_event_at,
           w.version + row_number() over chain as version,
           w.balance_minor + sum(p.credited_minor) over chain as after
      from (select distinct unnest(payment_ids) as id) requested
     cross join lateral (select * from payments.payments p where p.id = requested.id offset 0) p
     cross join lateral (select * from wallet.wallets w where w.client_id = p.client_id offset 0) w
     where p.credited_minor is not null
       and (select true from wallet.transactions t where t.payment_id = requested.id) is null
    window chain as (partition by p.client_id order by p.id rows unbounded preceding)
  ), updated_wallets as (
    update wallet.wallets w
       set revision = w.revision + 1, updated_at = now(), balance_minor = x.after, version = x.version,
           last_topup_at = greatest(w.last_topup_at, x.last_event_at)
      from (select distinct on (client_id) client_id, version, after, last_event_at from due
             order by client_id, version desc) x
     where w.client_id = x.client_id
  ), inserted as (
    insert into wallet.transactions (client_id, version, kind, amount_minor, balance_before_minor,
                                     balance_after_minor, payment_id, event_at)
    select client_id, version, 'topup', amount, after - amount, after, id, event_at from due
    order by client_id, version
    returning payment_id
  ) select array_agg(payment_id) into posted from inserted;

  for debtor in
    select w.client_id
      from (select distinct p.client_id from unnest(posted) as credited (id)
             cross join lateral (select * from payments.payments p where p.id = credited.id offset 0) p) x
     cross join lateral (select * from wallet.wallets w where w.client_id = x.client_id offset 0) w
     where w.debt_minor > 0
     order by w.client_id
  loop
    perform wallet.collect_debts(debtor);
  end loop;

  return query
    select case when t.id is null then case when p.id is null then 'not_found' else 'not_confirmed' end
                when p.id = any (posted) then 'posted' else 'repeated' end,
           requested.id, p.client_id, t.id, t.amount_minor,
           w.balance_minor, w.held_minor, w.version, w.revision, w.debt_minor, null::uuid
      from (select distinct unnest(payment_ids) as id) requested
      left join lateral (select * from payments.payments p where p.id = requested.id offset 0) p on true
      left join lateral (select * from wallet.transactions t where t.payment_id = requested.id offset 0) t on true
      left join lateral (select * from wallet.wallets w where w.client_id = p.client_id offset 0) w on true;
end
$$;

CREATE FUNCTION wallet.extend_hold(for_session uuid, total_minor bigint, partly boolean DEFAULT false) RETURNS wallet.result
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  existing wallet.holds;
  may_spend boolean;
  more bigint;
  outcome text;
  w wallet.wallets;
begin
  if total_minor is null or total_minor <= 0 then
    raise exception 'a hold is more than nothing, not %', total_minor using errcode = 'check_violation';
  end if;
  select * into existing from wallet.holds where session_id = for_session order by attempt desc limit 1;
  if not found then
    return row ('not_found', null, null, null, null, null, null, null, null, null, null)::wallet.result;
  end if;
  select * into strict w from wallet.wallets where client_id = existing.client_id for no key update;
  select * into strict existing from wallet.holds where session_id = for_session order by attempt desc limit 1;
  select c.status = 'active' and c.deletion_requested_at is null and c.unmapped_status is null
         and coalesce(c.banned_until <= now(), true) into strict may_spend
    from identity.clients c where c.id = existing.client_id;
  more := total_minor - existing.amount_minor;
  if partly then
    more := least(more, greatest(w.balance_minor - w.held_minor, 1));
  end if;
  if existing.state <> 'open' then
    outcome := 'resolved';
  elsif existing.amount_minor >= total_minor then
    outcome := 'repeated';
  elsif not may_spend then
    outcome := 'closed';
  elsif w.balance_minor - w.held_minor < more then
    outcome := 'insufficient';
  else
    outcome := 'held';
    update wallet.holds set amount_minor = amount_minor + more
     where session_id = for_session and attempt = existing.attempt;
    update wallet.wallets
       set revision = revision + 1, updated_at = now(), held_minor = held_minor + more
     where client_id = existing.client_id returning * into strict w;
  end if;
  return row (outcome, null, w.client_id, null, null, w.balance_minor, w.held_minor, w.version, w.revision,
              w.debt_minor, null)::wallet.result;
end
$$;

CREATE FUNCTION wallet.guard_debt() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if (new.id, new.client_id, new.settlement_id, new.refund_id, new.amount_minor, new.created_at)
       is distinct from
       (old.id, old.client_id, old.settlement_id, old.refund_id, old.amount_minor, old.created_at)
     or new.collected_minor < old.collected_minor or new.forgiven_minor < old.forgiven_minor then
    raise exception 'debt % stays as it is', old.id using errcode = 'check_violation';
  end if;
  return new;
end
$$;

CREATE FUNCTION wallet.guard_hold() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if old.state <> 'open' or new.amount_minor < old.amount_minor
     or (new.session_id, new.attempt, new.client_id, new.created_at)
        is distinct from (old.session_id, old.attempt, old.client_id, old.created_at) then
    raise exception 'the hold of session % is resolved once and never shrinks', old.session_id
      using errcode = 'check_violation';
  end if;
  return new;
end
$$;

CREATE FUNCTION wallet.guard_refund() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if tg_op = 'INSERT' then
    if new.settlement_id is not null and not exists (
         select from charging.settlements s where s.id = new.settlement_id and s.client_id = new.client_id)
       or new.payment_id is not null and not exists (
         select from payments.payments p where p.id = new.payment_id and p.client_id = new.client_id)
       or new.collects_debt_id is not null and not exists (
         select from wallet.debts d join wallet.refunds r on r.id = d.refund_id
          where d.id = new.collects_debt_id and r.payment_id = new.payment_id) then
      raise exception 'a refund is of something its client paid' using errcode = 'foreign_key_violation';
    end if;
  elsif (new.id, new.client_id, new.settlement_id, new.payment_id, new.amount_minor, new.collects_debt_id,
         new.actor, new.reason, new.provider_ref, new.created_at)
        is distinct from
        (old.id, old.client_id, old.settlement_id, old.payment_id, old.amount_minor, old.collects_debt_id,
         old.actor, old.reason, old.provider_ref, old.created_at)
     or old.posted_minor is not null
        and ((new.posted_minor, new.posted_at) is distinct from (old.posted_minor, old.posted_at)
             or new.correction_minor <= old.correction_minor) then
    raise exception 'refund % stays as it is', old.id using errcode = 'check_violation';
  end if;
  return new;
end
$$;

CREATE FUNCTION wallet.hold(for_session uuid, hold_minor bigint, least_minor bigint DEFAULT NULL::bigint, for_attempt integer DEFAULT 1) RETURNS wallet.result
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  owner record;
  newest wallet.holds;
  part bigint;
  outcome text;
  w wallet.wallets;
begin
  if hold_minor is null or hold_minor <= 0 or not coalesce(least_minor between 1 and hold_minor, true) then
    raise exception 'a hold is more than nothing, not %', hold_minor using errcode = 'check_violation';
  end if;
  -- The session is locked, so that it does not end meanwhile and keep an open hold.
  select s.client_id, s.state, c.status = 'active' and c.deletion_requested_at is null
         and c.unmapped_status is null and coalesce(c.banned_until <= now(), true) as may_spend into owner
    from charging.sessions s join identity.clients c on c.id = s.client_id
   where s.id = for_session for no key update of s;
  if not found then
    return row ('not_found', null, null, null, null, null, null, null, null, null, null)::wallet.result;
  end if;
  select * into strict w from wallet.wallets where client_id = owner.client_id for no key update;
  select * into newest from wallet.holds where session_id = for_session order by attempt desc limit 1;
  if for_attempt is null or for_attempt > coalesce(newest.attempt, 0) + 1 or for_attempt < 1 then
    raise exception 'attempt % of session % does not follow', for_attempt, for_session
      using errcode = 'check_violation';
  end if;
  part := least(hold_minor, greatest(w.balance_minor - w.held_minor, coalesce(least_minor, hold_minor)));
  if newest.state = 'open' then
    outcome := 'repeated';
  elsif for_attempt <= newest.attempt or newest.state = 'charged' then
    outcome := 'resolved';
  elsif not owner.may_spend or owner.state not in ('requested', 'starting', 'charging', 'expired') then
    outcome := 'closed';
  elsif w.balance_minor - w.held_minor < part then
    outcome := 'insufficient';
  else
    outcome := 'held';
    insert into wallet.holds (session_id, attempt, client_id, amount_minor)
    values (for_session, for_attempt, owner.client_id, part);
    update wallet.wallets
       set revision = revision + 1, updated_at = now(), held_minor = held_minor + part
     where client_id = owner.client_id returning * into strict w;
  end if;
  return row (outcome, null, w.client_id, null, null, w.balance_minor, w.held_minor, w.version, w.revision,
              w.debt_minor, null)::wallet.result;
end
$$;

CREATE FUNCTION wallet.lower_bills(s charging.sessions, by_minor bigint, by_actor text, for_reason text) RETURNS bigint[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  rest bigint := by_minor;
  item record;
  part bigint;
  refund bigint;
  refunds bigint[] := '{}';
  posted text;
begin
  for item in
    select d.id, d.amount_minor - d.collected_minor - d.forgiven_minor as left_minor
      from charging.settlements b join wallet.debts d on d.settlement_id = b.id
     where b.session_id = s.id and d.collected_minor + d.forgiven_minor < d.amount_minor order by d.id desc
  loop
    part := least(rest, item.left_minor);
    exit when part = 0;
    update wallet.debts set forgiven_minor = forgiven_minor + part where id = item.id;
    update wallet.wallets set revision = revision + 1, updated_at = now(), debt_minor = debt_minor - part
     where client_id = s.client_id;
    rest := rest - part;
  end loop;
  for item in
    select b.id, b.debited_minor - b.refunded_minor as left_minor from charging.settlements b
     where b.session_id = s.id and b.refunded_minor < b.debited_minor order by b.id desc
  loop
    part := least(rest, item.left_minor);
    exit when part = 0;
    insert into wallet.refunds (client_id, settlement_id, amount_minor, actor, reason)
    values (s.client_id, item.id, part, by_actor, for_reason) returning id into strict refund;
    select r.outcome into strict posted from wallet.refund(refund) r;
    if posted <> 'posted' then
      raise exception 'refund % of settlement % is %', refund, item.id, posted;
    end if;
    update wallet.refunds set correction_minor = part where id = refund;
    refunds := refunds || refund;
    rest := rest - part;
  end loop;
  for item in
    select r.id, r.amount_minor - r.correction_minor as left_minor
      from charging.settlements b join wallet.refunds r on r.settlement_id = b.id
     where b.session_id = s.id and r.posted_minor is not null and r.correction_minor < r.amount_minor
     order by r.id desc
  loop
    part := least(rest, item.left_minor);
    exit when part = 0;
    update wallet.refunds set correction_minor = correction_minor + part where id = item.id;
    rest := rest - part;
  end loop;
  if rest > 0 then
    raise exception 'session % was billed % less than its cost', s.id, rest using errcode = 'check_violation';
  end if;
  return refunds;
end
$$;

CREATE FUNCTION wallet.open_wallet() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  insert into wallet.wallets (client_id) values (new.id);
  return null;
end
$$;

CREATE FUNCTION wallet.refund(for_refund bigint) RETURNS wallet.result
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  r wallet.refunds;
  w wallet.wallets;
  moved bigint;
  outcome text;
  txn wallet.transactions;
begin
  select * into r from wallet.refunds where id = for_refund;
  if not found then
    return row ('not_found', for_refund, null, null, null, null, null, null, null, null, null)::wallet.result;
  end if;
  if r.payment_id is not null then -- lock order: payment, then wallet, as in a confirmation
    perform from payments.payments where id = r.payment_id for no key update;
  end if;
  select * into strict w from wallet.wallets where client_id = r.client_id for no key update;
  select * into strict r from wallet.refunds where id = for_refund;
  if r.posted_minor is not null then
    outcome := 'repeated';
    select * into txn from wallet.transactions where refund_id = for_refund;
  else
    outcome := 'posted';
    if r.settlement_id is not null then
      moved := r.amount_minor;
      update charging.settlements set refunded_minor = refunded_minor + r.amount_minor
        where id = r.settlement_id and client_id = r.client_id
          and refunded_minor + r.amount_minor <= coalesce(debited_minor, 0);
    else
      moved := -least(r.amount_minor, w.balance_minor - w.held_minor);
      update payments.payments
         set refunded_minor = refunded_minor + r.amount_minor,
             status = case when refunded_minor + r.amount_minor = amount_minor then 'refunded'
                           else 'partial_refund' end, updated_at = now()
        where id = r.payment_id and client_id = r.client_id
          and refunded_minor + r.amount_minor <= coalesce(credited_minor, 0);
    end if;
    if not found then
      outcome := 'exceeds';
    else
      update wallet.refunds set posted_minor = moved, posted_at = now() where id = for_refund;
      if moved < 0 and -moved < r.amount_minor or moved = 0 then
        insert into wallet.debts (client_id, refund_id, amount_minor)
        values (r.client_id, r.id, r.amount_minor + moved);
      end if;
      update wallet.wallets
         set revision = revision + 1, updated_at = now(), balance_minor = balance_minor + moved,
             version = version + (moved <> 0)::int,
             debt_minor = debt_minor + case when r.payment_id is not null then r.amount_minor + moved else 0 end,
             spent_minor = spent_minor - case when r.settlement_id is not null then moved else 0 end
       where client_id = r.client_id;
      if moved <> 0 then
        insert into wallet.transactions (client_id, version, kind, amount_minor, balance_before_minor,
                                         balance_after_minor, refund_id, event_at)
        values (r.client_id, w.version + 1, 'refund', moved, w.balance_minor, w.balance_minor + moved, r.id,
                r.created_at)
        returning * into strict txn;
      end if;
      if moved > 0 and w.debt_minor > 0 then
        perform wallet.collect_debts(r.client_id);
      end if;
      select * into strict w from wallet.wallets where client_id = r.client_id;
    end if;
  end if;
  return row (outcome, for_refund, w.client_id, txn.id, txn.amount_minor, w.balance_minor, w.held_minor,
              w.version, w.revision, w.debt_minor, null)::wallet.result;
end
$$;

CREATE FUNCTION wallet.refund_many(refund_ids bigint[]) RETURNS SETOF wallet.result
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  refund_id bigint;
begin
  perform from payments.payments p
    where p.id in (select r.payment_id from wallet.refunds r where r.id = any (refund_ids))
    order by p.id for no key update;
  perform from wallet.wallets w
    where w.client_id in (select r.client_id from wallet.refunds r where r.id = any (refund_ids))
    order by w.client_id for no key update;
  for refund_id in
    select a.id from (select distinct unnest(refund_ids) as id) a
      left join wallet.refunds r on r.id = a.id order by r.client_id, a.id
  loop
    return next wallet.refund(refund_id);
  end loop;
end
$$;

CREATE FUNCTION wallet.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  raise exception '%.% is append-only', tg_table_schema, tg_table_name using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION wallet.refuse_step_back() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  raise exception 'the wallet of % only moves forward, by its functions', old.client_id
    using errcode = 'check_violation';
end
$$;

CREATE FUNCTION wallet.release_hold(for_session uuid) RETURNS wallet.result
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  existing wallet.holds;
  outcome text;
  w wallet.wallets;
begin
  select * into existing from wallet.holds where session_id = for_session order by attempt desc limit 1;
  if not found then
    return row ('not_found', null, null, null, null, null, null, null, null, null, null)::wallet.result;
  end if;
  select * into strict w from wallet.wallets where client_id = existing.client_id for no key update;
  select * into strict existing from wallet.holds where session_id = for_session order by attempt desc limit 1;
  if existing.state = 'open' then
    outcome := 'released';
    update wallet.holds set state = 'released', resolved_at = now()
     where session_id = for_session and attempt = existing.attempt;
    update wallet.wallets
       set revision = revision + 1, updated_at = now(), held_minor = held_minor - existing.amount_minor
     where client_id = existing.client_id returning * into strict w;
    if w.debt_minor > 0 then
      perform wallet.collect_debts(existing.client_id);
      select * into strict w from wallet.wallets where client_id = existing.client_id;
    end if;
  else
    outcome := case existing.state when 'released' then 'repeated' else 'resolved' end;
  end if;
  return row (outcome, null, w.client_id, null, null, w.balance_minor, w.held_minor, w.version, w.revision,
              w.debt_minor, null)::wallet.result;
end
$$;

CREATE TABLE alerts.alerts (
    id bigint NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    count bigint DEFAULT 1 NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone NOT NULL,
    closed_at timestamp with time zone,
    acknowledged_at timestamp with time zone,
    acknowledged_by text,
    note text,
    CONSTRAINT alerts_acknowledged_by_check CHECK (((length(acknowledged_by) >= 1) AND (length(acknowledged_by) <= 200))),
    CONSTRAINT alerts_are_acknowledged_by_an_actor CHECK ((((acknowledged_at IS NULL) = (acknowledged_by IS NULL)) AND ((note IS NULL) OR (acknowledged_at IS NOT NULL)))),
    CONSTRAINT alerts_are_last_seen_after_they_open CHECK ((last_seen_at >= opened_at)),
    CONSTRAINT alerts_close_after_they_open CHECK ((closed_at >= opened_at)),
    CONSTRAINT alerts_count_check CHECK ((count > 0)),
    CONSTRAINT alerts_detail_check CHECK ((jsonb_typeof(detail) = 'object'::text)),
    CONSTRAINT alerts_kind_check CHECK ((kind ~ '^[a-z][a-z0-9_]{0,63}$'::text)),
    CONSTRAINT alerts_note_check CHECK (((length(note) >= 1) AND (length(note) <= 500))),
    CONSTRAINT alerts_subject_check CHECK (((length(subject) >= 1) AND (length(subject) <= 200)))
);

ALTER TABLE alerts.alerts ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME alerts.alerts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW alerts.alerts_public AS
 SELECT id,
    kind,
    subject,
    count,
    opened_at,
    last_seen_at,
    closed_at,
    acknowledged_at
   FROM alerts.alerts a;

CREATE TABLE alerts.messages (
    number bigint NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    alert_id bigint NOT NULL,
    channel text NOT NULL,
    event text NOT NULL,
    count bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    error text,
    sent_at timestamp with time zone,
    given_up_at timestamp with time zone,
    CONSTRAINT messages_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT messages_channel_check CHECK ((channel = ANY (ARRAY['webhook'::text, 'email'::text]))),
    CONSTRAINT messages_count_check CHECK ((count > 0)),
    CONSTRAINT messages_end_once CHECK ((num_nonnulls(sent_at, given_up_at) <= 1)),
    CONSTRAINT messages_error_check CHECK ((length(error) <= 500)),
    CONSTRAINT messages_event_check CHECK ((event = ANY (ARRAY['opened'::text, 'repeated'::text, 'closed'::text])))
);

ALTER TABLE alerts.messages ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME alerts.messages_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE charging.cdrs (
    settlement_id bigint NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    session_id uuid NOT NULL,
    is_estimated boolean NOT NULL,
    energy_wh bigint NOT NULL,
    ended_at timestamp with time zone NOT NULL,
    snapshot jsonb,
    periods jsonb NOT NULL,
    parts jsonb NOT NULL,
    station_owner text,
    tariff_owner text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT cdrs_energy_wh_check CHECK ((energy_wh >= 0)),
    CONSTRAINT cdrs_parts_check CHECK ((jsonb_typeof(parts) = 'array'::text)),
    CONSTRAINT cdrs_periods_check CHECK ((jsonb_typeof(periods) = 'array'::text)),
    CONSTRAINT cdrs_snapshot_check CHECK ((jsonb_typeof(snapshot) = 'object'::text)),
    CONSTRAINT cdrs_station_owner_check CHECK (((length(station_owner) >= 1) AND (length(station_owner) <= 200))),
    CONSTRAINT cdrs_tariff_owner_check CHECK (((length(tariff_owner) >= 1) AND (length(tariff_owner) <= 200)))
);

CREATE VIEW charging.cdrs_public AS
 SELECT settlement_id,
    session_id,
    is_estimated,
    station_owner,
    tariff_owner
   FROM charging.cdrs c;

CREATE TABLE charging.clocks (
    station_id text NOT NULL,
    stamp timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    is_status boolean DEFAULT false NOT NULL,
    skew_s integer
);

CREATE TABLE charging.free_periods (
    id bigint NOT NULL,
    station_id text NOT NULL,
    begins_at timestamp with time zone NOT NULL,
    ends_at timestamp with time zone NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    ended_at timestamp with time zone,
    ended_by text,
    CONSTRAINT free_periods_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200))),
    CONSTRAINT free_periods_are_short CHECK (((ends_at > begins_at) AND (ends_at <= (begins_at + '7 days'::interval)))),
    CONSTRAINT free_periods_end_by_an_actor CHECK (((ended_at IS NULL) = (ended_by IS NULL))),
    CONSTRAINT free_periods_end_in_time CHECK (((ended_at >= begins_at) AND (ended_at <= ends_at))),
    CONSTRAINT free_periods_ended_by_check CHECK (((length(ended_by) >= 1) AND (length(ended_by) <= 200))),
    CONSTRAINT free_periods_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 500)))
);

ALTER TABLE charging.free_periods ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME charging.free_periods_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE charging.meter_values (
    received_at timestamp with time zone NOT NULL,
    at timestamp with time zone,
    priced_at timestamp with time zone,
    transaction_id integer,
    session_wh integer,
    power_w integer,
    current_ma integer,
    voltage_mv integer,
    ev_current_ma integer,
    ev_voltage_mv integer,
    connector smallint NOT NULL,
    soc_percent smallint,
    body_temperature smallint,
    outlet_temperature smallint,
    inlet_temperature smallint,
    is_parked boolean,
    is_timed boolean,
    energy_wh numeric,
    station_id text,
    station_time text,
    context text,
    outcome text,
    CONSTRAINT meter_values_count_whole CHECK (((num_nulls(session_wh, is_parked, is_timed) = ANY (ARRAY[0, 3])) AND ((session_wh IS NOT NULL) OR (priced_at IS NULL)) AND ((session_wh IS NULL) OR (COALESCE(priced_at, at) IS NOT NULL)))),
    CONSTRAINT meter_values_have_a_station CHECK ((num_nonnulls(transaction_id, station_id) > 0)),
    CONSTRAINT meter_values_outcome_check CHECK ((outcome = ANY (ARRAY['suspect'::text, 'history'::text, 'segment'::text, 'jump'::text, 'return'::text]))),
    CONSTRAINT meter_values_session_wh_check CHECK ((session_wh >= 0))
)
PARTITION BY RANGE (received_at);

CREATE TABLE charging.meter_values_default (
    received_at timestamp with time zone CONSTRAINT meter_values_received_at_not_null NOT NULL,
    at timestamp with time zone,
    priced_at timestamp with time zone,
    transaction_id integer,
    session_wh integer,
    power_w integer,
    current_ma integer,
    voltage_mv integer,
    ev_current_ma integer,
    ev_voltage_mv integer,
    connector smallint CONSTRAINT meter_values_connector_not_null NOT NULL,
    soc_percent smallint,
    body_temperature smallint,
    outlet_temperature smallint,
    inlet_temperature smallint,
    is_parked boolean,
    is_timed boolean,
    energy_wh numeric,
    station_id text,
    station_time text,
    context text,
    outcome text,
    CONSTRAINT meter_values_count_whole CHECK (((num_nulls(session_wh, is_parked, is_timed) = ANY (ARRAY[0, 3])) AND ((session_wh IS NOT NULL) OR (priced_at IS NULL)) AND ((session_wh IS NULL) OR (COALESCE(priced_at, at) IS NOT NULL)))),
    CONSTRAINT meter_values_have_a_station CHECK ((num_nonnulls(transaction_id, station_id) > 0)),
    CONSTRAINT meter_values_outcome_check CHECK ((outcome = ANY (ARRAY['suspect'::text, 'history'::text, 'segment'::text, 'jump'::text, 'return'::text]))),
    CONSTRAINT meter_values_session_wh_check CHECK ((session_wh >= 0))
);

CREATE TABLE charging.meters (
    station_id text NOT NULL,
    connector integer NOT NULL,
    register_kind text,
    last_wh numeric,
    ended_at timestamp with time zone NOT NULL,
    interval_s integer,
    CONSTRAINT meters_connector_check CHECK ((connector > 0)),
    CONSTRAINT meters_interval_s_check CHECK ((interval_s > 0)),
    CONSTRAINT meters_register_kind_check CHECK ((register_kind = ANY (ARRAY['lifetime'::text, 'per_boot'::text, 'per_transaction'::text])))
);

CREATE TABLE charging.progress (
    transaction_id integer NOT NULL,
    session_id uuid,
    revision bigint DEFAULT 0 NOT NULL,
    register jsonb,
    register_wh numeric,
    tally jsonb,
    energy_wh bigint DEFAULT 0 NOT NULL,
    cost_minor bigint DEFAULT 0 NOT NULL,
    power_w integer,
    soc_percent integer,
    current_ma integer,
    voltage_mv integer,
    ev_current_ma integer,
    ev_voltage_mv integer,
    body_temperature integer,
    outlet_temperature integer,
    inlet_temperature integer,
    interval_s integer,
    parked_since timestamp with time zone,
    last_value_at timestamp with time zone,
    flowed_at timestamp with time zone,
    stop_due_at timestamp with time zone,
    stop_step text,
    step_due_at timestamp with time zone,
    close_due_at timestamp with time zone,
    close_reason text,
    rebill_due_at timestamp with time zone,
    tail_wh numeric DEFAULT 0 NOT NULL,
    CONSTRAINT progress_close_reason_check CHECK ((close_reason ~ '^[a-z][a-z0-9_]{0,63}$'::text)),
    CONSTRAINT progress_closes_for_a_reason CHECK (((close_due_at IS NULL) = (close_reason IS NULL))),
    CONSTRAINT progress_cost_minor_check CHECK ((cost_minor >= 0)),
    CONSTRAINT progress_energy_wh_check CHECK ((energy_wh >= 0)),
    CONSTRAINT progress_interval_s_check CHECK ((interval_s > 0)),
    CONSTRAINT progress_is_stored_whole CHECK (((register IS NULL) = (tally IS NULL))),
    CONSTRAINT progress_looks_after_a_step CHECK (((stop_step IS NOT NULL) OR (step_due_at IS NULL))),
    CONSTRAINT progress_revision_check CHECK ((revision >= 0)),
    CONSTRAINT progress_stop_step_check CHECK ((stop_step = ANY (ARRAY['remote_stop'::text, 'remote_stop_again'::text, 'zero_limit'::text, 'unlock'::text, 'reset'::text, 'give_up'::text]))),
    CONSTRAINT progress_tail_wh_check CHECK ((tail_wh >= (0)::numeric))
)
WITH (fillfactor='50');

CREATE VIEW charging.progress_public AS
 SELECT session_id,
    energy_wh,
    ((energy_wh)::numeric * 0.001) AS energy_kwh,
    cost_minor,
    ((cost_minor)::numeric * 0.01) AS cost_som,
    power_w,
    soc_percent,
    last_value_at,
    revision
   FROM charging.progress p;

CREATE TABLE charging.quarantined_meter_values (
    session_id uuid NOT NULL,
    received_at timestamp with time zone CONSTRAINT meter_values_received_at_not_null NOT NULL,
    at timestamp with time zone,
    priced_at timestamp with time zone,
    transaction_id integer,
    session_wh integer,
    power_w integer,
    current_ma integer,
    voltage_mv integer,
    ev_current_ma integer,
    ev_voltage_mv integer,
    connector smallint CONSTRAINT meter_values_connector_not_null NOT NULL,
    soc_percent smallint,
    body_temperature smallint,
    outlet_temperature smallint,
    inlet_temperature smallint,
    is_parked boolean,
    is_timed boolean,
    energy_wh numeric,
    station_id text,
    station_time text,
    context text,
    outcome text
);

CREATE TABLE charging.session_tariffs (
    session_id uuid NOT NULL,
    plan text NOT NULL,
    version integer NOT NULL,
    snapshot jsonb NOT NULL,
    CONSTRAINT session_tariffs_plan_check CHECK (((length(plan) >= 1) AND (length(plan) <= 64))),
    CONSTRAINT session_tariffs_snapshot_check CHECK ((jsonb_typeof(snapshot) = 'object'::text)),
    CONSTRAINT session_tariffs_version_check CHECK ((version > 0))
);

CREATE VIEW charging.sessions_public AS
 SELECT id,
    client_id,
    station_id,
    connector_id,
    state,
        CASE
            WHEN (state = ANY (ARRAY['finished'::text, 'settled'::text])) THEN 'stopped'::text
            WHEN (state = ANY (ARRAY['expired'::text, 'refused'::text, 'cancelled'::text, 'failed'::text])) THEN 'error'::text
            ELSE 'started'::text
        END AS status,
    started_at,
    ended_at,
    COALESCE(started_at, created_at) AS start_time,
    energy_wh,
    ((energy_wh)::numeric * 0.001) AS energy_kwh,
    cost_minor,
    ((cost_minor)::numeric * 0.01) AS cost_som,
    revision,
    created_at,
    updated_at,
    vehicle_plate,
    jsonb_strip_nulls(jsonb_build_object('vehicle_plate', vehicle_plate)) AS details,
    started_by,
    limit_energy_wh,
    ((limit_energy_wh)::numeric * 0.001) AS limit_energy_kwh,
    limit_amount_minor,
    ((limit_amount_minor)::numeric * 0.01) AS limit_amount_som,
    limit_soc_percent,
    start_failure,
    end_reason,
    is_estimated,
    stop_requested_at,
    start_window_ends_at,
    quarantined_at,
    free_reason,
    station_lost_notified_at,
    source
   FROM charging.sessions s;

ALTER TABLE charging.settlements ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME charging.settlements_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW charging.settlements_public AS
 SELECT id,
    session_id,
    client_id,
    bill_number,
    debited_minor,
    ((debited_minor)::numeric * 0.01) AS debited_som,
    created_at,
    total_minor,
    ((total_minor)::numeric * 0.01) AS total_som,
    energy_wh,
    ((energy_wh)::numeric * 0.001) AS energy_kwh
   FROM charging.settlements s;

CREATE TABLE charging.signed_values (
    id bigint NOT NULL,
    transaction_id integer NOT NULL,
    value text NOT NULL,
    received_at timestamp with time zone NOT NULL,
    CONSTRAINT signed_values_value_check CHECK (((length(value) >= 1) AND (length(value) <= 1000000)))
);

ALTER TABLE charging.signed_values ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME charging.signed_values_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE charging.stop_steps (
    id bigint NOT NULL,
    transaction_id integer NOT NULL,
    step text NOT NULL,
    cause text NOT NULL,
    command_id bigint,
    base_wh numeric NOT NULL,
    taken_at timestamp with time zone NOT NULL,
    outcome text,
    ended_at timestamp with time zone,
    cleared_at timestamp with time zone,
    CONSTRAINT stop_steps_cause_check CHECK ((cause ~ '^[a-z][a-z0-9_]{0,63}$'::text)),
    CONSTRAINT stop_steps_clear_limits CHECK (((cleared_at IS NULL) OR ((step = 'zero_limit'::text) AND (command_id IS NOT NULL)))),
    CONSTRAINT stop_steps_end_after_they_are_taken CHECK ((ended_at >= taken_at)),
    CONSTRAINT stop_steps_end_with_an_outcome CHECK (((outcome IS NULL) = (ended_at IS NULL))),
    CONSTRAINT stop_steps_outcome_check CHECK ((outcome = ANY (ARRAY['stopped'::text, 'closed'::text, 'went_on'::text, 'not_ended'::text, 'no_values'::text, 'refused'::text, 'unanswered'::text, 'not_delivered'::text, 'skipped'::text]))),
    CONSTRAINT stop_steps_step_check CHECK ((step = ANY (ARRAY['remote_stop'::text, 'remote_stop_again'::text, 'zero_limit'::text, 'unlock'::text, 'reset'::text, 'give_up'::text])))
);

ALTER TABLE charging.stop_steps ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME charging.stop_steps_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE charging.stops (
    id bigint NOT NULL,
    station_id text NOT NULL,
    id_as_sent text NOT NULL,
    meter_stop_wh numeric,
    station_time text,
    transaction_id integer,
    id_tag text,
    reason text,
    received_at timestamp with time zone NOT NULL,
    CONSTRAINT stops_id_as_sent_check CHECK ((length(id_as_sent) <= 255)),
    CONSTRAINT stops_id_tag_check CHECK ((length(id_tag) <= 255)),
    CONSTRAINT stops_reason_check CHECK ((length(reason) <= 255)),
    CONSTRAINT stops_station_time_check CHECK ((length(station_time) <= 255))
);

ALTER TABLE charging.stops ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME charging.stops_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE charging.technician_tags (
    tag text NOT NULL,
    name text NOT NULL,
    daily_limit_wh bigint DEFAULT 20000 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT technician_tags_daily_limit_wh_check CHECK ((daily_limit_wh > 0)),
    CONSTRAINT technician_tags_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT technician_tags_tag_check CHECK ((((length(tag) >= 1) AND (length(tag) <= 200)) AND (tag = btrim(tag))))
);

CREATE TABLE charging.transaction_aliases (
    station_id text NOT NULL,
    alias text NOT NULL,
    transaction_id integer NOT NULL,
    first_seen_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone NOT NULL,
    CONSTRAINT transaction_aliases_alias_check CHECK (((length(alias) >= 1) AND (length(alias) <= 255)))
);

CREATE TABLE charging.transactions (
    id integer NOT NULL,
    station_id text NOT NULL,
    connector integer NOT NULL,
    is_connector_guessed boolean DEFAULT false NOT NULL,
    text_id text,
    id_tag text NOT NULL,
    purpose text NOT NULL,
    session_id uuid,
    meter_start_wh numeric,
    started_at timestamp with time zone NOT NULL,
    start_station_time text,
    start_station_at timestamp with time zone,
    received_at timestamp with time zone NOT NULL,
    start_shift_s integer,
    meter_stop_wh numeric,
    ended_at timestamp with time zone,
    stop_station_time text,
    stop_reason text,
    end_kind text,
    is_end_timed boolean DEFAULT true NOT NULL,
    start_key text NOT NULL,
    start_number integer DEFAULT 1 NOT NULL,
    technician_tag text,
    limit_energy_wh bigint,
    CONSTRAINT transactions_connector_check CHECK (((connector >= 0) AND (connector <= 1000))),
    CONSTRAINT transactions_end_after_they_start CHECK ((ended_at >= started_at)),
    CONSTRAINT transactions_end_in_a_way CHECK (((ended_at IS NULL) = (end_kind IS NULL))),
    CONSTRAINT transactions_end_kind_check CHECK ((end_kind = ANY (ARRAY['stop'::text, 'estimated'::text]))),
    CONSTRAINT transactions_id_tag_check CHECK ((length(id_tag) <= 255)),
    CONSTRAINT transactions_limit_energy_wh_check CHECK ((limit_energy_wh >= 0)),
    CONSTRAINT transactions_of_drivers_have_sessions CHECK (((purpose = 'driver'::text) = (session_id IS NOT NULL))),
    CONSTRAINT transactions_of_technicians_are_capped CHECK ((((purpose = 'technician'::text) = (technician_tag IS NOT NULL)) AND ((purpose = 'technician'::text) = (limit_energy_wh IS NOT NULL)))),
    CONSTRAINT transactions_purpose_check CHECK ((purpose = ANY (ARRAY['driver'::text, 'unattributed'::text, 'technician'::text]))),
    CONSTRAINT transactions_start_key_check CHECK (((length(start_key) >= 1) AND (length(start_key) <= 2000))),
    CONSTRAINT transactions_start_number_check CHECK ((start_number > 0)),
    CONSTRAINT transactions_start_station_time_check CHECK ((length(start_station_time) <= 255)),
    CONSTRAINT transactions_stop_reason_check CHECK ((length(stop_reason) <= 255)),
    CONSTRAINT transactions_stop_station_time_check CHECK ((length(stop_station_time) <= 255)),
    CONSTRAINT transactions_technician_tag_check CHECK (((length(technician_tag) >= 1) AND (length(technician_tag) <= 200))),
    CONSTRAINT transactions_text_id_check CHECK (((length(text_id) >= 1) AND (length(text_id) <= 255)))
);

ALTER TABLE charging.transactions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME charging.transactions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE charging.unhandled_starts (
    number integer NOT NULL,
    station_id text NOT NULL,
    received_at timestamp with time zone NOT NULL
);

CREATE TABLE client_migration.decisions (
    old_id text NOT NULL,
    client_id uuid NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT decisions_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200))),
    CONSTRAINT decisions_old_id_check CHECK (((length(old_id) >= 1) AND (length(old_id) <= 200))),
    CONSTRAINT decisions_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 500)))
);

CREATE TABLE client_migration.run_rows (
    run bigint NOT NULL,
    line bigint NOT NULL,
    old_id text NOT NULL,
    plan text NOT NULL,
    state text DEFAULT 'planned'::text NOT NULL,
    client_id uuid,
    matched_by text,
    reason text,
    detail text,
    email text,
    phone text,
    name text,
    email_confirmed text NOT NULL,
    phone_confirmed text NOT NULL,
    id_tags text[] DEFAULT '{}'::text[] NOT NULL,
    password text NOT NULL,
    balance_minor bigint DEFAULT 0 NOT NULL,
    carried_at timestamp with time zone,
    digest bytea NOT NULL,
    note text,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    client_before boolean DEFAULT false NOT NULL,
    CONSTRAINT run_rows_balance_minor_check CHECK ((balance_minor >= 0)),
    CONSTRAINT run_rows_check CHECK (((plan = ANY (ARRAY['conflict'::text, 'invalid'::text])) OR (client_id IS NOT NULL))),
    CONSTRAINT run_rows_digest_check CHECK ((length(digest) = 32)),
    CONSTRAINT run_rows_email_confirmed_check CHECK ((email_confirmed = ANY (ARRAY['yes'::text, 'assumed'::text, 'no'::text]))),
    CONSTRAINT run_rows_matched_by_check CHECK ((matched_by = ANY (ARRAY['id'::text, 'email'::text, 'phone'::text, 'decision'::text, 'moved'::text]))),
    CONSTRAINT run_rows_password_check CHECK ((password = ANY (ARRAY['none'::text, 'carried'::text, 'unknown'::text]))),
    CONSTRAINT run_rows_phone_confirmed_check CHECK ((phone_confirmed = ANY (ARRAY['yes'::text, 'assumed'::text, 'no'::text]))),
    CONSTRAINT run_rows_plan_check CHECK ((plan = ANY (ARRAY['link'::text, 'create'::text, 'add'::text, 'conflict'::text, 'invalid'::text]))),
    CONSTRAINT run_rows_state_check CHECK ((state = ANY (ARRAY['planned'::text, 'done'::text, 'failed'::text, 'retained'::text, 'reverting'::text, 'reverted'::text])))
);

CREATE TABLE client_migration.runs (
    id bigint NOT NULL,
    run_key uuid DEFAULT gen_random_uuid() NOT NULL,
    source text NOT NULL,
    actor text NOT NULL,
    state text DEFAULT 'running'::text NOT NULL,
    rows_read bigint DEFAULT 0 NOT NULL,
    rows_skipped bigint DEFAULT 0 NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    confirmed_at timestamp with time zone,
    reverted_at timestamp with time zone,
    CONSTRAINT runs_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200))),
    CONSTRAINT runs_check CHECK (((state = 'confirmed'::text) = (confirmed_at IS NOT NULL))),
    CONSTRAINT runs_check1 CHECK (((state = 'reverted'::text) = (reverted_at IS NOT NULL))),
    CONSTRAINT runs_source_check CHECK (((length(source) >= 1) AND (length(source) <= 300))),
    CONSTRAINT runs_state_check CHECK ((state = ANY (ARRAY['running'::text, 'done'::text, 'confirmed'::text, 'reverting'::text, 'reverted'::text])))
);

ALTER TABLE client_migration.runs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME client_migration.runs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE foundation.idempotency_keys (
    scope text NOT NULL,
    key text NOT NULL,
    request_sha256 bytea NOT NULL,
    status smallint,
    media_type text,
    body bytea,
    leased_until timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    roles text[],
    CONSTRAINT idempotency_keys_check CHECK (((status IS NULL) = (body IS NULL))),
    CONSTRAINT idempotency_keys_key_check CHECK (((length(key) >= 1) AND (length(key) <= 255))),
    CONSTRAINT idempotency_keys_request_sha256_check CHECK ((length(request_sha256) = 32)),
    CONSTRAINT idempotency_keys_roles_check CHECK (((cardinality(roles) >= 1) AND (cardinality(roles) <= 10))),
    CONSTRAINT idempotency_keys_scope_check CHECK (((length(scope) >= 1) AND (length(scope) <= 200)))
);

CREATE TABLE foundation.loop_rounds (
    node text NOT NULL,
    loop text NOT NULL,
    period_s double precision NOT NULL,
    idle_since timestamp with time zone NOT NULL,
    finished boolean NOT NULL,
    running_since timestamp with time zone,
    error text NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    CONSTRAINT loop_rounds_error_check CHECK ((length(error) <= 100)),
    CONSTRAINT loop_rounds_loop_check CHECK (((length(loop) >= 1) AND (length(loop) <= 100))),
    CONSTRAINT loop_rounds_node_check CHECK (((length(node) >= 1) AND (length(node) <= 100))),
    CONSTRAINT loop_rounds_period_s_check CHECK ((period_s >= (0)::double precision))
);

CREATE TABLE identity.aliases (
    kind text NOT NULL,
    alias text NOT NULL,
    client_id uuid NOT NULL,
    run bigint,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    confirmed_at timestamp with time zone,
    CONSTRAINT aliases_alias_check CHECK (((length(alias) >= 1) AND (length(alias) <= 200))),
    CONSTRAINT aliases_check CHECK (((kind <> 'id_tag'::text) OR (alias = lower(alias)))),
    CONSTRAINT aliases_kind_check CHECK ((kind = ANY (ARRAY['client_id'::text, 'id_tag'::text])))
);

CREATE TABLE identity.audit (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    reason text,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT audit_action_check CHECK (((length(action) >= 1) AND (length(action) <= 100))),
    CONSTRAINT audit_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200)))
);

ALTER TABLE identity.audit ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME identity.audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE identity.clients (
    id uuid NOT NULL,
    email text,
    phone text,
    name text,
    email_verified boolean DEFAULT false NOT NULL,
    phone_verified boolean DEFAULT false NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    origin text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    deletion_requested_at timestamp with time zone,
    banned_until timestamp with time zone,
    unmapped_status text,
    phone_since timestamp with time zone DEFAULT now(),
    CONSTRAINT clients_check CHECK (((NOT email_verified) OR (email IS NOT NULL))),
    CONSTRAINT clients_check1 CHECK (((NOT phone_verified) OR (phone IS NOT NULL))),
    CONSTRAINT clients_email_check CHECK (((email = lower(email)) AND ((length(email) >= 3) AND (length(email) <= 320)))),
    CONSTRAINT clients_id_check CHECK ((id <> '00000000-0000-0000-0000-000000000000'::uuid)),
    CONSTRAINT clients_name_check CHECK ((length(name) <= 200)),
    CONSTRAINT clients_origin_check CHECK ((origin = ANY (ARRAY['register'::text, 'token'::text, 'supabase'::text, 'import'::text]))),
    CONSTRAINT clients_phone_check CHECK ((phone ~ '^\+[1-9][0-9]{6,14}$'::text)),
    CONSTRAINT clients_status_check CHECK ((status = ANY (ARRAY['active'::text, 'blocked'::text, 'closed'::text]))),
    CONSTRAINT clients_unmapped_status_check CHECK (((length(unmapped_status) >= 1) AND (length(unmapped_status) <= 200)))
);

CREATE VIEW identity.clients_public AS
 SELECT id,
    email,
    phone,
    name,
    email_verified,
    phone_verified,
    status,
        CASE status
            WHEN 'closed'::text THEN 'inactive'::text
            ELSE status
        END AS public_status,
    deletion_requested_at,
    banned_until,
    unmapped_status,
    created_at,
    updated_at
   FROM identity.clients c;

CREATE TABLE identity.clients_without_token (
    client_id uuid NOT NULL,
    actor text NOT NULL,
    added_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT clients_without_token_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200)))
);

CREATE TABLE identity.confirmations (
    client_id uuid NOT NULL,
    email text NOT NULL,
    requested_at timestamp with time zone NOT NULL,
    next_try_at timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    last_error text,
    CONSTRAINT confirmations_email_check CHECK ((email = lower(email))),
    CONSTRAINT confirmations_last_error_check CHECK ((length(last_error) <= 300))
);

CREATE TABLE identity.favorites (
    client_id uuid NOT NULL,
    location_id text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT favorites_location_id_check CHECK (((length(location_id) >= 1) AND (length(location_id) <= 64)))
);

CREATE TABLE identity.operators (
    user_id uuid NOT NULL,
    name text NOT NULL,
    role text DEFAULT 'viewer'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    phone text,
    CONSTRAINT operators_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT operators_phone_check CHECK ((phone ~ '^\+[1-9][0-9]{6,14}$'::text)),
    CONSTRAINT operators_role_check CHECK ((role = ANY (ARRAY['viewer'::text, 'support'::text, 'operator'::text, 'finance'::text, 'admin'::text])))
);

CREATE TABLE identity.phone_accounts (
    phone text NOT NULL,
    client_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT phone_accounts_client_id_check CHECK ((client_id <> '00000000-0000-0000-0000-000000000000'::uuid)),
    CONSTRAINT phone_accounts_phone_check CHECK ((phone ~ '^\+[1-9][0-9]{6,14}$'::text))
);

CREATE TABLE identity.phone_reviews (
    id bigint NOT NULL,
    phone text NOT NULL,
    reason text NOT NULL,
    claimants uuid[] NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    last_at timestamp with time zone NOT NULL,
    tries integer DEFAULT 1 NOT NULL,
    decided_at timestamp with time zone,
    decided_by text,
    owner_id uuid,
    CONSTRAINT phone_reviews_are_decided_by_an_actor CHECK ((((decided_at IS NULL) = (decided_by IS NULL)) AND ((owner_id IS NULL) OR (decided_at IS NOT NULL)))),
    CONSTRAINT phone_reviews_decided_by_check CHECK (((length(decided_by) >= 1) AND (length(decided_by) <= 200))),
    CONSTRAINT phone_reviews_phone_check CHECK ((phone ~ '^\+[1-9][0-9]{6,14}$'::text)),
    CONSTRAINT phone_reviews_reason_check CHECK ((reason = ANY (ARRAY['claim_with_money'::text, 'phone_of_another_login'::text]))),
    CONSTRAINT phone_reviews_tries_check CHECK ((tries > 0))
);

ALTER TABLE identity.phone_reviews ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME identity.phone_reviews_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE identity.refresh_tokens (
    id bigint NOT NULL,
    family uuid NOT NULL,
    token_sha256 bytea NOT NULL,
    user_id uuid NOT NULL,
    kind text NOT NULL,
    phone text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    expires_at timestamp with time zone NOT NULL,
    rotated_at timestamp with time zone,
    revoked_at timestamp with time zone,
    revoked_by text,
    CONSTRAINT refresh_tokens_are_revoked_by_a_cause CHECK (((revoked_at IS NULL) = (revoked_by IS NULL))),
    CONSTRAINT refresh_tokens_kind_check CHECK ((kind = ANY (ARRAY['client'::text, 'admin'::text]))),
    CONSTRAINT refresh_tokens_phone_check CHECK ((phone ~ '^(\+[1-9][0-9]{6,14})?$'::text)),
    CONSTRAINT refresh_tokens_revoked_by_check CHECK ((revoked_by = ANY (ARRAY['logout'::text, 'reuse'::text, 'deletion'::text, 'replaced'::text, 'operator'::text]))),
    CONSTRAINT refresh_tokens_token_sha256_check CHECK ((length(token_sha256) = 32))
);

ALTER TABLE identity.refresh_tokens ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME identity.refresh_tokens_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE identity.registrations (
    client_id uuid NOT NULL,
    email text NOT NULL,
    phone text NOT NULL,
    name text,
    state text DEFAULT 'intended'::text NOT NULL,
    reason text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT registrations_email_check CHECK ((email = lower(email))),
    CONSTRAINT registrations_name_check CHECK ((length(name) <= 200)),
    CONSTRAINT registrations_phone_check CHECK ((phone ~ '^\+[1-9][0-9]{6,14}$'::text)),
    CONSTRAINT registrations_state_check CHECK ((state = ANY (ARRAY['intended'::text, 'done'::text, 'refused'::text, 'expired'::text])))
);

CREATE TABLE identity.service_keys (
    id bigint NOT NULL,
    name text NOT NULL,
    key_sha256 bytea NOT NULL,
    hint text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    last_used_at timestamp with time zone,
    revoked_at timestamp with time zone,
    CONSTRAINT service_keys_key_sha256_check CHECK ((length(key_sha256) = 32)),
    CONSTRAINT service_keys_name_check CHECK (((length(name) >= 1) AND (length(name) <= 100)))
);

ALTER TABLE identity.service_keys ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME identity.service_keys_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE identity.sign_in_addresses (
    phone text NOT NULL,
    address_hash bytea NOT NULL,
    last_at timestamp with time zone NOT NULL,
    CONSTRAINT sign_in_addresses_address_hash_check CHECK ((length(address_hash) = 16)),
    CONSTRAINT sign_in_addresses_phone_check CHECK ((phone ~ '^\+[1-9][0-9]{6,14}$'::text))
);

CREATE TABLE identity.sign_in_budgets (
    name text NOT NULL,
    starts_at timestamp with time zone NOT NULL,
    used integer NOT NULL,
    CONSTRAINT sign_in_budgets_name_check CHECK (((length(name) >= 1) AND (length(name) <= 120))),
    CONSTRAINT sign_in_budgets_used_check CHECK ((used > 0))
);

CREATE TABLE identity.sign_in_codes (
    id bigint NOT NULL,
    phone text NOT NULL,
    by_known_address boolean NOT NULL,
    asked_from bytea NOT NULL,
    salt bytea NOT NULL,
    code_hash bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    attempts_known integer DEFAULT 0 NOT NULL,
    attempts_asker integer DEFAULT 0 NOT NULL,
    attempts_unknown integer DEFAULT 0 NOT NULL,
    ended_at timestamp with time zone,
    ended_by text,
    CONSTRAINT sign_in_codes_are_short_lived CHECK (((expires_at > created_at) AND (expires_at <= (created_at + '00:05:00'::interval)))),
    CONSTRAINT sign_in_codes_asked_from_check CHECK ((length(asked_from) = 16)),
    CONSTRAINT sign_in_codes_attempts_asker_check CHECK (((attempts_asker >= 0) AND (attempts_asker <= 5))),
    CONSTRAINT sign_in_codes_attempts_known_check CHECK (((attempts_known >= 0) AND (attempts_known <= 5))),
    CONSTRAINT sign_in_codes_attempts_unknown_check CHECK (((attempts_unknown >= 0) AND (attempts_unknown <= 5))),
    CONSTRAINT sign_in_codes_code_hash_check CHECK ((length(code_hash) = 32)),
    CONSTRAINT sign_in_codes_end_with_a_cause CHECK (((ended_at IS NULL) = (ended_by IS NULL))),
    CONSTRAINT sign_in_codes_ended_by_check CHECK ((ended_by = ANY (ARRAY['used'::text, 'replaced'::text, 'not_sent'::text]))),
    CONSTRAINT sign_in_codes_phone_check CHECK ((phone ~ '^\+[1-9][0-9]{6,14}$'::text)),
    CONSTRAINT sign_in_codes_salt_check CHECK ((length(salt) = 16))
);

ALTER TABLE identity.sign_in_codes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME identity.sign_in_codes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE identity.signing_keys (
    kid text NOT NULL,
    public_key bytea NOT NULL,
    private_key bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    CONSTRAINT signing_keys_kid_check CHECK ((kid ~ '^evpower-[a-z0-9]{12}$'::text)),
    CONSTRAINT signing_keys_private_key_check CHECK (((length(private_key) >= 32) AND (length(private_key) <= 512))),
    CONSTRAINT signing_keys_public_key_check CHECK ((length(public_key) = 65))
);

CREATE TABLE ocpp.answers (
    key bytea NOT NULL,
    answer text NOT NULL,
    received_at timestamp with time zone NOT NULL,
    CONSTRAINT answers_key_check CHECK ((octet_length(key) = 16))
);

CREATE TABLE ocpp.forwarded_charges (
    id bigint NOT NULL,
    station_id text NOT NULL,
    connector integer NOT NULL,
    id_tag text NOT NULL,
    their_id text,
    meter_start_wh numeric,
    started_at timestamp with time zone NOT NULL,
    station_start_time text,
    start_key bytea NOT NULL,
    meter_stop_wh numeric,
    ended_at timestamp with time zone,
    energy_wh bigint,
    cost_minor bigint,
    currency text,
    plan text,
    version integer,
    CONSTRAINT forwarded_charges_are_priced_at_their_end CHECK (((ended_at IS NOT NULL) OR ((energy_wh IS NULL) AND (cost_minor IS NULL)))),
    CONSTRAINT forwarded_charges_connector_check CHECK ((connector >= 0)),
    CONSTRAINT forwarded_charges_cost_minor_check CHECK ((cost_minor >= 0)),
    CONSTRAINT forwarded_charges_currency_check CHECK ((length(currency) = 3)),
    CONSTRAINT forwarded_charges_end_after_they_start CHECK ((ended_at >= started_at)),
    CONSTRAINT forwarded_charges_energy_wh_check CHECK ((energy_wh >= 0)),
    CONSTRAINT forwarded_charges_have_a_price_with_a_tariff CHECK (((num_nulls(currency, plan, version) = ANY (ARRAY[0, 3])) AND ((cost_minor IS NULL) OR (num_nulls(energy_wh, plan) = 0)))),
    CONSTRAINT forwarded_charges_id_tag_check CHECK ((length(id_tag) <= 255)),
    CONSTRAINT forwarded_charges_start_key_check CHECK ((octet_length(start_key) = 16)),
    CONSTRAINT forwarded_charges_station_id_check CHECK (((length(station_id) >= 1) AND (length(station_id) <= 50))),
    CONSTRAINT forwarded_charges_station_start_time_check CHECK ((length(station_start_time) <= 64)),
    CONSTRAINT forwarded_charges_their_id_check CHECK ((length(their_id) <= 64))
);

ALTER TABLE ocpp.forwarded_charges ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ocpp.forwarded_charges_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ocpp.frames (
    station_id text NOT NULL,
    received_at timestamp with time zone NOT NULL,
    direction text NOT NULL,
    message_type smallint,
    message_id text,
    action text,
    frame text NOT NULL,
    CONSTRAINT frames_action_check CHECK ((length(action) <= 64)),
    CONSTRAINT frames_direction_check CHECK ((direction = ANY (ARRAY['in'::text, 'out'::text]))),
    CONSTRAINT frames_message_id_check CHECK ((length(message_id) <= 255)),
    CONSTRAINT frames_message_type_check CHECK ((message_type = ANY (ARRAY[2, 3, 4]))),
    CONSTRAINT frames_station_id_check CHECK (((length(station_id) >= 1) AND (length(station_id) <= 50)))
)
PARTITION BY RANGE (received_at);

CREATE TABLE ocpp.frames_default (
    station_id text CONSTRAINT frames_station_id_not_null NOT NULL,
    received_at timestamp with time zone CONSTRAINT frames_received_at_not_null NOT NULL,
    direction text CONSTRAINT frames_direction_not_null NOT NULL,
    message_type smallint,
    message_id text,
    action text,
    frame text CONSTRAINT frames_frame_not_null NOT NULL,
    CONSTRAINT frames_action_check CHECK ((length(action) <= 64)),
    CONSTRAINT frames_direction_check CHECK ((direction = ANY (ARRAY['in'::text, 'out'::text]))),
    CONSTRAINT frames_message_id_check CHECK ((length(message_id) <= 255)),
    CONSTRAINT frames_message_type_check CHECK ((message_type = ANY (ARRAY[2, 3, 4]))),
    CONSTRAINT frames_station_id_check CHECK (((length(station_id) >= 1) AND (length(station_id) <= 50)))
);

CREATE TABLE ocpp.quarantined_frames (
    session_id uuid NOT NULL,
    station_id text CONSTRAINT frames_station_id_not_null NOT NULL,
    received_at timestamp with time zone CONSTRAINT frames_received_at_not_null NOT NULL,
    direction text CONSTRAINT frames_direction_not_null NOT NULL,
    message_type smallint,
    message_id text,
    action text,
    frame text CONSTRAINT frames_frame_not_null NOT NULL,
    copied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE payments.bank_refunds (
    id bigint NOT NULL,
    payment_id bigint NOT NULL,
    key text NOT NULL,
    amount_minor bigint NOT NULL,
    refunded_before_minor bigint NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    state text DEFAULT 'requested'::text NOT NULL,
    requested_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT bank_refunds_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200))),
    CONSTRAINT bank_refunds_amount_minor_check CHECK ((amount_minor > 0)),
    CONSTRAINT bank_refunds_end CHECK (((ended_at IS NULL) = (state = ANY (ARRAY['requested'::text, 'unknown'::text])))),
    CONSTRAINT bank_refunds_key_check CHECK (((length(key) >= 1) AND (length(key) <= 200))),
    CONSTRAINT bank_refunds_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 500))),
    CONSTRAINT bank_refunds_refunded_before_minor_check CHECK ((refunded_before_minor >= 0)),
    CONSTRAINT bank_refunds_state_check CHECK ((state = ANY (ARRAY['requested'::text, 'returned'::text, 'refused'::text, 'unknown'::text])))
);

ALTER TABLE payments.bank_refunds ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME payments.bank_refunds_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE payments.differences (
    id bigint NOT NULL,
    provider text NOT NULL,
    subject text NOT NULL,
    kind text NOT NULL,
    payment_id bigint,
    reference text,
    order_id text,
    currency text NOT NULL,
    theirs_currency text NOT NULL,
    theirs_status text,
    ours_minor bigint NOT NULL,
    theirs_minor bigint NOT NULL,
    ours_returned_minor bigint NOT NULL,
    theirs_returned_minor bigint,
    at timestamp with time zone NOT NULL,
    found_at timestamp with time zone NOT NULL,
    first_run bigint NOT NULL,
    last_run bigint NOT NULL,
    closed_at timestamp with time zone,
    decision text,
    decided_by text,
    decided_at timestamp with time zone,
    reason text,
    CONSTRAINT differences_are_decided_with_a_reason CHECK ((num_nonnulls(decision, decided_by, decided_at, reason) = ANY (ARRAY[0, 4]))),
    CONSTRAINT differences_decided_by_check CHECK (((length(decided_by) >= 1) AND (length(decided_by) <= 200))),
    CONSTRAINT differences_decision_check CHECK ((decision = ANY (ARRAY['review'::text, 'explained'::text]))),
    CONSTRAINT differences_kind_check CHECK ((kind = ANY (ARRAY['missing_at_ours'::text, 'missing_at_theirs'::text, 'amount_differs'::text, 'returned_differs'::text, 'status_differs'::text, 'currency_differs'::text, 'twice_at_theirs'::text, 'entered_as_cash'::text]))),
    CONSTRAINT differences_ours_minor_check CHECK ((ours_minor >= 0)),
    CONSTRAINT differences_ours_returned_minor_check CHECK ((ours_returned_minor >= 0)),
    CONSTRAINT differences_provider_check CHECK (((length(provider) >= 1) AND (length(provider) <= 40))),
    CONSTRAINT differences_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 500))),
    CONSTRAINT differences_subject_check CHECK (((length(subject) >= 1) AND (length(subject) <= 200))),
    CONSTRAINT differences_theirs_minor_check CHECK ((theirs_minor >= 0)),
    CONSTRAINT differences_theirs_returned_minor_check CHECK ((theirs_returned_minor >= 0))
);

ALTER TABLE payments.differences ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME payments.differences_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE payments.events (
    provider text NOT NULL,
    event_id text NOT NULL,
    reuse bytea DEFAULT '\x'::bytea NOT NULL,
    body_sha256 bytea NOT NULL,
    payment_id bigint,
    order_id text,
    provider_ref text,
    status text NOT NULL,
    paid_minor bigint,
    currency text,
    refunded_minor bigint,
    occurred_at timestamp with time zone,
    outcome text NOT NULL,
    review text,
    resolved_at timestamp with time zone,
    credited_by bigint,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT events_body_sha256_check CHECK ((length(body_sha256) = 32)),
    CONSTRAINT events_event_id_check CHECK (((length(event_id) >= 1) AND (length(event_id) <= 200))),
    CONSTRAINT events_paid_minor_check CHECK ((paid_minor >= 0)),
    CONSTRAINT events_refunded_minor_check CHECK ((refunded_minor >= 0)),
    CONSTRAINT events_resolved_after_review CHECK ((((resolved_at IS NULL) OR (review IS NOT NULL)) AND ((credited_by IS NULL) OR (resolved_at IS NOT NULL)))),
    CONSTRAINT events_reuse_check CHECK ((length(reuse) = ANY (ARRAY[0, 32]))),
    CONSTRAINT events_reviewed_with_a_reason CHECK (
CASE outcome
    WHEN 'confirmed'::text THEN COALESCE((review = ANY (ARRAY['overpaid'::text, 'paid_twice'::text])), true)
    ELSE ((review IS NOT NULL) = (outcome = ANY (ARRAY['review'::text, 'event_reused'::text])))
END),
    CONSTRAINT events_status_check CHECK ((status = ANY (ARRAY['processing'::text, 'approved'::text, 'canceled'::text, 'refunded'::text, 'partial_refund'::text])))
);

ALTER TABLE payments.payments ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME payments.payments_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW payments.payments_public AS
 SELECT id,
    invoice_id,
    client_id,
    provider,
    provider_ref,
    method,
    status,
    currency,
    amount_minor,
    ((amount_minor)::numeric * 0.01) AS amount_som,
    refunded_minor,
    ((refunded_minor)::numeric * 0.01) AS refunded_som,
    created_at,
    confirmed_at
   FROM payments.payments p;

CREATE TABLE payments.reconciliation_days (
    provider text NOT NULL,
    day date NOT NULL,
    next_at timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    error text,
    done_at timestamp with time zone,
    CONSTRAINT reconciliation_days_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT reconciliation_days_provider_check CHECK (((length(provider) >= 1) AND (length(provider) <= 40)))
);

CREATE TABLE payments.reconciliations (
    id bigint NOT NULL,
    provider text NOT NULL,
    kind text NOT NULL,
    source text NOT NULL,
    since timestamp with time zone NOT NULL,
    until timestamp with time zone NOT NULL,
    source_name text,
    actor text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone NOT NULL,
    ours_count integer NOT NULL,
    ours_minor bigint NOT NULL,
    ours_returned_minor bigint NOT NULL,
    theirs_count integer NOT NULL,
    theirs_minor bigint NOT NULL,
    theirs_returned_minor bigint NOT NULL,
    difference_count integer NOT NULL,
    CONSTRAINT reconciliations_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200))),
    CONSTRAINT reconciliations_difference_count_check CHECK ((difference_count >= 0)),
    CONSTRAINT reconciliations_have_a_period CHECK ((since < until)),
    CONSTRAINT reconciliations_kind_check CHECK ((kind = ANY (ARRAY['daily'::text, 'on_demand'::text]))),
    CONSTRAINT reconciliations_name_their_file CHECK (((source = 'file'::text) = (source_name IS NOT NULL))),
    CONSTRAINT reconciliations_ours_count_check CHECK ((ours_count >= 0)),
    CONSTRAINT reconciliations_ours_minor_check CHECK ((ours_minor >= 0)),
    CONSTRAINT reconciliations_ours_returned_minor_check CHECK ((ours_returned_minor >= 0)),
    CONSTRAINT reconciliations_provider_check CHECK (((length(provider) >= 1) AND (length(provider) <= 40))),
    CONSTRAINT reconciliations_source_check CHECK ((source = ANY (ARRAY['list'::text, 'status'::text, 'file'::text]))),
    CONSTRAINT reconciliations_source_name_check CHECK (((length(source_name) >= 1) AND (length(source_name) <= 200))),
    CONSTRAINT reconciliations_theirs_count_check CHECK ((theirs_count >= 0)),
    CONSTRAINT reconciliations_theirs_minor_check CHECK ((theirs_minor >= 0)),
    CONSTRAINT reconciliations_theirs_returned_minor_check CHECK ((theirs_returned_minor >= 0))
);

ALTER TABLE payments.reconciliations ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME payments.reconciliations_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW payments.top_ups_public AS
 SELECT invoice_id,
    order_id,
    client_id,
    provider,
    provider_ref,
    status,
    currency,
    ((amount_minor)::numeric * 0.01) AS amount_som,
    ((paid_minor)::numeric * 0.01) AS paid_som,
    description,
    qr_code_url,
    app_link,
    created_at,
    confirmed_at,
    closed_at,
    expires_at
   FROM payments.payments p;

CREATE TABLE public.evpower_migrations (
    version text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE push.cursor (
    id integer NOT NULL,
    watched_to timestamp with time zone NOT NULL,
    CONSTRAINT cursor_id_check CHECK ((id = 1))
);

CREATE TABLE push.devices (
    id bigint NOT NULL,
    client_id uuid NOT NULL,
    kind text NOT NULL,
    address text NOT NULL,
    host text NOT NULL,
    p256dh bytea,
    auth bytea,
    vapid_key text,
    platform text NOT NULL,
    app_version text,
    language text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    CONSTRAINT devices_address_check CHECK (((length(address) >= 1) AND (length(address) <= 1024))),
    CONSTRAINT devices_app_version_check CHECK (((length(app_version) >= 1) AND (length(app_version) <= 32))),
    CONSTRAINT devices_are_seen_after_they_are_made CHECK ((seen_at >= created_at)),
    CONSTRAINT devices_auth_check CHECK ((length(auth) = 16)),
    CONSTRAINT devices_host_check CHECK (((length(host) >= 1) AND (length(host) <= 253))),
    CONSTRAINT devices_kind_check CHECK ((kind = ANY (ARRAY['fcm'::text, 'web'::text]))),
    CONSTRAINT devices_language_check CHECK ((language = ANY (ARRAY['ru'::text, 'ky'::text, 'en'::text]))),
    CONSTRAINT devices_of_the_web_have_keys CHECK ((num_nonnulls(p256dh, auth, vapid_key) =
CASE kind
    WHEN 'web'::text THEN 3
    ELSE 0
END)),
    CONSTRAINT devices_p256dh_check CHECK ((length(p256dh) = 65)),
    CONSTRAINT devices_platform_check CHECK ((platform = ANY (ARRAY['android'::text, 'ios'::text, 'web'::text]))),
    CONSTRAINT devices_vapid_key_check CHECK (((length(vapid_key) >= 1) AND (length(vapid_key) <= 200)))
);

ALTER TABLE push.devices ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME push.devices_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE push.messages (
    number bigint NOT NULL,
    device_id bigint NOT NULL,
    session_id uuid NOT NULL,
    event text NOT NULL,
    facts jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    begun_at timestamp with time zone,
    error text,
    sent_at timestamp with time zone,
    given_up_at timestamp with time zone,
    CONSTRAINT messages_are_sent_by_a_request CHECK (((sent_at IS NULL) OR (begun_at IS NOT NULL))),
    CONSTRAINT messages_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT messages_end_once CHECK ((num_nonnulls(sent_at, given_up_at) <= 1)),
    CONSTRAINT messages_error_check CHECK ((length(error) <= 500)),
    CONSTRAINT messages_event_check CHECK ((event = ANY (ARRAY['started'::text, 'start_failed'::text, 'limit_near'::text, 'hold_near'::text, 'stopped'::text, 'station_lost'::text]))),
    CONSTRAINT messages_facts_check CHECK ((jsonb_typeof(facts) = 'object'::text))
);

ALTER TABLE push.messages ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME push.messages_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE push.sessions (
    session_id uuid NOT NULL,
    client_id uuid NOT NULL,
    events text[] DEFAULT '{}'::text[] NOT NULL,
    watched_at timestamp with time zone NOT NULL,
    done_at timestamp with time zone
);

CREATE TABLE stations.bulk_refusals (
    bulk_id uuid NOT NULL,
    station text NOT NULL,
    action text NOT NULL,
    error text NOT NULL,
    refused_at timestamp with time zone NOT NULL,
    CONSTRAINT bulk_refusals_station_check CHECK (((length(station) >= 1) AND (length(station) <= 255)))
);

ALTER TABLE stations.commands ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME stations.commands_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW stations.commands_public AS
 SELECT id,
    station_id,
    connector,
    action,
    state,
    expires_at
   FROM stations.commands c;

CREATE TABLE stations.connections (
    id bigint NOT NULL,
    station_id text NOT NULL,
    address text NOT NULL,
    version text NOT NULL,
    is_authenticated boolean NOT NULL,
    opened_at timestamp with time zone DEFAULT now() NOT NULL,
    closed_at timestamp with time zone,
    close_reason text,
    CONSTRAINT connections_address_check CHECK (((length(address) >= 1) AND (length(address) <= 64))),
    CONSTRAINT connections_close_after_they_open CHECK ((closed_at >= opened_at)),
    CONSTRAINT connections_close_reason_check CHECK ((close_reason = ANY (ARRAY['station'::text, 'lost'::text, 'silent'::text, 'replaced'::text, 'unresponsive'::text, 'protocol'::text, 'operator'::text, 'shutdown'::text, 'node_lost'::text, 'upstream_lost'::text]))),
    CONSTRAINT connections_close_with_a_reason CHECK (((closed_at IS NULL) = (close_reason IS NULL))),
    CONSTRAINT connections_version_check CHECK ((version = ANY (ARRAY['ocpp1.6'::text, 'ocpp2.0.1'::text])))
);

ALTER TABLE stations.connections ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME stations.connections_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW stations.connections_public AS
 SELECT id,
    station_id,
    opened_at,
    closed_at,
    close_reason
   FROM stations.connections c;

CREATE TABLE stations.connectors (
    station_id text NOT NULL,
    number integer NOT NULL,
    evse_number integer NOT NULL,
    evse_connector integer DEFAULT 1 NOT NULL,
    standard text NOT NULL,
    format text NOT NULL,
    power_type text NOT NULL,
    rated_power_w integer NOT NULL,
    wanted_availability text DEFAULT 'operative'::text NOT NULL,
    reported_status text,
    reported_error text,
    reported_at timestamp with time zone,
    status_stamp_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT connectors_evse_connector_check CHECK (((evse_connector >= 1) AND (evse_connector <= 100))),
    CONSTRAINT connectors_format_check CHECK ((format = ANY (ARRAY['SOCKET'::text, 'CABLE'::text]))),
    CONSTRAINT connectors_number_check CHECK (((number >= 1) AND (number <= 1000))),
    CONSTRAINT connectors_power_type_check CHECK ((power_type = ANY (ARRAY['AC_1_PHASE'::text, 'AC_2_PHASE'::text, 'AC_2_PHASE_SPLIT'::text, 'AC_3_PHASE'::text, 'DC'::text]))),
    CONSTRAINT connectors_rated_power_w_check CHECK (((rated_power_w >= 1) AND (rated_power_w <= 10000000))),
    CONSTRAINT connectors_report_with_a_time CHECK (((reported_status IS NULL) = (reported_at IS NULL))),
    CONSTRAINT connectors_reported_error_check CHECK ((length(reported_error) <= 255)),
    CONSTRAINT connectors_reported_status_check CHECK ((reported_status = ANY (ARRAY['available'::text, 'preparing'::text, 'occupied'::text, 'charging'::text, 'suspended_ev'::text, 'suspended_evse'::text, 'finishing'::text, 'reserved'::text, 'unavailable'::text, 'faulted'::text]))),
    CONSTRAINT connectors_standard_check CHECK ((standard = ANY (ARRAY['CHADEMO'::text, 'DOMESTIC_A'::text, 'DOMESTIC_B'::text, 'DOMESTIC_C'::text, 'DOMESTIC_D'::text, 'DOMESTIC_E'::text, 'DOMESTIC_F'::text, 'DOMESTIC_G'::text, 'DOMESTIC_H'::text, 'DOMESTIC_I'::text, 'DOMESTIC_J'::text, 'DOMESTIC_K'::text, 'DOMESTIC_L'::text, 'GBT_AC'::text, 'GBT_DC'::text, 'IEC_60309_2_single_16'::text, 'IEC_60309_2_three_16'::text, 'IEC_60309_2_three_32'::text, 'IEC_60309_2_three_64'::text, 'IEC_62196_T1'::text, 'IEC_62196_T1_COMBO'::text, 'IEC_62196_T2'::text, 'IEC_62196_T2_COMBO'::text, 'IEC_62196_T3A'::text, 'IEC_62196_T3C'::text, 'NEMA_5_20'::text, 'NEMA_6_30'::text, 'NEMA_6_50'::text, 'NEMA_10_30'::text, 'NEMA_10_50'::text, 'NEMA_14_30'::text, 'NEMA_14_50'::text, 'PANTOGRAPH_BOTTOM_UP'::text, 'PANTOGRAPH_TOP_DOWN'::text, 'TESLA_R'::text, 'TESLA_S'::text]))),
    CONSTRAINT connectors_wanted_availability_check CHECK ((wanted_availability = ANY (ARRAY['operative'::text, 'inoperative'::text])))
);

CREATE VIEW stations.connectors_public AS
 SELECT station_id,
    number,
    evse_number,
    evse_connector,
    standard,
    format,
    power_type,
    rated_power_w,
    round(((rated_power_w)::numeric / 1000.0), 3) AS rated_power_kw,
    wanted_availability,
    reported_status,
    reported_error,
    reported_at
   FROM stations.connectors c;

CREATE TABLE stations.credentials (
    id bigint NOT NULL,
    station_id text NOT NULL,
    secret_sha256 bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    activated_at timestamp with time zone,
    ended_at timestamp with time zone,
    CONSTRAINT credentials_secret_sha256_check CHECK ((octet_length(secret_sha256) = 32))
);

ALTER TABLE stations.credentials ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME stations.credentials_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE stations.deviations (
    station_id text NOT NULL,
    kind text NOT NULL,
    count bigint NOT NULL,
    sample text,
    first_seen_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone NOT NULL,
    CONSTRAINT deviations_are_last_seen_after_the_first CHECK ((last_seen_at >= first_seen_at)),
    CONSTRAINT deviations_count_check CHECK ((count > 0)),
    CONSTRAINT deviations_kind_check CHECK ((kind ~ '^[a-z][a-z0-9_]{0,63}$'::text)),
    CONSTRAINT deviations_sample_check CHECK ((length(sample) <= 4000))
);

CREATE TABLE stations.evses (
    station_id text NOT NULL,
    number integer NOT NULL,
    evse_id text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT evses_evse_id_check CHECK ((evse_id ~ '^[A-Z]{2}\*?[A-Z0-9]{3}\*?E[A-Z0-9*]{1,31}$'::text)),
    CONSTRAINT evses_number_check CHECK (((number >= 1) AND (number <= 1000)))
);

CREATE VIEW stations.evses_public AS
 SELECT station_id,
    number,
    evse_id
   FROM stations.evses e;

CREATE TABLE stations.locations (
    id text NOT NULL,
    name text NOT NULL,
    address text DEFAULT ''::text NOT NULL,
    city text DEFAULT ''::text NOT NULL,
    country text DEFAULT 'KGZ'::text NOT NULL,
    latitude numeric(9,6),
    longitude numeric(9,6),
    time_zone text DEFAULT 'Asia/Bishkek'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT locations_address_check CHECK ((length(address) <= 200)),
    CONSTRAINT locations_city_check CHECK ((length(city) <= 100)),
    CONSTRAINT locations_country_check CHECK ((country ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT locations_have_both_coordinates CHECK (((latitude IS NULL) = (longitude IS NULL))),
    CONSTRAINT locations_id_check CHECK ((((length(id) >= 1) AND (length(id) <= 64)) AND (id = btrim(id)) AND (id !~ '[[:cntrl:]]'::text))),
    CONSTRAINT locations_latitude_check CHECK (((latitude >= ('-90'::integer)::numeric) AND (latitude <= (90)::numeric))),
    CONSTRAINT locations_longitude_check CHECK (((longitude >= ('-180'::integer)::numeric) AND (longitude <= (180)::numeric))),
    CONSTRAINT locations_name_check CHECK ((((length(name) >= 1) AND (length(name) <= 200)) AND (name = btrim(name)) AND (name !~ '[[:cntrl:]]'::text))),
    CONSTRAINT locations_time_zone_check CHECK (((length(time_zone) >= 1) AND (length(time_zone) <= 64)))
);

CREATE VIEW stations.locations_public AS
 SELECT id,
    name,
    address,
    city,
    country,
    latitude,
    longitude,
    time_zone,
    created_at,
    updated_at
   FROM stations.locations l;

CREATE TABLE stations.names (
    key text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    station_id text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT keys_of_ascii_are_lower_case CHECK (((octet_length(name) <> length(name)) OR (key = lower(name)))),
    CONSTRAINT names_key_check CHECK (((length(key) >= 1) AND (length(key) <= 1000))),
    CONSTRAINT names_kind_check CHECK ((kind = ANY (ARRAY['ocpp'::text, 'old_id'::text, 'serial'::text, 'post_code'::text]))),
    CONSTRAINT names_name_check CHECK ((((length(name) >= 1) AND (length(name) <= 255)) AND (name = btrim(name)) AND (name !~ '[[:cntrl:]]'::text))),
    CONSTRAINT names_of_sockets_are_short CHECK (((kind <> 'ocpp'::text) OR (length(name) <= 50)))
);

CREATE TABLE stations.profiles (
    station_id text NOT NULL,
    profile text,
    overrides jsonb DEFAULT '{}'::jsonb NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT profiles_overrides_check CHECK ((jsonb_typeof(overrides) = 'object'::text)),
    CONSTRAINT profiles_profile_check CHECK (((length(profile) >= 1) AND (length(profile) <= 64)))
);

CREATE TABLE stations.setups (
    id bigint NOT NULL,
    station_id text NOT NULL,
    vendor text NOT NULL,
    model text NOT NULL,
    firmware text NOT NULL,
    actor text NOT NULL,
    command_id bigint NOT NULL,
    keys jsonb DEFAULT '[]'::jsonb NOT NULL,
    failure text,
    started_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT setups_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200))),
    CONSTRAINT setups_end_after_they_start CHECK ((ended_at >= started_at)),
    CONSTRAINT setups_fail_at_their_end CHECK (((failure IS NULL) OR (ended_at IS NOT NULL))),
    CONSTRAINT setups_failure_check CHECK ((failure = ANY (ARRAY['refused'::text, 'no_answer'::text, 'not_delivered'::text]))),
    CONSTRAINT setups_firmware_check CHECK ((length(firmware) <= 255)),
    CONSTRAINT setups_keys_check CHECK ((jsonb_typeof(keys) = 'array'::text)),
    CONSTRAINT setups_model_check CHECK ((length(model) <= 255)),
    CONSTRAINT setups_vendor_check CHECK ((length(vendor) <= 255))
);

ALTER TABLE stations.setups ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME stations.setups_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE stations.sockets (
    station_id text NOT NULL,
    epoch bigint NOT NULL,
    node text NOT NULL,
    last_frame_at timestamp with time zone,
    CONSTRAINT sockets_node_check CHECK (((length(node) >= 1) AND (length(node) <= 200)))
)
WITH (fillfactor='50');

CREATE VIEW stations.sockets_public AS
 SELECT station_id,
    epoch,
    node,
    last_frame_at
   FROM stations.sockets s;

CREATE VIEW stations.stations_public AS
 SELECT id,
    post_code,
    location_id,
    owner,
    wanted_availability,
    reported_availability,
    vendor,
    model,
    firmware,
    no_auth,
    paid_only,
    cards_without_auth,
    is_simulated,
    retired_at,
    created_at,
    updated_at
   FROM stations.stations s;

CREATE TABLE stations.status_log (
    id bigint NOT NULL,
    station_id text NOT NULL,
    connector integer NOT NULL,
    status text NOT NULL,
    error text,
    info text,
    station_time text,
    station_at timestamp with time zone,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    is_applied boolean DEFAULT true NOT NULL,
    CONSTRAINT status_log_connector_check CHECK ((connector >= 0)),
    CONSTRAINT status_log_error_check CHECK ((length(error) <= 255)),
    CONSTRAINT status_log_info_check CHECK ((length(info) <= 1000)),
    CONSTRAINT status_log_station_time_check CHECK ((length(station_time) <= 64)),
    CONSTRAINT status_log_status_check CHECK (((length(status) >= 1) AND (length(status) <= 64)))
);

ALTER TABLE stations.status_log ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME stations.status_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW stations.status_log_public AS
 SELECT id,
    station_id,
    connector,
    status,
    station_at,
    received_at,
    is_applied
   FROM stations.status_log l;

CREATE TABLE stations.unknown_stations (
    key text NOT NULL,
    name text NOT NULL,
    address text NOT NULL,
    attempts bigint DEFAULT 1 NOT NULL,
    first_seen_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone NOT NULL,
    reason text DEFAULT 'station_not_found'::text NOT NULL,
    CONSTRAINT unknown_stations_address_check CHECK (((length(address) >= 1) AND (length(address) <= 64))),
    CONSTRAINT unknown_stations_are_last_seen_after_the_first CHECK ((last_seen_at >= first_seen_at)),
    CONSTRAINT unknown_stations_attempts_check CHECK ((attempts > 0)),
    CONSTRAINT unknown_stations_key_check CHECK (((length(key) >= 1) AND (length(key) <= 1000))),
    CONSTRAINT unknown_stations_name_check CHECK ((((length(name) >= 1) AND (length(name) <= 255)) AND (name !~ '[[:cntrl:]]'::text))),
    CONSTRAINT unknown_stations_reason_check CHECK ((reason = ANY (ARRAY['station_not_found'::text, 'station_ambiguous'::text, 'station_retired'::text, 'no_password'::text, 'wrong_password'::text, 'version_not_served'::text, 'version_pinned'::text, 'station_not_simulated'::text, 'station_connected'::text])))
);

CREATE TABLE sync.acknowledged (
    client_id uuid NOT NULL,
    version bigint NOT NULL,
    number bigint DEFAULT 0 NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT acknowledged_version_check CHECK ((version >= 0))
)
WITH (fillfactor='70');

CREATE TABLE sync.backfills (
    topic text NOT NULL,
    after uuid,
    enqueued bigint DEFAULT 0 NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT backfills_topic_check CHECK ((topic = ANY (ARRAY['client'::text, 'session'::text, 'payment'::text])))
);

CREATE TABLE sync.blocked_before (
    client_id uuid NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE sync.calls (
    slot integer NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    keys integer NOT NULL,
    transactions integer NOT NULL,
    took_ms integer NOT NULL,
    lags_ms integer[] NOT NULL,
    CONSTRAINT calls_lags_ms_check CHECK ((cardinality(lags_ms) <= 64)),
    CONSTRAINT calls_slot_check CHECK (((slot >= 0) AND (slot <= 999)))
)
WITH (fillfactor='50');

CREATE SEQUENCE sync.calls_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE sync.calls_seq OWNED BY sync.calls.slot;

CREATE TABLE sync.contact_conflicts (
    client_id uuid NOT NULL,
    contact text NOT NULL,
    value text NOT NULL,
    verified boolean DEFAULT false NOT NULL,
    holder uuid NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT contact_conflicts_contact_check CHECK ((contact = ANY (ARRAY['email'::text, 'phone'::text])))
);

CREATE TABLE sync.cursors (
    name text NOT NULL,
    xid text,
    seq bigint,
    revision bigint DEFAULT 0 NOT NULL,
    moved_at timestamp with time zone,
    checked_at timestamp with time zone,
    scanning boolean DEFAULT true NOT NULL,
    scan_after text,
    scanned bigint DEFAULT 0 NOT NULL,
    scanned_at timestamp with time zone,
    resets integer DEFAULT 0 NOT NULL,
    CONSTRAINT cursors_check CHECK (((xid IS NULL) = (seq IS NULL))),
    CONSTRAINT cursors_name_check CHECK ((name = 'supabase'::text))
);

CREATE TABLE sync.drift (
    id bigint NOT NULL,
    found_at timestamp with time zone DEFAULT now() NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    ours jsonb,
    theirs jsonb,
    right_side text NOT NULL,
    action text NOT NULL,
    closed_at timestamp with time zone,
    kind text DEFAULT 'differs'::text NOT NULL,
    fields text[] DEFAULT '{}'::text[] NOT NULL,
    notice boolean DEFAULT false NOT NULL,
    repaired boolean DEFAULT false NOT NULL,
    run_id bigint,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT drift_right_side_check CHECK ((right_side = ANY (ARRAY['evpower'::text, 'supabase'::text])))
);

ALTER TABLE sync.drift ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME sync.drift_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE sync.failed_users (
    client_id uuid NOT NULL,
    user_deleted boolean DEFAULT false NOT NULL,
    blocked_before boolean DEFAULT false NOT NULL,
    error text NOT NULL,
    attempts integer DEFAULT 1 NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL,
    next_at timestamp with time zone NOT NULL
);

CREATE TABLE sync.inbox (
    id bigint NOT NULL,
    source text NOT NULL,
    event_id text NOT NULL,
    body_sha256 bytea NOT NULL,
    kind text NOT NULL,
    row_id text,
    repeats integer DEFAULT 0 NOT NULL,
    reuses integer DEFAULT 0 NOT NULL,
    received_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT inbox_body_sha256_check CHECK ((length(body_sha256) = 32)),
    CONSTRAINT inbox_event_id_check CHECK (((length(event_id) >= 1) AND (length(event_id) <= 200))),
    CONSTRAINT inbox_kind_check CHECK ((length(kind) <= 100)),
    CONSTRAINT inbox_row_id_check CHECK ((length(row_id) <= 100)),
    CONSTRAINT inbox_source_check CHECK ((source = ANY (ARRAY['webhook'::text, 'plain'::text, 'auth'::text])))
)
WITH (fillfactor='90');

ALTER TABLE sync.inbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME sync.inbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE sync.old_tables (
    name text NOT NULL
);

CREATE TABLE sync.pending (
    topic text NOT NULL,
    key uuid NOT NULL,
    generation bigint NOT NULL,
    since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_at timestamp with time zone DEFAULT now() NOT NULL,
    leased_until timestamp with time zone,
    last_error text,
    parked_at timestamp with time zone,
    force boolean DEFAULT false NOT NULL,
    alone boolean DEFAULT false NOT NULL,
    CONSTRAINT pending_topic_check CHECK ((topic = ANY (ARRAY['client'::text, 'session'::text, 'location'::text, 'station'::text, 'tariff'::text, 'client_tariff'::text, 'payment'::text, 'transaction'::text])))
)
WITH (fillfactor='70', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_scale_factor='0.05');

CREATE SEQUENCE sync.pending_generation
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE sync.pending_generation OWNED BY sync.pending.generation;

CREATE TABLE sync.row_keys (
    key uuid NOT NULL,
    topic text NOT NULL,
    id text NOT NULL,
    added_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT row_keys_topic_check CHECK ((topic = ANY (ARRAY['location'::text, 'station'::text, 'tariff'::text, 'client_tariff'::text, 'payment'::text, 'transaction'::text])))
);

CREATE TABLE sync.run_leases (
    kind text NOT NULL,
    due_at timestamp with time zone,
    leased_by uuid,
    leased_until timestamp with time zone,
    run_id bigint,
    CONSTRAINT run_leases_check CHECK (((leased_by IS NULL) = (leased_until IS NULL))),
    CONSTRAINT run_leases_kind_check CHECK ((kind = ANY (ARRAY['recent'::text, 'full'::text])))
);

CREATE TABLE sync.runs (
    id bigint NOT NULL,
    kind text NOT NULL,
    since timestamp with time zone,
    repair boolean NOT NULL,
    stage integer DEFAULT 0 NOT NULL,
    after text,
    counts jsonb DEFAULT '{}'::jsonb NOT NULL,
    error text,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    recorded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT runs_check CHECK (((kind = 'recent'::text) = (since IS NOT NULL))),
    CONSTRAINT runs_kind_check CHECK ((kind = ANY (ARRAY['on_demand'::text, 'recent'::text, 'full'::text])))
);

ALTER TABLE sync.runs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME sync.runs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE sync.status_before (
    client_id uuid NOT NULL,
    word text NOT NULL,
    handled_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE sync.status_words (
    word text NOT NULL,
    meaning text NOT NULL,
    operator text NOT NULL,
    reason text NOT NULL,
    mapped_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT status_words_meaning_check CHECK ((meaning = ANY (ARRAY['active'::text, 'blocked'::text, 'inactive'::text]))),
    CONSTRAINT status_words_operator_check CHECK (((length(operator) >= 1) AND (length(operator) <= 200))),
    CONSTRAINT status_words_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 200))),
    CONSTRAINT status_words_word_check CHECK (((length(word) >= 1) AND (length(word) <= 200)))
);

CREATE TABLE sync.targets (
    name text NOT NULL,
    state text NOT NULL,
    error text,
    since timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT targets_state_check CHECK ((state = ANY (ARRAY['up'::text, 'down'::text, 'misconfigured'::text])))
);

CREATE TABLE sync.webhook_secrets (
    id bigint NOT NULL,
    secret text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    not_after timestamp with time zone,
    CONSTRAINT webhook_secrets_secret_check CHECK (((length(secret) >= 16) AND (length(secret) <= 500)))
);

ALTER TABLE sync.webhook_secrets ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME sync.webhook_secrets_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE tariffs.assignments (
    id bigint NOT NULL,
    scope text NOT NULL,
    scope_id text NOT NULL,
    plan_id bigint,
    valid_from timestamp with time zone NOT NULL,
    actor text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT assignments_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200))),
    CONSTRAINT assignments_name_what_they_price CHECK (((scope = 'everything'::text) = (scope_id = ''::text))),
    CONSTRAINT assignments_scope_check CHECK ((scope = ANY (ARRAY['everything'::text, 'location'::text, 'station'::text, 'connector'::text]))),
    CONSTRAINT assignments_scope_id_check CHECK ((length(scope_id) <= 128))
);

ALTER TABLE tariffs.assignments ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME tariffs.assignments_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE tariffs.client_tariffs (
    id bigint NOT NULL,
    client_id uuid NOT NULL,
    plan_id bigint,
    discount_ppm integer,
    discount_on text[] DEFAULT '{}'::text[] NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    valid_until timestamp with time zone,
    actor text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT client_tariffs_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200))),
    CONSTRAINT client_tariffs_change_a_price CHECK (((plan_id IS NOT NULL) OR (discount_ppm IS NOT NULL))),
    CONSTRAINT client_tariffs_check CHECK ((valid_until >= valid_from)),
    CONSTRAINT client_tariffs_discount_on_check CHECK ((discount_on <@ ARRAY['energy'::text, 'time'::text, 'parking'::text, 'flat'::text])),
    CONSTRAINT client_tariffs_discount_ppm_check CHECK (((discount_ppm >= 1) AND (discount_ppm <= 1000000))),
    CONSTRAINT client_tariffs_discount_something CHECK (((discount_ppm IS NULL) = (discount_on = '{}'::text[])))
);

ALTER TABLE tariffs.client_tariffs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME tariffs.client_tariffs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE tariffs.plans (
    id bigint NOT NULL,
    code text NOT NULL,
    last_version integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT plans_code_check CHECK ((code ~ '^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$'::text)),
    CONSTRAINT plans_last_version_check CHECK ((last_version >= 0))
);

ALTER TABLE tariffs.plans ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME tariffs.plans_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE tariffs.versions (
    id bigint NOT NULL,
    plan_id bigint NOT NULL,
    number integer NOT NULL,
    format integer NOT NULL,
    document jsonb NOT NULL,
    valid_from timestamp with time zone,
    actor text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT versions_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200))),
    CONSTRAINT versions_document_check CHECK ((jsonb_typeof(document) = 'object'::text)),
    CONSTRAINT versions_format_check CHECK ((format > 0)),
    CONSTRAINT versions_number_check CHECK ((number > 0))
);

ALTER TABLE tariffs.versions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME tariffs.versions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW wallet.balances AS
 SELECT client_id,
    currency,
    balance_minor,
    ((balance_minor)::numeric * 0.01) AS balance_som,
    held_minor,
    ((held_minor)::numeric * 0.01) AS held_som,
    debt_minor,
    ((debt_minor)::numeric * 0.01) AS debt_som,
    version,
    revision,
    updated_at
   FROM wallet.wallets w;

CREATE TABLE wallet.debts (
    id bigint NOT NULL,
    client_id uuid NOT NULL,
    settlement_id bigint,
    refund_id bigint,
    amount_minor bigint NOT NULL,
    collected_minor bigint DEFAULT 0 NOT NULL,
    forgiven_minor bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT debts_amount_minor_check CHECK ((amount_minor > 0)),
    CONSTRAINT debts_check CHECK ((num_nonnulls(settlement_id, refund_id) = 1)),
    CONSTRAINT debts_check1 CHECK (((collected_minor + forgiven_minor) <= amount_minor)),
    CONSTRAINT debts_check2 CHECK (((forgiven_minor = 0) OR (settlement_id IS NOT NULL))),
    CONSTRAINT debts_collected_minor_check CHECK ((collected_minor >= 0)),
    CONSTRAINT debts_forgiven_minor_check CHECK ((forgiven_minor >= 0))
);

ALTER TABLE wallet.debts ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME wallet.debts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE wallet.holds (
    session_id uuid NOT NULL,
    client_id uuid NOT NULL,
    amount_minor bigint NOT NULL,
    state text DEFAULT 'open'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    resolved_at timestamp with time zone,
    attempt integer DEFAULT 1 NOT NULL,
    CONSTRAINT holds_amount_minor_check CHECK ((amount_minor >= 0)),
    CONSTRAINT holds_attempt_check CHECK ((attempt > 0)),
    CONSTRAINT holds_check CHECK (((state = 'open'::text) = (resolved_at IS NULL))),
    CONSTRAINT holds_state_check CHECK ((state = ANY (ARRAY['open'::text, 'released'::text, 'charged'::text])))
);

CREATE VIEW wallet.holds_public AS
 SELECT session_id,
    client_id,
    attempt,
    amount_minor,
    ((amount_minor)::numeric * 0.01) AS amount_som,
    state
   FROM wallet.holds h;

CREATE TABLE wallet.refunds (
    id bigint NOT NULL,
    client_id uuid NOT NULL,
    settlement_id bigint,
    payment_id bigint,
    amount_minor bigint NOT NULL,
    posted_minor bigint,
    correction_minor bigint DEFAULT 0 NOT NULL,
    collects_debt_id bigint,
    actor text NOT NULL,
    reason text NOT NULL,
    provider_ref text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    posted_at timestamp with time zone,
    CONSTRAINT refunds_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200))),
    CONSTRAINT refunds_amount_minor_check CHECK ((amount_minor > 0)),
    CONSTRAINT refunds_check CHECK ((num_nonnulls(settlement_id, payment_id) = 1)),
    CONSTRAINT refunds_check1 CHECK (((posted_minor IS NULL) = (posted_at IS NULL))),
    CONSTRAINT refunds_check2 CHECK (((settlement_id IS NULL) OR (posted_minor = amount_minor))),
    CONSTRAINT refunds_check3 CHECK (((payment_id IS NULL) OR ((posted_minor >= (- amount_minor)) AND (posted_minor <= 0)))),
    CONSTRAINT refunds_collect_whole CHECK (((collects_debt_id IS NULL) OR ((num_nonnulls(payment_id, posted_minor) = 2) AND (posted_minor = (- amount_minor))))),
    CONSTRAINT refunds_correct_a_charge CHECK ((((correction_minor >= 0) AND (correction_minor <= amount_minor)) AND ((correction_minor = 0) OR (num_nonnulls(settlement_id, posted_minor) = 2)))),
    CONSTRAINT refunds_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 500)))
);

ALTER TABLE wallet.refunds ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME wallet.refunds_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE wallet.transactions (
    client_id uuid NOT NULL,
    version bigint NOT NULL,
    prev_version bigint GENERATED ALWAYS AS (NULLIF((version - 1), 0)) STORED,
    amount_minor bigint NOT NULL,
    balance_before_minor bigint NOT NULL,
    balance_after_minor bigint NOT NULL,
    payment_id bigint,
    settlement_id bigint,
    refund_id bigint,
    event_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    kind wallet.transaction_kind NOT NULL,
    CONSTRAINT transactions_add_up CHECK ((balance_after_minor = (balance_before_minor + amount_minor))),
    CONSTRAINT transactions_balance_after_minor_check CHECK ((balance_after_minor >= 0)),
    CONSTRAINT transactions_sign_and_cause CHECK (
CASE kind
    WHEN 'topup'::wallet.transaction_kind THEN ((amount_minor > 0) AND (payment_id IS NOT NULL) AND (settlement_id IS NULL) AND (refund_id IS NULL))
    WHEN 'charge'::wallet.transaction_kind THEN ((amount_minor < 0) AND (settlement_id IS NOT NULL) AND (payment_id IS NULL) AND (refund_id IS NULL))
    WHEN 'refund'::wallet.transaction_kind THEN ((amount_minor <> 0) AND (refund_id IS NOT NULL) AND (payment_id IS NULL) AND (settlement_id IS NULL))
    ELSE NULL::boolean
END),
    CONSTRAINT transactions_start_at_nothing CHECK (((version > 1) OR (balance_before_minor = 0))),
    CONSTRAINT transactions_version_check CHECK ((version > 0))
);

CREATE VIEW wallet.transactions_public AS
 SELECT t.id,
    t.client_id,
    t.version,
    t.kind,
    t.amount_minor,
    ((t.amount_minor)::numeric * 0.01) AS amount_som,
    t.balance_before_minor,
    ((t.balance_before_minor)::numeric * 0.01) AS balance_before_som,
    t.balance_after_minor,
    ((t.balance_after_minor)::numeric * 0.01) AS balance_after_som,
    COALESCE(t.payment_id, r.payment_id) AS payment_id,
    COALESCE(t.settlement_id, r.settlement_id) AS settlement_id,
    t.event_at,
    t.created_at
   FROM (wallet.transactions t
     LEFT JOIN wallet.refunds r ON ((r.id = t.refund_id)));

ALTER TABLE ONLY charging.meter_values ATTACH PARTITION charging.meter_values_default DEFAULT;

ALTER TABLE ONLY ocpp.frames ATTACH PARTITION ocpp.frames_default DEFAULT;

ALTER TABLE ONLY sync.pending ALTER COLUMN generation SET DEFAULT nextval('sync.pending_generation'::regclass);

ALTER TABLE ONLY alerts.alerts
    ADD CONSTRAINT alerts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY alerts.messages
    ADD CONSTRAINT messages_id_key UNIQUE (id);

ALTER TABLE ONLY alerts.messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (number);

ALTER TABLE ONLY charging.cdrs
    ADD CONSTRAINT cdrs_id_key UNIQUE (id);

ALTER TABLE ONLY charging.cdrs
    ADD CONSTRAINT cdrs_pkey PRIMARY KEY (settlement_id);

ALTER TABLE ONLY charging.clocks
    ADD CONSTRAINT clocks_pkey PRIMARY KEY (station_id);

ALTER TABLE ONLY charging.free_periods
    ADD CONSTRAINT free_periods_pkey PRIMARY KEY (id);

ALTER TABLE ONLY charging.meters
    ADD CONSTRAINT meters_pkey PRIMARY KEY (station_id, connector);

ALTER TABLE ONLY charging.progress
    ADD CONSTRAINT progress_pkey PRIMARY KEY (transaction_id);

ALTER TABLE ONLY charging.progress
    ADD CONSTRAINT progress_session_id_key UNIQUE (session_id);

ALTER TABLE ONLY charging.session_tariffs
    ADD CONSTRAINT session_tariffs_pkey PRIMARY KEY (session_id);

ALTER TABLE ONLY charging.sessions
    ADD CONSTRAINT sessions_id_client_id_key UNIQUE (id, client_id);

ALTER TABLE ONLY charging.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY charging.settlements
    ADD CONSTRAINT settlements_id_client_id_debit_minor_key UNIQUE (id, client_id, debit_minor);

ALTER TABLE ONLY charging.settlements
    ADD CONSTRAINT settlements_pkey PRIMARY KEY (id);

ALTER TABLE ONLY charging.settlements
    ADD CONSTRAINT settlements_session_id_bill_number_key UNIQUE (session_id, bill_number);

ALTER TABLE ONLY charging.signed_values
    ADD CONSTRAINT signed_values_pkey PRIMARY KEY (id);

ALTER TABLE ONLY charging.stop_steps
    ADD CONSTRAINT stop_steps_pkey PRIMARY KEY (id);

ALTER TABLE ONLY charging.stops
    ADD CONSTRAINT stops_pkey PRIMARY KEY (id);

ALTER TABLE ONLY charging.stops
    ADD CONSTRAINT stops_station_id_id_as_sent_meter_stop_wh_station_time_id_t_key UNIQUE NULLS NOT DISTINCT (station_id, id_as_sent, meter_stop_wh, station_time, id_tag);

ALTER TABLE ONLY charging.technician_tags
    ADD CONSTRAINT technician_tags_pkey PRIMARY KEY (tag);

ALTER TABLE ONLY charging.transaction_aliases
    ADD CONSTRAINT transaction_aliases_pkey PRIMARY KEY (station_id, alias, transaction_id);

ALTER TABLE ONLY charging.transactions
    ADD CONSTRAINT transactions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY charging.transactions
    ADD CONSTRAINT transactions_session_id_key UNIQUE (session_id);

ALTER TABLE ONLY charging.transactions
    ADD CONSTRAINT transactions_start_key_start_number_key UNIQUE (start_key, start_number);

ALTER TABLE ONLY charging.unhandled_starts
    ADD CONSTRAINT unhandled_starts_pkey PRIMARY KEY (number);

ALTER TABLE ONLY client_migration.decisions
    ADD CONSTRAINT decisions_pkey PRIMARY KEY (old_id);

ALTER TABLE ONLY client_migration.run_rows
    ADD CONSTRAINT run_rows_pkey PRIMARY KEY (run, line);

ALTER TABLE ONLY client_migration.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY client_migration.runs
    ADD CONSTRAINT runs_run_key_key UNIQUE (run_key);

ALTER TABLE ONLY foundation.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (scope, key);

ALTER TABLE ONLY foundation.loop_rounds
    ADD CONSTRAINT loop_rounds_pkey PRIMARY KEY (node, loop);

ALTER TABLE ONLY identity.aliases
    ADD CONSTRAINT aliases_pkey PRIMARY KEY (kind, alias);

ALTER TABLE ONLY identity.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (id);

ALTER TABLE ONLY identity.clients
    ADD CONSTRAINT clients_pkey PRIMARY KEY (id);

ALTER TABLE ONLY identity.clients_without_token
    ADD CONSTRAINT clients_without_token_pkey PRIMARY KEY (client_id);

ALTER TABLE ONLY identity.confirmations
    ADD CONSTRAINT confirmations_pkey PRIMARY KEY (client_id);

ALTER TABLE ONLY identity.favorites
    ADD CONSTRAINT favorites_pkey PRIMARY KEY (client_id, location_id);

ALTER TABLE ONLY identity.operators
    ADD CONSTRAINT operators_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY identity.phone_accounts
    ADD CONSTRAINT phone_accounts_client_id_key UNIQUE (client_id);

ALTER TABLE ONLY identity.phone_accounts
    ADD CONSTRAINT phone_accounts_pkey PRIMARY KEY (phone);

ALTER TABLE ONLY identity.phone_reviews
    ADD CONSTRAINT phone_reviews_pkey PRIMARY KEY (id);

ALTER TABLE ONLY identity.refresh_tokens
    ADD CONSTRAINT refresh_tokens_pkey PRIMARY KEY (id);

ALTER TABLE ONLY identity.refresh_tokens
    ADD CONSTRAINT refresh_tokens_token_sha256_key UNIQUE (token_sha256);

ALTER TABLE ONLY identity.registrations
    ADD CONSTRAINT registrations_pkey PRIMARY KEY (client_id);

ALTER TABLE ONLY identity.service_keys
    ADD CONSTRAINT service_keys_key_sha256_key UNIQUE (key_sha256);

ALTER TABLE ONLY identity.service_keys
    ADD CONSTRAINT service_keys_name_key UNIQUE (name);

ALTER TABLE ONLY identity.service_keys
    ADD CONSTRAINT service_keys_pkey PRIMARY KEY (id);

ALTER TABLE ONLY identity.sign_in_addresses
    ADD CONSTRAINT sign_in_addresses_pkey PRIMARY KEY (phone, address_hash);

ALTER TABLE ONLY identity.sign_in_budgets
    ADD CONSTRAINT sign_in_budgets_pkey PRIMARY KEY (name, starts_at);

ALTER TABLE ONLY identity.sign_in_codes
    ADD CONSTRAINT sign_in_codes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY identity.signing_keys
    ADD CONSTRAINT signing_keys_pkey PRIMARY KEY (kid);

ALTER TABLE ONLY ocpp.answers
    ADD CONSTRAINT answers_pkey PRIMARY KEY (key);

ALTER TABLE ONLY ocpp.forwarded_charges
    ADD CONSTRAINT forwarded_charges_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ocpp.forwarded_charges
    ADD CONSTRAINT forwarded_charges_start_key_key UNIQUE (start_key);

ALTER TABLE ONLY payments.bank_refunds
    ADD CONSTRAINT bank_refunds_key_key UNIQUE (key);

ALTER TABLE ONLY payments.bank_refunds
    ADD CONSTRAINT bank_refunds_pkey PRIMARY KEY (id);

ALTER TABLE ONLY payments.differences
    ADD CONSTRAINT differences_pkey PRIMARY KEY (id);

ALTER TABLE ONLY payments.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (provider, event_id, reuse);

ALTER TABLE ONLY payments.payments
    ADD CONSTRAINT payments_id_client_id_credited_minor_key UNIQUE (id, client_id, credited_minor);

ALTER TABLE ONLY payments.payments
    ADD CONSTRAINT payments_invoice_id_key UNIQUE (invoice_id);

ALTER TABLE ONLY payments.payments
    ADD CONSTRAINT payments_order_id_key UNIQUE (order_id);

ALTER TABLE ONLY payments.payments
    ADD CONSTRAINT payments_pkey PRIMARY KEY (id);

ALTER TABLE ONLY payments.payments
    ADD CONSTRAINT payments_provider_provider_ref_key UNIQUE (provider, provider_ref);

ALTER TABLE ONLY payments.reconciliation_days
    ADD CONSTRAINT reconciliation_days_pkey PRIMARY KEY (provider, day);

ALTER TABLE ONLY payments.reconciliations
    ADD CONSTRAINT reconciliations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.evpower_migrations
    ADD CONSTRAINT evpower_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY push.cursor
    ADD CONSTRAINT cursor_pkey PRIMARY KEY (id);

ALTER TABLE ONLY push.devices
    ADD CONSTRAINT devices_kind_address_key UNIQUE (kind, address);

ALTER TABLE ONLY push.devices
    ADD CONSTRAINT devices_pkey PRIMARY KEY (id);

ALTER TABLE ONLY push.messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (number);

ALTER TABLE ONLY push.messages
    ADD CONSTRAINT messages_session_id_event_device_id_key UNIQUE (session_id, event, device_id);

ALTER TABLE ONLY push.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (session_id);

ALTER TABLE ONLY stations.bulk_refusals
    ADD CONSTRAINT bulk_refusals_pkey PRIMARY KEY (bulk_id, station);

ALTER TABLE ONLY stations.commands
    ADD CONSTRAINT commands_pkey PRIMARY KEY (id);

ALTER TABLE ONLY stations.connections
    ADD CONSTRAINT connections_id_station_id_key UNIQUE (id, station_id);

ALTER TABLE ONLY stations.connections
    ADD CONSTRAINT connections_pkey PRIMARY KEY (id);

ALTER TABLE ONLY stations.connectors
    ADD CONSTRAINT connectors_pkey PRIMARY KEY (station_id, number);

ALTER TABLE ONLY stations.connectors
    ADD CONSTRAINT connectors_station_id_evse_number_evse_connector_key UNIQUE (station_id, evse_number, evse_connector);

ALTER TABLE ONLY stations.credentials
    ADD CONSTRAINT credentials_pkey PRIMARY KEY (id);

ALTER TABLE ONLY stations.deviations
    ADD CONSTRAINT deviations_pkey PRIMARY KEY (station_id, kind);

ALTER TABLE ONLY stations.evses
    ADD CONSTRAINT evses_evse_id_key UNIQUE (evse_id);

ALTER TABLE ONLY stations.evses
    ADD CONSTRAINT evses_pkey PRIMARY KEY (station_id, number);

ALTER TABLE ONLY stations.locations
    ADD CONSTRAINT locations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY stations.names
    ADD CONSTRAINT names_key_station_id_key UNIQUE (key, station_id);

ALTER TABLE ONLY stations.names
    ADD CONSTRAINT names_pkey PRIMARY KEY (key);

ALTER TABLE ONLY stations.profiles
    ADD CONSTRAINT profiles_pkey PRIMARY KEY (station_id);

ALTER TABLE ONLY stations.setups
    ADD CONSTRAINT setups_pkey PRIMARY KEY (id);

ALTER TABLE ONLY stations.sockets
    ADD CONSTRAINT sockets_pkey PRIMARY KEY (station_id);

ALTER TABLE ONLY stations.stations
    ADD CONSTRAINT stations_id_key_key UNIQUE (id_key);

ALTER TABLE ONLY stations.stations
    ADD CONSTRAINT stations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY stations.stations
    ADD CONSTRAINT stations_post_code_key UNIQUE (post_code);

ALTER TABLE ONLY stations.status_log
    ADD CONSTRAINT status_log_pkey PRIMARY KEY (id);

ALTER TABLE ONLY stations.unknown_stations
    ADD CONSTRAINT unknown_stations_pkey PRIMARY KEY (key);

ALTER TABLE ONLY sync.acknowledged
    ADD CONSTRAINT acknowledged_pkey PRIMARY KEY (client_id);

ALTER TABLE ONLY sync.backfills
    ADD CONSTRAINT backfills_pkey PRIMARY KEY (topic);

ALTER TABLE ONLY sync.blocked_before
    ADD CONSTRAINT blocked_before_pkey PRIMARY KEY (client_id);

ALTER TABLE ONLY sync.calls
    ADD CONSTRAINT calls_pkey PRIMARY KEY (slot);

ALTER TABLE ONLY sync.contact_conflicts
    ADD CONSTRAINT contact_conflicts_pkey PRIMARY KEY (client_id, contact);

ALTER TABLE ONLY sync.cursors
    ADD CONSTRAINT cursors_pkey PRIMARY KEY (name);

ALTER TABLE ONLY sync.drift
    ADD CONSTRAINT drift_pkey PRIMARY KEY (id);

ALTER TABLE ONLY sync.failed_users
    ADD CONSTRAINT failed_users_pkey PRIMARY KEY (client_id);

ALTER TABLE ONLY sync.inbox
    ADD CONSTRAINT inbox_pkey PRIMARY KEY (id);

ALTER TABLE ONLY sync.inbox
    ADD CONSTRAINT inbox_source_event_id_key UNIQUE (source, event_id);

ALTER TABLE ONLY sync.old_tables
    ADD CONSTRAINT old_tables_pkey PRIMARY KEY (name);

ALTER TABLE ONLY sync.pending
    ADD CONSTRAINT pending_pkey PRIMARY KEY (topic, key);

ALTER TABLE ONLY sync.row_keys
    ADD CONSTRAINT row_keys_pkey PRIMARY KEY (key);

ALTER TABLE ONLY sync.row_keys
    ADD CONSTRAINT row_keys_topic_id_key UNIQUE (topic, id);

ALTER TABLE ONLY sync.run_leases
    ADD CONSTRAINT run_leases_pkey PRIMARY KEY (kind);

ALTER TABLE ONLY sync.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY sync.status_before
    ADD CONSTRAINT status_before_pkey PRIMARY KEY (client_id);

ALTER TABLE ONLY sync.status_words
    ADD CONSTRAINT status_words_pkey PRIMARY KEY (word);

ALTER TABLE ONLY sync.targets
    ADD CONSTRAINT targets_pkey PRIMARY KEY (name);

ALTER TABLE ONLY sync.webhook_secrets
    ADD CONSTRAINT webhook_secrets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY tariffs.assignments
    ADD CONSTRAINT assignments_pkey PRIMARY KEY (id);

ALTER TABLE ONLY tariffs.client_tariffs
    ADD CONSTRAINT client_tariffs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY tariffs.plans
    ADD CONSTRAINT plans_code_key UNIQUE (code);

ALTER TABLE ONLY tariffs.plans
    ADD CONSTRAINT plans_pkey PRIMARY KEY (id);

ALTER TABLE ONLY tariffs.versions
    ADD CONSTRAINT versions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY tariffs.versions
    ADD CONSTRAINT versions_plan_id_number_key UNIQUE (plan_id, number);

ALTER TABLE ONLY wallet.debts
    ADD CONSTRAINT debts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY wallet.debts
    ADD CONSTRAINT debts_refund_id_key UNIQUE (refund_id);

ALTER TABLE ONLY wallet.debts
    ADD CONSTRAINT debts_settlement_id_key UNIQUE (settlement_id);

ALTER TABLE ONLY wallet.holds
    ADD CONSTRAINT holds_pkey PRIMARY KEY (session_id, attempt);

ALTER TABLE ONLY wallet.refunds
    ADD CONSTRAINT refunds_id_client_id_posted_minor_key UNIQUE (id, client_id, posted_minor);

ALTER TABLE ONLY wallet.refunds
    ADD CONSTRAINT refunds_payment_id_provider_ref_key UNIQUE (payment_id, provider_ref);

ALTER TABLE ONLY wallet.refunds
    ADD CONSTRAINT refunds_pkey PRIMARY KEY (id);

ALTER TABLE ONLY wallet.refunds
    ADD CONSTRAINT refunds_settlement_id_provider_ref_key UNIQUE (settlement_id, provider_ref);

ALTER TABLE ONLY wallet.transactions
    ADD CONSTRAINT transactions_chain_key UNIQUE (client_id, version, balance_after_minor);

ALTER TABLE ONLY wallet.transactions
    ADD CONSTRAINT transactions_pkey PRIMARY KEY (client_id, version);

ALTER TABLE ONLY wallet.wallets
    ADD CONSTRAINT wallets_client_id_currency_key UNIQUE (client_id, currency);

ALTER TABLE ONLY wallet.wallets
    ADD CONSTRAINT wallets_pkey PRIMARY KEY (client_id);

CREATE INDEX alerts_by_kind ON alerts.alerts USING btree (kind, opened_at);

CREATE INDEX alerts_by_subject ON alerts.alerts USING btree (kind, subject, closed_at);

CREATE INDEX alerts_by_time ON alerts.alerts USING btree (opened_at DESC, id DESC);

CREATE UNIQUE INDEX alerts_one_open ON alerts.alerts USING btree (kind, subject) WHERE (closed_at IS NULL);

CREATE INDEX messages_by_alert ON alerts.messages USING btree (alert_id, channel, number);

CREATE INDEX messages_by_time ON alerts.messages USING brin (created_at);

CREATE UNIQUE INDEX messages_once ON alerts.messages USING btree (alert_id, channel, event) WHERE (event <> 'repeated'::text);

CREATE INDEX messages_waiting ON alerts.messages USING btree (channel, number) WHERE ((sent_at IS NULL) AND (given_up_at IS NULL));

CREATE INDEX cdrs_by_session ON charging.cdrs USING btree (session_id, settlement_id);

CREATE INDEX cdrs_by_time ON charging.cdrs USING brin (created_at) WITH (autosummarize='on');

CREATE INDEX free_periods_by_station ON charging.free_periods USING btree (station_id, begins_at);

CREATE UNIQUE INDEX free_periods_one_open ON charging.free_periods USING btree (station_id) WHERE (ended_at IS NULL);

CREATE INDEX meter_values_by_transaction ON ONLY charging.meter_values USING btree (transaction_id) WHERE (transaction_id IS NOT NULL);

CREATE INDEX meter_values_default_transaction_id_idx ON charging.meter_values_default USING btree (transaction_id) WHERE (transaction_id IS NOT NULL);

CREATE INDEX progress_rebills ON charging.progress USING btree (transaction_id) WHERE (rebill_due_at IS NOT NULL);

CREATE INDEX progress_with_steps ON charging.progress USING btree (transaction_id) WHERE (stop_step IS NOT NULL);

CREATE INDEX progress_with_tails ON charging.progress USING btree (transaction_id) WHERE (tail_wh > (0)::numeric);

CREATE INDEX quarantined_meter_values_by_session ON charging.quarantined_meter_values USING btree (session_id, received_at);

CREATE INDEX sessions_by_client ON charging.sessions USING btree (client_id, created_at DESC, id DESC);

CREATE INDEX sessions_by_creation ON charging.sessions USING btree (created_at DESC, id DESC) WHERE (source = 'evpower'::text);

CREATE INDEX sessions_by_end ON charging.sessions USING btree (end_reason, created_at DESC, id DESC) WHERE ((source = 'evpower'::text) AND (state = 'settled'::text));

CREATE INDEX sessions_by_failure ON charging.sessions USING btree (start_failure, created_at DESC, id DESC) WHERE ((source = 'evpower'::text) AND (start_failure IS NOT NULL));

CREATE INDEX sessions_by_start ON charging.sessions USING btree (client_id, COALESCE(started_at, created_at) DESC, id DESC);

CREATE INDEX sessions_by_state ON charging.sessions USING btree (state, created_at DESC, id DESC) WHERE ((source = 'evpower'::text) AND (state <> 'settled'::text));

CREATE INDEX sessions_by_station ON charging.sessions USING btree (station_id, created_at DESC, id DESC) WHERE (source = 'evpower'::text);

CREATE UNIQUE INDEX sessions_by_tag ON charging.sessions USING btree (id_tag) WHERE (id_tag IS NOT NULL);

CREATE INDEX sessions_in_quarantine ON charging.sessions USING btree (created_at DESC, id DESC) WHERE ((source = 'evpower'::text) AND (quarantined_at IS NOT NULL));

CREATE UNIQUE INDEX sessions_one_open_per_connector ON charging.sessions USING btree (station_id, connector_id) WHERE ((source = 'evpower'::text) AND (state = ANY (ARRAY['requested'::text, 'starting'::text, 'charging'::text, 'stopping'::text])));

CREATE UNIQUE INDEX sessions_one_start_per_client ON charging.sessions USING btree (client_id) WHERE ((source = 'evpower'::text) AND (state = ANY (ARRAY['requested'::text, 'starting'::text])));

CREATE INDEX sessions_running_by_client ON charging.sessions USING btree (client_id) WHERE ((source = 'evpower'::text) AND (state = ANY (ARRAY['charging'::text, 'stopping'::text])));

CREATE INDEX sessions_updated ON charging.sessions USING brin (updated_at) WITH (autosummarize='on');

CREATE INDEX sessions_waiting ON charging.sessions USING btree (start_window_ends_at) WHERE ((source = 'evpower'::text) AND (state = ANY (ARRAY['requested'::text, 'starting'::text])));

CREATE INDEX settlements_collecting ON charging.settlements USING btree (collects_debt_id) WHERE (collects_debt_id IS NOT NULL);

CREATE INDEX settlements_created ON charging.settlements USING brin (created_at) WITH (autosummarize='on');

CREATE INDEX signed_values_by_transaction ON charging.signed_values USING btree (transaction_id);

CREATE INDEX stop_steps_by_command ON charging.stop_steps USING btree (command_id) WHERE (command_id IS NOT NULL);

CREATE INDEX stop_steps_by_transaction ON charging.stop_steps USING btree (transaction_id, id);

CREATE INDEX stop_steps_that_limit ON charging.stop_steps USING btree (transaction_id) WHERE ((step = 'zero_limit'::text) AND (command_id IS NOT NULL) AND (cleared_at IS NULL));

CREATE INDEX stops_by_transaction ON charging.stops USING btree (transaction_id) WHERE (transaction_id IS NOT NULL);

CREATE INDEX stops_unmatched ON charging.stops USING btree (station_id, received_at) WHERE (transaction_id IS NULL);

CREATE INDEX transaction_aliases_by_transaction ON charging.transaction_aliases USING btree (transaction_id);

CREATE INDEX transactions_by_station ON charging.transactions USING btree (station_id, id DESC);

CREATE INDEX transactions_by_technician ON charging.transactions USING btree (technician_tag, received_at) WHERE (technician_tag IS NOT NULL);

CREATE INDEX transactions_by_text_id ON charging.transactions USING btree (station_id, text_id) WHERE (text_id IS NOT NULL);

CREATE UNIQUE INDEX transactions_one_open_per_connector ON charging.transactions USING btree (station_id, connector) WHERE (ended_at IS NULL);

CREATE INDEX transactions_unattributed ON charging.transactions USING btree (id DESC) WHERE (purpose = 'unattributed'::text);

CREATE INDEX transactions_unattributed_by_end ON charging.transactions USING btree (ended_at) WHERE (purpose = 'unattributed'::text);

CREATE INDEX unhandled_starts_by_time ON charging.unhandled_starts USING btree (received_at);

CREATE INDEX run_rows_client ON client_migration.run_rows USING btree (client_id) WHERE (client_id IS NOT NULL);

CREATE INDEX run_rows_left ON client_migration.run_rows USING btree (run, state);

CREATE INDEX run_rows_old_id ON client_migration.run_rows USING btree (old_id);

CREATE UNIQUE INDEX run_rows_work ON client_migration.run_rows USING btree (run, old_id) WHERE (plan = ANY (ARRAY['link'::text, 'create'::text, 'add'::text]));

CREATE UNIQUE INDEX runs_one_open ON client_migration.runs USING btree ((true)) WHERE (state = ANY (ARRAY['running'::text, 'reverting'::text]));

CREATE INDEX idempotency_keys_created_at ON foundation.idempotency_keys USING btree (created_at);

CREATE INDEX aliases_by_client ON identity.aliases USING btree (client_id);

CREATE INDEX aliases_by_folded_tag ON identity.aliases USING btree (identity.folded_tag(alias)) WHERE (kind = 'id_tag'::text);

CREATE INDEX aliases_by_run ON identity.aliases USING btree (run);

CREATE INDEX audit_by_subject ON identity.audit USING btree (subject, id DESC);

CREATE INDEX clients_by_email ON identity.clients USING btree (email) WHERE (email IS NOT NULL);

CREATE INDEX clients_by_phone ON identity.clients USING btree (phone) WHERE (phone IS NOT NULL);

CREATE INDEX clients_closed ON identity.clients USING btree (id) WHERE (status = 'closed'::text);

CREATE UNIQUE INDEX clients_email_key ON identity.clients USING btree (email) WHERE (email_verified AND (status <> 'closed'::text));

CREATE UNIQUE INDEX clients_phone_key ON identity.clients USING btree (phone) WHERE (phone_verified AND (status <> 'closed'::text));

CREATE INDEX clients_unmapped_status ON identity.clients USING btree (unmapped_status, id) WHERE (unmapped_status IS NOT NULL);

CREATE INDEX clients_updated ON identity.clients USING brin (updated_at) WITH (autosummarize='on');

CREATE INDEX confirmations_due ON identity.confirmations USING btree (next_try_at);

CREATE UNIQUE INDEX operators_phone_key ON identity.operators USING btree (phone) WHERE ((revoked_at IS NULL) AND (phone IS NOT NULL));

CREATE INDEX phone_reviews_by_phone ON identity.phone_reviews USING btree (phone, id DESC);

CREATE UNIQUE INDEX phone_reviews_one_open ON identity.phone_reviews USING btree (phone) WHERE (decided_at IS NULL);

CREATE INDEX refresh_tokens_by_expiry ON identity.refresh_tokens USING btree (expires_at);

CREATE INDEX refresh_tokens_by_family ON identity.refresh_tokens USING btree (family);

CREATE INDEX refresh_tokens_by_user ON identity.refresh_tokens USING btree (user_id) WHERE (revoked_at IS NULL);

CREATE INDEX registrations_done_by_email ON identity.registrations USING btree (email) WHERE (state = 'done'::text);

CREATE INDEX registrations_ended ON identity.registrations USING btree (updated_at) WHERE (state <> 'intended'::text);

CREATE UNIQUE INDEX registrations_open_email_key ON identity.registrations USING btree (email) WHERE (state = 'intended'::text);

CREATE INDEX sign_in_addresses_by_age ON identity.sign_in_addresses USING btree (last_at);

CREATE INDEX sign_in_budgets_by_age ON identity.sign_in_budgets USING btree (starts_at);

CREATE INDEX sign_in_codes_by_age ON identity.sign_in_codes USING btree (created_at);

CREATE UNIQUE INDEX sign_in_codes_one_open ON identity.sign_in_codes USING btree (phone, asked_from) WHERE (ended_at IS NULL);

CREATE INDEX signing_keys_by_age ON identity.signing_keys USING btree (created_at DESC) WHERE (revoked_at IS NULL);

CREATE INDEX answers_by_time ON ocpp.answers USING brin (received_at);

CREATE INDEX forwarded_charges_by_station ON ocpp.forwarded_charges USING btree (station_id, id DESC);

CREATE INDEX frames_by_station ON ONLY ocpp.frames USING btree (station_id, received_at);

CREATE INDEX frames_default_station_id_received_at_idx ON ocpp.frames_default USING btree (station_id, received_at);

CREATE INDEX quarantined_frames_by_session ON ocpp.quarantined_frames USING btree (session_id, received_at);

CREATE INDEX bank_refunds_by_payment ON payments.bank_refunds USING btree (payment_id);

CREATE UNIQUE INDEX bank_refunds_open ON payments.bank_refunds USING btree (payment_id) WHERE (ended_at IS NULL);

CREATE INDEX differences_by_order ON payments.differences USING btree (order_id) WHERE (order_id IS NOT NULL);

CREATE INDEX differences_by_reference ON payments.differences USING btree (reference) WHERE (reference IS NOT NULL);

CREATE INDEX differences_by_run ON payments.differences USING btree (last_run);

CREATE UNIQUE INDEX differences_open ON payments.differences USING btree (provider, subject) WHERE (closed_at IS NULL);

CREATE INDEX differences_undecided ON payments.differences USING btree (id) WHERE ((closed_at IS NULL) AND (decision IS NULL));

CREATE INDEX events_accepted ON payments.events USING btree (provider, provider_ref) WHERE (credited_by IS NOT NULL);

CREATE INDEX events_by_payment ON payments.events USING btree (payment_id);

CREATE INDEX events_in_review ON payments.events USING btree (provider_ref, provider) WHERE (review IS NOT NULL);

CREATE INDEX events_of_no_payment ON payments.events USING btree (received_at) WHERE (payment_id IS NULL);

CREATE INDEX payments_by_bill ON payments.payments USING btree (attempt_of) WHERE (attempt_of IS NOT NULL);

CREATE INDEX payments_by_client ON payments.payments USING btree (client_id, id DESC);

CREATE UNIQUE INDEX payments_by_key ON payments.payments USING btree (client_id, idempotency_key) WHERE (idempotency_key IS NOT NULL);

CREATE UNIQUE INDEX payments_credited_reference ON payments.payments USING btree (credited_ref, provider) WHERE (credited_ref IS NOT NULL);

CREATE INDEX payments_doubted ON payments.payments USING btree (doubted_at) WHERE (doubted_at IS NOT NULL);

CREATE INDEX payments_to_check ON payments.payments USING btree (next_check_at) WHERE (next_check_at IS NOT NULL);

CREATE INDEX payments_to_review ON payments.payments USING btree (id) WHERE (review IS NOT NULL);

CREATE INDEX reconciliation_days_due ON payments.reconciliation_days USING btree (next_at) WHERE (done_at IS NULL);

CREATE INDEX reconciliations_newest ON payments.reconciliations USING btree (provider, id DESC);

CREATE INDEX devices_by_client ON push.devices USING btree (client_id, seen_at);

CREATE INDEX messages_by_device ON push.messages USING btree (device_id);

CREATE INDEX messages_by_time ON push.messages USING brin (created_at);

CREATE INDEX messages_waiting ON push.messages USING btree (due_at, number) WHERE ((sent_at IS NULL) AND (given_up_at IS NULL));

CREATE INDEX sessions_done ON push.sessions USING btree (done_at) WHERE (done_at IS NOT NULL);

CREATE INDEX sessions_watched ON push.sessions USING btree (session_id) WHERE (done_at IS NULL);

CREATE INDEX commands_by_bulk ON stations.commands USING btree (bulk_id, id) WHERE (bulk_id IS NOT NULL);

CREATE INDEX commands_by_socket ON stations.commands USING btree (epoch) WHERE (epoch IS NOT NULL);

CREATE INDEX commands_by_station ON stations.commands USING btree (station_id, created_at DESC, id DESC);

CREATE UNIQUE INDEX commands_one_in_flight ON stations.commands USING btree (station_id) WHERE (state = 'sent'::text);

CREATE INDEX commands_queued ON stations.commands USING btree (station_id, id) WHERE (state = 'queued'::text);

CREATE INDEX commands_that_expire ON stations.commands USING btree (expires_at) WHERE (state = 'queued'::text);

CREATE INDEX commands_that_trigger ON stations.commands USING btree (station_id) WHERE (action = 'trigger'::text);

CREATE INDEX commands_with_settings ON stations.commands USING btree (station_id, id DESC) WHERE ((action = 'get_configuration'::text) AND (state = 'accepted'::text));

CREATE INDEX connections_by_end ON stations.connections USING btree (closed_at) WHERE (closed_at IS NOT NULL);

CREATE INDEX connections_by_station ON stations.connections USING btree (station_id, opened_at DESC, id DESC);

CREATE UNIQUE INDEX connections_one_open ON stations.connections USING btree (station_id) WHERE (closed_at IS NULL);

CREATE UNIQUE INDEX credentials_one_counts ON stations.credentials USING btree (station_id) WHERE ((activated_at IS NOT NULL) AND (ended_at IS NULL));

CREATE UNIQUE INDEX credentials_one_waits ON stations.credentials USING btree (station_id) WHERE ((activated_at IS NULL) AND (ended_at IS NULL));

CREATE INDEX locations_by_name ON stations.locations USING btree (lower(name));

CREATE INDEX names_by_station ON stations.names USING btree (station_id);

CREATE UNIQUE INDEX names_one_post_code ON stations.names USING btree (station_id) WHERE (kind = 'post_code'::text);

CREATE INDEX setups_by_command ON stations.setups USING btree (command_id);

CREATE INDEX setups_by_station ON stations.setups USING btree (station_id, id DESC);

CREATE UNIQUE INDEX setups_one_runs ON stations.setups USING btree (station_id) WHERE (ended_at IS NULL);

CREATE INDEX stations_by_location ON stations.stations USING btree (location_id, id);

CREATE INDEX status_log_by_station ON stations.status_log USING btree (station_id, received_at DESC, id DESC);

CREATE INDEX status_log_by_time ON stations.status_log USING btree (received_at);

CREATE INDEX unknown_stations_by_time ON stations.unknown_stations USING btree (last_seen_at DESC);

CREATE INDEX drift_of_run ON sync.drift USING btree (run_id, id) WHERE (closed_at IS NULL);

CREATE INDEX drift_open ON sync.drift USING btree (id) WHERE (closed_at IS NULL);

CREATE UNIQUE INDEX drift_open_key ON sync.drift USING btree (topic, key) WHERE (closed_at IS NULL);

CREATE INDEX failed_users_due ON sync.failed_users USING btree (next_at);

CREATE INDEX pending_alone ON sync.pending USING btree (next_at) WHERE ((parked_at IS NULL) AND alone);

CREATE INDEX pending_due ON sync.pending USING btree (next_at) WHERE (parked_at IS NULL);

CREATE INDEX runs_by_kind ON sync.runs USING btree (kind, id);

CREATE INDEX status_before_by_word ON sync.status_before USING btree (word);

CREATE INDEX assignments_by_plan ON tariffs.assignments USING btree (plan_id);

CREATE INDEX assignments_in_force ON tariffs.assignments USING btree (scope, scope_id, valid_from DESC, id DESC);

CREATE INDEX client_tariffs_by_plan ON tariffs.client_tariffs USING btree (plan_id) WHERE (plan_id IS NOT NULL);

CREATE INDEX client_tariffs_of_a_client ON tariffs.client_tariffs USING btree (client_id, id DESC);

CREATE INDEX versions_in_force ON tariffs.versions USING btree (plan_id, valid_from DESC, number DESC) WHERE (valid_from IS NOT NULL);

CREATE INDEX debts_open ON wallet.debts USING btree (client_id, id) WHERE ((collected_minor + forgiven_minor) < amount_minor);

CREATE UNIQUE INDEX holds_one_open_per_session ON wallet.holds USING btree (session_id) WHERE (state = 'open'::text);

CREATE INDEX holds_open ON wallet.holds USING btree (client_id) WHERE (state = 'open'::text);

CREATE INDEX refunds_collecting ON wallet.refunds USING btree (collects_debt_id) WHERE (collects_debt_id IS NOT NULL);

CREATE INDEX transactions_created ON wallet.transactions USING brin (created_at) WITH (autosummarize='on');

CREATE UNIQUE INDEX transactions_payment_key ON wallet.transactions USING btree (payment_id) WHERE (payment_id IS NOT NULL);

CREATE UNIQUE INDEX transactions_refund_key ON wallet.transactions USING btree (refund_id) WHERE (refund_id IS NOT NULL);

CREATE UNIQUE INDEX transactions_settlement_key ON wallet.transactions USING btree (settlement_id) WHERE (settlement_id IS NOT NULL);

ALTER INDEX charging.meter_values_by_transaction ATTACH PARTITION charging.meter_values_default_transaction_id_idx;

ALTER INDEX ocpp.frames_by_station ATTACH PARTITION ocpp.frames_default_station_id_received_at_idx;

CREATE TRIGGER alerts_close_with_messages AFTER UPDATE ON alerts.alerts FOR EACH ROW WHEN (((old.closed_at IS NULL) AND (new.closed_at IS NOT NULL))) EXECUTE FUNCTION alerts.write_messages();

CREATE TRIGGER alerts_open_with_messages AFTER INSERT ON alerts.alerts FOR EACH ROW EXECUTE FUNCTION alerts.write_messages();

CREATE TRIGGER alerts_stay BEFORE DELETE OR UPDATE ON alerts.alerts FOR EACH ROW EXECUTE FUNCTION alerts.guard_alert();

CREATE CONSTRAINT TRIGGER bills_have_records AFTER INSERT ON charging.settlements DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.bill_number IS NOT NULL)) EXECUTE FUNCTION charging.check_cdr();

CREATE TRIGGER cdrs_are_kept BEFORE TRUNCATE ON charging.cdrs FOR EACH STATEMENT EXECUTE FUNCTION charging.refuse_change();

CREATE TRIGGER cdrs_stay BEFORE DELETE OR UPDATE ON charging.cdrs FOR EACH ROW EXECUTE FUNCTION charging.refuse_change();

CREATE TRIGGER free_periods_are_kept BEFORE TRUNCATE ON charging.free_periods FOR EACH STATEMENT EXECUTE FUNCTION charging.refuse_change();

CREATE TRIGGER free_periods_stay BEFORE DELETE OR UPDATE ON charging.free_periods FOR EACH ROW EXECUTE FUNCTION charging.guard_free_period();

CREATE TRIGGER progress_pends AFTER UPDATE ON charging.progress REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_progress();

CREATE TRIGGER session_tariffs_are_kept BEFORE TRUNCATE ON charging.session_tariffs FOR EACH STATEMENT EXECUTE FUNCTION charging.refuse_change();

CREATE TRIGGER session_tariffs_stay BEFORE DELETE OR UPDATE ON charging.session_tariffs FOR EACH ROW EXECUTE FUNCTION charging.refuse_change();

CREATE TRIGGER sessions_begin_unsettled BEFORE INSERT ON charging.sessions FOR EACH ROW WHEN ((new.state = 'settled'::text)) EXECUTE FUNCTION charging.refuse_settled();

CREATE TRIGGER sessions_go_one_way BEFORE UPDATE ON charging.sessions FOR EACH ROW EXECUTE FUNCTION charging.guard_session();

CREATE CONSTRAINT TRIGGER sessions_match_their_bills AFTER INSERT OR UPDATE ON charging.sessions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.state = 'settled'::text)) EXECUTE FUNCTION wallet.check_session();

CREATE CONSTRAINT TRIGGER sessions_match_their_transaction AFTER INSERT OR UPDATE ON charging.sessions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.started_by IS NOT NULL)) EXECUTE FUNCTION charging.check_session();

CREATE CONSTRAINT TRIGGER sessions_over_hold_nothing AFTER UPDATE ON charging.sessions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((new.source = 'evpower'::text) AND (new.state = ANY (ARRAY['expired'::text, 'refused'::text, 'cancelled'::text, 'failed'::text, 'settled'::text])))) EXECUTE FUNCTION wallet.check_open_hold();

CREATE TRIGGER sessions_pend AFTER UPDATE ON charging.sessions REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_rows('session');

CREATE TRIGGER sessions_pend_new AFTER INSERT ON charging.sessions REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_rows('session');

CREATE CONSTRAINT TRIGGER settlements_match_the_ledger AFTER INSERT OR UPDATE ON charging.settlements DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wallet.check_settlement();

CREATE TRIGGER settlements_stay BEFORE INSERT OR DELETE OR UPDATE ON charging.settlements FOR EACH ROW EXECUTE FUNCTION charging.guard_settlement();

CREATE TRIGGER signed_values_are_kept BEFORE TRUNCATE ON charging.signed_values FOR EACH STATEMENT EXECUTE FUNCTION charging.refuse_change();

CREATE TRIGGER signed_values_stay BEFORE DELETE OR UPDATE ON charging.signed_values FOR EACH ROW EXECUTE FUNCTION charging.refuse_change();

CREATE TRIGGER stop_steps_are_kept BEFORE TRUNCATE ON charging.stop_steps FOR EACH STATEMENT EXECUTE FUNCTION charging.refuse_change();

CREATE TRIGGER stop_steps_stay BEFORE DELETE OR UPDATE ON charging.stop_steps FOR EACH ROW EXECUTE FUNCTION charging.guard_stop_step();

CREATE TRIGGER stops_are_kept BEFORE TRUNCATE ON charging.stops FOR EACH STATEMENT EXECUTE FUNCTION charging.refuse_change();

CREATE TRIGGER stops_stay BEFORE DELETE OR UPDATE ON charging.stops FOR EACH ROW EXECUTE FUNCTION charging.guard_stop();

CREATE TRIGGER transactions_are_kept BEFORE TRUNCATE ON charging.transactions FOR EACH STATEMENT EXECUTE FUNCTION charging.refuse_change();

CREATE TRIGGER transactions_stay BEFORE DELETE OR UPDATE ON charging.transactions FOR EACH ROW EXECUTE FUNCTION charging.guard_transaction();

CREATE TRIGGER audit_is_append_only BEFORE DELETE OR UPDATE ON identity.audit FOR EACH STATEMENT EXECUTE FUNCTION identity.refuse_change();

CREATE TRIGGER audit_is_kept BEFORE TRUNCATE ON identity.audit FOR EACH STATEMENT EXECUTE FUNCTION identity.refuse_change();

CREATE TRIGGER clients_are_kept BEFORE DELETE ON identity.clients FOR EACH STATEMENT EXECUTE FUNCTION identity.refuse_delete();

CREATE TRIGGER clients_are_kept_whole BEFORE TRUNCATE ON identity.clients FOR EACH STATEMENT EXECUTE FUNCTION identity.refuse_delete();

CREATE TRIGGER clients_end_claims AFTER UPDATE ON identity.clients REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.end_claims();

CREATE TRIGGER clients_end_claims_new AFTER INSERT ON identity.clients REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.end_claims();

CREATE TRIGGER clients_have_a_wallet AFTER INSERT ON identity.clients FOR EACH ROW EXECUTE FUNCTION wallet.open_wallet();

CREATE TRIGGER clients_pend AFTER UPDATE ON identity.clients REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_rows('client');

CREATE TRIGGER clients_pend_new AFTER INSERT ON identity.clients REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_rows('client');

CREATE TRIGGER bank_refunds_are_kept BEFORE TRUNCATE ON payments.bank_refunds FOR EACH STATEMENT EXECUTE FUNCTION payments.guard_bank_refund();

CREATE TRIGGER bank_refunds_stay BEFORE DELETE OR UPDATE ON payments.bank_refunds FOR EACH ROW EXECUTE FUNCTION payments.guard_bank_refund();

CREATE TRIGGER differences_are_kept BEFORE TRUNCATE ON payments.differences FOR EACH STATEMENT EXECUTE FUNCTION payments.guard_difference();

CREATE TRIGGER differences_stay BEFORE DELETE OR UPDATE ON payments.differences FOR EACH ROW EXECUTE FUNCTION payments.guard_difference();

CREATE TRIGGER events_are_kept BEFORE TRUNCATE ON payments.events FOR EACH STATEMENT EXECUTE FUNCTION payments.guard_event();

CREATE TRIGGER events_stay BEFORE DELETE OR UPDATE ON payments.events FOR EACH ROW EXECUTE FUNCTION payments.guard_event();

CREATE TRIGGER payments_go_one_way BEFORE UPDATE ON payments.payments FOR EACH ROW EXECUTE FUNCTION payments.guard_payment();

CREATE CONSTRAINT TRIGGER payments_match_refunds AFTER UPDATE ON payments.payments DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.refunded_minor <> old.refunded_minor)) EXECUTE FUNCTION wallet.check_payments();

CREATE CONSTRAINT TRIGGER payments_match_refunds_when_made AFTER INSERT ON payments.payments DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.refunded_minor <> 0)) EXECUTE FUNCTION wallet.check_payments();

CREATE TRIGGER payments_pend AFTER UPDATE ON payments.payments REFERENCING OLD TABLE AS before NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_changed_payments();

CREATE TRIGGER payments_pend_new AFTER INSERT ON payments.payments REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_payments();

CREATE TRIGGER commands_are_kept BEFORE TRUNCATE ON stations.commands FOR EACH STATEMENT EXECUTE FUNCTION stations.refuse_change();

CREATE TRIGGER commands_go_forward BEFORE INSERT OR DELETE OR UPDATE ON stations.commands FOR EACH ROW EXECUTE FUNCTION stations.guard_command();

CREATE TRIGGER connections_are_kept BEFORE TRUNCATE ON stations.connections FOR EACH STATEMENT EXECUTE FUNCTION stations.refuse_change();

CREATE TRIGGER connections_stay BEFORE INSERT OR DELETE OR UPDATE ON stations.connections FOR EACH ROW EXECUTE FUNCTION stations.guard_connection();

CREATE TRIGGER connectors_are_kept BEFORE DELETE OR TRUNCATE ON stations.connectors FOR EACH STATEMENT EXECUTE FUNCTION stations.refuse_change();

CREATE TRIGGER connectors_pend AFTER UPDATE ON stations.connectors REFERENCING OLD TABLE AS before NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_connectors();

CREATE TRIGGER connectors_pend_new AFTER INSERT ON stations.connectors REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_named('station', 'station_id');

CREATE TRIGGER credentials_are_kept BEFORE TRUNCATE ON stations.credentials FOR EACH STATEMENT EXECUTE FUNCTION stations.refuse_change();

CREATE TRIGGER credentials_stay BEFORE DELETE OR UPDATE ON stations.credentials FOR EACH ROW EXECUTE FUNCTION stations.guard_credential();

CREATE TRIGGER evses_are_kept BEFORE DELETE OR TRUNCATE ON stations.evses FOR EACH STATEMENT EXECUTE FUNCTION stations.refuse_change();

CREATE TRIGGER locations_are_kept BEFORE DELETE OR TRUNCATE ON stations.locations FOR EACH STATEMENT EXECUTE FUNCTION stations.refuse_change();

CREATE TRIGGER locations_pend AFTER UPDATE ON stations.locations REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_named('location', 'id');

CREATE TRIGGER locations_pend_new AFTER INSERT ON stations.locations REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_named('location', 'id');

CREATE TRIGGER names_stay BEFORE DELETE OR UPDATE OR TRUNCATE ON stations.names FOR EACH STATEMENT EXECUTE FUNCTION stations.refuse_change();

CREATE TRIGGER sockets_are_newest BEFORE UPDATE ON stations.sockets FOR EACH ROW EXECUTE FUNCTION stations.guard_socket();

CREATE TRIGGER stations_are_kept BEFORE DELETE OR TRUNCATE ON stations.stations FOR EACH STATEMENT EXECUTE FUNCTION stations.refuse_change();

CREATE TRIGGER stations_pend AFTER UPDATE ON stations.stations REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_named('station', 'id');

CREATE TRIGGER stations_pend_location AFTER UPDATE ON stations.stations REFERENCING OLD TABLE AS before NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_locations();

CREATE TRIGGER stations_pend_location_new AFTER INSERT ON stations.stations REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_named('location', 'location_id');

CREATE TRIGGER stations_pend_new AFTER INSERT ON stations.stations REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_named('station', 'id');

CREATE TRIGGER stations_stay BEFORE UPDATE ON stations.stations FOR EACH ROW EXECUTE FUNCTION stations.guard_station();

CREATE TRIGGER status_log_stays BEFORE UPDATE ON stations.status_log FOR EACH STATEMENT EXECUTE FUNCTION stations.refuse_change();

CREATE TRIGGER assignments_are_kept BEFORE TRUNCATE ON tariffs.assignments FOR EACH STATEMENT EXECUTE FUNCTION tariffs.refuse_change();

CREATE TRIGGER assignments_pend_new AFTER INSERT ON tariffs.assignments REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_tariffs();

CREATE TRIGGER assignments_stay BEFORE DELETE OR UPDATE ON tariffs.assignments FOR EACH ROW EXECUTE FUNCTION tariffs.refuse_change();

CREATE TRIGGER client_tariffs_are_kept BEFORE TRUNCATE ON tariffs.client_tariffs FOR EACH STATEMENT EXECUTE FUNCTION tariffs.refuse_change();

CREATE TRIGGER client_tariffs_pend AFTER UPDATE ON tariffs.client_tariffs REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_named('client_tariff', 'id');

CREATE TRIGGER client_tariffs_pend_new AFTER INSERT ON tariffs.client_tariffs REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_named('client_tariff', 'id');

CREATE TRIGGER client_tariffs_stay BEFORE DELETE OR UPDATE ON tariffs.client_tariffs FOR EACH ROW EXECUTE FUNCTION tariffs.guard_client_tariff();

CREATE TRIGGER plans_are_kept BEFORE DELETE OR TRUNCATE ON tariffs.plans FOR EACH STATEMENT EXECUTE FUNCTION tariffs.refuse_change();

CREATE TRIGGER versions_are_kept BEFORE TRUNCATE ON tariffs.versions FOR EACH STATEMENT EXECUTE FUNCTION tariffs.refuse_change();

CREATE TRIGGER versions_pend AFTER UPDATE ON tariffs.versions REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_tariffs();

CREATE TRIGGER versions_pend_new AFTER INSERT ON tariffs.versions REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_tariffs();

CREATE TRIGGER versions_stay BEFORE DELETE OR UPDATE ON tariffs.versions FOR EACH ROW EXECUTE FUNCTION tariffs.guard_version();

CREATE TRIGGER debts_are_kept BEFORE DELETE OR TRUNCATE ON wallet.debts FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();

CREATE CONSTRAINT TRIGGER debts_match_their_cause AFTER INSERT OR UPDATE ON wallet.debts DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wallet.check_debts();

CREATE CONSTRAINT TRIGGER debts_match_their_wallet AFTER INSERT OR UPDATE ON wallet.debts DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wallet.check_reserved();

CREATE TRIGGER debts_stay BEFORE UPDATE ON wallet.debts FOR EACH ROW EXECUTE FUNCTION wallet.guard_debt();

CREATE TRIGGER holds_are_kept BEFORE DELETE OR TRUNCATE ON wallet.holds FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();

CREATE CONSTRAINT TRIGGER holds_match_their_wallet AFTER INSERT OR UPDATE ON wallet.holds DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wallet.check_reserved();

CREATE TRIGGER holds_resolve_once BEFORE UPDATE ON wallet.holds FOR EACH ROW EXECUTE FUNCTION wallet.guard_hold();

CREATE CONSTRAINT TRIGGER open_holds_have_open_sessions AFTER INSERT ON wallet.holds DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wallet.check_open_hold();

CREATE TRIGGER refunds_are_kept BEFORE DELETE OR TRUNCATE ON wallet.refunds FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();

CREATE CONSTRAINT TRIGGER refunds_match_the_ledger AFTER INSERT OR UPDATE ON wallet.refunds DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.posted_minor IS NOT NULL)) EXECUTE FUNCTION wallet.check_refund();

CREATE TRIGGER refunds_stay BEFORE INSERT OR UPDATE ON wallet.refunds FOR EACH ROW EXECUTE FUNCTION wallet.guard_refund();

CREATE TRIGGER transactions_are_append_only BEFORE DELETE OR UPDATE ON wallet.transactions FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();

CREATE TRIGGER transactions_are_kept BEFORE TRUNCATE ON wallet.transactions FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();

CREATE TRIGGER transactions_match_their_wallet AFTER INSERT ON wallet.transactions REFERENCING NEW TABLE AS posted FOR EACH STATEMENT EXECUTE FUNCTION wallet.check_posted();

CREATE TRIGGER transactions_pend AFTER INSERT ON wallet.transactions REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_transactions();

CREATE TRIGGER wallets_are_kept BEFORE DELETE OR TRUNCATE ON wallet.wallets FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();

CREATE CONSTRAINT TRIGGER wallets_match_holds_and_debts AFTER UPDATE ON wallet.wallets DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((old.held_minor <> new.held_minor) OR (old.debt_minor <> new.debt_minor) OR (new.debt_minor > 0))) EXECUTE FUNCTION wallet.check_reserved();

CREATE TRIGGER wallets_move_forward BEFORE UPDATE ON wallet.wallets FOR EACH ROW WHEN (((new.version < old.version) OR (new.revision <= old.revision) OR ((new.version = old.version) <> (new.balance_minor = old.balance_minor)) OR (new.client_id <> old.client_id) OR (new.currency <> old.currency) OR ((new.version = old.version) AND ((new.spent_minor IS DISTINCT FROM old.spent_minor) OR (new.last_topup_at IS DISTINCT FROM old.last_topup_at))))) EXECUTE FUNCTION wallet.refuse_step_back();

CREATE TRIGGER wallets_pend AFTER UPDATE ON wallet.wallets REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sync.enqueue_owners('client');

ALTER TABLE ONLY alerts.messages
    ADD CONSTRAINT messages_alert_id_fkey FOREIGN KEY (alert_id) REFERENCES alerts.alerts(id);

ALTER TABLE ONLY charging.cdrs
    ADD CONSTRAINT cdrs_session_id_fkey FOREIGN KEY (session_id) REFERENCES charging.sessions(id);

ALTER TABLE ONLY charging.cdrs
    ADD CONSTRAINT cdrs_settlement_id_fkey FOREIGN KEY (settlement_id) REFERENCES charging.settlements(id);

ALTER TABLE ONLY charging.clocks
    ADD CONSTRAINT clocks_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY charging.free_periods
    ADD CONSTRAINT free_periods_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY charging.meters
    ADD CONSTRAINT meters_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY charging.progress
    ADD CONSTRAINT progress_session_id_fkey FOREIGN KEY (session_id) REFERENCES charging.sessions(id);

ALTER TABLE ONLY charging.progress
    ADD CONSTRAINT progress_transaction_id_fkey FOREIGN KEY (transaction_id) REFERENCES charging.transactions(id);

ALTER TABLE ONLY charging.quarantined_meter_values
    ADD CONSTRAINT quarantined_meter_values_session_id_fkey FOREIGN KEY (session_id) REFERENCES charging.sessions(id);

ALTER TABLE ONLY charging.session_tariffs
    ADD CONSTRAINT session_tariffs_session_id_fkey FOREIGN KEY (session_id) REFERENCES charging.sessions(id);

ALTER TABLE ONLY charging.sessions
    ADD CONSTRAINT sessions_client_id_fkey FOREIGN KEY (client_id) REFERENCES identity.clients(id);

ALTER TABLE ONLY charging.settlements
    ADD CONSTRAINT settlements_collect_debt FOREIGN KEY (collects_debt_id) REFERENCES wallet.debts(id);

ALTER TABLE ONLY charging.settlements
    ADD CONSTRAINT settlements_session_id_client_id_fkey FOREIGN KEY (session_id, client_id) REFERENCES charging.sessions(id, client_id);

ALTER TABLE ONLY charging.signed_values
    ADD CONSTRAINT signed_values_transaction_id_fkey FOREIGN KEY (transaction_id) REFERENCES charging.transactions(id);

ALTER TABLE ONLY charging.stop_steps
    ADD CONSTRAINT stop_steps_transaction_id_fkey FOREIGN KEY (transaction_id) REFERENCES charging.transactions(id);

ALTER TABLE ONLY charging.stops
    ADD CONSTRAINT stops_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY charging.stops
    ADD CONSTRAINT stops_transaction_id_fkey FOREIGN KEY (transaction_id) REFERENCES charging.transactions(id);

ALTER TABLE ONLY charging.transaction_aliases
    ADD CONSTRAINT transaction_aliases_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY charging.transaction_aliases
    ADD CONSTRAINT transaction_aliases_transaction_id_fkey FOREIGN KEY (transaction_id) REFERENCES charging.transactions(id);

ALTER TABLE ONLY charging.transactions
    ADD CONSTRAINT transactions_session_id_fkey FOREIGN KEY (session_id) REFERENCES charging.sessions(id);

ALTER TABLE ONLY charging.transactions
    ADD CONSTRAINT transactions_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY charging.unhandled_starts
    ADD CONSTRAINT unhandled_starts_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY client_migration.run_rows
    ADD CONSTRAINT run_rows_run_fkey FOREIGN KEY (run) REFERENCES client_migration.runs(id);

ALTER TABLE ONLY identity.aliases
    ADD CONSTRAINT aliases_client_id_fkey FOREIGN KEY (client_id) REFERENCES identity.clients(id);

ALTER TABLE ONLY identity.clients
    ADD CONSTRAINT clients_wallet FOREIGN KEY (id) REFERENCES wallet.wallets(client_id) DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE ONLY identity.clients_without_token
    ADD CONSTRAINT clients_without_token_client_id_fkey FOREIGN KEY (client_id) REFERENCES identity.clients(id);

ALTER TABLE ONLY identity.confirmations
    ADD CONSTRAINT confirmations_client_id_fkey FOREIGN KEY (client_id) REFERENCES identity.clients(id);

ALTER TABLE ONLY identity.favorites
    ADD CONSTRAINT favorites_client_id_fkey FOREIGN KEY (client_id) REFERENCES identity.clients(id);

ALTER TABLE ONLY identity.phone_reviews
    ADD CONSTRAINT phone_reviews_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES identity.clients(id);

ALTER TABLE ONLY payments.bank_refunds
    ADD CONSTRAINT bank_refunds_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments.payments(id);

ALTER TABLE ONLY payments.differences
    ADD CONSTRAINT differences_first_run_fkey FOREIGN KEY (first_run) REFERENCES payments.reconciliations(id);

ALTER TABLE ONLY payments.differences
    ADD CONSTRAINT differences_last_run_fkey FOREIGN KEY (last_run) REFERENCES payments.reconciliations(id);

ALTER TABLE ONLY payments.differences
    ADD CONSTRAINT differences_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments.payments(id);

ALTER TABLE ONLY payments.events
    ADD CONSTRAINT events_credited_by_fkey FOREIGN KEY (credited_by) REFERENCES payments.payments(id);

ALTER TABLE ONLY payments.events
    ADD CONSTRAINT events_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments.payments(id);

ALTER TABLE ONLY payments.payments
    ADD CONSTRAINT payments_attempt_of_fkey FOREIGN KEY (attempt_of) REFERENCES payments.payments(id);

ALTER TABLE ONLY payments.payments
    ADD CONSTRAINT payments_client_id_fkey FOREIGN KEY (client_id) REFERENCES identity.clients(id);

ALTER TABLE ONLY payments.payments
    ADD CONSTRAINT payments_in_the_wallets_currency FOREIGN KEY (client_id, currency) REFERENCES wallet.wallets(client_id, currency);

ALTER TABLE ONLY payments.payments
    ADD CONSTRAINT payments_resolved_by_fkey FOREIGN KEY (resolved_by) REFERENCES payments.payments(id);

ALTER TABLE ONLY push.devices
    ADD CONSTRAINT devices_client_id_fkey FOREIGN KEY (client_id) REFERENCES identity.clients(id);

ALTER TABLE ONLY push.messages
    ADD CONSTRAINT messages_device_id_fkey FOREIGN KEY (device_id) REFERENCES push.devices(id) ON DELETE CASCADE;

ALTER TABLE ONLY push.sessions
    ADD CONSTRAINT sessions_client_id_fkey FOREIGN KEY (client_id) REFERENCES identity.clients(id);

ALTER TABLE ONLY stations.commands
    ADD CONSTRAINT commands_epoch_station_id_fkey FOREIGN KEY (epoch, station_id) REFERENCES stations.connections(id, station_id);

ALTER TABLE ONLY stations.commands
    ADD CONSTRAINT commands_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY stations.connections
    ADD CONSTRAINT connections_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY stations.connectors
    ADD CONSTRAINT connectors_station_id_evse_number_fkey FOREIGN KEY (station_id, evse_number) REFERENCES stations.evses(station_id, number);

ALTER TABLE ONLY stations.credentials
    ADD CONSTRAINT credentials_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY stations.deviations
    ADD CONSTRAINT deviations_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY stations.evses
    ADD CONSTRAINT evses_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY stations.names
    ADD CONSTRAINT names_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY stations.profiles
    ADD CONSTRAINT profiles_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY stations.setups
    ADD CONSTRAINT setups_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY stations.sockets
    ADD CONSTRAINT sockets_epoch_station_id_fkey FOREIGN KEY (epoch, station_id) REFERENCES stations.connections(id, station_id);

ALTER TABLE ONLY stations.sockets
    ADD CONSTRAINT sockets_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY stations.stations
    ADD CONSTRAINT stations_are_named FOREIGN KEY (id_key, id) REFERENCES stations.names(key, station_id) DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE ONLY stations.stations
    ADD CONSTRAINT stations_have_post_codes FOREIGN KEY (post_code, id) REFERENCES stations.names(key, station_id) DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE ONLY stations.stations
    ADD CONSTRAINT stations_location_id_fkey FOREIGN KEY (location_id) REFERENCES stations.locations(id);

ALTER TABLE ONLY stations.status_log
    ADD CONSTRAINT status_log_station_id_fkey FOREIGN KEY (station_id) REFERENCES stations.stations(id);

ALTER TABLE ONLY sync.acknowledged
    ADD CONSTRAINT acknowledged_client_id_fkey FOREIGN KEY (client_id) REFERENCES identity.clients(id);

ALTER TABLE ONLY sync.blocked_before
    ADD CONSTRAINT blocked_before_client_id_fkey FOREIGN KEY (client_id) REFERENCES identity.clients(id);

ALTER TABLE ONLY sync.contact_conflicts
    ADD CONSTRAINT contact_conflicts_client_id_fkey FOREIGN KEY (client_id) REFERENCES identity.clients(id);

ALTER TABLE ONLY sync.contact_conflicts
    ADD CONSTRAINT contact_conflicts_holder_fkey FOREIGN KEY (holder) REFERENCES identity.clients(id);

ALTER TABLE ONLY sync.run_leases
    ADD CONSTRAINT run_leases_run_id_fkey FOREIGN KEY (run_id) REFERENCES sync.runs(id) ON DELETE SET NULL;

ALTER TABLE ONLY sync.status_before
    ADD CONSTRAINT status_before_client_id_fkey FOREIGN KEY (client_id) REFERENCES identity.clients(id);

ALTER TABLE ONLY sync.status_before
    ADD CONSTRAINT status_before_word_fkey FOREIGN KEY (word) REFERENCES sync.status_words(word);

ALTER TABLE ONLY tariffs.assignments
    ADD CONSTRAINT assignments_plan_id_fkey FOREIGN KEY (plan_id) REFERENCES tariffs.plans(id);

ALTER TABLE ONLY tariffs.client_tariffs
    ADD CONSTRAINT client_tariffs_client_id_fkey FOREIGN KEY (client_id) REFERENCES identity.clients(id);

ALTER TABLE ONLY tariffs.client_tariffs
    ADD CONSTRAINT client_tariffs_plan_id_fkey FOREIGN KEY (plan_id) REFERENCES tariffs.plans(id);

ALTER TABLE ONLY tariffs.versions
    ADD CONSTRAINT versions_plan_id_fkey FOREIGN KEY (plan_id) REFERENCES tariffs.plans(id);

ALTER TABLE ONLY wallet.debts
    ADD CONSTRAINT debts_client_id_fkey FOREIGN KEY (client_id) REFERENCES wallet.wallets(client_id);

ALTER TABLE ONLY wallet.debts
    ADD CONSTRAINT debts_refund_id_fkey FOREIGN KEY (refund_id) REFERENCES wallet.refunds(id);

ALTER TABLE ONLY wallet.debts
    ADD CONSTRAINT debts_settlement_id_fkey FOREIGN KEY (settlement_id) REFERENCES charging.settlements(id);

ALTER TABLE ONLY wallet.holds
    ADD CONSTRAINT holds_client_id_fkey FOREIGN KEY (client_id) REFERENCES wallet.wallets(client_id);

ALTER TABLE ONLY wallet.holds
    ADD CONSTRAINT holds_session_id_client_id_fkey FOREIGN KEY (session_id, client_id) REFERENCES charging.sessions(id, client_id);

ALTER TABLE ONLY wallet.refunds
    ADD CONSTRAINT refunds_client_id_fkey FOREIGN KEY (client_id) REFERENCES wallet.wallets(client_id);

ALTER TABLE ONLY wallet.refunds
    ADD CONSTRAINT refunds_collect_debt FOREIGN KEY (collects_debt_id) REFERENCES wallet.debts(id);

ALTER TABLE ONLY wallet.refunds
    ADD CONSTRAINT refunds_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments.payments(id);

ALTER TABLE ONLY wallet.refunds
    ADD CONSTRAINT refunds_settlement_id_fkey FOREIGN KEY (settlement_id) REFERENCES charging.settlements(id);

ALTER TABLE ONLY wallet.transactions
    ADD CONSTRAINT transactions_chain FOREIGN KEY (client_id, prev_version, balance_before_minor) REFERENCES wallet.transactions(client_id, version, balance_after_minor);

ALTER TABLE ONLY wallet.transactions
    ADD CONSTRAINT transactions_payment FOREIGN KEY (payment_id, client_id, amount_minor) REFERENCES payments.payments(id, client_id, credited_minor);

ALTER TABLE ONLY wallet.transactions
    ADD CONSTRAINT transactions_refund FOREIGN KEY (refund_id, client_id, amount_minor) REFERENCES wallet.refunds(id, client_id, posted_minor);

ALTER TABLE ONLY wallet.transactions
    ADD CONSTRAINT transactions_settlement FOREIGN KEY (settlement_id, client_id, amount_minor) REFERENCES charging.settlements(id, client_id, debit_minor);

ALTER TABLE ONLY wallet.wallets
    ADD CONSTRAINT wallets_client_id_fkey FOREIGN KEY (client_id) REFERENCES identity.clients(id);

ALTER TABLE ONLY wallet.wallets
    ADD CONSTRAINT wallets_rest_on_a_transaction FOREIGN KEY (client_id, chain_version, balance_minor) REFERENCES wallet.transactions(client_id, version, balance_after_minor) DEFERRABLE INITIALLY DEFERRED;

GRANT USAGE ON SCHEMA alerts TO evpower_app;

GRANT USAGE ON SCHEMA charging TO evpower_app;

GRANT USAGE ON SCHEMA foundation TO evpower_app;

GRANT USAGE ON SCHEMA identity TO evpower_app;

GRANT USAGE ON SCHEMA ocpp TO evpower_app;

GRANT USAGE ON SCHEMA payments TO evpower_app;

GRANT USAGE ON SCHEMA push TO evpower_app;

GRANT USAGE ON SCHEMA stations TO evpower_app;

GRANT USAGE ON SCHEMA sync TO evpower_app;

GRANT USAGE ON SCHEMA tariffs TO evpower_app;

GRANT USAGE ON SCHEMA wallet TO evpower_app;

GRANT SELECT,INSERT ON TABLE stations.commands TO evpower_app;

GRANT UPDATE(state) ON TABLE stations.commands TO evpower_app;

GRANT UPDATE(sent_at) ON TABLE stations.commands TO evpower_app;

GRANT UPDATE(epoch) ON TABLE stations.commands TO evpower_app;

GRANT UPDATE(ended_at) ON TABLE stations.commands TO evpower_app;

GRANT UPDATE(response) ON TABLE stations.commands TO evpower_app;

REVOKE ALL ON FUNCTION charging.begin_start(for_session uuid, for_client uuid, at_station text, at_connector integer, tag text, energy_wh bigint, amount_minor bigint, soc_percent integer, plate text, no_token boolean, window_ends_at timestamp with time zone, at timestamp with time zone, by_plan text, by_version integer, by_snapshot jsonb, payload jsonb, actor text, expires_at timestamp with time zone, on_epoch bigint, hold_minor bigint, least_minor bigint, OUT command_id bigint, OUT posting wallet.result, OUT charges boolean, OUT on_hold_minor bigint, OUT claimed stations.commands) FROM PUBLIC;
GRANT ALL ON FUNCTION charging.begin_start(for_session uuid, for_client uuid, at_station text, at_connector integer, tag text, energy_wh bigint, amount_minor bigint, soc_percent integer, plate text, no_token boolean, window_ends_at timestamp with time zone, at timestamp with time zone, by_plan text, by_version integer, by_snapshot jsonb, payload jsonb, actor text, expires_at timestamp with time zone, on_epoch bigint, hold_minor bigint, least_minor bigint, OUT command_id bigint, OUT posting wallet.result, OUT charges boolean, OUT on_hold_minor bigint, OUT claimed stations.commands) TO evpower_app;

REVOKE ALL ON FUNCTION charging.keep_meter_values(today date, keep_days integer) FROM PUBLIC;
GRANT ALL ON FUNCTION charging.keep_meter_values(today date, keep_days integer) TO evpower_app;

REVOKE ALL ON FUNCTION charging.start_barriers(for_client uuid, at_station text, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION charging.start_barriers(for_client uuid, at_station text, at timestamp with time zone) TO evpower_app;

REVOKE ALL ON FUNCTION foundation.keep_partitions(of_schema text, of_table text, today date, keep_days integer, ahead_days integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION identity.add_id_tag(tag text, of_client uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION identity.add_id_tag(tag text, of_client uuid) TO evpower_app;

REVOKE ALL ON FUNCTION identity.folded_tag(tag text) FROM PUBLIC;
GRANT ALL ON FUNCTION identity.folded_tag(tag text) TO evpower_app;

REVOKE ALL ON FUNCTION identity.remove_id_tag(tag text) FROM PUBLIC;
GRANT ALL ON FUNCTION identity.remove_id_tag(tag text) TO evpower_app;

REVOKE ALL ON FUNCTION ocpp.keep_frames(today date, keep_days integer) FROM PUBLIC;
GRANT ALL ON FUNCTION ocpp.keep_frames(today date, keep_days integer) TO evpower_app;

REVOKE ALL ON FUNCTION payments.apply_events(batch payments.incoming[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION payments.confirm_many(providers text[], event_ids text[], digests bytea[], order_ids text[], provider_refs text[], statuses text[], paid_minors bigint[], currencies text[], refunded_minors bigint[], occurred_ats timestamp with time zone[], doubts text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION payments.confirm_many(providers text[], event_ids text[], digests bytea[], order_ids text[], provider_refs text[], statuses text[], paid_minors bigint[], currencies text[], refunded_minors bigint[], occurred_ats timestamp with time zone[], doubts text[]) TO evpower_app;

REVOKE ALL ON FUNCTION payments.is_reviewed(for_payment bigint, reference text, of_status text, paid bigint, of_currency text, refunded bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION payments.is_reviewed_otherwise(for_payment bigint, reference text, amount_minor bigint, of_currency text) FROM PUBLIC;

GRANT SELECT,INSERT,UPDATE ON TABLE payments.payments TO evpower_app;

REVOKE ALL ON FUNCTION payments.late_check(payment payments.payments) FROM PUBLIC;

REVOKE ALL ON FUNCTION payments.purge_unknown_events(received_before timestamp with time zone, at_most integer) FROM PUBLIC;
GRANT ALL ON FUNCTION payments.purge_unknown_events(received_before timestamp with time zone, at_most integer) TO evpower_app;

REVOKE ALL ON FUNCTION stations.claim_command(at_station text, on_epoch bigint, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION stations.claim_command(at_station text, on_epoch bigint, at timestamp with time zone) TO evpower_app;

GRANT SELECT,INSERT ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(location_id) ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(owner) ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(wanted_availability) ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(reported_availability) ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(status_stamp_at) ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(vendor) ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(model) ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(firmware) ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(booted_at) ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(no_auth) ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(paid_only) ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(cards_without_auth) ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(pinned_version) ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(forward_url) ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(retired_at) ON TABLE stations.stations TO evpower_app;

GRANT UPDATE(updated_at) ON TABLE stations.stations TO evpower_app;

REVOKE ALL ON FUNCTION stations.lock_for_start(named text, at_connector integer, setting text) FROM PUBLIC;
GRANT ALL ON FUNCTION stations.lock_for_start(named text, at_connector integer, setting text) TO evpower_app;

REVOKE ALL ON FUNCTION stations.newest_setting(of_station text, setting text) FROM PUBLIC;
GRANT ALL ON FUNCTION stations.newest_setting(of_station text, setting text) TO evpower_app;

REVOKE ALL ON FUNCTION stations.purge_logs(before timestamp with time zone, at_most integer) FROM PUBLIC;
GRANT ALL ON FUNCTION stations.purge_logs(before timestamp with time zone, at_most integer) TO evpower_app;

REVOKE ALL ON FUNCTION stations.queue_command(at_station text, action text, payload jsonb, connector integer, actor text, made_at timestamp with time zone, until timestamp with time zone, bulk_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION stations.queue_command(at_station text, action text, payload jsonb, connector integer, actor text, made_at timestamp with time zone, until timestamp with time zone, bulk_id uuid) TO evpower_app;

REVOKE ALL ON FUNCTION sync.enqueue_ids(of_topic text, ids text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION sync.enqueue_ids(of_topic text, ids text[]) TO evpower_app;

REVOKE ALL ON FUNCTION sync.set_old_tables(names text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION sync.set_old_tables(names text[]) TO evpower_app;

REVOKE ALL ON FUNCTION tariffs.choose(at_connector text, at_station text, at_location text, at timestamp with time zone, for_client uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION tariffs.choose(at_connector text, at_station text, at_location text, at timestamp with time zone, for_client uuid) TO evpower_app;

GRANT SELECT,INSERT,UPDATE ON TABLE charging.sessions TO evpower_app;

GRANT SELECT ON TABLE charging.settlements TO evpower_app;

GRANT SELECT ON TABLE wallet.wallets TO evpower_app;

REVOKE ALL ON FUNCTION wallet.bill(s charging.sessions, w wallet.wallets, number integer, due bigint, freed bigint, by_actor text, for_reason text) FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.charge(for_session uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION wallet.charge(for_session uuid) TO evpower_app;

REVOKE ALL ON FUNCTION wallet.charge_many(session_ids uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION wallet.charge_many(session_ids uuid[]) TO evpower_app;

REVOKE ALL ON FUNCTION wallet.check_bills(of_session uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.check_debt(debt bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.check_debts() FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.check_open_hold() FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.check_payment(payment bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.check_payments() FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.check_posted() FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.check_refund() FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.check_reserved() FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.check_session() FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.check_settlement() FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.collect_debts(for_client uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.correct(for_session uuid, new_cost_minor bigint, new_energy_wh bigint, new_ended_at timestamp with time zone, by_actor text, for_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION wallet.correct(for_session uuid, new_cost_minor bigint, new_energy_wh bigint, new_ended_at timestamp with time zone, by_actor text, for_reason text) TO evpower_app;

REVOKE ALL ON FUNCTION wallet.credit(payment_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION wallet.credit(payment_id bigint) TO evpower_app;

REVOKE ALL ON FUNCTION wallet.credit_many(payment_ids bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION wallet.credit_many(payment_ids bigint[]) TO evpower_app;

REVOKE ALL ON FUNCTION wallet.extend_hold(for_session uuid, total_minor bigint, partly boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION wallet.extend_hold(for_session uuid, total_minor bigint, partly boolean) TO evpower_app;

REVOKE ALL ON FUNCTION wallet.guard_debt() FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.guard_hold() FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.guard_refund() FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.hold(for_session uuid, hold_minor bigint, least_minor bigint, for_attempt integer) FROM PUBLIC;
GRANT ALL ON FUNCTION wallet.hold(for_session uuid, hold_minor bigint, least_minor bigint, for_attempt integer) TO evpower_app;

REVOKE ALL ON FUNCTION wallet.lower_bills(s charging.sessions, by_minor bigint, by_actor text, for_reason text) FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.open_wallet() FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.refund(for_refund bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION wallet.refund(for_refund bigint) TO evpower_app;

REVOKE ALL ON FUNCTION wallet.refund_many(refund_ids bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION wallet.refund_many(refund_ids bigint[]) TO evpower_app;

REVOKE ALL ON FUNCTION wallet.refuse_change() FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.refuse_step_back() FROM PUBLIC;

REVOKE ALL ON FUNCTION wallet.release_hold(for_session uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION wallet.release_hold(for_session uuid) TO evpower_app;

GRANT SELECT,INSERT ON TABLE alerts.alerts TO evpower_app;

GRANT UPDATE(detail) ON TABLE alerts.alerts TO evpower_app;

GRANT UPDATE(count) ON TABLE alerts.alerts TO evpower_app;

GRANT UPDATE(last_seen_at) ON TABLE alerts.alerts TO evpower_app;

GRANT UPDATE(closed_at) ON TABLE alerts.alerts TO evpower_app;

GRANT UPDATE(acknowledged_at) ON TABLE alerts.alerts TO evpower_app;

GRANT UPDATE(acknowledged_by) ON TABLE alerts.alerts TO evpower_app;

GRANT UPDATE(note) ON TABLE alerts.alerts TO evpower_app;

GRANT SELECT ON TABLE alerts.alerts_public TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE alerts.messages TO evpower_app;

GRANT UPDATE(due_at) ON TABLE alerts.messages TO evpower_app;

GRANT UPDATE(attempts) ON TABLE alerts.messages TO evpower_app;

GRANT UPDATE(error) ON TABLE alerts.messages TO evpower_app;

GRANT UPDATE(sent_at) ON TABLE alerts.messages TO evpower_app;

GRANT UPDATE(given_up_at) ON TABLE alerts.messages TO evpower_app;

GRANT SELECT,INSERT ON TABLE charging.cdrs TO evpower_app;

GRANT SELECT ON TABLE charging.cdrs_public TO evpower_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE charging.clocks TO evpower_app;

GRANT SELECT,INSERT ON TABLE charging.free_periods TO evpower_app;

GRANT UPDATE(ended_at) ON TABLE charging.free_periods TO evpower_app;

GRANT UPDATE(ended_by) ON TABLE charging.free_periods TO evpower_app;

GRANT SELECT,INSERT ON TABLE charging.meter_values TO evpower_app;

GRANT SELECT,INSERT ON TABLE charging.meters TO evpower_app;

GRANT UPDATE(register_kind) ON TABLE charging.meters TO evpower_app;

GRANT UPDATE(last_wh) ON TABLE charging.meters TO evpower_app;

GRANT UPDATE(ended_at) ON TABLE charging.meters TO evpower_app;

GRANT UPDATE(interval_s) ON TABLE charging.meters TO evpower_app;

GRANT SELECT,INSERT,UPDATE ON TABLE charging.progress TO evpower_app;

GRANT SELECT ON TABLE charging.progress_public TO evpower_app;

GRANT SELECT ON TABLE charging.quarantined_meter_values TO evpower_app;

GRANT SELECT,INSERT ON TABLE charging.session_tariffs TO evpower_app;

GRANT SELECT ON TABLE charging.sessions_public TO evpower_app;

GRANT SELECT ON TABLE charging.settlements_public TO evpower_app;

GRANT SELECT,INSERT ON TABLE charging.signed_values TO evpower_app;

GRANT SELECT,INSERT ON TABLE charging.stop_steps TO evpower_app;

GRANT UPDATE(outcome) ON TABLE charging.stop_steps TO evpower_app;

GRANT UPDATE(ended_at) ON TABLE charging.stop_steps TO evpower_app;

GRANT UPDATE(cleared_at) ON TABLE charging.stop_steps TO evpower_app;

GRANT SELECT,INSERT ON TABLE charging.stops TO evpower_app;

GRANT UPDATE(transaction_id) ON TABLE charging.stops TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE charging.technician_tags TO evpower_app;

GRANT UPDATE(daily_limit_wh) ON TABLE charging.technician_tags TO evpower_app;

GRANT SELECT,INSERT ON TABLE charging.transaction_aliases TO evpower_app;

GRANT UPDATE(last_seen_at) ON TABLE charging.transaction_aliases TO evpower_app;

GRANT SELECT,INSERT ON TABLE charging.transactions TO evpower_app;

GRANT UPDATE(text_id) ON TABLE charging.transactions TO evpower_app;

GRANT UPDATE(meter_start_wh) ON TABLE charging.transactions TO evpower_app;

GRANT UPDATE(start_shift_s) ON TABLE charging.transactions TO evpower_app;

GRANT UPDATE(meter_stop_wh) ON TABLE charging.transactions TO evpower_app;

GRANT UPDATE(ended_at) ON TABLE charging.transactions TO evpower_app;

GRANT UPDATE(stop_station_time) ON TABLE charging.transactions TO evpower_app;

GRANT UPDATE(stop_reason) ON TABLE charging.transactions TO evpower_app;

GRANT UPDATE(end_kind) ON TABLE charging.transactions TO evpower_app;

GRANT UPDATE(is_end_timed) ON TABLE charging.transactions TO evpower_app;

GRANT USAGE ON SEQUENCE charging.transactions_id_seq TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE charging.unhandled_starts TO evpower_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foundation.idempotency_keys TO evpower_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE foundation.loop_rounds TO evpower_app;

GRANT SELECT ON TABLE identity.aliases TO evpower_app;

GRANT SELECT,INSERT ON TABLE identity.audit TO evpower_app;

GRANT SELECT,INSERT,UPDATE ON TABLE identity.clients TO evpower_app;

GRANT SELECT ON TABLE identity.clients_public TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE identity.clients_without_token TO evpower_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.confirmations TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE identity.favorites TO evpower_app;

GRANT SELECT,INSERT,UPDATE ON TABLE identity.operators TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE identity.phone_accounts TO evpower_app;

GRANT SELECT,INSERT ON TABLE identity.phone_reviews TO evpower_app;

GRANT UPDATE(reason) ON TABLE identity.phone_reviews TO evpower_app;

GRANT UPDATE(claimants) ON TABLE identity.phone_reviews TO evpower_app;

GRANT UPDATE(last_at) ON TABLE identity.phone_reviews TO evpower_app;

GRANT UPDATE(tries) ON TABLE identity.phone_reviews TO evpower_app;

GRANT UPDATE(decided_at) ON TABLE identity.phone_reviews TO evpower_app;

GRANT UPDATE(decided_by) ON TABLE identity.phone_reviews TO evpower_app;

GRANT UPDATE(owner_id) ON TABLE identity.phone_reviews TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE identity.refresh_tokens TO evpower_app;

GRANT UPDATE(used_at) ON TABLE identity.refresh_tokens TO evpower_app;

GRANT UPDATE(expires_at) ON TABLE identity.refresh_tokens TO evpower_app;

GRANT UPDATE(rotated_at) ON TABLE identity.refresh_tokens TO evpower_app;

GRANT UPDATE(revoked_at) ON TABLE identity.refresh_tokens TO evpower_app;

GRANT UPDATE(revoked_by) ON TABLE identity.refresh_tokens TO evpower_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.registrations TO evpower_app;

GRANT SELECT,INSERT,UPDATE ON TABLE identity.service_keys TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE identity.sign_in_addresses TO evpower_app;

GRANT UPDATE(last_at) ON TABLE identity.sign_in_addresses TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE identity.sign_in_budgets TO evpower_app;

GRANT UPDATE(used) ON TABLE identity.sign_in_budgets TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE identity.sign_in_codes TO evpower_app;

GRANT UPDATE(attempts_known) ON TABLE identity.sign_in_codes TO evpower_app;

GRANT UPDATE(attempts_asker) ON TABLE identity.sign_in_codes TO evpower_app;

GRANT UPDATE(attempts_unknown) ON TABLE identity.sign_in_codes TO evpower_app;

GRANT UPDATE(ended_at) ON TABLE identity.sign_in_codes TO evpower_app;

GRANT UPDATE(ended_by) ON TABLE identity.sign_in_codes TO evpower_app;

GRANT SELECT,INSERT ON TABLE identity.signing_keys TO evpower_app;

GRANT UPDATE(revoked_at) ON TABLE identity.signing_keys TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE ocpp.answers TO evpower_app;

GRANT SELECT,INSERT ON TABLE ocpp.forwarded_charges TO evpower_app;

GRANT UPDATE(their_id) ON TABLE ocpp.forwarded_charges TO evpower_app;

GRANT UPDATE(start_key) ON TABLE ocpp.forwarded_charges TO evpower_app;

GRANT UPDATE(meter_stop_wh) ON TABLE ocpp.forwarded_charges TO evpower_app;

GRANT UPDATE(ended_at) ON TABLE ocpp.forwarded_charges TO evpower_app;

GRANT UPDATE(energy_wh) ON TABLE ocpp.forwarded_charges TO evpower_app;

GRANT UPDATE(cost_minor) ON TABLE ocpp.forwarded_charges TO evpower_app;

GRANT UPDATE(currency) ON TABLE ocpp.forwarded_charges TO evpower_app;

GRANT UPDATE(plan) ON TABLE ocpp.forwarded_charges TO evpower_app;

GRANT UPDATE(version) ON TABLE ocpp.forwarded_charges TO evpower_app;

GRANT SELECT,INSERT ON TABLE ocpp.frames TO evpower_app;

GRANT SELECT ON TABLE ocpp.quarantined_frames TO evpower_app;

GRANT SELECT,INSERT ON TABLE payments.bank_refunds TO evpower_app;

GRANT UPDATE(state) ON TABLE payments.bank_refunds TO evpower_app;

GRANT UPDATE(ended_at) ON TABLE payments.bank_refunds TO evpower_app;

GRANT SELECT,INSERT ON TABLE payments.differences TO evpower_app;

GRANT UPDATE(last_run) ON TABLE payments.differences TO evpower_app;

GRANT UPDATE(closed_at) ON TABLE payments.differences TO evpower_app;

GRANT UPDATE(decision) ON TABLE payments.differences TO evpower_app;

GRANT UPDATE(decided_by) ON TABLE payments.differences TO evpower_app;

GRANT UPDATE(decided_at) ON TABLE payments.differences TO evpower_app;

GRANT UPDATE(reason) ON TABLE payments.differences TO evpower_app;

GRANT SELECT ON TABLE payments.events TO evpower_app;

GRANT UPDATE(resolved_at) ON TABLE payments.events TO evpower_app;

GRANT UPDATE(credited_by) ON TABLE payments.events TO evpower_app;

GRANT SELECT ON TABLE payments.payments_public TO evpower_app;

GRANT SELECT,INSERT,UPDATE ON TABLE payments.reconciliation_days TO evpower_app;

GRANT SELECT,INSERT ON TABLE payments.reconciliations TO evpower_app;

GRANT SELECT ON TABLE payments.top_ups_public TO evpower_app;

GRANT SELECT ON TABLE public.evpower_migrations TO evpower_app;

GRANT SELECT,INSERT,UPDATE ON TABLE push.cursor TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE push.devices TO evpower_app;

GRANT UPDATE(p256dh) ON TABLE push.devices TO evpower_app;

GRANT UPDATE(auth) ON TABLE push.devices TO evpower_app;

GRANT UPDATE(vapid_key) ON TABLE push.devices TO evpower_app;

GRANT UPDATE(platform) ON TABLE push.devices TO evpower_app;

GRANT UPDATE(app_version) ON TABLE push.devices TO evpower_app;

GRANT UPDATE(language) ON TABLE push.devices TO evpower_app;

GRANT UPDATE(seen_at) ON TABLE push.devices TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE push.messages TO evpower_app;

GRANT UPDATE(due_at) ON TABLE push.messages TO evpower_app;

GRANT UPDATE(attempts) ON TABLE push.messages TO evpower_app;

GRANT UPDATE(begun_at) ON TABLE push.messages TO evpower_app;

GRANT UPDATE(error) ON TABLE push.messages TO evpower_app;

GRANT UPDATE(sent_at) ON TABLE push.messages TO evpower_app;

GRANT UPDATE(given_up_at) ON TABLE push.messages TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE push.sessions TO evpower_app;

GRANT UPDATE(events) ON TABLE push.sessions TO evpower_app;

GRANT UPDATE(done_at) ON TABLE push.sessions TO evpower_app;

GRANT SELECT,INSERT ON TABLE stations.bulk_refusals TO evpower_app;

GRANT SELECT ON TABLE stations.commands_public TO evpower_app;

GRANT SELECT,INSERT ON TABLE stations.connections TO evpower_app;

GRANT UPDATE(closed_at) ON TABLE stations.connections TO evpower_app;

GRANT UPDATE(close_reason) ON TABLE stations.connections TO evpower_app;

GRANT SELECT ON TABLE stations.connections_public TO evpower_app;

GRANT SELECT,INSERT ON TABLE stations.connectors TO evpower_app;

GRANT UPDATE(standard) ON TABLE stations.connectors TO evpower_app;

GRANT UPDATE(format) ON TABLE stations.connectors TO evpower_app;

GRANT UPDATE(power_type) ON TABLE stations.connectors TO evpower_app;

GRANT UPDATE(rated_power_w) ON TABLE stations.connectors TO evpower_app;

GRANT UPDATE(wanted_availability) ON TABLE stations.connectors TO evpower_app;

GRANT UPDATE(reported_status) ON TABLE stations.connectors TO evpower_app;

GRANT UPDATE(reported_error) ON TABLE stations.connectors TO evpower_app;

GRANT UPDATE(reported_at) ON TABLE stations.connectors TO evpower_app;

GRANT UPDATE(status_stamp_at) ON TABLE stations.connectors TO evpower_app;

GRANT SELECT ON TABLE stations.connectors_public TO evpower_app;

GRANT SELECT,INSERT ON TABLE stations.credentials TO evpower_app;

GRANT UPDATE(activated_at) ON TABLE stations.credentials TO evpower_app;

GRANT UPDATE(ended_at) ON TABLE stations.credentials TO evpower_app;

GRANT SELECT,INSERT ON TABLE stations.deviations TO evpower_app;

GRANT UPDATE(count) ON TABLE stations.deviations TO evpower_app;

GRANT UPDATE(sample) ON TABLE stations.deviations TO evpower_app;

GRANT UPDATE(last_seen_at) ON TABLE stations.deviations TO evpower_app;

GRANT SELECT,INSERT ON TABLE stations.evses TO evpower_app;

GRANT UPDATE(evse_id) ON TABLE stations.evses TO evpower_app;

GRANT SELECT ON TABLE stations.evses_public TO evpower_app;

GRANT SELECT,INSERT,UPDATE ON TABLE stations.locations TO evpower_app;

GRANT SELECT ON TABLE stations.locations_public TO evpower_app;

GRANT SELECT,INSERT ON TABLE stations.names TO evpower_app;

GRANT SELECT,INSERT ON TABLE stations.profiles TO evpower_app;

GRANT UPDATE(profile) ON TABLE stations.profiles TO evpower_app;

GRANT UPDATE(overrides) ON TABLE stations.profiles TO evpower_app;

GRANT UPDATE(updated_at) ON TABLE stations.profiles TO evpower_app;

GRANT SELECT,INSERT ON TABLE stations.setups TO evpower_app;

GRANT UPDATE(command_id) ON TABLE stations.setups TO evpower_app;

GRANT UPDATE(keys) ON TABLE stations.setups TO evpower_app;

GRANT UPDATE(failure) ON TABLE stations.setups TO evpower_app;

GRANT UPDATE(ended_at) ON TABLE stations.setups TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE stations.sockets TO evpower_app;

GRANT UPDATE(epoch) ON TABLE stations.sockets TO evpower_app;

GRANT UPDATE(node) ON TABLE stations.sockets TO evpower_app;

GRANT UPDATE(last_frame_at) ON TABLE stations.sockets TO evpower_app;

GRANT SELECT ON TABLE stations.sockets_public TO evpower_app;

GRANT SELECT ON TABLE stations.stations_public TO evpower_app;

GRANT SELECT,INSERT ON TABLE stations.status_log TO evpower_app;

GRANT SELECT ON TABLE stations.status_log_public TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE stations.unknown_stations TO evpower_app;

GRANT UPDATE(name) ON TABLE stations.unknown_stations TO evpower_app;

GRANT UPDATE(address) ON TABLE stations.unknown_stations TO evpower_app;

GRANT UPDATE(attempts) ON TABLE stations.unknown_stations TO evpower_app;

GRANT UPDATE(last_seen_at) ON TABLE stations.unknown_stations TO evpower_app;

GRANT UPDATE(reason) ON TABLE stations.unknown_stations TO evpower_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sync.acknowledged TO evpower_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sync.backfills TO evpower_app;

GRANT SELECT,INSERT ON TABLE sync.blocked_before TO evpower_app;

GRANT SELECT,INSERT,UPDATE ON TABLE sync.calls TO evpower_app;

GRANT USAGE ON SEQUENCE sync.calls_seq TO evpower_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sync.contact_conflicts TO evpower_app;

GRANT SELECT,UPDATE ON TABLE sync.cursors TO evpower_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sync.drift TO evpower_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sync.failed_users TO evpower_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sync.inbox TO evpower_app;

GRANT SELECT,INSERT,DELETE ON TABLE sync.old_tables TO evpower_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sync.pending TO evpower_app;

GRANT USAGE ON SEQUENCE sync.pending_generation TO evpower_app;

GRANT SELECT ON TABLE sync.row_keys TO evpower_app;

GRANT SELECT,UPDATE ON TABLE sync.run_leases TO evpower_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sync.runs TO evpower_app;

GRANT SELECT,INSERT ON TABLE sync.status_before TO evpower_app;

GRANT SELECT,INSERT ON TABLE sync.status_words TO evpower_app;

GRANT SELECT,INSERT,UPDATE ON TABLE sync.targets TO evpower_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sync.webhook_secrets TO evpower_app;

GRANT SELECT,INSERT ON TABLE tariffs.assignments TO evpower_app;

GRANT SELECT,INSERT ON TABLE tariffs.client_tariffs TO evpower_app;

GRANT UPDATE(valid_until) ON TABLE tariffs.client_tariffs TO evpower_app;

GRANT SELECT,INSERT ON TABLE tariffs.plans TO evpower_app;

GRANT UPDATE(last_version) ON TABLE tariffs.plans TO evpower_app;

GRANT SELECT,INSERT ON TABLE tariffs.versions TO evpower_app;

GRANT UPDATE(valid_from) ON TABLE tariffs.versions TO evpower_app;

GRANT SELECT ON TABLE wallet.balances TO evpower_app;

GRANT SELECT ON TABLE wallet.debts TO evpower_app;

GRANT SELECT ON TABLE wallet.holds TO evpower_app;

GRANT SELECT ON TABLE wallet.holds_public TO evpower_app;

GRANT SELECT ON TABLE wallet.refunds TO evpower_app;

GRANT INSERT(client_id) ON TABLE wallet.refunds TO evpower_app;

GRANT INSERT(settlement_id) ON TABLE wallet.refunds TO evpower_app;

GRANT INSERT(payment_id) ON TABLE wallet.refunds TO evpower_app;

GRANT INSERT(amount_minor) ON TABLE wallet.refunds TO evpower_app;

GRANT INSERT(actor) ON TABLE wallet.refunds TO evpower_app;

GRANT INSERT(reason) ON TABLE wallet.refunds TO evpower_app;

GRANT INSERT(provider_ref) ON TABLE wallet.refunds TO evpower_app;

GRANT SELECT ON TABLE wallet.transactions TO evpower_app;

GRANT SELECT ON TABLE wallet.transactions_public TO evpower_app;

"""Rows of the schemas without money in each state, every column of a CHECK filled that may be."""

from typing import Final

from evpower.foundation.db import Connection

_ROWS: Final = """
insert into alerts.alerts
  (kind, subject, opened_at, last_seen_at, closed_at, acknowledged_at, acknowledged_by, note)
values ('a_kind', 'S1', now(), now(), now(), now(), 'aida', 'seen');
insert into alerts.messages
  (alert_id, channel, event, count, created_at, due_at, sent_at, given_up_at)
values (1, 'email', 'opened', 1, now(), now(), now(), null),
       (1, 'email', 'closed', 1, now(), now(), null, now());

insert into push.devices
  (client_id, kind, address, host, p256dh, auth, vapid_key, platform, language, created_at, seen_at)
values (gen_random_uuid(), 'web', 'https://a.example/1', 'a.example',
        decode(repeat('04', 65), 'hex'), decode(repeat('01', 16), 'hex'), 'key', 'web', 'ru', now(),
        now());
insert into push.messages
  (device_id, session_id, event, facts, created_at, due_at, expires_at, begun_at, sent_at,
   given_up_at)
values (1, gen_random_uuid(), 'stopped', '{}', now(), now(), now(), now(), now(), null),
       (1, gen_random_uuid(), 'stopped', '{}', now(), now(), now(), now(), null, now());

insert into stations.setups
  (station_id, vendor, model, firmware, actor, command_id, failure, started_at, ended_at)
values ('S1', 'v', 'm', 'f', 'aida', 1, null, now(), now()),
       ('S2', 'v', 'm', 'f', 'aida', 2, 'refused', now(), now());

insert into client_migration.runs (source, actor, state, confirmed_at, reverted_at)
values ('file', 'aida', 'confirmed', now(), null), ('file', 'aida', 'reverted', null, now());
insert into client_migration.run_rows
  (run, line, old_id, plan, client_id, email_confirmed, phone_confirmed, password, digest)
select 1, row_number() over (), plan, plan, gen_random_uuid(), 'no', 'no', 'none',
       sha256(plan::bytea)
  from unnest(array['link', 'create', 'add', 'conflict', 'invalid']) plan;

insert into foundation.idempotency_keys
  (scope, key, request_sha256, status, media_type, body, leased_until)
values ('s', 'k', sha256(''), 200, 'application/json', '{}', now());

insert into identity.clients (id, origin, email, phone, email_verified, phone_verified)
values (gen_random_uuid(), 'import', 'a@example.org', '+996700000001', true, true),
       (gen_random_uuid(), 'import', 'b@example.org', '+996700000002', false, false);

insert into identity.phone_reviews
  (phone, reason, claimants, opened_at, last_at, decided_at, decided_by, owner_id)
values ('+996700000001', 'claim_with_money', '{}', now(), now(), now(), 'aida',
        gen_random_uuid());
insert into identity.refresh_tokens
  (family, token_sha256, user_id, kind, phone, created_at, expires_at, revoked_at, revoked_by)
values (gen_random_uuid(), sha256('t'), gen_random_uuid(), 'client', '', now(), now(), now(),
        'logout');
insert into identity.sign_in_codes
  (phone, by_known_address, asked_from, salt, code_hash, created_at, expires_at, ended_at, ended_by)
values ('+996700000001', false, decode(md5('a'), 'hex'), decode(md5('s'), 'hex'), sha256('c'),
        now(), now() + interval '1 min', now(), 'used');

insert into ocpp.forwarded_charges
  (station_id, connector, id_tag, started_at, start_key, ended_at, energy_wh, cost_minor, currency,
   plan, version)
values ('S1', 1, 'T', now(), decode(md5('1'), 'hex'), now(), 5, 60, 'KGS', 'usual', 1),
       ('S1', 1, 'T', now(), decode(md5('2'), 'hex'), now(), 5, null, null, null, null),
       ('S1', 1, 'T', now(), decode(md5('3'), 'hex'), now(), null, null, 'KGS', 'usual', 1);

insert into payments.reconciliations
  (provider, kind, source, since, until, source_name, actor, started_at, finished_at, ours_count,
   ours_minor, ours_returned_minor, theirs_count, theirs_minor, theirs_returned_minor,
   difference_count)
values ('b', 'on_demand', 'file', now() - interval '1 day', now(), 'f.csv', 'aida', now(), now(), 0,
        0, 0, 1, 5, 0, 1);
insert into payments.differences
  (provider, subject, kind, currency, theirs_currency, ours_minor, theirs_minor,
   ours_returned_minor, theirs_returned_minor, at, found_at, first_run, last_run, decision,
   decided_by, decided_at, reason)
values ('b', 't', 'missing_at_ours', 'KGS', 'KGS', 0, 5, 0, 0, now(), now(), 1, 1, 'explained',
        'aida', now(), 'why');

insert into stations.commands
  (station_id, action, state, actor, expires_at, sent_at, epoch, ended_at, response)
values ('S1', 'reset', 'sent', 'aida', now() + interval '1 min', now(), 1, null, null),
       ('S1', 'reset', 'accepted', 'aida', now() + interval '1 min', now(), 1, now(), '{}'),
       ('S1', 'reset', 'refused', 'aida', now() + interval '1 min', now(), 1, now(), '{}'),
       ('S1', 'reset', 'timed_out', 'aida', now() + interval '1 min', now(), 1, now(), null);
insert into stations.connections
  (station_id, address, version, is_authenticated, closed_at, close_reason)
values ('S1', '10.0.0.1', 'ocpp1.6', true, now(), 'lost');
insert into stations.connectors
  (station_id, number, evse_number, standard, format, power_type, rated_power_w, reported_status,
   reported_at)
values ('S1', 1, 1, 'GBT_DC', 'CABLE', 'DC', 60000, 'available', now());
insert into stations.locations (id, name, latitude, longitude) values ('L', 'L', 42.8, 74.5);

insert into tariffs.client_tariffs
  (client_id, plan_id, discount_ppm, discount_on, valid_from, valid_until, actor)
values (gen_random_uuid(), 1, null, '{}', now(), now(), 'aida'),
       (gen_random_uuid(), null, 5, '{energy}', now(), now(), 'aida'),
       (gen_random_uuid(), 1, 5, '{energy}', now(), now(), 'aida');

insert into sync.cursors (name, xid, seq) values ('supabase', '1', 1)
on conflict (name) do update set xid = excluded.xid, seq = excluded.seq;
insert into sync.run_leases (kind, leased_by, leased_until)
values ('recent', gen_random_uuid(), now())
on conflict (kind) do update
   set leased_by = excluded.leased_by, leased_until = excluded.leased_until;
insert into sync.runs (kind, since, repair, started_at) values ('recent', now(), false, now());
"""


async def fill_others(owner: Connection) -> None:
    """Inserts them, without triggers and foreign keys."""
    await owner.execute("set session_replication_role = replica")
    await owner.execute(_ROWS)
    await owner.execute("reset session_replication_role")

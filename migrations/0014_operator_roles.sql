-- Roles of operators. Who acted on clients before becomes a viewer until an administrator gives a new role: the word
-- operator now also means stations, commands and sessions, which was never granted.
alter table identity.operators drop constraint operators_role_check;
with changed as (
  update identity.operators set role = 'viewer' where role = 'operator' returning user_id, name, revoked_at
)
insert into identity.audit (actor, action, subject, reason, details)
select 'evpower migrate', 'operator.add', user_id::text, 'roles were divided: an administrator gives a new one',
       jsonb_build_object('name', name, 'role', 'viewer', 'role_before', 'operator')
  from changed where revoked_at is null;
alter table identity.operators add constraint operators_role_check
  check (role in ('viewer', 'support', 'operator', 'finance', 'admin')); -- what each may do: docs/roles.md

-- A stored response to an operator's request is for who has one of these roles still; null: for its caller, whatever the role.
alter table foundation.idempotency_keys add column roles text[] check (cardinality(roles) between 1 and 10);

create index audit_by_subject on identity.audit (subject, id desc);

-- Clients whose app sent no token before EvPower took over, from the older proxy's log: only these may still start without
-- one, and only while a setting allows it.
create table identity.clients_without_token (
  client_id uuid primary key references identity.clients,
  actor text not null check (length(actor) between 1 and 200),
  added_at timestamptz not null default now()
);
grant select, insert, delete on identity.clients_without_token to evpower_app;

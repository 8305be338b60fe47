-- New emails and phones of logins that could not be carried to the profile, because its row was missing or locked.
-- Carried when EvPower next pulls changes, unless the profile was written since.
create table if not exists evpower.pending_contacts (
  user_id text not null,
  contact text not null check (contact in ('email', 'phone')),
  since timestamptz not null default now(),
  primary key (user_id, contact)
);
revoke all on evpower.pending_contacts from public, anon, authenticated, service_role;
comment on table evpower.pending_contacts is
  'evpower {edition}: contacts of logins that the profile does not have yet';

-- The table's name before 0.1.0.
do $migration$
begin
  if to_regclass('evpower.uncarried') is not null then
    insert into evpower.pending_contacts (user_id, contact, since)
    select u.user_id, u.contact, u.since from evpower.uncarried u on conflict (user_id, contact) do nothing;
    drop table evpower.uncarried;
  end if;
end
$migration$;

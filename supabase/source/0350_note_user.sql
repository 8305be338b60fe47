-- Logs who changed in auth.users. A sign-in changes last_sign_in_at and logs nothing. Like every trigger function of
-- the change log it runs as its owner (Auth's role has no rights here), never fails and never waits long, whatever
-- state this schema is in: a lost entry is found by the nightly reconciliation, a refused sign-up by the driver.
create or replace function evpower.note_user() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
begin
  perform evpower.log_change('users', tg_op, to_jsonb(old), to_jsonb(new),
                             array['{email}', '{phone}', '{email_confirmed_at}', '{phone_confirmed_at}',
                                   '{raw_user_meta_data}', '{deleted_at}', '{banned_until}',
                                   '{raw_app_meta_data,evpower_email_unverified}']);
  return null;
exception
  when others then
    raise warning 'evpower: a change of a user was not logged: % %', sqlstate, sqlerrm;
    return null;
end
$$;
-- auth.users belongs to Auth: we may create a trigger on it, and on older projects not drop it again. It names no
-- column, or Auth could not change the column's type. It has no comment, which only the table's owner may write.
do $migration$
begin
  if to_regclass('auth.users') is null then
    raise warning 'evpower: there is no auth.users, sign-ups are not logged';
  elsif not exists (select from pg_catalog.pg_trigger t
                     where t.tgrelid = 'auth.users'::regclass and t.tgname = 'evpower_note_user')
  then
    create trigger evpower_note_user after insert or update or delete on auth.users for each row
      execute function evpower.note_user();
  end if;
end
$migration$;
revoke all on function evpower.note_user() from public, anon, authenticated, service_role;
comment on function evpower.note_user() is
  'evpower {edition}: logs a change of a user';

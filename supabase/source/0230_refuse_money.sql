-- Only evpower_apply sets a balance: no app, no server with the secret key, no session in psql. While the guard is
-- disabled an older backend does, and still no app.
create or replace function evpower.refuse_money() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'the balance of % is set by EvPower alone', new.id
    using errcode = 'insufficient_privilege',
          hint = 'Money moves in EvPower and reaches this row through evpower_apply.'
                 ' `evpower supabase guard disable` gives it back to an older backend.';
end
$$;
drop trigger if exists evpower_money_is_not_inserted on public.clients;
create trigger evpower_money_is_not_inserted before insert on public.clients for each row
  when (current_setting('evpower.applying', true) is distinct from 'on'
        and (coalesce(new.balance, 0) <> 0 or new.held <> 0 or new.balance_version <> 0
             or new.wallet_revision <> 0 or new.evpower_revision <> 0)
        and (current_user in ('anon', 'authenticated') or evpower.is_guarded()))
  execute function evpower.refuse_money();
drop trigger if exists evpower_money_is_not_updated on public.clients;
create trigger evpower_money_is_not_updated before update on public.clients for each row
  when (current_setting('evpower.applying', true) is distinct from 'on'
        and (new.balance is distinct from old.balance or new.held is distinct from old.held
             or new.balance_version is distinct from old.balance_version
             or new.wallet_revision is distinct from old.wallet_revision
             or new.evpower_revision is distinct from old.evpower_revision)
        and (current_user in ('anon', 'authenticated') or evpower.is_guarded()))
  execute function evpower.refuse_money();
revoke all on function evpower.refuse_money() from public, anon, authenticated, service_role;
comment on function evpower.refuse_money() is
  'evpower {edition}: refuses a balance that evpower_apply did not write';
comment on trigger evpower_money_is_not_inserted on public.clients is
  'evpower {edition}: a new row has no money';
comment on trigger evpower_money_is_not_updated on public.clients is
  'evpower {edition}: only evpower_apply changes money and its order';

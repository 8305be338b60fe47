-- The only way EvPower writes: public.evpower_apply(payload).
--
-- payload: {"clients": [...], "transactions": [...], "sessions": [...], "rows": [...], "payments": [...]}, money as text
--   in som. `rows`: stations, locations and tariff plans for the tables of an older backend (evpower.apply_rows), before
--   the sessions. `payments`: its top-ups and ledger, after the clients and sessions that they name.
--   A client carries from_version (the version EvPower thinks is here), revision (EvPower's order), and may carry
--   force (write whatever is here), partial (more of its transactions follow), adopted (the balance from before
--   EvPower that was imported), deletion_requested and closed (their contacts go).
--   A session may carry limit_type and limit_value (text): only then they are written, where the project has the columns.
--   It may carry unlinkable (its client is closed or asked for deletion): where this project emptied its client, it stays
--   empty.
-- Raises object_not_in_prerequisite_state while the guard is disabled: nothing is written then.
-- returns: {"keys": [["client" | "session" | the topic of a row, id, outcome, reason], ...],
--   "tables": those of an older backend that are here}
--   applied; stale: the same or newer is here, with the reason "status" if only the order of the status says so, and
--   the status here is another; busy: another transaction holds the row, or, with the reason "waited", something that
--   the row needs; gap: earlier transactions are missing, the reason is the last
--   version here; orphan: a session whose client is not here, EvPower sends the client whole and the session again
--   (a row made for the session would look like a client from before EvPower), or, with the reason "station", a session
--   whose station is not here, or a payment whose client, session or bill is not here; refused: the reason is "sqlstate: message", "opening_balance: ..." or "status_unmapped: ...". A
--   busy or refused key never holds up the others.
create or replace function public.evpower_apply(payload jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
declare
  answers jsonb;
  written jsonb;
begin
  if jsonb_typeof(payload) = 'string' then -- some gateways pass a jsonb argument as text
    payload := (payload #>> '{}')::jsonb;
  end if;
  payload := '{"clients": [], "transactions": [], "sessions": [], "rows": [], "payments": []}' || payload;
  perform pg_advisory_xact_lock_shared(hashtextextended('evpower.guard', 0));
  if not evpower.is_guarded() then
    raise exception 'the guard is disabled: an older backend writes here'
      using errcode = 'object_not_in_prerequisite_state', hint = '`evpower supabase guard enable` at the switch.';
  end if;
  perform set_config('evpower.applying', 'on', true);
  written := evpower.apply_rows(payload -> 'rows');
  begin
    answers := evpower.apply_set(payload);
  exception
    when others then answers := evpower.apply_each(payload);
  end;
  written := written || evpower.apply_rows(payload -> 'payments');
  perform set_config('evpower.applying', 'off', true);
  return jsonb_build_object('keys', written || answers, 'tables', to_jsonb(evpower.old_tables()));
end
$$;
revoke all on function public.evpower_apply(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_apply(jsonb) to service_role;
comment on function public.evpower_apply(jsonb) is
  'evpower {edition}: the only way EvPower writes clients, transactions and sessions';
notify pgrst, 'reload schema';

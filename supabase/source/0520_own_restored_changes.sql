-- Rows restored from a dump into a younger cluster carry transaction numbers from its future. They would hold
-- nothing up, but stay unseen until this cluster gets there: they are made rows of now.
create or replace function evpower.own_restored_changes() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- What a statement sees is below the end of its snapshot, but for the own transaction's rows.
  if not exists (select from evpower.changes c
                  where c.xid >= pg_snapshot_xmax(pg_current_snapshot())
                    and c.xid is distinct from pg_current_xact_id_if_assigned())
     or not pg_try_advisory_xact_lock(hashtextextended('evpower.changes', 0)) then
    return;
  end if;
  update evpower.changes c set xid = pg_current_xact_id()
   where c.seq = any (array(
     select f.seq from evpower.changes f
      where f.xid >= pg_snapshot_xmax(pg_current_snapshot())
        and f.xid is distinct from pg_current_xact_id_if_assigned() for update skip locked));
  -- The numbers go on above them, even if the sequence was not restored.
  perform setval(s.name, greatest(nextval(s.name), (select max(c.seq) from evpower.changes c)))
     from (select pg_get_serial_sequence('evpower.changes', 'seq')::regclass as name) s;
end
$$;
revoke all on function evpower.own_restored_changes() from public, anon, authenticated, service_role;
comment on function evpower.own_restored_changes() is
  'evpower {edition}: gives restored rows of the log numbers of this cluster';

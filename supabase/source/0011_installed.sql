-- Whether what EvPower installed here is complete and of this edition: public.evpower_installed(payload).
--
-- returns: {"lacking": [[the file of supabase/source that brings it, what is missing], ...]}, in the order of the
-- files. A trigger that is switched off is missing, and so is a table that became another role's. Of a function that
-- was made anew, a word in it names the edition.
create or replace function public.evpower_installed(payload jsonb) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  with triggers (file, relation, name) as (values
    ('0002_rights', 'public.clients', 'evpower_money_is_not_inserted'),
    ('0002_rights', 'public.clients', 'evpower_money_is_not_updated'),
    ('0002_rights', 'public.clients', 'evpower_id_stays'),
    ('0003_status', 'public.clients', 'evpower_keep_blocked'),
    ('0003_status', 'public.clients', 'evpower_keep_wish'),
    ('0004_changes', 'public.clients', 'evpower_note_client'),
    ('0004_changes', 'public.clients', 'evpower_note_truncate'),
    ('0005_users', 'auth.users', 'evpower_carry_contact'),
    ('0005_users', 'auth.users', 'evpower_note_user'),
    ('0005_users', 'auth.users', 'evpower_note_truncate'),
    ('0007_webhook', 'evpower.changes', 'evpower_ring')
  ), editions (file, function, word) as (values
    ('0008_apply', 'evpower.apply_set(jsonb)', '''busy'''),
    ('0006_reading', 'evpower.people_of(text[])', 'offset 0'),
    ('0009_digest', 'public.evpower_digest(jsonb)', 'left(case')
  ), lacking (file, what) as (
    select '0001_tables', format('%s, which belongs to %s and not to %s', t.name,
                                 pg_catalog.pg_get_userbyid(c.relowner), current_user)
      from (values ('public.clients'), ('public.transactions'), ('public.charging_sessions')) t (name)
      join pg_catalog.pg_class c on c.oid = to_regclass(t.name)
     where not pg_catalog.pg_has_role(c.relowner, 'USAGE')
    union all
    select t.file, format('trigger %s on %s', t.name, t.relation) from triggers t
     where not exists (select from pg_catalog.pg_trigger g
                        where g.tgrelid = to_regclass(t.relation) and g.tgname = t.name and g.tgenabled in ('O', 'A'))
    union all
    select e.file, 'the newest edition of ' || split_part(e.function, '(', 1) from editions e
     where not exists (select from pg_catalog.pg_proc p
                        where p.oid = to_regprocedure(e.function) and strpos(p.prosrc, e.word) > 0)
  ) select jsonb_build_object('lacking', coalesce(jsonb_agg(jsonb_build_array(l.file || '.sql', l.what)
                                                            order by l.file, l.what), '[]')) from lacking l
$$;
revoke all on function public.evpower_installed(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_installed(jsonb) to service_role;
notify pgrst, 'reload schema';

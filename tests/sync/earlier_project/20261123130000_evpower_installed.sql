-- Whether what EvPower installed here is all there, and of the newest edition: public.evpower_installed(payload).
--
-- answer: {"lacking": [[the file that brings it, what is missing], ...]}, in the order of the files. A trigger that
-- is switched off is missing. Of a function that files made anew, a word tells the edition.
create or replace function public.evpower_installed(payload jsonb) returns jsonb
language sql stable security definer set search_path = '' as $$
  with triggers (file, relation, name) as (values
    ('20261122100100_evpower_rights', 'public.clients', 'evpower_money_is_not_inserted'),
    ('20261122100100_evpower_rights', 'public.clients', 'evpower_money_is_not_updated'),
    ('20261123100000_evpower_changes', 'public.clients', 'evpower_keep_blocked'),
    ('20261123100000_evpower_changes', 'public.clients', 'evpower_keep_wish'),
    ('20261123100000_evpower_changes', 'public.clients', 'evpower_note_client'),
    ('20261123100000_evpower_changes', 'public.clients', 'evpower_note_truncate'),
    ('20261123100000_evpower_changes', 'auth.users', 'evpower_carry_contact'),
    ('20261123100000_evpower_changes', 'auth.users', 'evpower_note_user'),
    ('20261123100000_evpower_changes', 'auth.users', 'evpower_note_truncate'),
    ('20261123100100_evpower_doorbell', 'evpower.changes', 'evpower_ring')
  ), editions (file, function, word) as (values
    ('20261123120000_evpower_apply', 'evpower.apply_set(jsonb)', '''orphan'''),
    ('20261123100000_evpower_changes', 'evpower.people_of(text[])', 'offset 0'),
    ('20261123110000_evpower_digest', 'public.evpower_digest(jsonb)', 'left(case')
  ), lacking (file, what) as (
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

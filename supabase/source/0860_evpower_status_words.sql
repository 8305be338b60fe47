-- Status words of rows that EvPower never wrote, and that it does not know by itself: public.evpower_status_words({})
--   -> {"words": [[word, how many rows], ...]}, 100 at most.
create or replace function public.evpower_status_words(payload jsonb) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select jsonb_build_object(
           'words', coalesce(jsonb_agg(jsonb_build_array(w.word, w.rows) order by w.rows desc, w.word), '[]'))
    from (select left(c.status::text, 200) as word, count(*) as rows from public.clients c
           where c.evpower_revision = 0 and btrim(c.status::text) <> ''
             and c.status::text not in ('active', 'blocked', 'inactive', 'pending_deletion')
           group by 1 order by 2 desc, 1 limit 100) w
$$;
revoke all on function public.evpower_status_words(jsonb) from public, anon, authenticated;
grant execute on function public.evpower_status_words(jsonb) to service_role;
comment on function public.evpower_status_words(jsonb) is
  'evpower {edition}: returns status words of the project''s own';
notify pgrst, 'reload schema';

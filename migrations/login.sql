-- Run by every `evpower migrate`, before the numbered files: the role the processes act as, and the login's right to
-- act as it. Both belong to the cluster, so a database restored elsewhere has neither.

-- The processes log in as the owner and act as this role: it reads everything, writes what it must, and moves money
-- only through the functions of schema wallet.
do $$
begin
  if not exists (select from pg_roles where rolname = 'evpower_app') then
    create role evpower_app nologin;
  end if;
exception
  when duplicate_object or unique_violation then null; -- another database of this cluster was migrated this moment
  when insufficient_privilege then
    raise exception 'there is no role evpower_app, and % may not create it', current_user
      using errcode = 'insufficient_privilege', hint = format(
        'as an administrator: create role evpower_app nologin; grant evpower_app to %I with inherit false, set true;',
        current_user);
end
$$;

-- Since PostgreSQL 16 the creator of a role may grant it, to itself too, but not act as it unasked.
do $$
begin
  if not pg_has_role(current_user, 'evpower_app', 'set') then
    execute format('grant evpower_app to %I with inherit false, set true', current_user);
  end if;
exception
  when insufficient_privilege then
    raise exception '% may not act as evpower_app, a role that another login created', current_user
      using errcode = 'insufficient_privilege', hint = format(
        'as an administrator: grant evpower_app to %I with inherit false, set true;', current_user);
end
$$;

-- Refuses to begin where another role owns a table that EvPower must alter.
do $migration$
declare
  foreign_table record;
begin
  for foreign_table in
    select format('%I.%I', n.nspname, c.relname) as name, pg_catalog.pg_get_userbyid(c.relowner) as owner
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where (n.nspname = 'evpower' and c.relkind = 'r'
            or n.nspname = 'public' and c.relname in ('clients', 'transactions', 'charging_sessions'))
       and not pg_catalog.pg_has_role(c.relowner, 'USAGE')
  loop
    raise exception '% belongs to %, so % may not change it', foreign_table.name, foreign_table.owner, current_user
      using errcode = 'insufficient_privilege',
            hint = format('Run this as %I, or in the SQL editor of the dashboard: alter table %s owner to %I',
                          foreign_table.owner, foreign_table.name, current_user);
  end loop;
end
$migration$;

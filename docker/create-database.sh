#!/bin/sh
# Run once by the postgres image, when its volume is empty: docs/deploy.md, step 4. EvPower's login is no superuser;
# the superuser has no password, so that it can only come in by the socket inside the container.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv password POSTGRES_PASSWORD
create role evpower login createrole password :'password';
create database evpower owner evpower;
\getenv superuser POSTGRES_USER
alter role :"superuser" password null;
SQL

"""evpower_installed: each fault is found, and nothing else with it."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from evpower.devstack.supabase.migrations import EDITION
from evpower.foundation.db import Connection
from tests.conftest import Server
from tests.sync.changes_log import rpc
from tests.sync.projects import bare_project, connected, migration
from tests.sync.test_supabase_upgrade import SHAPES

NAME = "supabase_installed"
# What breaks it, and the one fault that is found: kind and name, fault, detail.
FAULTS: tuple[tuple[str, tuple[str, str, str | None]], ...] = (
    (
        "drop function evpower.contact_of_closed(text, text)",
        ("function evpower.contact_of_closed(text,text)", "missing", None),
    ),
    ("drop table evpower.archive", ("table evpower.archive", "missing", None)),
    (
        "alter table public.charging_sessions drop column end_time",
        ("column public.charging_sessions.end_time", "missing", None),
    ),
    (
        "drop index evpower.changes_in_order",
        ("index evpower.changes_in_order", "missing", None),
    ),
    (
        "drop policy evpower_own_update on public.clients",
        ("policy evpower_own_update on public.clients", "missing", None),
    ),
    (
        "drop trigger evpower_id_stays on public.clients",
        ("trigger evpower_id_stays on public.clients", "missing", None),
    ),
    (
        "drop trigger evpower_carry_contact on auth.users",
        ("trigger evpower_carry_contact on auth.users", "missing", None),
    ),
    (
        "comment on function evpower.horizon() is 'evpower 0.0.9: as it was'",
        ("function evpower.horizon()", "older", "0.0.9"),
    ),
    (
        "comment on table evpower.changes is null",
        ("table evpower.changes", "older", "without a version"),
    ),
    (
        "comment on trigger evpower_notify on evpower.changes is 'of the project'",
        ("trigger evpower_notify on evpower.changes", "older", "without a version"),
    ),
    (
        "comment on schema evpower is 'evpower 0.0.10'",
        ("schema evpower", "older", "0.0.10"),
    ),
    (
        "comment on index public.transactions_client_newest is 'evpower 0.0.1'",
        ("index public.transactions_client_newest", "older", "0.0.1"),
    ),
    (
        "comment on policy evpower_own_select on public.transactions is 'evpower 0.10.0: later'",
        ("policy evpower_own_select on public.transactions", "newer", "0.10.0"),
    ),
    (
        """
        create or replace function evpower.http_post() returns text language sql stable
        set search_path = pg_catalog, pg_temp as $$ select null::text $$
        """,
        ("function evpower.http_post()", "changed", None),
    ),
    (
        "alter policy evpower_own_select on public.clients using (true)",
        ("policy evpower_own_select on public.clients", "changed", None),
    ),
    (
        "alter policy evpower_own_update on public.clients with check (true)",
        ("policy evpower_own_update on public.clients", "changed", None),
    ),
    (
        "alter policy evpower_own_select on public.transactions to anon",
        ("policy evpower_own_select on public.transactions", "changed", None),
    ),
    (
        """
        create or replace trigger evpower_id_stays before update of email on public.clients
          for each row execute function evpower.refuse_id()
        """,
        ("trigger evpower_id_stays on public.clients", "changed", None),
    ),
    (
        "alter table public.clients disable trigger evpower_note_client",
        ("trigger evpower_note_client on public.clients", "disabled", None),
    ),
    (
        "alter table auth.users disable trigger evpower_note_user",
        ("trigger evpower_note_user on auth.users", "disabled", None),
    ),
    (
        "alter table public.transactions disable row level security",
        ("table public.transactions", "disabled", None),
    ),
    (
        "alter table evpower.secrets disable row level security",
        ("table evpower.secrets", "disabled", None),
    ),
    (
        "alter function evpower.apply_set(jsonb) owner to postgres",
        ("function evpower.apply_set(jsonb)", "wrong_owner", "postgres"),
    ),
    (
        "alter table public.clients owner to postgres",
        ("table public.clients", "wrong_owner", "postgres"),
    ),
    (
        "alter table evpower.changes owner to postgres",
        ("table evpower.changes", "wrong_owner", "postgres"),
    ),
    (
        "grant execute on function public.evpower_apply(jsonb) to anon",
        ("function public.evpower_apply(jsonb)", "wrong_grant", "anon may execute"),
    ),
    (
        "grant execute on function evpower.webhook_secret() to public",
        (
            "function evpower.webhook_secret()",
            "wrong_grant",
            "anon may execute, authenticated may execute, service_role may execute",
        ),
    ),
    (
        "revoke execute on function public.evpower_digest(jsonb) from service_role",
        ("function public.evpower_digest(jsonb)", "wrong_grant", "service_role may not execute"),
    ),
    (
        "grant update (balance) on public.clients to authenticated",
        ("column public.clients.balance", "wrong_grant", "authenticated may update"),
    ),
    (
        "revoke update (email) on public.clients from authenticated",
        ("column public.clients.email", "wrong_grant", "authenticated may not update"),
    ),
    (
        "grant insert, delete on public.transactions to authenticated",
        (
            "table public.transactions",
            "wrong_grant",
            "authenticated may delete, authenticated may insert",
        ),
    ),
    (
        "revoke select on public.clients from authenticated",
        ("table public.clients", "wrong_grant", "authenticated may not select"),
    ),
    (
        "revoke update on public.charging_sessions from service_role",
        ("table public.charging_sessions", "wrong_grant", "service_role may not update"),
    ),
    (
        "grant usage on schema evpower to authenticated",
        ("schema evpower", "wrong_grant", "authenticated may use"),
    ),
    (
        "grant select on evpower.secrets to service_role",
        ("table evpower.secrets", "wrong_grant", "service_role may select"),
    ),
)


@pytest.fixture(scope="module")
async def projects(server: Server) -> None:
    """Both shapes, with this edition."""
    for shape, texts in SHAPES.items():
        async with connected(await bare_project(server, f"{NAME}_{shape}")) as there:
            for text in (*texts, migration()):
                await there.execute(text)


@pytest.fixture(params=list(SHAPES))
async def superuser(
    server: Server,
    request: pytest.FixtureRequest,
    projects: None,  # noqa: ARG001 - makes them
) -> AsyncGenerator[Connection]:
    """A transaction that is rolled back, of a role that may break everything."""
    async with connected(server.dsn(f"{NAME}_{request.param}")) as there:
        transaction = there.transaction()
        await transaction.start()
        yield there
        await transaction.rollback()


async def faults(there: Connection) -> list[tuple[str, str, str | None]]:
    answer: dict[str, Any] = await rpc(there, "evpower_installed")
    assert len(answer["lacking"]) == len(answer["faults"]), "an older EvPower reads these"
    return [
        (f"{fault['kind']} {fault['name']}", fault["fault"], fault["detail"])
        for fault in answer["faults"]
    ]


async def test_nothing_is_wrong_with_what_the_migration_installs(superuser: Connection) -> None:
    answer = await rpc(superuser, "evpower_installed")
    assert answer == {
        "version": EDITION, "owner": "supabase_owner", "faults": [], "lacking": [], "history": [],
    }  # fmt: skip


@pytest.mark.parametrize(("broken", "fault"), FAULTS, ids=[broken for broken, _ in FAULTS])
async def test_a_fault_is_found_and_nothing_else(
    superuser: Connection, broken: str, fault: tuple[str, str, str | None]
) -> None:
    await superuser.execute(broken)
    assert await faults(superuser) == [fault]


PRINTED = (
    "policy evpower_own_select on public.clients",
    "trigger evpower_id_stays on public.clients",
)


@pytest.mark.parametrize("printed", PRINTED)
async def test_what_another_postgresql_printed_is_not_called_changed(
    superuser: Connection, printed: str
) -> None:
    """A project whose PostgreSQL was upgraded has digests of what the older one printed."""
    name = printed.partition(" ")[2]
    await superuser.execute("update evpower.function_bodies set server = 15")
    assert await faults(superuser) == [], "printed in the same words"
    await superuser.execute("update evpower.function_bodies set md5 = '' where name = $1", name)
    assert await faults(superuser) == [(printed, "unknown", "PostgreSQL was 15")]


async def test_a_function_is_compared_whatever_postgresql_it_was_installed_in(
    superuser: Connection,
) -> None:
    name = "evpower.horizon()"
    await superuser.execute("update evpower.function_bodies set server = 15")
    await superuser.execute("update evpower.function_bodies set md5 = '' where name = $1", name)
    assert await faults(superuser) == [(f"function {name}", "changed", None)]


@pytest.mark.parametrize(
    "change",
    [
        "create policy wide on public.clients for select to anon using (true)",
        "revoke select on public.clients from anon",
        """
        alter table public.clients add column car text;
        grant insert (car), update (car) on public.clients to authenticated
        """,
        "comment on table public.clients is 'the drivers'",
        """
        create trigger of_the_project before insert on auth.users for each statement
          execute function suppress_redundant_updates_trigger();
        alter table auth.users disable trigger of_the_project
        """,
    ],
)
async def test_what_is_the_projects_own_is_no_fault(superuser: Connection, change: str) -> None:
    await superuser.execute(change)
    assert await faults(superuser) == []


async def test_the_list_names_all_that_the_migration_installs(superuser: Connection) -> None:
    installed = await superuser.fetch(
        """
        select 'function ' || p.oid::regprocedure from pg_proc p
         where p.pronamespace = 'evpower'::regnamespace
        union all
        select 'function public.' || p.oid::regprocedure from pg_proc p
         where p.pronamespace = 'public'::regnamespace and p.proname like 'evpower%'
        union all
        select 'trigger ' || t.tgname || ' on ' || c.oid::regclass::text from pg_trigger t
          join pg_class c on c.oid = t.tgrelid
         where t.tgname like 'evpower%' and c.relnamespace <> 'public'::regnamespace
        union all
        select 'trigger ' || t.tgname || ' on public.' || c.relname from pg_trigger t
          join pg_class c on c.oid = t.tgrelid
         where t.tgname like 'evpower%' and c.relnamespace = 'public'::regnamespace
        union all
        select 'policy ' || p.polname || ' on public.' || c.relname from pg_policy p
          join pg_class c on c.oid = p.polrelid where p.polname like 'evpower%'
        union all
        select 'table evpower.' || c.relname from pg_class c
         where c.relnamespace = 'evpower'::regnamespace and c.relkind = 'r'
        """
    )
    listed = await superuser.fetch(
        "select kind || ' ' || name from evpower.expected_objects()"
        " where kind in ('function', 'trigger', 'policy')"
        "    or kind = 'table' and name like 'evpower.%'"
    )
    assert len(installed) > 60
    assert {row[0] for row in installed} == {row[0] for row in listed}


async def test_files_that_the_cli_recorded_are_named(superuser: Connection) -> None:
    await superuser.execute(
        "insert into supabase_migrations.schema_migrations (version, name) values"
        " ('20261122100000', 'evpower_tables'), ('20250101000000', 'of_the_project')"
    )
    assert (await rpc(superuser, "evpower_installed"))["history"] == ["20261122100000"]

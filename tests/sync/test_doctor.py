"""`evpower doctor` names what is missing of supabase/source, and the command that brings it."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from evpower.cli import doctor_installed
from evpower.cli.doctor_installed import Installed, ObjectFault, examine_installed, judge
from evpower.cli.finding import Finding
from evpower.config import Settings
from evpower.devstack import EDITION, FILE
from evpower.foundation.db import Connection
from tests.sync.projects import migration
from tests.sync.scenario import Target
from tests.waiting import until

EARLIER = Path(__file__).parent / "earlier_project"
# Editions before 0.1.0 that have an evpower_installed of their own.
UNRELEASED = (
    EARLIER / "20261123130000_evpower_installed.sql",
    EARLIER / "20261129000000_evpower.sql",
)
MIGRATION = f"-f supabase/migrations/{FILE}"
Look = Callable[[], Awaitable[dict[str, Finding]]]


@pytest.fixture
def look(http: httpx.AsyncClient, target: Target) -> Look:
    """What doctor finds of the functions and triggers of the project."""
    local = target.local
    settings = Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        supabase_url=local.url,
        supabase_secret_key=SecretStr(local.secret_key),
        supabase_publishable_key=local.publishable_key,
    )

    async def looked() -> dict[str, Finding]:
        return {line.name: line for line in await examine_installed(settings, http)}

    return looked


@asynccontextmanager
async def without(function: str, there: Connection, look: Look) -> AsyncGenerator[None]:
    """As if it had never been applied."""
    await there.execute(f"alter function public.{function}(jsonb) rename to evpower_gone")
    try:
        yield
    finally:
        await there.execute(f"alter function public.evpower_gone(jsonb) rename to {function}")
        # PostgREST may have read the schema meanwhile, and would lack it in every later test.
        await there.execute("notify pgrst, 'reload schema'")
        await until(lambda: _all_is_there(look))


async def _all_is_there(look: Look) -> bool:
    return all(line.ok for line in (await look()).values())


def bad(findings: dict[str, Finding]) -> list[str]:
    return [name for name, line in findings.items() if not line.ok]


async def test_nothing_is_missing_where_all_files_were_applied(look: Look) -> None:
    findings = await look()
    assert bad(findings) == []
    assert findings["Supabase migrations"].detail == "all there"


async def test_a_function_that_is_missing_is_named_with_its_file(
    look: Look, there: Connection
) -> None:
    async with without("evpower_people", there, look):
        findings = await look()
        assert bad(findings) == ["Supabase function evpower_people", "Supabase migrations"]
        for line in bad(findings):
            assert "0510_evpower_people.sql" in findings[line].detail
            assert MIGRATION in findings[line].fix


async def test_an_older_edition_is_told_from_the_newest(look: Look, there: Connection) -> None:
    """It answers, and every comparison fails."""
    await there.execute((EARLIER / "20261122100300_evpower_digest.sql").read_text())
    try:
        findings = await look()
        assert bad(findings) == ["Supabase migrations"]
        assert findings["Supabase migrations"].detail == (
            "changed since it was installed: function public.evpower_digest(jsonb)"
            " (0840_evpower_digest.sql)"
        )
        assert MIGRATION in findings["Supabase migrations"].fix
    finally:
        await there.execute(migration())
    assert bad(await look()) == []


APPLIED_AGAIN = "select"  # the migration undoes it


@dataclass(frozen=True)
class Broken:
    """SQL of a superuser, the line that is bad then and no other, and what it says."""

    do: str
    undo: str
    line: str
    detail: str
    fix: str


BROKEN = (
    Broken(
        "drop policy evpower_own_select on public.transactions",
        APPLIED_AGAIN,
        "Supabase migrations",
        "missing: policy evpower_own_select on public.transactions (0210_transactions.sql)",
        MIGRATION,
    ),
    Broken(  # every driver reads every row
        "alter policy evpower_own_select on public.clients using (true)",
        APPLIED_AGAIN,
        "Supabase migrations",
        "changed since it was installed: policy evpower_own_select on public.clients"
        " (0200_clients.sql)",
        MIGRATION,
    ),
    Broken(
        "comment on function evpower.horizon() is 'evpower 0.0.9'",
        APPLIED_AGAIN,
        "Supabase migrations",
        f"older than {EDITION}: function evpower.horizon() (0540_horizon.sql, 0.0.9)",
        "supabase migration repair --status reverted",
    ),
    Broken(
        "comment on function evpower.horizon() is 'evpower 9.0.0'",
        APPLIED_AGAIN,
        "Supabase migrations",
        "newer than the rest: function evpower.horizon() (0540_horizon.sql, 9.0.0)",
        "applied in part",
    ),
    Broken(
        "alter table public.clients disable trigger evpower_note_client",
        APPLIED_AGAIN,
        "Supabase triggers",
        "off: trigger evpower_note_client on public.clients",
        "alter table public.clients enable trigger evpower_note_client",
    ),
    Broken(  # nothing else would say that sign-ups are not logged any more
        "alter table auth.users disable trigger evpower_note_user",
        "alter table auth.users enable trigger evpower_note_user",
        "Supabase triggers",
        "off: trigger evpower_note_user on auth.users",
        "alter table auth.users enable trigger evpower_note_user (as the owner of auth.users)",
    ),
    Broken(
        "alter table public.transactions disable row level security",
        APPLIED_AGAIN,
        "Supabase triggers",
        "off: table public.transactions",
        "alter table public.transactions enable row level security",
    ),
    Broken(
        "alter function evpower.sign(text, text, bigint, text) owner to postgres",
        "alter function evpower.sign(text, text, bigint, text) owner to supabase_owner",
        "Supabase owners",
        "function evpower.sign(text,text,bigint,text) belongs to postgres",
        "alter function evpower.sign(text,text,bigint,text) owner to supabase_owner",
    ),
    Broken(
        "grant update (balance) on public.clients to authenticated",
        "revoke update (balance) on public.clients from authenticated",
        "Supabase rights",
        "column public.clients.balance: authenticated may update",
        MIGRATION,
    ),
    Broken(
        "insert into supabase_migrations.schema_migrations (version, name)"
        " values ('20261122100000', 'evpower_tables'), ('20261123110000', 'evpower_digest')",
        "delete from supabase_migrations.schema_migrations"
        " where version in ('20261122100000', '20261123110000')",
        "Supabase history",
        "names files of an unreleased EvPower: 20261122100000 20261123110000",
        "supabase migration repair --status reverted 20261122100000 20261123110000: ",
    ),
)


@pytest.mark.parametrize("broken", BROKEN, ids=[broken.do for broken in BROKEN])
async def test_each_fault_makes_its_own_line_bad_and_says_what_to_do(
    look: Look, target: Target, there: Connection, broken: Broken
) -> None:
    async with target.superuser() as superuser:
        await superuser.execute(broken.do)
        try:
            findings = await look()
            assert bad(findings) == [broken.line]
            assert findings[broken.line].detail == broken.detail
            assert broken.fix in findings[broken.line].fix
        finally:
            await superuser.execute(broken.undo)
            await there.execute(migration())
    assert bad(await look()) == []


# Functions that doctor does not call to see whether PostgREST knows them.
NOT_PROBED = {
    "evpower_installed": "is asked for all the others",
    "evpower_webhook_test": "calls the webhook; the line of the change notification is about it",
}


async def test_every_function_that_evpower_calls_has_its_line(there: Connection) -> None:
    installed = await there.fetch(
        "select substring(name from '^public\\.(.*)\\(jsonb\\)$') from evpower.expected_objects()"
        " where kind = 'function' and grants = 'service_role=X'"
    )
    probed = {name for name, _ in doctor_installed._PROBES}
    assert {name for (name,) in installed} == {*probed, *NOT_PROBED}
    assert len(installed) == len(probed) + len(NOT_PROBED)


async def test_a_project_without_evpower_is_told_to_apply_it(look: Look, there: Connection) -> None:
    async with without("evpower_installed", there, look):
        migrations = (await look())["Supabase migrations"]
        assert not migrations.ok
        assert "missing: evpower_installed" in migrations.detail
        assert MIGRATION in migrations.fix


@pytest.mark.parametrize("edition", UNRELEASED, ids=[path.name for path in UNRELEASED])
async def test_an_unreleased_edition_is_recognised(
    look: Look, there: Connection, edition: Path
) -> None:
    await there.execute(edition.read_text())
    try:
        migrations = (await look())["Supabase migrations"]
        assert not migrations.ok
        assert "made by an unreleased EvPower, before 0.1.0" in migrations.detail
        assert MIGRATION in migrations.fix
        assert "supabase migration repair --status reverted" in migrations.fix
    finally:
        await there.execute(migration())
    assert bad(await look()) == []


def test_a_newer_edition_is_no_fault() -> None:
    """SQL is installed before EvPower, and the older process goes on with it."""
    lines = {line.name: line for line in judge(Installed("0.10.0", "postgres", (), ()))}
    assert bad(lines) == []
    assert lines["Supabase migrations"].detail == "all there, of the newer EvPower 0.10.0"


def test_an_edition_that_is_older_as_a_whole_is_a_fault() -> None:
    lines = {line.name: line for line in judge(Installed("0.0.9", "postgres", (), ()))}
    assert bad(lines) == ["Supabase migrations"]
    assert "Supabase has EvPower 0.0.9" in lines["Supabase migrations"].detail


def test_what_another_postgresql_printed_is_to_be_installed_again() -> None:
    fault = ObjectFault("0200_clients.sql", "policy", "p on t", "unknown", "PostgreSQL was 15")
    lines = {line.name: line for line in judge(Installed(EDITION, "postgres", (fault,), ()))}
    assert bad(lines) == ["Supabase migrations"]
    assert lines["Supabase migrations"].detail == (
        "can't be compared until it is installed again: policy p on t"
        " (0200_clients.sql, PostgreSQL was 15)"
    )
    assert MIGRATION in lines["Supabase migrations"].fix

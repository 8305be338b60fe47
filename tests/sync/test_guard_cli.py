"""`evpower supabase guard`: at a terminal, against a real project."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable

import httpx
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from evpower.cli.app import app
from evpower.cli.doctor_installed import examine_installed
from evpower.config import Settings
from evpower.foundation.db import Connection
from tests.conftest import Server
from tests.sync.old_backend import old_backend_project
from tests.sync.scenario import Target

Command = Callable[..., Result]


@pytest.fixture(scope="module")
async def project(server: Server) -> AsyncGenerator[Target]:
    async with old_backend_project(server, "supabase_guard_cli") as target:
        yield target


@pytest.fixture
def run(dsn: str, project: Target) -> Command:
    env = {
        "EVPOWER_ENV": "development",
        "EVPOWER_DATABASE_URL": dsn,
        "EVPOWER_SUPABASE_URL": project.local.url,
        "EVPOWER_SUPABASE_SECRET_KEY": project.local.secret_key,
        "EVPOWER_SUPABASE_PUBLISHABLE_KEY": project.local.publishable_key,
    }
    return lambda *words: CliRunner().invoke(app, ["supabase", "guard", *words], env=env)


async def test_the_guard_is_switched_at_a_terminal(run: Command, owner: Connection) -> None:
    async def guard(*words: str) -> Result:
        return await asyncio.to_thread(run, *words)

    shown = await guard("status")
    assert shown.exit_code == 0, shown.stderr
    assert "disabled since" in shown.stdout
    assert "tables  locations, tariff_plans" in shown.stdout
    done = await guard("enable", "--reason", "the switch", "--operator", "aida", "--json")
    assert done.exit_code == 0, done.stderr
    row = json.loads(done.stdout)
    assert (row["is_enabled"], row["has_changed"], row["tables"][0]) == (True, True, "locations")
    assert "only EvPower writes" in (await guard("status")).stdout
    back = await guard("disable", "--reason", "going back", "--operator", "aida")
    assert "EvPower writes nothing" in back.stdout
    acts = await owner.fetch("select actor, action, reason from identity.audit order by id")
    assert [tuple(act) for act in acts] == [
        ("aida", "supabase.guard_enable", "the switch"),
        ("aida", "supabase.guard_disable", "going back"),
    ]


async def test_a_switch_needs_a_reason(run: Command) -> None:
    done = await asyncio.to_thread(run, "enable")
    assert done.exit_code == 2
    assert "--reason" in done.stderr


async def test_a_table_of_another_role_is_named_with_what_to_do(
    run: Command, project: Target, http: httpx.AsyncClient
) -> None:
    settings = Settings.model_construct(
        supabase_url=project.local.url, supabase_secret_key=SecretStr(project.local.secret_key)
    )

    async def bad_lines() -> dict[str, tuple[str, str]]:
        lines = await examine_installed(settings, http)
        return {line.name: (line.detail, line.fix) for line in lines if line.ok is False}

    remedies = [
        f"alter table public.{name} owner to supabase_owner"
        for name in ("stations", "balance_topups")
    ]
    async with project.superuser() as superuser:
        await superuser.execute(
            """
            drop trigger evpower_others_are_refused on public.balance_topups;
            alter table public.stations owner to postgres;
            alter table public.balance_topups owner to postgres
            """
        )
        [(line, (detail, fix))] = (await bad_lines()).items()
        assert line == "Supabase owners"
        assert "table public.balance_topups belongs to postgres" in detail
        assert all(remedy in fix for remedy in remedies)
        refused = await asyncio.to_thread(run, "enable", "--reason", "the switch")
        assert refused.exit_code == 1
        text = " ".join(refused.stderr.split())
        assert "public.stations belongs to postgres, public.balance_topups belongs to" in text
        assert all(remedy in text for remedy in remedies)
        await superuser.execute(remedies[0])
        assert (await asyncio.to_thread(run, "enable", "--reason", "again")).exit_code == 1
        shown = await asyncio.to_thread(run, "status")
        assert "disabled since" in shown.stdout
        await superuser.execute(remedies[1])
    assert list(await bad_lines()) == ["Supabase migrations"]  # its trigger is missing now
    done = await asyncio.to_thread(run, "enable", "--reason", "the switch")
    assert done.exit_code == 0, done.stderr
    assert await bad_lines() == {}
    assert (await asyncio.to_thread(run, "disable", "--reason", "going back")).exit_code == 0

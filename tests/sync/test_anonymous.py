"""Anonymous users of Supabase are no clients, unless the settings say so."""

from uuid import UUID

import httpx
import pytest

from evpower.config import Settings
from evpower.foundation.db import Connection, Database
from evpower.sync import Puller, SupabaseRpc
from evpower.sync.inbound.remote_users import parse
from tests.sync.changes_log import until_visible
from tests.sync.checking import compare
from tests.sync.conftest import rpc_to
from tests.sync.pulling import DrainsAll, Driver, Supabase, emptied, person
from tests.sync.scenario import Scenario, Target


@pytest.fixture
async def supabase(
    fresh_project: Target, there_fresh: Connection, http: httpx.AsyncClient
) -> Supabase:
    await emptied(fresh_project, there_fresh)
    return Supabase(fresh_project, there_fresh, http)


@pytest.fixture
def rpc(http: httpx.AsyncClient, supabase: Supabase) -> SupabaseRpc:
    return rpc_to(http, supabase.target)


def puller(
    db: Database, rpc: SupabaseRpc, settings: Settings, supabase: Supabase, *, allowed: bool
) -> Puller:
    chosen = settings.model_copy(update={"anonymous_clients": allowed})
    return DrainsAll(db, rpc, chosen, supabase.psql)


async def anonymous(supabase: Supabase) -> Driver:
    """Creates an anonymous user as GoTrue stores it."""
    driver = await supabase.sign_up()
    await supabase.psql.execute(
        f"update auth.users set is_anonymous = true, email = null where id = '{driver.id}'"
    )
    await until_visible(supabase.psql)
    return driver


async def is_client(scenario: Scenario, client: UUID) -> bool:
    count = "select count(*) from identity.clients where id = $1"
    return await scenario.db.fetchval(count, client) == 1


async def test_an_anonymous_user_becomes_a_client_when_they_get_an_email(
    db: Database, rpc: SupabaseRpc, settings: Settings, supabase: Supabase, scenario: Scenario
) -> None:
    pulling = puller(db, rpc, settings, supabase, allowed=False)
    driver = await anonymous(supabase)
    pulled = await pulling.drain()
    assert (pulled.error, pulled.failed, pulled.created) == (None, 0, 0)
    walked = await pulling.scan_all()
    assert (walked.error, walked.created) == (None, 0)
    assert not await is_client(scenario, driver.id)
    assert (await compare(db, rpc)).equal, "not drift either"
    await supabase.psql.execute(
        "update auth.users set is_anonymous = false, email = 'aida@example.kg'"
        f" where id = '{driver.id}'"
    )
    await until_visible(supabase.psql)
    assert (await pulling.drain()).created == 1
    assert await is_client(scenario, driver.id)


async def test_where_settings_allow_it_an_anonymous_user_is_a_client(
    db: Database, rpc: SupabaseRpc, settings: Settings, supabase: Supabase, scenario: Scenario
) -> None:
    driver = await anonymous(supabase)
    assert (await puller(db, rpc, settings, supabase, allowed=True).drain()).created == 1
    assert await is_client(scenario, driver.id)
    renamed = 'update auth.users set raw_user_meta_data = \'{"name": "Aida"}\''
    await supabase.psql.execute(f"{renamed} where id = '{driver.id}'")
    await until_visible(supabase.psql)
    # One that is a client already stays one, whatever the settings say now.
    assert (await puller(db, rpc, settings, supabase, allowed=False).drain()).applied == 1


@pytest.mark.parametrize("value", [None, "true", 1, False])
def test_only_true_is_anonymous(value: object) -> None:
    read = parse(person(user={"anonymous": value}))
    assert read is not None
    assert not read.anonymous
    assert parse(person(user={"anonymous": True})).anonymous  # type: ignore[union-attr]

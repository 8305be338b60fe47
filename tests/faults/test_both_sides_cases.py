"""Orders of events that once diverged the two sides: each is short enough to read."""

from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest

from evpower.foundation.failpoints import Failpoint
from tests.faults.both_sides import BothSides
from tests.faults.comparison import differences, ids

pytestmark = [pytest.mark.xdist_group("both_sides"), pytest.mark.timeout(900)]

PHONE = "+996555999901"


async def signed_up(scenario: BothSides, name: str, **metadata: str) -> tuple[UUID, str]:
    made = await scenario.sign_up(f"{name}@example.kg", metadata)
    assert made is not None
    return made


async def here(scenario: BothSides, client: UUID) -> asyncpg.Record:
    row = await scenario.client_here(client)
    assert row is not None
    return row


async def there(scenario: BothSides, client: UUID) -> asyncpg.Record:
    row = await scenario.row_there(client)
    assert row is not None
    return row


async def test_an_email_changed_before_the_row_was_made_is_the_row_s(scenario: BothSides) -> None:
    """The relay had read the older value; its write is logged as no change."""
    client, _ = await signed_up(scenario, "early")
    await scenario.pull()
    assert (await here(scenario, client))["email"] == "early@example.kg"
    await scenario.change_user(client, email="late@example.kg")
    await scenario.nodes[0].relay.drain()
    await scenario.settle()
    assert (await there(scenario, client))["email"] == "late@example.kg"
    assert (await here(scenario, client))["email"] == "late@example.kg"


async def test_an_email_changed_while_the_row_is_locked_is_the_row_s(scenario: BothSides) -> None:
    """As evpower_apply locks it, for as long as its largest call takes."""
    client, _ = await signed_up(scenario, "locked")
    await scenario.settle()
    connection = await asyncpg.connect(scenario.postgres.dsn("supabase"))
    try:
        await connection.execute("begin")
        await connection.execute("select from public.clients where id = $1 for update", client)
        await scenario.change_user(client, email="unlocked@example.kg")
    finally:
        await connection.close()
    await scenario.settle()
    assert (await there(scenario, client))["email"] == "unlocked@example.kg"
    assert (await here(scenario, client))["email"] == "unlocked@example.kg"


async def test_a_token_that_outlived_its_user_opens_nothing(scenario: BothSides) -> None:
    """EvPower never heard of the client while the user lived."""
    client, token = await signed_up(scenario, "ghost")
    await scenario.delete_user(client, soft=False)
    await scenario.pull()
    await scenario.first_request(0, client, token)
    await scenario.settle()
    row = await scenario.client_here(client)
    assert row is None or row["status"] == "closed"


async def test_a_row_left_by_a_deleted_user_opens_nothing(scenario: BothSides) -> None:
    client, token = await signed_up(scenario, "remains")
    await scenario.insert_row(
        scenario.driver_key(token), client, email="remains@example.kg", name="A"
    )
    await scenario.delete_user(client, soft=False)
    await scenario.pull()
    await scenario.write_row(scenario.server_key, client, name="B")
    await scenario.settle()
    row = await scenario.client_here(client)
    assert row is None or row["status"] == "closed"


async def test_a_phone_that_became_free_is_shown_on_both_sides(scenario: BothSides) -> None:
    """The row of the waiting client was created while another client had the contact."""
    first, _ = await signed_up(scenario, "first", phone=PHONE)
    await scenario.settle()
    second, _ = await signed_up(scenario, "second", phone=PHONE)
    await scenario.settle()
    await scenario.delete_user(first, soft=False)
    await scenario.settle()
    assert (await here(scenario, second))["phone"] == (await there(scenario, second))["phone"]
    before = (await here(scenario, second))["phone"]
    await scenario.write_row(scenario.server_key, second, name="B")
    await scenario.settle()
    assert (await here(scenario, second))["phone"] == before, "it did not change"


@pytest.mark.parametrize("asked_first", [True, False])
async def test_who_asked_to_be_deleted_still_asks_after_a_block(
    scenario: BothSides, *, asked_first: bool
) -> None:
    """EvPower's word about the status must not wipe out the driver's."""
    client, _ = await signed_up(scenario, f"leaving{asked_first}")
    await scenario.settle()
    if asked_first:
        await scenario.write_row(scenario.server_key, client, status="inactive")
        await scenario.settle()
    await scenario.block(client, blocked=True)
    await scenario.settle()
    if not asked_first:
        await scenario.write_row(scenario.server_key, client, status="inactive")
        await scenario.settle()
    await scenario.block(client, blocked=False)
    await scenario.settle()
    await scenario.write_row(scenario.server_key, client, name="B")  # so that it is looked at again
    await scenario.settle()
    assert (await here(scenario, client))["deletion_requested_at"] is not None
    assert (await there(scenario, client))["status"] == "inactive"


async def test_who_asked_to_be_deleted_still_asks_when_the_row_is_made_again(
    scenario: BothSides,
) -> None:
    client, _ = await signed_up(scenario, "rowless")
    await scenario.settle()
    await scenario.write_row(scenario.server_key, client, status="inactive")
    await scenario.settle()
    await scenario.delete_row(client)
    await scenario.settle()
    await scenario.write_row(scenario.server_key, client, name="B")
    await scenario.settle()
    assert (await here(scenario, client))["deletion_requested_at"] is not None
    assert (await there(scenario, client))["status"] == "inactive"


async def test_a_row_made_for_a_session_is_whole(scenario: BothSides) -> None:
    """Only the session's outbox entry was left: the client's was deleted with the user's row."""
    client, _ = await signed_up(scenario, "whole")
    await scenario.settle()
    await scenario.top_up(client, 900)
    await scenario.settle()
    await scenario.charge(client, 286)
    await scenario.delete_row(client)
    await scenario.delete_user(client, soft=True)
    await scenario.pull()
    await scenario.settle()
    assert await differences(scenario, [], await ids(scenario) - {client}) == []
    assert (await there(scenario, client))["status"] == "inactive"
    assert (await there(scenario, client))["balance"] == Decimal("6.14")


async def test_a_block_that_evpower_wrote_for_a_session_can_be_lifted(scenario: BothSides) -> None:
    """The relay dies when Supabase has the session and, of its client, as good as nothing."""
    client, _ = await signed_up(scenario, "lifted")
    await scenario.settle()
    await scenario.top_up(client, 900)
    await scenario.block(client, blocked=True)
    await scenario.settle()
    await scenario.delete_row(client)
    await scenario.charge(client, 286)
    scenario.cut = Failpoint.RELAY_APPLIED
    await scenario.survive(scenario.nodes[0].relay.drain())
    scenario.cut = None
    await scenario.block(client, blocked=False)
    await scenario.settle()
    assert (await here(scenario, client))["status"] == "active"
    assert (await there(scenario, client))["status"] == "active"
    assert (await there(scenario, client))["balance"] == Decimal("6.14")


async def test_a_deletion_request_survives_a_row_that_a_charge_makes_again(
    scenario: BothSides,
) -> None:
    """The relay is faster than the puller, which has not read that the row was deleted."""
    client, _ = await signed_up(scenario, "charged")
    await scenario.settle()
    await scenario.top_up(client, 900)
    await scenario.write_row(scenario.server_key, client, status="inactive")
    await scenario.settle()
    await scenario.delete_row(client)
    await scenario.charge(client, 286)
    await scenario.nodes[0].relay.drain()
    await scenario.settle()
    assert (await here(scenario, client))["deletion_requested_at"] is not None
    assert (await there(scenario, client))["status"] == "inactive"


async def test_a_deletion_request_survives_a_block_in_a_row_made_again(scenario: BothSides) -> None:
    """Only EvPower knows the status the lost row had before the block."""
    client, _ = await signed_up(scenario, "twice")
    await scenario.settle()
    await scenario.write_row(scenario.server_key, client, status="inactive")
    await scenario.settle()
    await scenario.block(client, blocked=True)
    await scenario.delete_row(client)
    await scenario.settle()
    await scenario.block(client, blocked=False)
    await scenario.settle()
    await scenario.write_row(scenario.server_key, client, name="B")
    await scenario.settle()
    assert (await here(scenario, client))["deletion_requested_at"] is not None
    assert (await there(scenario, client))["status"] == "inactive"


@pytest.mark.parametrize("first", ["relay", "puller"])
async def test_a_deletion_request_under_a_block_counts_when_it_is_lifted(
    scenario: BothSides, first: str
) -> None:
    """EvPower's block may be written over it before EvPower reads it."""
    client, _ = await signed_up(scenario, f"under{first}")
    await scenario.settle()
    await scenario.block(client, blocked=True)
    await scenario.write_row(scenario.server_key, client, status="inactive")
    await scenario.until_visible()
    await getattr(scenario.nodes[0], first).drain()
    await scenario.settle()
    await scenario.block(client, blocked=False)
    await scenario.settle()
    assert (await there(scenario, client))["status"] == "inactive"
    assert (await here(scenario, client))["deletion_requested_at"] is not None
    assert await differences(scenario, [], await ids(scenario) - {client}) == []


@pytest.mark.parametrize("first", ["relay", "puller"])
async def test_a_deletion_request_withdrawn_under_a_block_is_none_when_it_is_lifted(
    scenario: BothSides, first: str
) -> None:
    client, _ = await signed_up(scenario, f"back{first}")
    await scenario.settle()
    await scenario.write_row(scenario.server_key, client, status="inactive")
    await scenario.settle()
    await scenario.block(client, blocked=True)
    await scenario.settle()
    assert (await here(scenario, client))["deletion_requested_at"] is not None
    await scenario.write_row(scenario.server_key, client, status="active")
    await scenario.top_up(client, 100)  # something the relay has to write
    await scenario.until_visible()
    await getattr(scenario.nodes[0], first).drain()
    await scenario.settle()
    assert (await here(scenario, client))["deletion_requested_at"] is None
    assert (await there(scenario, client))["status"] == "blocked"
    await scenario.block(client, blocked=False)
    await scenario.settle()
    assert (await there(scenario, client))["status"] == "active"
    assert await differences(scenario, [], await ids(scenario) - {client}) == []

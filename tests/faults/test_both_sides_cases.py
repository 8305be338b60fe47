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


async def signed_up(world: BothSides, name: str, **told: str) -> tuple[UUID, str]:
    made = await world.sign_up(f"{name}@example.kg", told)
    assert made is not None
    return made


async def here(world: BothSides, client: UUID) -> asyncpg.Record:
    row = await world.client_here(client)
    assert row is not None
    return row


async def there(world: BothSides, client: UUID) -> asyncpg.Record:
    row = await world.row_there(client)
    assert row is not None
    return row


async def test_an_email_changed_before_the_row_was_made_is_the_row_s(world: BothSides) -> None:
    """The relay had read the older one; what it writes is no change anybody would be told of."""
    client, _ = await signed_up(world, "early")
    await world.pull()
    assert (await here(world, client))["email"] == "early@example.kg"
    await world.change_user(client, email="late@example.kg")
    await world.nodes[0].relay.drain()
    await world.settle()
    assert (await there(world, client))["email"] == "late@example.kg"
    assert (await here(world, client))["email"] == "late@example.kg"


async def test_an_email_changed_while_the_row_is_locked_is_the_row_s(world: BothSides) -> None:
    """As evpower_apply locks it, for as long as its largest call takes."""
    client, _ = await signed_up(world, "locked")
    await world.settle()
    connection = await asyncpg.connect(world.postgres.dsn("supabase"))
    try:
        await connection.execute("begin")
        await connection.execute("select from public.clients where id = $1 for update", client)
        await world.change_user(client, email="unlocked@example.kg")
    finally:
        await connection.close()
    await world.settle()
    assert (await there(world, client))["email"] == "unlocked@example.kg"
    assert (await here(world, client))["email"] == "unlocked@example.kg"


async def test_a_token_that_outlived_its_user_opens_nothing(world: BothSides) -> None:
    """EvPower never heard of the client while the user lived."""
    client, token = await signed_up(world, "ghost")
    await world.delete_user(client, soft=False)
    await world.pull()
    await world.first_request(0, client, token)
    await world.settle()
    found = await world.client_here(client)
    assert found is None or found["status"] == "closed"


async def test_a_row_left_by_a_deleted_user_opens_nothing(world: BothSides) -> None:
    client, token = await signed_up(world, "remains")
    await world.insert_row(world.driver_key(token), client, email="remains@example.kg", name="A")
    await world.delete_user(client, soft=False)
    await world.pull()
    await world.write_row(world.server_key, client, name="B")
    await world.settle()
    found = await world.client_here(client)
    assert found is None or found["status"] == "closed"


async def test_a_phone_that_became_free_is_shown_on_both_sides(world: BothSides) -> None:
    """The row of whoever waited was made while somebody else had it."""
    first, _ = await signed_up(world, "first", phone=PHONE)
    await world.settle()
    second, _ = await signed_up(world, "second", phone=PHONE)
    await world.settle()
    await world.delete_user(first, soft=False)
    await world.settle()
    assert (await here(world, second))["phone"] == (await there(world, second))["phone"]
    before = (await here(world, second))["phone"]
    await world.write_row(world.server_key, second, name="B")
    await world.settle()
    assert (await here(world, second))["phone"] == before, "nobody changed it"


@pytest.mark.parametrize("asked_first", [True, False])
async def test_who_asked_to_be_deleted_still_asks_after_a_block(
    world: BothSides, *, asked_first: bool
) -> None:
    """EvPower's word about the status must not wipe out the driver's."""
    client, _ = await signed_up(world, f"leaving{asked_first}")
    await world.settle()
    if asked_first:
        await world.write_row(world.server_key, client, status="inactive")
        await world.settle()
    await world.block(client, blocked=True)
    await world.settle()
    if not asked_first:
        await world.write_row(world.server_key, client, status="inactive")
        await world.settle()
    await world.block(client, blocked=False)
    await world.settle()
    await world.write_row(world.server_key, client, name="B")  # so that it is looked at again
    await world.settle()
    assert (await here(world, client))["deletion_requested_at"] is not None
    assert (await there(world, client))["status"] == "inactive"


async def test_who_asked_to_be_deleted_still_asks_when_the_row_is_made_again(
    world: BothSides,
) -> None:
    client, _ = await signed_up(world, "rowless")
    await world.settle()
    await world.write_row(world.server_key, client, status="inactive")
    await world.settle()
    await world.delete_row(client)
    await world.settle()
    await world.write_row(world.server_key, client, name="B")
    await world.settle()
    assert (await here(world, client))["deletion_requested_at"] is not None
    assert (await there(world, client))["status"] == "inactive"


async def test_a_row_made_for_a_session_is_whole(world: BothSides) -> None:
    """Nothing but the session's mark was left: the client's went with the deleted user's row."""
    client, _ = await signed_up(world, "whole")
    await world.settle()
    await world.top_up(client, 900)
    await world.settle()
    await world.charge(client, 286)
    await world.delete_row(client)
    await world.delete_user(client, soft=True)
    await world.pull()
    await world.settle()
    assert await differences(world, [], await ids(world) - {client}) == []
    assert (await there(world, client))["status"] == "inactive"
    assert (await there(world, client))["balance"] == Decimal("6.14")


async def test_a_block_that_evpower_wrote_for_a_session_can_be_lifted(world: BothSides) -> None:
    """The relay dies when Supabase has the session and, of its client, as good as nothing."""
    client, _ = await signed_up(world, "lifted")
    await world.settle()
    await world.top_up(client, 900)
    await world.block(client, blocked=True)
    await world.settle()
    await world.delete_row(client)
    await world.charge(client, 286)
    world.cut = Failpoint.RELAY_APPLIED
    await world.survive(world.nodes[0].relay.drain())
    world.cut = None
    await world.block(client, blocked=False)
    await world.settle()
    assert (await here(world, client))["status"] == "active"
    assert (await there(world, client))["status"] == "active"
    assert (await there(world, client))["balance"] == Decimal("6.14")


async def test_a_deletion_request_survives_a_row_that_a_charge_makes_again(
    world: BothSides,
) -> None:
    """The relay is faster than the puller, which has not heard that the row is gone."""
    client, _ = await signed_up(world, "charged")
    await world.settle()
    await world.top_up(client, 900)
    await world.write_row(world.server_key, client, status="inactive")
    await world.settle()
    await world.delete_row(client)
    await world.charge(client, 286)
    await world.nodes[0].relay.drain()
    await world.settle()
    assert (await here(world, client))["deletion_requested_at"] is not None
    assert (await there(world, client))["status"] == "inactive"


async def test_a_deletion_request_survives_a_block_in_a_row_made_again(world: BothSides) -> None:
    """What the lost row said before the block is known to EvPower alone."""
    client, _ = await signed_up(world, "twice")
    await world.settle()
    await world.write_row(world.server_key, client, status="inactive")
    await world.settle()
    await world.block(client, blocked=True)
    await world.delete_row(client)
    await world.settle()
    await world.block(client, blocked=False)
    await world.settle()
    await world.write_row(world.server_key, client, name="B")
    await world.settle()
    assert (await here(world, client))["deletion_requested_at"] is not None
    assert (await there(world, client))["status"] == "inactive"


@pytest.mark.parametrize("first", ["relay", "puller"])
async def test_a_deletion_request_under_a_block_counts_when_it_is_lifted(
    world: BothSides, first: str
) -> None:
    """EvPower's block may be written over it before EvPower reads it."""
    client, _ = await signed_up(world, f"under{first}")
    await world.settle()
    await world.block(client, blocked=True)
    await world.write_row(world.server_key, client, status="inactive")
    await world.told()
    await getattr(world.nodes[0], first).drain()
    await world.settle()
    await world.block(client, blocked=False)
    await world.settle()
    assert (await there(world, client))["status"] == "inactive"
    assert (await here(world, client))["deletion_requested_at"] is not None
    assert await differences(world, [], await ids(world) - {client}) == []


@pytest.mark.parametrize("first", ["relay", "puller"])
async def test_a_deletion_request_withdrawn_under_a_block_is_none_when_it_is_lifted(
    world: BothSides, first: str
) -> None:
    client, _ = await signed_up(world, f"back{first}")
    await world.settle()
    await world.write_row(world.server_key, client, status="inactive")
    await world.settle()
    await world.block(client, blocked=True)
    await world.settle()
    assert (await here(world, client))["deletion_requested_at"] is not None
    await world.write_row(world.server_key, client, status="active")
    await world.top_up(client, 100)  # something the relay has to write
    await world.told()
    await getattr(world.nodes[0], first).drain()
    await world.settle()
    assert (await here(world, client))["deletion_requested_at"] is None
    assert (await there(world, client))["status"] == "blocked"
    await world.block(client, blocked=False)
    await world.settle()
    assert (await there(world, client))["status"] == "active"
    assert await differences(world, [], await ids(world) - {client}) == []

"""An acknowledged version moves only by a call that began from it."""

from uuid import UUID

import pytest

from evpower.foundation.db import Connection, Database
from evpower.sync.model import Finish
from evpower.sync.outbound import store
from tests.sync.scenario import Scenario


async def acknowledged(owner: Connection, client: UUID) -> int | None:
    return await owner.fetchval(
        "select version from sync.acknowledged where client_id = $1", client
    )


async def stands_at(owner: Connection, client: UUID, version: int | None) -> None:
    if version is not None:
        await owner.execute(
            "insert into sync.acknowledged (client_id, version) values ($1, $2)"
            " on conflict (client_id) do update set version = excluded.version",
            client,
            version,
        )


@pytest.mark.parametrize(
    ("stands", "was", "becomes", "ends"),
    [
        (None, 0, 3, 3),  # the first call
        (3, 3, 5, 5),
        (3, 3, 1, 1),  # Supabase was restored: it has less now
        (3, 3, 3, 3),
        (0, 3, 5, 0),  # a repair sends everything again: an answer under way changes nothing
        (7, 3, 5, 7),  # another relay was further
        (None, 3, 5, None),  # nothing is known of it any more
        (4, 0, 2, 4),
    ],
)
async def test_an_answer_counts_only_from_where_its_call_began(
    db: Database, scenario: Scenario, owner: Connection,
    stands: int | None, was: int, becomes: int, ends: int | None,
) -> None:  # fmt: skip
    client, other = await scenario.client(), await scenario.client()
    await stands_at(owner, client, stands)
    await stands_at(owner, other, 1)
    async with db.transaction() as connection:
        claimed = await store.claim(connection, keys=10, transactions=100, lease_s=60)
    claims = {claim.key: claim for claim in claimed}
    ends_of = {
        client: Finish(claims[client], "sent",
                       acknowledge=(was, becomes, 1)),
        other: Finish(claims[other], "sent",
                      acknowledge=(1, 2, 1)),
    }  # fmt: skip
    async with db.transaction() as connection:
        assert await store.finish(connection, list(ends_of.values())) == []
    assert await acknowledged(owner, client) == ends
    assert await acknowledged(owner, other) == 2  # the other key of the batch goes its own way

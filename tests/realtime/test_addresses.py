"""How many sockets one address may have: few that wait, many that signed in."""

from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from evpower.foundation.db import Connection, Database
from tests.realtime.scenario import Live, running, token
from tests.waiting import until

_BEHIND_A_PROXY = {"trusted_proxies": "127.0.0.1"}


def _from(address: str) -> dict[str, Any]:
    return {"additional_headers": {"X-Forwarded-For": address}}


async def _refused(live: Live, **how: Any) -> bytes:
    with pytest.raises(InvalidStatus) as refused:
        await live.open(**how).__aenter__()
    assert refused.value.response.status_code == 429
    assert refused.value.response.headers["Retry-After"]
    return refused.value.response.body or b""


async def test_drivers_behind_one_address_sign_in_though_few_may_wait(
    db: Database, owner: Connection
) -> None:
    limits = {"live_unauthenticated_per_address": 2}
    async with running(db, owner, settings=limits) as live, AsyncExitStack() as phones:
        for _ in range(10):
            app = await phones.enter_async_context(live.watching(await live.new_client()))
            await app.expect("balance_update")
        async with live.open() as waits, live.open():
            assert b"too_many_sockets" in await _refused(live)
            await waits.say({"type": "auth", "token": token(await live.new_client())})
            await waits.expect("connection")
            await phones.enter_async_context(live.open())
            assert b"too_many_sockets" in await _refused(live), "its place was taken again"


async def test_who_is_sent_away_frees_a_place(db: Database, owner: Connection) -> None:
    limits = {"live_unauthenticated_per_address": 1}
    async with running(db, owner, settings=limits) as live:
        for sent in ("nonsense", {"type": "auth", "token": "x"}, {"type": "ping"}):
            async with live.open() as app:
                await app.say(sent)
                await app.closed()
            await until(lambda: len(live.hub) == 0)
        async with live.open():
            await _refused(live)


async def test_sockets_waiting_at_one_address_cost_no_other_address(
    db: Database, owner: Connection
) -> None:
    limits = {"live_unauthenticated_per_address": 1, **_BEHIND_A_PROXY}
    async with running(db, owner, settings=limits) as live, live.open(**_from("203.0.113.9")):
        await _refused(live, **_from("203.0.113.9"))
        await _refused(live, **_from("::ffff:203.0.113.9"))
        await _refused(live, **_from("198.51.100.1, 203.0.113.9"))  # the caller wrote the first
        async with live.open(**_from("203.0.113.10")):
            pass


async def test_an_ipv6_subscriber_has_a_whole_net_and_is_one(
    db: Database, owner: Connection
) -> None:
    limits = {"live_unauthenticated_per_address": 1, **_BEHIND_A_PROXY}
    async with running(db, owner, settings=limits) as live, live.open(**_from("2001:db8:0:7::1")):
        await _refused(live, **_from("2001:db8:0:7:ffff::2"))
        await _refused(live, **_from("2001:db8:0:8::1"))  # one party may have all of a /48
        async with live.open(**_from("2001:db8:1:8::1")):
            pass


async def test_no_one_is_believed_without_a_trusted_proxy(db: Database, owner: Connection) -> None:
    limits = {"live_unauthenticated_per_address": 1}
    async with running(db, owner, settings=limits) as live, live.open(**_from("203.0.113.9")):
        await _refused(live, **_from("203.0.113.10"))

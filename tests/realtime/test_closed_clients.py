"""A client that is closed is watched no longer; one that is blocked is."""

from uuid import UUID

from evpower.foundation.db import Connection
from evpower.identity import CLIENT_CHANGED
from tests.realtime.scenario import Live, counted
from tests.waiting import until

CLOSED = (4403, "client_closed")


async def _becomes(owner: Connection, client: UUID, status: str) -> None:
    await owner.execute("update identity.clients set status = $2 where id = $1", client, status)


async def test_every_socket_of_a_closed_client_ends_at_once(
    live: Live, client_id: UUID, owner: Connection
) -> None:
    other = await live.new_client()
    async with (
        live.watching(client_id) as phone, live.watching(client_id) as tablet,
        live.watching(other) as someone,
    ):  # fmt: skip
        for app in (phone, tablet, someone):
            await app.expect("balance_update")
        await _becomes(owner, client_id, "closed")
        live.bus.publish(CLIENT_CHANGED, client_id)
        assert await phone.closed() == CLOSED
        assert await tablet.closed() == CLOSED
        await until(lambda: client_id not in live.hub)
        await live.top_up(other)
        assert (await someone.expect("balance_update"))["balance"] == 100.0


async def test_the_sweep_finds_clients_closed_elsewhere(
    live: Live, client_id: UUID, owner: Connection
) -> None:
    async with live.watching(client_id) as app:
        await app.expect("balance_update")
        await _becomes(owner, client_id, "closed")
        await live.hub.sweep()
        assert await app.closed() == CLOSED
    assert await live.hub.sweep() == 0


async def test_a_closed_client_is_sent_nothing_with_a_token_that_is_still_valid(
    live: Live, client_id: UUID, owner: Connection
) -> None:
    await live.top_up(client_id, 777)
    await live.start_session(client_id)
    await _becomes(owner, client_id, "closed")
    before = counted("evpower_realtime_frames_total", type="balance_update")
    async with live.watching(client_id) as app:
        assert await app.closed() == CLOSED
    assert counted("evpower_realtime_frames_total", type="balance_update") == before


async def test_a_last_change_and_the_closing_at_once(
    live: Live, client_id: UUID, owner: Connection
) -> None:
    async with live.watching(client_id) as app:
        await app.expect("balance_update")
        await live.top_up(client_id, tell=False)
        await _becomes(owner, client_id, "closed")
        live.bus.publish(CLIENT_CHANGED, client_id)
        live.bus.publish(CLIENT_CHANGED, client_id)
        assert await app.closed() == CLOSED


async def test_a_blocked_client_goes_on_watching(
    live: Live, client_id: UUID, owner: Connection
) -> None:
    async with live.watching(client_id) as app:
        await app.expect("balance_update")
        await _becomes(owner, client_id, "blocked")
        live.bus.publish(CLIENT_CHANGED, client_id)
        await live.hub.sweep()
        assert await app.is_quiet()
        await live.top_up(client_id)
        assert (await app.expect("balance_update"))["balance"] == 100.0

"""A start that a station did not answer is sent once more on its next socket, with the same tag."""

import pytest

from evpower import charging
from tests.charging.site import STATION, Site


async def reconnect(site: Site) -> None:
    await site.connect()
    async with site.db.transaction() as connection:
        await charging.station_reconnected(connection, STATION, now=site.now)


async def sent_starts(site: Site) -> list[tuple[str, str]]:
    """Tag and state of every remote start, the oldest first."""
    rows = await site.sql.fetch(
        "select payload ->> 'id_tag' as tag, state from stations.commands"
        " where action = 'remote_start' order by id"
    )
    return [(row["tag"], row["state"]) for row in rows]


async def test_it_is_sent_once_more_with_its_tag(site: Site) -> None:
    session = (await site.start(await site.driver())).session_id
    tag = await site.tag(session)
    await site.deliver("timed_out")
    await reconnect(site)
    assert await sent_starts(site) == [(tag, "timed_out"), (tag, "queued")]
    await site.deliver("accepted")
    assert await site.state(session) == "starting"
    answer = await site.begin(tag)
    assert await site.session_of(answer.transaction_id) == session


async def test_it_is_not_sent_a_third_time(site: Site) -> None:
    await site.start(await site.driver())
    await site.deliver("timed_out")
    await reconnect(site)
    await site.deliver("timed_out")
    await reconnect(site)
    assert [state for _, state in await sent_starts(site)] == ["timed_out", "timed_out"]


@pytest.mark.parametrize("reply", ["accepted", "refused"])
async def test_one_that_was_answered_is_not_sent_again(site: Site, reply: str) -> None:
    await site.start(await site.driver())
    await site.deliver(reply)
    await reconnect(site)
    assert len(await sent_starts(site)) == 1


async def test_after_the_start_window_it_is_not_sent_again(site: Site) -> None:
    await site.start(await site.driver())
    await site.deliver("timed_out")
    await site.wait(150)
    await reconnect(site)
    assert len(await sent_starts(site)) == 1


async def test_it_expires_with_the_start_window(site: Site) -> None:
    started = await site.start(await site.driver())
    await site.deliver("timed_out")
    await site.wait(120)
    await reconnect(site)
    expires_at = await site.sql.fetchval("select max(expires_at) from stations.commands")
    assert expires_at == (await site.session(started.session_id))["start_window_ends_at"]


async def test_a_station_that_began_meanwhile_is_not_asked(site: Site) -> None:
    """It obeyed the first one, and says so after the new connection was made."""
    session = (await site.start(await site.driver())).session_id
    tag = await site.tag(session)
    await site.deliver("timed_out")
    await reconnect(site)
    await site.begin(tag)
    assert await sent_starts(site) == [(tag, "timed_out"), (tag, "timed_out")]
    assert await site.state(session) == "charging"


OTHER_TAGS = {
    "fixed": "uc_default_auth",
    "missing": None,
    "of the whole make": "GRIZZL-E",
    "an earlier one-time tag": "0123456789AB",
}


@pytest.mark.parametrize("tag", OTHER_TAGS.values(), ids=OTHER_TAGS)
@pytest.mark.parametrize("state", ["queued", "sent", "refused", "timed_out"])
async def test_a_station_with_another_tag_begins_by_the_first_one(
    site: Site, tag: str | None, state: str
) -> None:
    """It obeyed the first one: connector and time say whose start it is, wherever the second is."""
    await site.sql.execute("update stations.stations set paid_only = true")
    session = (await site.start(await site.driver())).session_id
    await site.deliver("timed_out")
    await reconnect(site)
    if state != "queued":
        await site.deliver(None if state == "sent" else state)
    answer = await site.begin(tag)
    assert answer.tag == "accepted"
    assert await site.session_of(answer.transaction_id) == session
    assert await site.state(session) == "charging"
    assert [hold[2] for hold in await site.holds(session)] == ["open"]
    assert "remote_stop" not in [action for action, _ in await site.commands()]


@pytest.mark.parametrize("tag", OTHER_TAGS.values(), ids=OTHER_TAGS)
async def test_before_it_was_sent_once_another_tag_is_no_echo(site: Site, tag: str | None) -> None:
    session = (await site.start(await site.driver())).session_id
    await reconnect(site)
    answer = await site.begin(tag)
    assert (await site.transaction(answer.transaction_id))["session_id"] is None
    assert await site.state(session) == "cancelled"


@pytest.mark.parametrize("state", ["queued", "sent", "refused", "timed_out"])
async def test_a_cancelled_one_may_still_begin_by_the_first_one(site: Site, state: str) -> None:
    """Its start window stays open: the session is not final, since it may begin after all."""
    client = await site.driver()
    session = (await site.start(client)).session_id
    window_ends_at = (await site.session(session))["start_window_ends_at"]
    await site.deliver("timed_out")
    await reconnect(site)
    if state != "queued":
        await site.deliver(None if state == "sent" else state)
    await site.stop(session, client)
    assert (await site.session(session))["start_window_ends_at"] == window_ends_at


@pytest.mark.parametrize("reply", ["refused", "timed_out"])
async def test_its_refusal_ends_nothing(site: Site, reply: str) -> None:
    """The connector may be busy with the first one: the session waits for its start window."""
    client = await site.driver()
    session = (await site.start(client)).session_id
    await site.deliver("timed_out")
    await reconnect(site)
    await site.deliver(reply)
    assert await site.state(session) == "requested"
    assert (await site.holds(session))[0][2] == "open"
    await site.begin(await site.tag(session))
    assert await site.state(session) == "charging"
    assert [hold[0] for hold in await site.holds(session)] == [1]


async def test_one_that_is_not_delivered_again_expires_with_its_window(site: Site) -> None:
    session = (await site.start(await site.driver())).session_id
    await site.deliver("timed_out")
    await reconnect(site)
    await site.wait(70)
    await site.run_jobs()
    assert await site.state(session) == "requested"
    await site.wait(100)
    await site.run_jobs()
    row = await site.session(session)
    assert (row["state"], row["start_failure"]) == ("expired", "station_did_not_answer")
    assert (await site.holds(session))[0][2] == "released"


async def test_a_cancelled_one_is_not_sent_again(site: Site) -> None:
    client = await site.driver()
    session = (await site.start(client)).session_id
    await site.deliver("timed_out")
    await reconnect(site)
    await site.stop(session, client)
    assert [state for _, state in await sent_starts(site)] == ["timed_out", "timed_out"]
    assert await site.state(session) == "cancelled"

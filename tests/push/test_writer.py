"""Which messages are written of a session, and that each is written once."""

import asyncio

from evpower.push.derive import MessageWriter
from tests.push.scenario import Browser, Push, PushService


async def test_each_event_of_a_session_is_written_once(push: Push, service: PushService) -> None:
    client = await push.driver(Browser(service.endpoint()))
    session, transaction = await push.place.charging(client, amount_minor=12_000)
    assert await push.write() == 1
    assert await push.write() == 0
    push.later(minutes=5)
    await push.place.values(transaction, 4_000)
    assert await push.write() == 0
    push.later(minutes=5)
    await push.place.values(transaction, 8_000)  # 96 of 120 som
    assert await push.write() == 1
    await push.place.values(transaction, 8_500)
    assert await push.write() == 0
    await push.place.stop(transaction, 9_000)
    assert await push.place.value("state", session) == "settled"
    assert await push.write() == 1
    assert await push.write() == 0
    assert await push.events() == ["started", "limit_near", "stopped"]


async def test_every_device_gets_its_own(push: Push, service: PushService) -> None:
    browsers = [Browser(service.endpoint(name=name)) for name in "abc"]
    client = await push.driver(*browsers)
    await push.driver(Browser(service.endpoint(name="another")))
    await push.place.charging(client)
    assert await push.write() == 3
    assert await push.events() == ["started"] * 3


async def test_without_a_device_nothing_is_written(push: Push) -> None:
    await push.place.charging(await push.driver())
    assert await push.write() == 0
    assert await push.sql.fetchval("select count(*) from push.sessions") == 0


async def test_a_start_that_failed_is_one_message(push: Push, service: PushService) -> None:
    client = await push.driver(Browser(service.endpoint()))
    session = await push.place.start(client)
    assert await push.write() == 0
    await push.place.ask_to_stop(session)
    assert await push.place.value("start_failure", session) == "cancelled_by_operator"
    assert await push.write() == 1
    assert await push.write() == 0
    assert await push.events() == ["start_failed"]


async def test_a_driver_who_cancels_gets_no_message(push: Push, service: PushService) -> None:
    client = await push.driver(Browser(service.endpoint()))
    session = await push.place.start(client)
    await push.place.ask_to_stop(session, client)
    assert await push.place.value("start_failure", session) == "cancelled_by_driver"
    assert await push.write() == 0


async def test_a_hold_that_cannot_grow_any_more_is_sent(push: Push, service: PushService) -> None:
    client = await push.place.driver(som=220)
    await push.register(client, Browser(service.endpoint()))
    _, transaction = await push.place.charging(client)
    push.later(minutes=15)
    await push.place.values(transaction, 14_000)  # 168 of 200 som: the hold grows to 220
    await push.write()
    assert await push.events() == ["started"]
    push.later(minutes=3)
    await push.place.values(transaction, 16_600)  # 199 of 220 som
    await push.write()
    assert await push.events() == ["started", "hold_near"]


async def test_a_hold_that_grows_is_not_sent(push: Push, service: PushService) -> None:
    client = await push.driver(Browser(service.endpoint()))
    _, transaction = await push.place.charging(client)
    for energy in (5_000, 15_000, 24_000, 33_000):
        push.later(minutes=9)
        await push.place.values(transaction, energy)
        await push.write()
    assert await push.events() == ["started"]


async def test_a_station_away_for_half_an_hour_is_sent_once(
    push: Push, service: PushService
) -> None:
    client = await push.driver(Browser(service.endpoint()))
    _, transaction = await push.place.charging(client, amount_minor=90_000)
    await push.place.values(transaction, 100)
    push.later(minutes=29)
    await push.place.watch()
    await push.write()
    assert await push.events() == ["started"]
    push.later(minutes=2)
    assert "lost" in await push.place.watch()
    await push.write()
    assert await push.events() == ["started", "station_lost"]
    await push.place.values(transaction, 200)  # it is back
    push.later(minutes=31)
    await push.place.watch()
    await push.write()
    assert await push.events() == ["started", "station_lost"]


async def test_a_device_made_while_charging_gets_what_comes_from_then_on(
    push: Push, service: PushService
) -> None:
    client = await push.place.driver()
    _, transaction = await push.place.charging(client, amount_minor=12_000)
    push.later(minutes=9)
    await push.place.values(transaction, 8_500)
    await push.register(client, Browser(service.endpoint()))
    assert await push.write() == 0
    await push.place.stop(transaction, 9_000)
    await push.write()
    assert await push.events() == ["stopped"]


async def test_a_device_made_after_the_end_gets_nothing(push: Push, service: PushService) -> None:
    push.place.now = await push.sql.fetchval("select now()")  # as the rows' own times are
    client = await push.place.driver()
    _, transaction = await push.place.charging(client)
    await push.place.stop(transaction, 500)
    push.later(minutes=1)
    await push.register(client, Browser(service.endpoint()))
    assert await push.write() == 0


async def test_what_happened_while_no_worker_ran_is_sent_unless_it_is_old(
    push: Push, service: PushService
) -> None:
    push.place.now = await push.sql.fetchval("select now()")
    await push.write()
    fresh = await push.driver(Browser(service.endpoint(name="fresh")))
    _, transaction = await push.place.charging(fresh)
    await push.place.stop(transaction, 500)
    push.later(hours=20)
    await push.write()
    assert await push.events() == ["stopped"]
    push.place.now = await push.sql.fetchval("select now()")
    old = await push.driver(Browser(service.endpoint(name="old")))
    _, transaction = await push.place.charging(old)
    await push.place.stop(transaction, 500)
    push.later(hours=24, minutes=30)
    await push.write()
    assert await push.events() == ["stopped"]


async def test_a_start_that_comes_late_is_sent_after_its_failure(
    push: Push, service: PushService
) -> None:
    client = await push.driver(Browser(service.endpoint()))
    session = await push.place.start(client)
    await push.place.ask_to_stop(session)  # an operator cancels
    await push.write()
    assert await push.events() == ["start_failed"]
    push.later(minutes=20)
    await push.place.begin(session)
    await push.write()
    assert (await push.events())[0] == "start_failed"
    assert "started" in await push.events()


async def test_workers_at_once_write_each_message_once(push: Push, service: PushService) -> None:
    clients = [await push.driver(Browser(service.endpoint(name=name))) for name in "ab"]
    for connector, client in enumerate(clients, start=1):
        session = await push.place.start(client, connector)
        await push.place.begin(session, connector=connector)
    writers = [MessageWriter(push.db, push.settings.keys.public, push.now) for _ in range(6)]
    await asyncio.gather(*(writer.write() for writer in writers))
    await push.write()
    assert await push.events() == ["started", "started"]


async def test_a_subscription_for_another_key_gets_nothing(
    push: Push, service: PushService
) -> None:
    client = await push.driver(Browser(service.endpoint()))
    await push.sql.execute("update push.devices set vapid_key = 'an earlier one'")
    await push.place.charging(client)
    assert await push.write() == 0

"""Messages over a real socket to a push service in another process, decrypted as a browser does."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from evpower.foundation.http import HttpResponse
from evpower.foundation.loops import Round
from evpower.push import store_messages, web_push
from evpower.push.upkeep import keep_up
from evpower.push.web_push import outcome_of
from tests.push.scenario import Browser, Push, PushService, claims_of, running_service
from tests.waiting import until


async def charged(push: Push, *browsers: Browser) -> None:
    """Lets a driver charge 10 kWh for 120 som, and writes what follows."""
    client = await push.driver(*browsers)
    _, transaction = await push.place.charging(client)
    push.later(minutes=10)
    await push.place.stop(transaction, 10_000)
    await push.write()


async def test_a_bill_reaches_the_browser_and_only_it_can_read_it(
    push: Push, service: PushService
) -> None:
    browser = Browser(service.endpoint())
    await charged(push, browser)
    assert await push.send() == 1
    [received] = await service.received()
    assert b"120" not in received.body
    message = browser.read(received.body)
    assert message["title"] == "Зарядка завершена"
    assert message["body"].startswith("10,00 кВт·ч, 120,00 сом. ")
    assert message["type"] == "charging_stopped"
    assert (message["data"]["energy_kwh"], message["data"]["cost"]) == (10.0, 120.0)
    assert await push.rows() == [("stopped", "sent")]
    assert await push.send() == 0


async def test_only_the_worker_whose_lease_runs_begins_a_request(
    push: Push, service: PushService
) -> None:
    await charged(push, Browser(service.endpoint()))

    async def claimed() -> tuple[int, int]:
        async with push.db.transaction() as connection:
            [message] = await store_messages.claim(
                connection, "web", push.now(), lease=timedelta(minutes=1), busy=(), limit=10
            )
        return message.number, message.attempts

    async def begins(number: int, attempt: int) -> bool:
        async with push.db.transaction() as connection:
            return await store_messages.begin(connection, number, attempt, push.now())

    first = await claimed()
    push.later(minutes=1)
    assert not await begins(*first)  # its lease is over
    second = await claimed()
    assert not await begins(*first)  # another worker has it
    assert await begins(*second)
    assert not await begins(*second)


async def test_a_push_service_knows_who_sends(push: Push, service: PushService) -> None:
    await charged(push, Browser(service.endpoint()))
    await push.send()
    [received] = await service.received()
    headers = received.headers
    claims, key = claims_of(headers["authorization"], service.url)
    assert key == push.settings.keys.public
    assert claims["sub"] == "mailto:support@example.kg"
    assert 0 < claims["exp"] - push.now().timestamp() <= 24 * 3600
    assert (headers["content-encoding"], headers["urgency"]) == ("aes128gcm", "high")
    assert int(headers["ttl"]) == 24 * 3600
    assert len(headers["topic"]) <= 32


@pytest.mark.parametrize(
    ("language", "title"),
    [("ru", "Зарядка завершена"), ("ky", "Кубаттоо бүттү"), ("en", "Charging is finished")],
)
async def test_each_device_reads_its_own_language(
    push: Push, service: PushService, language: str, title: str
) -> None:
    browser = Browser(service.endpoint())
    await charged(push, browser)
    await push.sql.execute("update push.devices set language = $1", language)
    await push.send()
    [message] = await service.read(browser)
    assert (message["title"], message["lang"]) == (title, language)


@pytest.mark.parametrize("word", ["404", "410"])
async def test_a_subscription_that_is_no_more_is_removed(
    push: Push, service: PushService, word: str
) -> None:
    old, alive = Browser(service.endpoint(word)), Browser(service.endpoint(name="b"))
    await charged(push, old, alive)
    assert await push.send() == 2
    assert await push.devices() == 1
    assert await push.rows() == [("stopped", "sent")]
    assert len(await service.read(alive)) == 1


async def test_a_refusal_for_now_is_tried_again_later(push: Push, service: PushService) -> None:
    browser = Browser(service.endpoint("once"))
    await charged(push, browser)
    assert await push.send() == 1
    assert await push.rows() == [("stopped", "waits")]
    assert await push.send() == 0
    push.later(seconds=10)
    assert await push.send() == 1
    assert await push.rows() == [("stopped", "sent")]
    assert len(await service.received()) == 2


async def test_a_service_that_says_when_is_not_asked_before(
    push: Push, service: PushService
) -> None:
    await charged(push, Browser(service.endpoint("wait")))
    await push.send()
    push.later(seconds=119)
    assert await push.send() == 0
    push.later(seconds=2)
    assert await push.send() == 1


@pytest.mark.parametrize("word", ["400", "401", "403", "413", "301"])
async def test_a_refusal_for_good_is_not_repeated(
    push: Push, service: PushService, word: str
) -> None:
    await charged(push, Browser(service.endpoint(word)))
    await push.send()
    assert await push.rows() == [("stopped", "given up")]
    assert await push.devices() == 1
    push.later(hours=1)
    assert await push.send() == 0


@pytest.mark.parametrize("word", ["drop", "huge"])
async def test_what_may_have_been_accepted_is_not_repeated(
    push: Push, service: PushService, word: str
) -> None:
    await charged(push, Browser(service.endpoint(word)))
    assert await push.send() == 1
    assert await push.rows() == [("stopped", "given up")]
    push.later(hours=1)
    assert await push.send() == 0
    assert len(await service.received()) == 1


async def test_a_service_that_is_down_is_tried_until_the_message_is_old(
    push: Push, service: PushService
) -> None:
    await charged(push, Browser(service.endpoint()))
    await push.sql.execute(
        "update push.devices set address = 'http://127.0.0.1:9/201/a', host = '127.0.0.1'"
    )
    hosts = push.settings.hosts
    object.__setattr__(hosts, "local", frozenset({"http://127.0.0.1:9"}))
    await push.send()
    assert await push.rows() == [("stopped", "waits")]
    push.later(hours=25)
    await push.send()
    assert await push.rows() == [("stopped", "given up")]
    assert await push.sql.fetchval("select error from push.messages") == "expired"


async def test_a_service_that_hangs_delays_no_other(
    push: Push, service: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_push, "TIMEOUT_S", 4.0)
    async with running_service() as other:
        local = frozenset({service.url, other.url})
        object.__setattr__(push.settings.hosts, "local", local)
        client = await push.place.driver()
        for number in range(12):
            browser = Browser(service.endpoint("hang", f"h{number}"))
            await push.register(client, browser, host="hangs")
        slow = Browser(service.endpoint("slow"))
        await push.register(await push.place.driver(), slow, host="slow")
        alive = Browser(other.endpoint())
        await push.register(await push.place.driver(), alive, host="alive")
        await push.sql.execute(
            """
            insert into push.messages (device_id, session_id, event, facts, created_at, due_at,
                                       expires_at)
            select id, gen_random_uuid(), 'stopped', '{}', $1, $1, $1::timestamptz + interval '1 h'
              from push.devices order by id
            """,
            push.now(),
        )
        delivery = push.delivery()
        assert await delivery.begin_due(Round()) == 14
        await until(service.waiting)
        await until(other.received)
        assert len(await other.read(alive)) == 1
        assert await service.waiting() > 0  # the others hang while this one has its message
        await delivery.wait_for_all()
        states = [state for _, state in await push.rows()]
        assert (states.count("sent"), states.count("given up")) == (2, 12)


async def test_what_a_lost_worker_had_on_its_way_is_not_repeated(
    push: Push, service: PushService
) -> None:
    await charged(push, Browser(service.endpoint()))
    await push.sql.execute(
        "update push.messages set begun_at = $1, attempts = 1, due_at = $1::timestamptz + $2",
        push.now(),
        timedelta(minutes=3),
    )
    await keep_up(push.db, push.now)
    assert await push.rows() == [("stopped", "begun")]
    push.later(minutes=4)
    assert await push.send() == 0
    await keep_up(push.db, push.now)
    assert await push.rows() == [("stopped", "given up")]
    assert await service.received() == []


async def test_two_workers_send_each_message_once(push: Push, service: PushService) -> None:
    await charged(push, *(Browser(service.endpoint(name=f"n{number}")) for number in range(20)))
    first, second = push.delivery(), push.delivery()
    await asyncio.gather(first.send_due(), second.send_due())
    await first.send_due()
    assert len(await service.received()) == 20
    assert {state for _, state in await push.rows()} == {"sent"}


async def test_old_rows_and_unused_devices_go(push: Push, service: PushService) -> None:
    await charged(push, Browser(service.endpoint()))
    closed = await push.driver(Browser(service.endpoint(name="closed")))
    await push.send()
    await push.sql.execute("update identity.clients set status = 'closed' where id = $1", closed)
    await keep_up(push.db, push.now)
    assert await push.devices() == 1
    assert len(await push.rows()) == 1
    push.later(days=31)
    await keep_up(push.db, push.now)
    assert await push.rows() == []
    assert await push.sql.fetchval("select count(*) from push.sessions") == 0
    assert await push.devices() == 1
    push.later(days=250)
    await keep_up(push.db, push.now)
    assert await push.devices() == 0


@pytest.mark.parametrize(
    ("text", "pause_s"),
    [
        ("120", 120.0),
        ("999999", 3600.0),
        ("Tue, 01 Dec 2026 06:10:00 GMT", 600.0),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("soon", None),
    ],
)
def test_a_push_service_says_when_to_come_again(text: str, pause_s: float | None) -> None:
    now = datetime(2026, 12, 1, 6, tzinfo=UTC)
    outcome = outcome_of(HttpResponse(429, {"retry-after": text}, b""), now)
    assert (outcome.word, outcome.retry_after_s) == ("failed", pause_s)

"""Messages of alerts: written with the alert, sent at least once, in order, and not at night."""

# ruff: noqa: RUF001 - words of another alphabet

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from evpower.alerts import AlertKind, close_alert, open_alert
from evpower.alerts.delivery import MessageDelivery
from evpower.alerts.model import AlertMessage, Attempt
from evpower.alerts.module import measure
from evpower.alerts.open_close import acknowledge_alert, list_alerts
from evpower.alerts.quiet_hours import read_quiet_hours
from evpower.alerts.store_messages import (
    channel_states,
    claim,
    purge,
    write_missing,
    write_repeats,
)
from evpower.alerts.upkeep import REPEATS_EVERY
from evpower.foundation.db import Connection, Database
from evpower.foundation.standard_webhooks import key_bytes, verify
from tests.alerts.clock import TurnedClock
from tests.alerts.receivers import (
    SECRET,
    Mailbox,
    Receiver,
    Sender,
    mail_settings,
    running_sender,
    webhook_settings,
)
from tests.waiting import until
from tests.wallet.scenario import Scenario as LedgerScenario

WARNING: AlertKind = "session_quarantined"
GRAVE: AlertKind = "loop_overdue"


async def opened(
    db: Database, clock: TurnedClock, kind: AlertKind = WARNING, subject: str = "S1"
) -> None:
    async with db.transaction() as connection:
        await open_alert(connection, kind, subject, {"station": "EVP-001"}, clock())


async def closed(
    db: Database, clock: TurnedClock, kind: AlertKind = WARNING, subject: str = "S1"
) -> None:
    async with db.transaction() as connection:
        await close_alert(connection, kind, subject, clock())


async def waiting(db: Database) -> list[tuple[str, str, int]]:
    async with db.connection() as connection:
        rows = await connection.fetch(
            "select channel, event, attempts from alerts.messages"
            " where sent_at is null and given_up_at is null order by number"
        )
    return [(row["channel"], row["event"], row["attempts"]) for row in rows]


class TestWebhook:
    async def test_an_alert_is_sent_signed_with_all_its_facts(
        self, db: Database, clock: TurnedClock, receiver: Receiver
    ) -> None:
        await opened(db, clock)
        async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
            assert await sender.send() == 1
        [call] = receiver.calls
        assert (
            verify([key_bytes(SECRET)], call.headers, call.body, clock())
            == (call.headers["webhook-id"])
        )
        # The same by hand, as a receiver in another language computes it.
        signed = f"{call.headers['webhook-id']}.{int(clock().timestamp())}.".encode() + call.body
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert call.headers["webhook-signature"] == f"v1,{mac}"
        sent = call.json
        assert isinstance(sent["data"].pop("alert_id"), int)
        assert sent == {
            "type": "alert.opened",
            "timestamp": "2026-12-01T06:00:00Z",
            "data": {
                "kind": "session_quarantined",
                "severity": "warning",
                "subject": "S1",
                "title": "Показания сессии неправдоподобны",
                "act": "Правдоподобная часть оплачена. Примите решение: "
                "evpower quarantine decide ID.",
                "detail": {"station": "EVP-001"},
                "count": 1,
                "opened_at": "2026-12-01T06:00:00Z",
                "last_seen_at": "2026-12-01T06:00:00Z",
                "closed_at": None,
            },
        }

    async def test_each_secret_signs_while_one_is_replaced(
        self, db: Database, clock: TurnedClock, receiver: Receiver
    ) -> None:
        await opened(db, clock)
        other = "whsec_" + base64.b64encode(b"n" * 24).decode()
        settings = webhook_settings(receiver, alert_webhook_secret=f"{SECRET}|{other}")
        async with running_sender(db, clock, **settings) as sender:
            await sender.send()
        [call] = receiver.calls
        for secret in (SECRET, other):
            assert verify([key_bytes(secret)], call.headers, call.body, clock())

    async def test_one_message_when_it_opens_and_one_when_it_closes(
        self, db: Database, clock: TurnedClock, receiver: Receiver
    ) -> None:
        async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
            for _ in range(5):
                await opened(db, clock)
                await sender.send()
            await closed(db, clock)
            await closed(db, clock)
            assert [await sender.send() for _ in range(2)] == [1, 0]
        assert receiver.types == ["alert.opened", "alert.closed"]
        assert receiver.calls[1].json["data"]["count"] == 5
        assert len({call.headers["webhook-id"] for call in receiver.calls}) == 2

    @pytest.mark.parametrize("answer", [500, 302, 410, 0])
    async def test_what_is_not_accepted_is_sent_again_with_the_same_id(
        self, db: Database, clock: TurnedClock, receiver: Receiver, answer: int
    ) -> None:
        await opened(db, clock)
        receiver.answers = [answer, answer]
        async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
            sent = [await sender.send(), await sender.send()]
            for _ in range(2):
                clock.later(seconds=10 * 2 ** len(sent))
                sent.append(await sender.send())
            assert sent == [1, 0, 1, 1]
            clock.later(days=1)
            assert await sender.send() == 0
        assert len(receiver.calls) == 3
        assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1
        assert len({call.body for call in receiver.calls}) == 1

    @pytest.mark.parametrize(
        ("retry_after", "pause_s"),
        [("600", 600), ("Tue, 01 Dec 2026 06:10:00 GMT", 600), ("999999", 3600), ("soon", 15)],
    )
    async def test_a_receiver_says_when_to_come_again(
        self, db: Database, clock: TurnedClock, receiver: Receiver, retry_after: str, pause_s: int
    ) -> None:
        await opened(db, clock)
        receiver.answers, receiver.retry_after = [429], retry_after
        async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
            await sender.send()
            clock.later(seconds=pause_s - 10)
            assert await sender.send() == 0
            clock.later(seconds=10)
            assert await sender.send() == 1

    async def test_the_end_waits_for_its_beginning(
        self, db: Database, clock: TurnedClock, receiver: Receiver
    ) -> None:
        await opened(db, clock)
        await closed(db, clock)
        receiver.answers = [500]
        async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
            await sender.send()
            assert receiver.types == ["alert.opened"]
            clock.later(seconds=1)
            await sender.send()
            clock.later(seconds=60)
            await sender.send()
        assert receiver.types == ["alert.opened", "alert.opened", "alert.closed"]

    async def test_an_end_that_comes_while_its_beginning_waits_does_not_overtake_it(
        self, db: Database, clock: TurnedClock, receiver: Receiver
    ) -> None:
        await opened(db, clock)
        receiver.answers = [500]
        async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
            await sender.send()
            clock.later(seconds=1)
            await closed(db, clock)
            assert await sender.send() == 0
            clock.later(seconds=30)
            assert await sender.send() == 2
        assert receiver.types == ["alert.opened", "alert.opened", "alert.closed"]

    async def test_one_alert_that_is_refused_delays_no_other(
        self, db: Database, clock: TurnedClock, receiver: Receiver
    ) -> None:
        for subject in ("S1", "S2", "S3"):
            await opened(db, clock, subject=subject)
        receiver.answers = [500]
        async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
            await sender.send()
        assert len(await waiting(db)) == 1

    async def test_it_is_given_up_after_3_days_and_counted(
        self, db: Database, clock: TurnedClock, receiver: Receiver
    ) -> None:
        await opened(db, clock)
        receiver.answers = [503] * 1000
        before = _sent("given_up")
        async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
            for _ in range(80):
                await sender.send()
                clock.later(hours=1.5)
        assert await waiting(db) == []
        assert _sent("given_up") == before + 1
        async with db.connection() as connection:
            [state] = await channel_states(connection, ["webhook"], clock() - timedelta(days=9))
        assert (state.waiting, state.given_up) == (0, 1)

    async def test_two_workers_send_each_message_once(
        self, db: Database, clock: TurnedClock, receiver: Receiver
    ) -> None:
        for number in range(20):
            await opened(db, clock, subject=f"S{number}")
        async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
            await asyncio.gather(*(sender.send() for _ in range(4)))
        assert len(receiver.calls) == len({call.body for call in receiver.calls}) == 20

    async def test_what_one_worker_claims_is_claimed_by_no_other(
        self, db: Database, owner: Connection, clock: TurnedClock
    ) -> None:
        await opened(db, clock)

        async def claimed() -> int:
            async with db.transaction() as connection:
                return await claim_all(connection, clock)

        async with db.transaction() as connection:
            assert await claim_all(connection, clock) == 1
            other = asyncio.create_task(claimed())
            await until(LedgerScenario(owner).is_lock_awaited)
        assert await other == 0


async def claim_all(connection: Connection, clock: TurnedClock) -> int:
    messages = await claim(
        connection, "webhook", clock(), lease=timedelta(minutes=1), grave=(), only_grave=False,
        gather_for=timedelta(), limit=9,
    )  # fmt: skip
    return len(messages)


def _sent(outcome: str, channel: str = "webhook") -> float:
    labels = {"channel": channel, "outcome": outcome}
    return REGISTRY.get_sample_value("evpower_alert_messages_total", labels) or 0.0


class Dying:
    """A channel whose process ends after the message left, or before."""

    gathers = False
    batch = 50

    def __init__(self, receiver: list[AlertMessage]) -> None:
        self.receiver = receiver
        self.dies = True

    async def send(self, messages: Sequence[AlertMessage]) -> list[Attempt]:
        self.receiver += messages
        if self.dies:
            raise asyncio.CancelledError
        return [Attempt(message, None) for message in messages]


async def test_a_webhook_that_hangs_delays_no_mail(
    db: Database, clock: TurnedClock, receiver: Receiver, mailbox: Mailbox
) -> None:
    await opened(db, clock, GRAVE)
    receiver.answers = [-1]
    settings = webhook_settings(receiver) | mail_settings(mailbox)
    async with running_sender(db, clock, **settings) as sender:
        sending = asyncio.create_task(sender.send())
        await until(lambda: receiver.calls and mailbox.mails)
        assert not sending.done()
        receiver.gate.set()
        assert await sending == 2


class TestCrashes:
    async def test_what_a_dead_worker_has_claimed_is_sent_after_its_lease(
        self, db: Database, clock: TurnedClock
    ) -> None:
        await opened(db, clock)
        received: list[AlertMessage] = []
        dying = Dying(received)
        delivery = MessageDelivery(db, {"webhook": dying}, None, clock)
        with pytest.raises(asyncio.CancelledError):
            await delivery.send_due()
        dying.dies = False
        assert await delivery.send_due() == 0
        clock.later(minutes=11)
        assert await delivery.send_due() == 1
        assert [message.id for message in received] == [received[0].id] * 2

    async def test_an_alert_that_is_rolled_back_leaves_no_message(
        self, db: Database, clock: TurnedClock
    ) -> None:
        async with db.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await open_alert(connection, WARNING, "S1", {}, clock())
            await transaction.rollback()
        assert await waiting(db) == []

    async def test_messages_of_a_channel_that_is_not_set_are_deleted(
        self, db: Database, clock: TurnedClock, receiver: Receiver
    ) -> None:
        await opened(db, clock)
        assert [channel for channel, *_ in await waiting(db)] == ["webhook", "email"]
        async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
            await sender.send()
        assert await waiting(db) == []
        await opened(db, clock, subject="S2")
        await Sender(db, clock, {}).send()
        assert await waiting(db) == []

    async def test_a_channel_that_is_set_later_has_what_is_open(
        self, db: Database, clock: TurnedClock, receiver: Receiver
    ) -> None:
        for subject in ("S1", "S2", "S3"):
            await opened(db, clock, subject=subject)
        await Sender(db, clock, {}).send()
        await closed(db, clock, subject="S2")
        await Sender(db, clock, {}).send()
        async with db.transaction() as connection:
            [third] = [alert.id for alert in await list_alerts(connection) if alert.subject == "S3"]
            await acknowledge_alert(connection, third, actor="aida", note=None, now=clock())
        for _ in range(2):
            async with db.transaction() as connection:
                await write_missing(connection, ["webhook"], clock())
        async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
            await sender.send()
        sent = [(call.json["type"], call.json["data"]["subject"]) for call in receiver.calls]
        assert sent == [("alert.opened", "S1")]


class TestQuietHours:
    @pytest.mark.parametrize(
        ("local", "quiet"),
        [("21:59", False), ("22:00", True), ("23:59", True), ("00:00", True), ("06:59", True),
         ("07:00", False), ("12:00", False)],
    )  # fmt: skip
    async def test_they_are_those_of_the_zone(
        self, clock: TurnedClock, *, local: str, quiet: bool
    ) -> None:
        hours = read_quiet_hours("22:00-07:00", "Asia/Bishkek")
        assert hours is not None
        hour, minute = map(int, local.split(":"))
        clock.now = clock.now.replace(hour=0) + timedelta(hours=hour - 6, minutes=minute)
        assert hours.has(clock()) is quiet

    def test_none_are_none(self, clock: TurnedClock) -> None:
        assert read_quiet_hours("", "Asia/Bishkek") is None
        same = read_quiet_hours("22:00-22:00", "Asia/Bishkek")
        assert same is not None
        assert not same.has(clock())

    async def test_only_what_is_grave_is_sent_and_the_rest_at_their_end(
        self, db: Database, clock: TurnedClock, receiver: Receiver
    ) -> None:
        clock.now = clock.now.replace(hour=20)  # 02:00 in Bishkek
        await opened(db, clock)
        await opened(db, clock, GRAVE, "relay")
        async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
            sender.quiet_hours = read_quiet_hours("22:00-07:00", "Asia/Bishkek")
            await sender.send()
            assert [call.json["data"]["kind"] for call in receiver.calls] == [GRAVE]
            await closed(db, clock)
            clock.later(hours=4, minutes=59)
            assert await sender.send() == 0
            clock.later(minutes=1)
            await sender.send()
        assert receiver.types == ["alert.opened", "alert.opened", "alert.closed"]


class TestRepeats:
    async def test_a_day_s_repeats_are_one_message(
        self, db: Database, clock: TurnedClock, receiver: Receiver
    ) -> None:
        async def repeat(*times: int) -> list[Mapping[str, Any]]:
            async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
                for count in times:
                    for _ in range(count):
                        await opened(db, clock)
                    clock.later(hours=12)
                    async with db.transaction() as connection:
                        await write_repeats(connection, ["webhook"], clock(), REPEATS_EVERY)
                    await sender.send()
            return [call.json for call in receiver.calls]

        sent = await repeat(1, 7, 0, 0, 0, 3)
        assert [(call["type"], call["data"]["count"]) for call in sent] == [
            ("alert.opened", 1), ("alert.repeated", 8), ("alert.repeated", 11),
        ]  # fmt: skip

    async def test_none_of_an_alert_that_was_taken_up(
        self, db: Database, clock: TurnedClock
    ) -> None:
        await opened(db, clock)
        await opened(db, clock)
        async with db.transaction() as connection:
            [alert_id] = [
                row["id"] for row in await connection.fetch("select id from alerts.alerts")
            ]
            await acknowledge_alert(
                connection, alert_id, actor="operator:aida", note=None, now=clock()
            )
            clock.later(days=2)
            assert await write_repeats(connection, ["webhook"], clock(), REPEATS_EVERY) == 0


class TestFlapping:
    async def test_what_opens_again_is_sent_only_if_it_stays(
        self, db: Database, clock: TurnedClock, receiver: Receiver
    ) -> None:
        async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
            for _ in range(4):
                await opened(db, clock)
                await sender.send()
                clock.later(minutes=5)
                await closed(db, clock)
                await sender.send()
                clock.later(minutes=9)
            assert receiver.types == ["alert.opened", "alert.closed"]
            await opened(db, clock)
            clock.later(minutes=14)
            assert await sender.send() == 0
            clock.later(minutes=1)
            assert await sender.send() == 1
            await closed(db, clock)
            assert await sender.send() == 1
            clock.later(minutes=16)
            await opened(db, clock)
            assert await sender.send() == 1
        assert receiver.types[2:] == ["alert.opened", "alert.closed", "alert.opened"]

    async def test_another_subject_or_kind_is_another_alert(
        self, db: Database, clock: TurnedClock, receiver: Receiver
    ) -> None:
        await opened(db, clock)
        await closed(db, clock)
        await opened(db, clock, subject="S2")
        await opened(db, clock, GRAVE)
        async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
            assert await sender.send() == 4


class TestMail:
    async def test_what_comes_within_a_minute_is_one_mail(
        self, db: Database, clock: TurnedClock, mailbox: Mailbox
    ) -> None:
        for subject in ("S1", "S2"):
            await opened(db, clock, subject=subject)
        async with running_sender(db, clock, **mail_settings(mailbox)) as sender:
            clock.later(seconds=30)
            await closed(db, clock, subject="S1")
            assert await sender.send() == 0
            clock.later(seconds=60)
            assert await sender.send() == 3
        [mail] = mailbox.mails
        assert mail["To"] == "aida@example.kg, bek@example.kg"
        assert mail["From"] == "EvPower <alerts@example.kg>"
        assert mail["Subject"] == "[EvPower] Оповещений: 3"
        text = mail.get_content()
        assert text.count("ВНИМАНИЕ, открыто: Показания сессии неправдоподобны") == 2
        assert text.count("ВНИМАНИЕ, закрыто") == 1
        assert "S1, с 2026-12-01 12:00 +06, замечено раз: 1" in text
        assert "station: EVP-001" in text

    async def test_what_is_grave_does_not_wait(
        self, db: Database, clock: TurnedClock, mailbox: Mailbox
    ) -> None:
        await opened(db, clock, GRAVE, "relay")
        settings = mail_settings(mailbox, alert_language="en")
        async with running_sender(db, clock, **settings) as sender:
            assert await sender.send() == 1
        [mail] = mailbox.mails
        assert mail["Subject"] == "[EvPower] grave, opened: A background loop stands still (relay)"
        assert "To do: evpower sync status has its last error" in mail.get_content()

    async def test_a_mail_that_is_refused_is_sent_again(
        self, db: Database, clock: TurnedClock, mailbox: Mailbox
    ) -> None:
        await opened(db, clock, GRAVE)
        mailbox.answers = ["451 try later"]
        async with running_sender(db, clock, **mail_settings(mailbox)) as sender:
            assert await sender.send() == 1
            assert await waiting(db) == [("email", "opened", 1)]
            async with db.connection() as connection:
                [state] = await channel_states(connection, ["email"], clock())
            assert state.error is not None
            assert "451 try later" in state.error
            clock.later(seconds=10)
            assert await sender.send() == 1
        assert len(mailbox.mails) == 1
        assert await waiting(db) == []

    async def test_a_recipient_that_is_refused_delays_no_other(
        self, db: Database, clock: TurnedClock, mailbox: Mailbox
    ) -> None:
        await opened(db, clock, GRAVE)
        mailbox.refused = {"bek@example.kg"}
        async with running_sender(db, clock, **mail_settings(mailbox)) as sender:
            await sender.send()
        assert (len(mailbox.mails), await waiting(db)) == (1, [])

    async def test_a_subject_with_line_breaks_makes_no_header(
        self, db: Database, clock: TurnedClock, mailbox: Mailbox
    ) -> None:
        await opened(db, clock, GRAVE, "S1\r\nBcc: all@example.kg")
        async with running_sender(db, clock, **mail_settings(mailbox)) as sender:
            await sender.send()
        [mail] = mailbox.mails
        assert mail["Bcc"] is None
        assert "S1  Bcc: all@example.kg" in mail["Subject"]


async def test_what_waits_is_a_gauge(db: Database, clock: TurnedClock) -> None:
    await opened(db, clock)
    clock.later(seconds=90)
    await measure(db, ["webhook"], clock)
    labels = {"channel": "webhook"}
    assert REGISTRY.get_sample_value("evpower_alert_messages_waiting", labels) == 1
    assert REGISTRY.get_sample_value("evpower_alert_messages_oldest_seconds", labels) == 90


async def test_messages_of_closed_alerts_are_deleted_after_30_days(
    db: Database, owner: Connection, clock: TurnedClock, receiver: Receiver
) -> None:
    await opened(db, clock)
    await opened(db, clock, subject="S2")
    await closed(db, clock)
    async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
        await sender.send()
    clock.later(days=31)
    async with db.transaction() as connection:
        await purge(connection, clock() - timedelta(days=30), 100)
    assert await owner.fetchval("select count(*) from alerts.messages") == 1

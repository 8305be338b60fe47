"""A message goes to the carrier once, whatever becomes of its answers."""

import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from evpower.devstack import ports
from evpower.devstack.services import ProcessService
from evpower.foundation.http import HttpClient
from evpower.identity.sign_in.senders.console import ConsoleSender
from evpower.identity.sign_in.senders.nikita import NikitaSender
from evpower.identity.sign_in.senders.protocol import NotSent, SentPerhaps, Sms

PHONE = "+996555123456"
PASSWORD = "p&w<d>"


class Carrier:
    """The simulator, as a process on a socket."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self.url = url
        self._http = http

    async def fail(self, **fault: object) -> None:
        answer = await self._http.post(f"{self.url}/control", json=fault)
        assert answer.status_code == 204

    async def inbox(self) -> list[dict[str, str]]:
        return (await self._http.get(f"{self.url}/inbox")).json()


@pytest.fixture(scope="module")
async def process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    port = ports.free_port()
    url = f"http://127.0.0.1:{port}"
    folder: Path = tmp_path_factory.mktemp("sms")
    service = ProcessService(
        "SMS carrier",
        [sys.executable, "-m", "evpower.devstack.sms", "--port", str(port)],
        log=folder / "sms.log",
        ready_url=f"{url}/healthz",
        env={"EVPOWER_SMS_LOGIN": "evpower", "EVPOWER_SMS_PASSWORD": PASSWORD},
    )
    await service.start()
    yield url
    await service.stop()


@pytest.fixture
def carrier(process: str, http: httpx.AsyncClient) -> Carrier:
    return Carrier(process, http)


@pytest.fixture
async def outside() -> AsyncIterator[HttpClient]:
    async with HttpClient() as http:
        yield http


@pytest.fixture
def sender(carrier: Carrier, outside: HttpClient) -> NikitaSender:
    return new_sender(carrier, outside)


def new_sender(
    carrier: Carrier, outside: HttpClient, password: str = PASSWORD, total_s: float = 10
) -> NikitaSender:
    return NikitaSender(
        outside,
        url=f"{carrier.url}/api/message",
        login="evpower",
        password=SecretStr(password),
        sender="EvPower",
        pause_s=0,
        total_s=total_s,
    )


def a_message(text: str = "EvPower: код 012345") -> Sms:
    return Sms(secrets.token_hex(6).upper(), PHONE, text)


async def sent(carrier: Carrier, message: Sms) -> list[dict[str, str]]:
    return [received for received in await carrier.inbox() if received["id"] == message.id]


async def test_a_message_arrives_as_it_was_written(carrier: Carrier, sender: NikitaSender) -> None:
    message = a_message("EvPower: \N{CYRILLIC SMALL LETTER KA} <012345> & ...")
    await sender.send(message)
    assert await sent(carrier, message) == [
        {"id": message.id, "phone": "996555123456", "sender": "EvPower", "text": message.text}
    ]


async def test_a_lost_answer_sends_no_second_message(
    carrier: Carrier, sender: NikitaSender
) -> None:
    message = a_message()
    await carrier.fail(lost=True)
    await sender.send(message)
    assert len(await sent(carrier, message)) == 1


async def test_a_busy_carrier_is_asked_once_more(carrier: Carrier, sender: NikitaSender) -> None:
    message = a_message()
    await carrier.fail(status=9)
    await sender.send(message)
    assert len(await sent(carrier, message)) == 1
    await carrier.fail(status=9, times=2)
    with pytest.raises(NotSent):
        await sender.send(a_message())


@pytest.mark.parametrize("status", [1, 2, 3, 4, 5, 6, 7, 8, 11, 99])
async def test_a_refusal_differs_from_a_doubt(
    carrier: Carrier, sender: NikitaSender, status: int
) -> None:
    await carrier.fail(status=status)
    with pytest.raises(NotSent) as refused:
        await sender.send(a_message())
    assert str(status) in refused.value.reason
    assert refused.value.is_ours == (status not in (7, 99))


@pytest.mark.parametrize("fault", [{"http": 500}, {"lost": True}])
async def test_two_lost_answers_leave_it_open(
    carrier: Carrier, sender: NikitaSender, fault: dict[str, object]
) -> None:
    await carrier.fail(times=2, **fault)
    if "lost" in fault:
        message = a_message()
        with pytest.raises(SentPerhaps):
            await sender.send(message)
        assert len(await sent(carrier, message)) == 1
    else:
        with pytest.raises(SentPerhaps):
            await sender.send(a_message())


async def test_a_slow_carrier_does_not_hold_the_driver_for_long(
    carrier: Carrier, outside: HttpClient
) -> None:
    await carrier.fail(slow_s=5, times=2)
    with pytest.raises(SentPerhaps):
        await new_sender(carrier, outside, total_s=0.4).send(a_message())
    await carrier.fail(times=0)


async def test_a_carrier_that_is_not_there_has_sent_nothing(outside: HttpClient) -> None:
    sender = NikitaSender(
        outside,
        url="http://127.0.0.1:9/api/message",
        login="l",
        password=SecretStr("p"),
        sender="EvPower",
    )
    with pytest.raises(NotSent, match="can't be reached"):
        await sender.send(a_message())


async def test_a_wrong_password_is_named_and_not_shown(
    carrier: Carrier, outside: HttpClient
) -> None:
    with pytest.raises(NotSent) as refused:
        await new_sender(carrier, outside, "another-secret").send(a_message())
    assert "login or password" in refused.value.reason
    assert "another-secret" not in refused.value.reason


def test_neither_the_code_nor_the_password_is_in_a_repr(sender: NikitaSender) -> None:
    assert "012345" not in repr(a_message())
    assert "p&w" not in repr(vars(sender))


async def test_the_console_sender_writes_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await ConsoleSender().send(a_message())
    assert "012345" in capsys.readouterr().err

"""What doctor says of O!Dengi, against its simulator and hosts that are away."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from evpower.cli.doctor_odengi import look_at_odengi
from evpower.config import Settings
from evpower.devstack.bank.odengi import create_odengi_bank
from tests.payments.conftest import LoopbackServer

PASSWORD = "a password of the API"


@pytest.fixture
async def bank() -> AsyncIterator[str]:
    server = LoopbackServer()
    await server.start(create_odengi_bank("1000000001", PASSWORD))
    yield server.url
    await server.stop()
    server.close()


def settings(url: str, **changes: object) -> Settings:
    values: dict[str, object] = {
        "env": "development", "odengi_url": url, "odengi_sid": "1000000001",
        "odengi_password": SecretStr(PASSWORD), "public_url": "https://api.example.kg",
    } | changes  # fmt: skip
    return Settings(_env_file=None, **values)  # pyright: ignore[reportCallIssue, reportArgumentType]


async def test_a_bank_that_answers(bank: str) -> None:
    [finding] = await look_at_odengi(settings(bank))
    assert finding.ok
    assert finding.name == f"O!Dengi {bank.removeprefix('http://')}"
    assert "error 50" in finding.detail


async def test_a_wrong_password_is_what_the_bank_says(bank: str) -> None:
    [finding] = await look_at_odengi(settings(bank, odengi_password=SecretStr("another one")))
    assert "Неверный hash" in finding.detail
    assert "another one" not in repr(finding)


async def test_a_bank_that_is_away() -> None:
    [finding] = await look_at_odengi(settings("http://127.0.0.1:9"))
    assert finding.ok is False
    assert "EVPOWER_ODENGI_URL" in finding.fix


async def test_no_address_for_notices_and_test_bills_are_shown(bank: str) -> None:
    findings = await look_at_odengi(settings(bank, public_url="", odengi_test=True))
    assert [(it.name, it.ok) for it in findings[1:]] == [
        ("O!Dengi notices", False),
        ("O!Dengi test mode", None),
    ]


async def test_without_the_bank_there_is_nothing_to_say() -> None:
    assert await look_at_odengi(settings("", odengi_sid="", odengi_password=SecretStr(""))) == []

"""The limits of calls to a provider: their time, and how many bills are created at once."""

import asyncio
import gc

import pytest

from evpower.payments import provider_call
from evpower.payments.errors import ProviderRefused, ProviderUnavailable
from evpower.payments.provider_call import CALL_LIMIT_S, MAX_CREATES, call_provider
from evpower.payments.recheck import LEASE
from tests.waiting import until


class SlowBank:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.calls = 0
        self.answers = asyncio.Event()

    async def answer(self) -> str:
        self.calls += 1
        await self.answers.wait()
        return "answered"


async def test_a_call_ends_before_its_driver_and_its_lease_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert min(30, LEASE.total_seconds()) > CALL_LIMIT_S
    monkeypatch.setattr(provider_call, "CALL_LIMIT_S", 0.01)
    bank = SlowBank()
    with pytest.raises(ProviderUnavailable, match=r"no answer in 0\.01 s"):
        await call_provider("odengi", "create", bank.answer())
    assert bank.calls == 1


@pytest.mark.filterwarnings("error::RuntimeWarning")
async def test_no_more_bills_than_30_are_created_at_once() -> None:
    bank = SlowBank()
    hanging = [
        asyncio.create_task(call_provider("odengi", "create", bank.answer()))
        for _ in range(MAX_CREATES)
    ]
    await until(lambda: bank.calls == MAX_CREATES)
    with pytest.raises(ProviderRefused, match=f"{MAX_CREATES} bills"):
        await call_provider("odengi", "create", bank.answer())
    assert bank.calls == MAX_CREATES  # the one too many was not begun
    gc.collect()  # nor left behind, not awaited

    others = [
        asyncio.create_task(call_provider("odengi", "status", bank.answer())),
        asyncio.create_task(call_provider("sandbox", "create", bank.answer())),
    ]
    await until(lambda: bank.calls == MAX_CREATES + 2)
    bank.answers.set()
    assert set(await asyncio.gather(*hanging, *others)) == {"answered"}
    assert await call_provider("odengi", "create", bank.answer()) == "answered"


async def test_bills_that_failed_leave_room_for_others() -> None:
    async def fail() -> str:
        raise ProviderUnavailable("away")

    for _ in range(MAX_CREATES + 1):
        with pytest.raises(ProviderUnavailable, match="away"):
            await call_provider("odengi", "create", fail())

"""Values expire by the clock, the least recently used goes first, one caller reads for all."""

import asyncio

import pytest

from evpower.foundation.cache import CachedValue, TtlCache


class Seconds:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class TestTtlCache:
    def test_a_value_is_there_until_its_time(self) -> None:
        clock = Seconds()
        cache = TtlCache[str, int](2, clock)
        cache.put("a", 1, expires_at=110.0)
        clock.now = 109.9
        assert cache.get("a") == 1
        clock.now = 110.0
        assert cache.get("a") is None
        assert len(cache) == 0

    def test_the_least_recently_used_is_dropped(self) -> None:
        cache = TtlCache[str, int](2, Seconds())
        for key in "ab":
            cache.put(key, 1, expires_at=200.0)
        assert cache.get("a") == 1
        cache.put("c", 1, expires_at=200.0)
        assert [cache.get(key) for key in "abc"] == [1, None, 1]
        assert len(cache) == 2

    def test_a_later_value_replaces_the_earlier_one(self) -> None:
        clock = Seconds()
        cache = TtlCache[str, int](2, clock)
        cache.put("a", 1, expires_at=101.0)
        cache.put("a", 2, expires_at=200.0)
        clock.now = 150.0
        assert cache.get("a") == 2

    def test_clear_drops_everything(self) -> None:
        cache = TtlCache[str, int](2, Seconds())
        cache.put("a", 1, expires_at=200.0)
        cache.clear()
        assert cache.get("a") is None


class Source:
    """Counts its readings; each waits until the test lets it end."""

    def __init__(self) -> None:
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> int:
        self.reads += 1
        await self.gate.wait()
        return self.reads


async def _others_run() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


class TestCachedValue:
    async def test_it_is_read_again_when_it_expires(self) -> None:
        clock, source = Seconds(), Source()
        cached = CachedValue(source, ttl_s=30.0, now_s=clock)
        assert [await cached.get(), await cached.get()] == [1, 1]
        clock.now += 30.0
        assert await cached.get() == 2
        cached.expire()
        assert await cached.get() == 3

    async def test_callers_at_the_same_time_share_one_reading(self) -> None:
        source = Source()
        source.gate.clear()
        cached = CachedValue(source, ttl_s=30.0, now_s=Seconds())
        callers = [asyncio.create_task(cached.get()) for _ in range(5)]
        await asyncio.sleep(0)
        source.gate.set()
        assert await asyncio.gather(*callers) == [1] * 5

    async def test_a_failed_reading_is_raised_and_tried_again(self) -> None:
        outcomes = iter([OSError("no"), 7])

        async def read() -> int:
            outcome = next(outcomes)
            if isinstance(outcome, OSError):
                raise outcome
            return outcome

        cached = CachedValue(read, ttl_s=30.0, now_s=Seconds())
        with pytest.raises(OSError, match="no"):
            await cached.get()
        assert await cached.get() == 7

    async def test_a_replaced_value_expires_when_the_one_before_it_would(self) -> None:
        clock, source = Seconds(), Source()
        cached = CachedValue(source, ttl_s=30.0, now_s=clock)
        cached.replace(5)
        assert (cached.peek(), await cached.get()) == (None, 1)
        clock.now += 20.0
        cached.replace(5)
        assert (cached.peek(), await cached.get()) == (5, 5)
        clock.now += 10.0
        assert await cached.get() == 2

    async def test_what_is_read_while_it_expires_is_for_those_who_wait_alone(self) -> None:
        source = Source()
        source.gate.clear()
        cached = CachedValue(source, ttl_s=30.0, now_s=Seconds())
        early = asyncio.create_task(cached.get())
        await _others_run()
        cached.expire()
        late = asyncio.create_task(cached.get())
        await _others_run()
        assert source.reads == 2
        source.gate.set()
        await asyncio.gather(early, late)
        assert (await cached.get(), source.reads) == (2, 2)

    async def test_a_caller_who_leaves_ends_the_reading_of_no_other(self) -> None:
        source = Source()
        source.gate.clear()
        cached = CachedValue(source, ttl_s=30.0, now_s=Seconds())
        first, second = (asyncio.create_task(cached.get()) for _ in range(2))
        await _others_run()
        first.cancel()
        await _others_run()
        source.gate.set()
        assert await second == 1
        assert source.reads == 1


class TestRenewal:
    async def test_no_caller_waits_while_a_value_is_renewed(self) -> None:
        clock, source = Seconds(), Source()
        cached = CachedValue(source, ttl_s=30.0, now_s=clock, renew_s=20.0)
        assert await cached.get() == 1
        clock.now += 19.9
        assert await cached.get() == 1
        assert source.reads == 1
        source.gate.clear()
        clock.now += 0.1
        assert [await cached.get(), await cached.get()] == [1, 1]
        await _others_run()
        assert source.reads == 2
        source.gate.set()
        await _others_run()
        assert await cached.get() == 2

    async def test_a_value_that_expires_meanwhile_is_given_to_no_caller(self) -> None:
        clock, source = Seconds(), Source()
        cached = CachedValue(source, ttl_s=30.0, now_s=clock, renew_s=20.0)
        await cached.get()
        source.gate.clear()
        clock.now += 25.0
        assert await cached.get() == 1
        clock.now += 5.0
        waits = asyncio.create_task(cached.get())
        await _others_run()
        assert not waits.done()
        source.gate.set()
        assert (await waits, source.reads) == (2, 2)

    async def test_a_failed_renewal_is_tried_again_and_raised_at_the_end(self) -> None:
        clock = Seconds()
        outcomes = iter([1, OSError("once"), 2, OSError("twice"), OSError("no")])

        async def read() -> int:
            outcome = next(outcomes)
            if isinstance(outcome, OSError):
                raise outcome
            return outcome

        cached = CachedValue(read, ttl_s=30.0, now_s=clock, renew_s=20.0)
        await cached.get()
        clock.now += 20.0
        for given in (1, 1, 2):
            assert await cached.get() == given
            await _others_run()
        clock.now += 20.0
        assert await cached.get() == 2
        await _others_run()
        clock.now += 10.0
        with pytest.raises(OSError, match="no"):
            await cached.get()

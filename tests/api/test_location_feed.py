"""The feed of the old socket without its server: channels, pings, one encoding for all."""

import asyncio

import orjson

from evpower.api.legacy import LocationFeed
from tests.api.location_feed import UPDATE, pinging
from tests.waiting import until


class Wire:
    """A wire that keeps what was written."""

    def __init__(self) -> None:
        self.slow = False
        self.aborted = False
        self.frames: list[bytes] = []
        self.written_at_s: list[float] = []

    def write(self, frame: bytes) -> bool:
        self.frames.append(frame)
        self.written_at_s.append(asyncio.get_running_loop().time())
        return True

    def abort(self) -> None:
        self.aborted = True

    def forget_handshake(self) -> None:
        """Nothing to forget."""

    def pings(self) -> int:
        return sum(b'{"type":"ping"}' in frame for frame in self.frames)


async def test_a_socket_has_so_many_channels() -> None:
    feed, wire = LocationFeed(), Wire()
    viewer = feed.join(wire)
    for number in range(49):
        assert feed.subscribe(viewer, f"location:{number}") == ""
    assert feed.subscribe(viewer, "location:one too many") == "too_many_channels"
    assert feed.subscribe(viewer, "location:1") == "", "one it has already"
    feed.unsubscribe(viewer, "location:1")
    assert feed.subscribe(viewer, "location:another") == ""
    feed.leave(viewer)
    assert not feed._viewers


class TestPings:
    async def test_a_thousand_idle_sockets_share_one_loop_and_no_task(self) -> None:
        feed = LocationFeed(ping_s=0.05)
        wires = [Wire() for _ in range(1000)]
        async with pinging(feed):
            tasks = asyncio.all_tasks()
            viewers = [feed.join(wire) for wire in wires]
            await until(lambda: all(wire.pings() >= 3 for wire in wires))
            begun = {str(task.get_coro()) for task in asyncio.all_tasks() - tasks}
            assert not [coroutine for coroutine in begun if "LocationFeed" in coroutine]
            for viewer in viewers:
                feed.leave(viewer)

    async def test_a_slow_socket_is_closed_at_its_ping(self) -> None:
        feed, wire = LocationFeed(ping_s=0.01), Wire()
        viewer = feed.join(wire)
        wire.slow = True
        async with pinging(feed):
            await until(lambda: wire.aborted)
        assert wire.frames == []
        feed.leave(viewer)

    async def test_pings_keep_their_distance_whoever_comes_and_goes(self) -> None:
        feed = LocationFeed(ping_s=0.2)
        first, second = Wire(), Wire()
        leaving = feed.join(first)
        async with pinging(feed):
            await until(lambda: first.pings() > 0)
            joined_s = asyncio.get_running_loop().time()
            stays = feed.join(second)
            feed.leave(leaving)
            pinged = first.pings()
            await until(lambda: second.pings() >= 2)
        after_s = [at_s - joined_s for at_s in second.written_at_s]
        assert after_s[0] >= 0.2, "not at the time of the one that left"
        assert after_s[1] >= 0.4
        assert first.pings() == pinged
        feed.leave(stays)

    def test_what_is_pushed_is_one_encoding_for_all(self) -> None:
        async def work() -> list[Wire]:
            feed, wires = LocationFeed(), [Wire() for _ in range(3)]
            viewers = [feed.join(wire) for wire in wires]
            assert feed.push("all", UPDATE) == 3
            for viewer in viewers:
                feed.leave(viewer)
            return wires

        first, *others = asyncio.run(work())
        assert all(other.frames[0] is first.frames[0] for other in others)
        assert orjson.loads(first.frames[0][2:]) == UPDATE

"""Changes between nodes over a real NATS server, and what is no change of ours."""

import asyncio
import sys
from types import ModuleType
from uuid import UUID, uuid4

import nats
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpower.charging import SESSION_CHANGED
from evpower.devstack.nats import LocalNats
from evpower.foundation.bus import Topic, nats_link
from evpower.foundation.bus.nats_bus import NatsBus, announce, decode, encode, reach
from evpower.foundation.bus.nats_servers import parse_servers
from evpower.identity import CLIENT_CHANGED
from evpower.sync.model import SUPABASE_CHANGED
from tests.foundation.nats_nodes import BY_CODE, Change, Node, counted, nodes
from tests.waiting import WAIT_LIMIT_S


async def test_the_client_is_imported_before_the_time_of_an_announcement_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To import it takes a tenth of a second or more, and the caller waits 1.5 at most."""
    importing: list[object] = []

    class Imported(ModuleType):
        def __getattr__(self, name: str) -> object:
            importing.append(asyncio.current_task())
            return getattr(nats_link, name)

    monkeypatch.setitem(sys.modules, nats_link.__name__, Imported(nats_link.__name__))
    assert await announce("nats://127.0.0.1:1", [(CLIENT_CHANGED, uuid4())])
    assert set(importing) == {asyncio.current_task()}


@pytest.mark.usefixtures("patient")
class TestChanges:
    async def test_a_change_is_heard_once_on_every_node(self, nats_server: LocalNats) -> None:
        async with nodes(nats_server.url, nats_server.url, nats_server.url) as (
            here,
            there,
            yonder,
        ):
            changes: list[Change] = [
                (CLIENT_CHANGED, uuid4()),
                (SESSION_CHANGED, uuid4()),
                (SUPABASE_CHANGED, UUID(int=0)),
            ]
            for change in changes:
                here.bus.publish(*change)
            assert here.heard == changes, "the listeners of its own process hear it at once"
            await there.has_heard(*changes)
            await yonder.has_heard(*changes)
            there.bus.publish(CLIENT_CHANGED, last := uuid4())
            await here.has_heard((CLIENT_CHANGED, last))
            assert here.heard == [*changes, (CLIENT_CHANGED, last)], "nothing of its own came back"
            assert sorted(there.heard, key=str) == sorted(
                [*changes, (CLIENT_CHANGED, last)], key=str
            )

    async def test_ten_thousand_publishes_are_a_few_messages(self, nats_server: LocalNats) -> None:
        async with nodes(nats_server.url, nats_server.url) as (here, there):
            messages, published = counted("messages_total"), counted("published_total")
            keys = [uuid4() for _ in range(10_000)]
            for key in keys:
                here.bus.publish(CLIENT_CHANGED, key)
            await there.has_heard(*((CLIENT_CHANGED, key) for key in keys))
            assert counted("messages_total") - messages == 10
            assert counted("published_total") - published == 10_000
            assert len(there.heard) == 10_000

    async def test_one_key_published_ten_thousand_times_is_one_change(
        self, nats_server: LocalNats
    ) -> None:
        async with nodes(nats_server.url, nats_server.url) as (here, there):
            key = uuid4()
            for _ in range(10_000):
                here.bus.publish(CLIENT_CHANGED, key)
            here.bus.publish(SESSION_CHANGED, key)
            await there.has_heard((CLIENT_CHANGED, key), (SESSION_CHANGED, key))
            assert there.heard == [(CLIENT_CHANGED, key), (SESSION_CHANGED, key)]

    async def test_what_is_published_right_before_the_end_is_sent(
        self, nats_server: LocalNats
    ) -> None:
        async with nodes(nats_server.url) as (there,):
            here = Node(nats_server.url)
            await here.bus.start()
            assert await here.bus.wait_connected(WAIT_LIMIT_S)
            here.bus.publish(CLIENT_CHANGED, key := uuid4())
            await here.bus.close()
            await there.has_heard((CLIENT_CHANGED, key))

    async def test_installations_with_other_prefixes_do_not_hear_each_other(
        self, nats_server: LocalNats
    ) -> None:
        other = Node(nats_server.url, "staging")
        async with nodes(nats_server.url, nats_server.url) as (here, there):
            await other.bus.start()
            try:
                assert await other.bus.wait_connected(WAIT_LIMIT_S)
                here.bus.publish(CLIENT_CHANGED, ours := uuid4())
                other.bus.publish(CLIENT_CHANGED, uuid4())
                await there.has_heard((CLIENT_CHANGED, ours))
            finally:
                await other.bus.close()
            assert there.heard == [(CLIENT_CHANGED, ours)]
            assert (CLIENT_CHANGED, ours) not in other.heard

    async def test_a_listener_that_fails_stops_no_one(self, nats_server: LocalNats) -> None:
        async with nodes(nats_server.url, nats_server.url) as (here, there):

            def fail(_topic: Topic, key: UUID) -> None:
                if key.int == 1:
                    raise RuntimeError("a bug in a listener")

            there.bus.subscribe(fail)
            here.bus.publish(CLIENT_CHANGED, UUID(int=1))
            here.bus.publish(CLIENT_CHANGED, after := uuid4())
            await there.has_heard((CLIENT_CHANGED, after))


@pytest.mark.usefixtures("patient")
class TestGarbage:
    @pytest.mark.parametrize(
        "message",
        [
            b"",
            b"hello",
            b"\x02c" + bytes(16),
            b"\x01c" + bytes(15),
            b"\x01" + (b"c" + bytes(16)) * 1001,
            b'{"topic": "client"}',
        ],
        ids=["empty", "text", "other format", "short", "too many", "json"],
    )
    async def test_what_is_not_ours_is_counted_and_ignored(
        self, nats_server: LocalNats, message: bytes
    ) -> None:
        stranger = await nats.connect(nats_server.url, connect_timeout=int(WAIT_LIMIT_S))
        try:
            async with nodes(nats_server.url) as (here,):
                before = counted("dropped_total", reason="malformed")
                await stranger.publish("evpower.changes", message)
                await stranger.publish("evpower.changes", b"\x01c" + UUID(int=7).bytes)
                await here.has_heard((CLIENT_CHANGED, UUID(int=7)))
                assert here.heard == [(CLIENT_CHANGED, UUID(int=7))]
                assert counted("dropped_total", reason="malformed") == before + 1
        finally:
            await stranger.close()

    @given(st.binary(max_size=200))
    def test_no_bytes_break_the_reader(self, message: bytes) -> None:
        for topic, key in decode(message, BY_CODE) or []:
            assert topic in {CLIENT_CHANGED, SESSION_CHANGED, SUPABASE_CHANGED}
            assert isinstance(key, UUID)

    @given(st.lists(st.tuples(st.sampled_from("csb"), st.uuids()), max_size=50))
    def test_what_is_packed_is_unpacked(self, changes: list[tuple[str, UUID]]) -> None:
        topics: dict[str, Topic] = {
            "c": CLIENT_CHANGED, "s": SESSION_CHANGED, "b": SUPABASE_CHANGED,
        }  # fmt: skip
        packed = encode([code.encode() + key.bytes for code, key in changes], per_message=7)
        unpacked = [change for message in packed for change in decode(message, BY_CODE) or []]
        assert unpacked == [(topics[code], key) for code, key in changes]

    def test_a_topic_of_a_newer_version_is_passed_over(self) -> None:
        message = b"\x01z" + UUID(int=1).bytes + b"c" + UUID(int=2).bytes
        assert decode(message, BY_CODE) == [(CLIENT_CHANGED, UUID(int=2))]


@pytest.mark.usefixtures("patient")
class TestFromOutside:
    """Commands are no nodes: they connect, tell one change or look, and are gone."""

    async def test_a_command_tells_the_nodes(self, nats_server: LocalNats, no_one: str) -> None:
        async with nodes(nats_server.url) as (here,):
            key = uuid4()
            urls = f"nats://{no_one},{nats_server.url}"
            assert await announce(urls, [(CLIENT_CHANGED, key)], within_s=WAIT_LIMIT_S) == ""
            await here.has_heard((CLIENT_CHANGED, key))

    async def test_a_command_is_told_that_no_one_heard(self, no_one: str) -> None:
        assert await announce(f"nats://{no_one}", [(CLIENT_CHANGED, uuid4())])

    async def test_every_server_is_tried(self, nats_server: LocalNats, no_one: str) -> None:
        reached = await reach(f"nats://u:s3cret@{no_one},{nats_server.url}")
        (first, trouble), second = reached
        assert first == no_one
        assert trouble
        assert "s3cret" not in trouble
        assert second == (f"127.0.0.1:{nats_server.port}", "")


class TestUrls:
    def test_several_servers(self) -> None:
        first, second = parse_servers("nats://a:4223, tls://user:pw@[::1]")
        assert (first.address, first.tls, first.url) == ("a:4223", False, "nats://a:4223")
        assert (second.url, second.user, second.password) == ("tls://[::1]:4222", "user", "pw")
        assert "pw" not in repr(second)

    @pytest.mark.parametrize(
        "url",
        [
            "",
            " , ",
            "http://a:s3cret@b",
            "nats://",
            "nats://u:s3cret@a:port",
            "nats://a:99999",
            "s3cret",
            "nats://[u:s3cret@a",
            "nats://a/s3cret",
        ],
    )
    def test_nonsense_is_refused_without_quoting_it(self, url: str) -> None:
        with pytest.raises(ValueError) as refused:
            NatsBus(url)
        assert "s3cret" not in str(refused.value)

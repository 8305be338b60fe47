"""The bus between nodes, on a real NATS server that is killed, unresponsive, slow, or not ours."""

import asyncio
import datetime as dt
import ipaddress
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import nats
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from evpower.charging import SESSION_CHANGED
from evpower.devstack.nats import LocalNats
from evpower.foundation.bus import EVERYTHING, Topic, nats_link
from evpower.foundation.bus.nats_bus import NatsBus, announce, decode, encode, reach, topics_by_code
from evpower.foundation.bus.nats_keys import NatsFiles
from evpower.foundation.bus.nats_link import NatsLink, NatsServer, parse_servers
from evpower.identity import CLIENT_CHANGED
from evpower.sync.model import SUPABASE_CHANGED
from tests.waiting import WAIT_LIMIT_S, until

Change = tuple[Topic, UUID]
TOPICS = (CLIENT_CHANGED, SESSION_CHANGED, SUPABASE_CHANGED)
BY_CODE = topics_by_code(TOPICS)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"evpower_bus_{name}", labels) or 0.0


class Node:
    """A bus, what its listener heard, and how often it was to look at everything."""

    def __init__(self, url: str, prefix: str = "evpower", files: NatsFiles | None = None) -> None:
        self.bus = NatsBus(
            url, prefix=prefix, files=files or NatsFiles(), check_s=0.1, jitter=lambda: 0.0
        )
        self.bus.use_topics(TOPICS, missed=CLIENT_CHANGED)
        self.heard: list[Change] = []
        self.looks = 0
        self.bus.subscribe(self._hear)

    def _hear(self, topic: Topic, key: UUID) -> None:
        if (topic, key) == (CLIENT_CHANGED, EVERYTHING):
            self.looks += 1
        else:
            self.heard.append((topic, key))

    async def has_heard(self, *changes: Change) -> None:
        await until(lambda: set(changes) <= set(self.heard), f"never heard {changes[:3]}")


@asynccontextmanager
async def nodes(*urls: str, connected: bool = True) -> AsyncIterator[list[Node]]:
    made = [Node(url) for url in urls]
    try:
        for node in made:
            await node.bus.start()
        if connected:
            for node in made:
                assert await node.bus.wait_connected(WAIT_LIMIT_S)
        yield made
    finally:
        await asyncio.gather(*(node.bus.close() for node in made))


@asynccontextmanager
async def serving(server: LocalNats) -> AsyncIterator[LocalNats]:
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalNats]:
    """One for the tests that leave it whole."""
    async with serving(LocalNats(tmp_path_factory.mktemp("nats"))) as server:
        yield server


@pytest.mark.usefixtures("patient")
class TestChanges:
    async def test_a_change_is_heard_once_on_every_node(self, server: LocalNats) -> None:
        async with nodes(server.url, server.url, server.url) as (here, there, yonder):
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

    async def test_ten_thousand_publishes_are_a_few_messages(self, server: LocalNats) -> None:
        async with nodes(server.url, server.url) as (here, there):
            messages, published = counted("messages_total"), counted("published_total")
            keys = [uuid4() for _ in range(10_000)]
            for key in keys:
                here.bus.publish(CLIENT_CHANGED, key)
            await there.has_heard(*((CLIENT_CHANGED, key) for key in keys))
            assert counted("messages_total") - messages == 10
            assert counted("published_total") - published == 10_000
            assert len(there.heard) == 10_000

    async def test_one_key_published_ten_thousand_times_is_one_change(
        self, server: LocalNats
    ) -> None:
        async with nodes(server.url, server.url) as (here, there):
            key = uuid4()
            for _ in range(10_000):
                here.bus.publish(CLIENT_CHANGED, key)
            here.bus.publish(SESSION_CHANGED, key)
            await there.has_heard((CLIENT_CHANGED, key), (SESSION_CHANGED, key))
            assert there.heard == [(CLIENT_CHANGED, key), (SESSION_CHANGED, key)]

    async def test_what_is_published_right_before_the_end_is_sent(self, server: LocalNats) -> None:
        async with nodes(server.url) as (there,):
            here = Node(server.url)
            await here.bus.start()
            assert await here.bus.wait_connected(WAIT_LIMIT_S)
            here.bus.publish(CLIENT_CHANGED, key := uuid4())
            await here.bus.close()
            await there.has_heard((CLIENT_CHANGED, key))

    async def test_installations_with_other_prefixes_do_not_hear_each_other(
        self, server: LocalNats
    ) -> None:
        other = Node(server.url, "staging")
        async with nodes(server.url, server.url) as (here, there):
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

    async def test_a_listener_that_fails_stops_no_one(self, server: LocalNats) -> None:
        async with nodes(server.url, server.url) as (here, there):

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
        self, server: LocalNats, message: bytes
    ) -> None:
        stranger = await nats.connect(server.url, connect_timeout=int(WAIT_LIMIT_S))
        try:
            async with nodes(server.url) as (here,):
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


class TestAwayAndBack:
    async def test_a_server_may_come_later(self, tmp_path: Path) -> None:
        server = LocalNats(tmp_path)
        async with nodes(server.url, server.url, connected=False) as (here, there):
            here.bus.publish(CLIENT_CHANGED, early := uuid4())
            assert here.heard == [(CLIENT_CHANGED, early)], "the listeners here need no NATS"
            assert not await here.bus.wait_connected(0.3)
            async with serving(server):
                assert await here.bus.wait_connected(WAIT_LIMIT_S)
                assert await there.bus.wait_connected(WAIT_LIMIT_S)
                here.bus.publish(CLIENT_CHANGED, key := uuid4())
                await there.has_heard((CLIENT_CHANGED, key))

    async def test_what_waited_for_the_connection_is_sent(self, server: LocalNats) -> None:
        async with nodes(server.url) as (there,):
            here = Node(server.url)
            here.bus.publish(CLIENT_CHANGED, key := uuid4())
            await here.bus.start()
            try:
                await there.has_heard((CLIENT_CHANGED, key))
            finally:
                await here.bus.close()

    async def test_killed_and_started_again_the_nodes_find_each_other(self, tmp_path: Path) -> None:
        async with serving(LocalNats(tmp_path)) as server, nodes(server.url, server.url) as pair:
            here, there = pair
            with capture_logs() as logs:
                server.kill()
                await until(lambda: not here.bus.connected, "the loss was not noticed")
                await until(lambda: not there.bus.connected, "the loss was not noticed")
                here.bus.publish(CLIENT_CHANGED, meanwhile := uuid4())
                assert (CLIENT_CHANGED, meanwhile) in here.heard
                assert not await here.bus.wait_connected(0.5), "it tries in vain a few times"
                await server.start()
                assert await here.bus.wait_connected(WAIT_LIMIT_S)
                assert await there.bus.wait_connected(WAIT_LIMIT_S)
                here.bus.publish(CLIENT_CHANGED, after := uuid4())
                await there.has_heard((CLIENT_CHANGED, after))
                events = Counter(line["event"] for line in logs)
                away = sum(not node.bus.connected for node in pair)  # lost once more, if not 0
            assert events["bus_disconnected"] >= 2
            assert events["bus_disconnected"] - events["bus_connected"] == away, (
                "once per change of state"
            )

    async def test_an_unresponsive_server_delays_no_publisher_and_is_noticed(
        self, tmp_path: Path
    ) -> None:
        async with serving(LocalNats(tmp_path)) as server, nodes(server.url) as (here,):
            os.kill(server.pid, signal.SIGSTOP)
            try:
                for _ in range(5):
                    for _ in range(10_000):  # nothing here could let a server answer
                        here.bus.publish(CLIENT_CHANGED, uuid4())
                    await asyncio.sleep(0)
                await until(
                    lambda: not here.bus.connected, "an unresponsive server was not noticed"
                )
            finally:
                os.kill(server.pid, signal.SIGCONT)
            assert await here.bus.wait_connected(WAIT_LIMIT_S)

    async def test_an_unresponsive_server_is_noticed_though_there_is_always_something_to_send(
        self, tmp_path: Path
    ) -> None:
        async with serving(LocalNats(tmp_path)) as server, nodes(server.url) as (here,):
            os.kill(server.pid, signal.SIGSTOP)
            try:

                async def noticed() -> bool:
                    here.bus.publish(CLIENT_CHANGED, uuid4())  # small: the kernel takes it for long
                    await asyncio.sleep(0.01)
                    return not here.bus.connected

                await until(noticed, "it went on telling a server that hangs")
            finally:
                os.kill(server.pid, signal.SIGCONT)

    async def test_what_a_dying_server_did_not_pass_on_is_said_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        may_come_back = asyncio.Event()
        open_link = NatsLink.open

        async def gated(server: NatsServer, subject: str, handler: Any, **how: Any) -> NatsLink:
            if handler.__self__ is here.bus:
                await may_come_back.wait()
            return await open_link(server, subject, handler, **how)

        async with serving(LocalNats(tmp_path)) as server, nodes(server.url, server.url) as pair:
            here, there = pair
            monkeypatch.setattr(NatsLink, "open", gated)
            os.kill(server.pid, signal.SIGSTOP)
            here.bus.publish(CLIENT_CHANGED, key := uuid4())
            await until(lambda: not here.bus._waiting, "it was never handed over")
            os.kill(server.pid, signal.SIGKILL)
            await until(lambda: not here.bus.connected, "the loss was not noticed")
            await until(lambda: not there.bus.connected, "the loss was not noticed")
            server.kill()
            await server.start()
            assert await there.bus.wait_connected(WAIT_LIMIT_S), "who is not there hears nothing"
            assert (CLIENT_CHANGED, key) not in there.heard
            may_come_back.set()
            await there.has_heard((CLIENT_CHANGED, key))

    async def test_who_was_away_looks_at_everything(self, tmp_path: Path) -> None:
        async with serving(LocalNats(tmp_path)) as server, nodes(server.url) as (here,):
            assert here.looks >= 1
            server.kill()
            await until(lambda: not here.bus.connected, "the loss was not noticed")
            looked = here.looks
            await server.start()
            await until(lambda: here.looks > looked, "what it missed is not looked for")

    async def test_closing_while_the_server_hangs_is_bounded(self, tmp_path: Path) -> None:
        async with serving(LocalNats(tmp_path)) as server, nodes(server.url) as (here,):
            os.kill(server.pid, signal.SIGSTOP)
            try:
                here.bus.publish(CLIENT_CHANGED, uuid4())
                await asyncio.wait_for(here.bus.close(), WAIT_LIMIT_S)
            finally:
                os.kill(server.pid, signal.SIGCONT)

    async def test_what_waits_is_bounded_and_the_rest_is_counted(self, no_one: str) -> None:
        here = Node(f"nats://{no_one}")
        before = counted("dropped_total", reason="full")
        for _ in range(30_000):
            here.bus.publish(CLIENT_CHANGED, uuid4())
        assert counted("dropped_total", reason="full") - before == 10_000
        assert len(here.heard) == 30_000
        await here.bus.start()
        await here.bus.close()

    async def test_a_silent_and_a_strange_server_are_passed_by(
        self, server: LocalNats, no_one: str
    ) -> None:
        """One accepts and says nothing, one speaks HTTP, one is not there; the fourth is ours."""
        writers: list[asyncio.StreamWriter] = []

        async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)

        async def strange(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 100_000)
            writers.append(writer)

        mute = await asyncio.start_server(silent, "127.0.0.1", 0)
        other = await asyncio.start_server(strange, "127.0.0.1", 0)
        strangers = [
            f"127.0.0.1:{listener.sockets[0].getsockname()[1]}" for listener in (mute, other)
        ]
        tried = [*strangers, no_one, f"127.0.0.1:{server.port}"]
        try:
            async with nodes(",".join(f"nats://{address}" for address in tried)) as (here,):
                assert here.bus.connected
        finally:
            for writer in writers:
                writer.close()
            mute.close()
            other.close()
            await mute.wait_closed()
            await other.wait_closed()


async def slow(writer: asyncio.StreamWriter) -> None:
    for byte in b'INFO {"max_payload":1048576,"version":"' + b"9" * 10_000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless_line(writer: asyncio.StreamWriter) -> None:
    writer.write(b"INFO ")
    for _ in range(16 * 1024):
        writer.write(b"x" * 65_536)
        await writer.drain()


@pytest.mark.parametrize("behavior", [slow, endless_line])
async def test_a_server_that_never_comes_to_an_end_is_left(
    behavior: Callable[[asyncio.StreamWriter], Awaitable[None]],
) -> None:
    done: list[bool] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError), closing(writer):
            await behavior(writer)
            done.append(True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.timeout(WAIT_LIMIT_S):
        (tried,) = await reach(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert tried[1]
    assert not done, "1 GB was read"


@pytest.mark.parametrize(
    "received",
    [b"MSG a.changes 1 1073741824\r\n", b"x" * 1_100_000, b"-ERR '" + b"x" * 1_100_000],
    ids=["a message of 1 GB", "no line's end", "an error's text"],
)
async def test_no_message_is_read_without_an_end(received: bytes) -> None:
    client = nats_link._Client()
    with pytest.raises(ProtocolError):
        await client._ps.parse(received)


@pytest.mark.usefixtures("patient")
class TestRights:
    async def test_wrong_credentials_keep_it_away_and_are_never_told(self, tmp_path: Path) -> None:
        async with serving(LocalNats(tmp_path, user="evpower", password="right")) as server:
            url = f"nats://evpower:wr0ng-secret@127.0.0.1:{server.port}"
            with capture_logs() as logs:
                async with nodes(url, connected=False) as (here,):
                    await until(lambda: bool(logs), "nothing was told")
                    assert not await here.bus.wait_connected(0.3)
            [line] = [line for line in logs if line["event"] == "bus_disconnected"]
            assert line["reason"]
            assert "wr0ng-secret" not in str(logs)

            async def says_why() -> bool:
                """The server hangs up behind its answer: a slow reader may find the end alone."""
                [(_, trouble)] = await reach(url)
                return "authorization" in trouble.lower()

            await until(says_why)

    async def test_credentials_of_the_url_are_percent_decoded(self, tmp_path: Path) -> None:
        async with (
            serving(LocalNats(tmp_path, user="ev", password="p@ss:w/rd%")) as server,
            nodes(f"nats://ev:p%40ss%3Aw%2Frd%25@127.0.0.1:{server.port}", server.url) as (here, _),
        ):
            assert here.bus.connected

    async def test_a_token_alone_signs_in(self, tmp_path: Path) -> None:
        settings = {"authorization": {"token": "t0ken"}}
        async with (
            serving(LocalNats(tmp_path, settings=settings)) as server,
            nodes(f"nats://t0ken@127.0.0.1:{server.port}") as (here,),
        ):
            assert here.bus.connected

    @pytest.mark.parametrize("right", ["subscribe", "publish"])
    async def test_a_missing_right_shows_as_not_connected(self, tmp_path: Path, right: str) -> None:
        user = {"user": "ev", "password": "pw", "permissions": {right: {"deny": ["evpower.>"]}}}
        settings = {"authorization": {"users": [user]}}
        async with serving(LocalNats(tmp_path, settings=settings)) as server:
            with capture_logs() as logs:
                async with nodes(f"nats://ev:pw@127.0.0.1:{server.port}", connected=False) as (
                    here,
                ):
                    await until(lambda: bool(logs), "nothing was told")
                    assert not here.bus.connected
            [line] = [line for line in logs if line["event"] == "bus_disconnected"]
            assert "permissions violation" in line["reason"].lower()


@pytest.mark.usefixtures("patient")
class TestFromOutside:
    """Commands are no nodes: they connect, tell one change or look, and are gone."""

    async def test_a_command_tells_the_nodes(self, server: LocalNats, no_one: str) -> None:
        async with nodes(server.url) as (here,):
            key = uuid4()
            urls = f"nats://{no_one},{server.url}"
            assert await announce(urls, [(CLIENT_CHANGED, key)], within_s=WAIT_LIMIT_S) == ""
            await here.has_heard((CLIENT_CHANGED, key))

    async def test_a_command_is_told_that_no_one_heard(self, no_one: str) -> None:
        assert await announce(f"nats://{no_one}", [(CLIENT_CHANGED, uuid4())])

    async def test_every_server_is_tried(self, server: LocalNats, no_one: str) -> None:
        reached = await reach(f"nats://u:s3cret@{no_one},{server.url}")
        (first, trouble), second = reached
        assert first == no_one
        assert trouble
        assert "s3cret" not in trouble
        assert second == (f"127.0.0.1:{server.port}", "")


class TestTls:
    @pytest.mark.usefixtures("patient")
    async def test_tls_with_an_authority_of_ones_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate, key = make_certificate(tmp_path)
        async with serving(LocalNats(tmp_path, tls=(certificate, key))) as server:
            async with nodes(server.url, connected=False) as (here,):
                assert not await here.bus.wait_connected(0.5), "an unknown authority was trusted"
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            async with nodes(server.url, server.url) as (here, there):
                here.bus.publish(CLIENT_CHANGED, key_of := uuid4())
                await there.has_heard((CLIENT_CHANGED, key_of))

    async def test_no_credentials_go_to_a_server_that_offers_no_tls(self) -> None:
        received = bytearray()
        closed = asyncio.Event()

        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b'INFO {"auth_required":true,"max_payload":1048576}\r\n')
            with suppress(ConnectionError):
                while chunk := await reader.read(1000):
                    received.extend(chunk)
            writer.close()
            closed.set()

        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with capture_logs() as logs:
            async with nodes(f"tls://ev:secret@127.0.0.1:{port}", connected=False):
                await until(lambda: bool(logs), "nothing was told")
                await until(closed.is_set, "it did not hang up")
        server.close()
        await server.wait_closed()
        assert not received
        assert "no TLS" in logs[0]["reason"]


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


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "evpower test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files

"""The bus between nodes: a change reaches the listeners of this process at once, others over NATS.

NATS may be down, slow or lose messages. No caller waits for it or fails because of it, as every
subscriber also polls. What is published while NATS is down waits in a bounded set.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge

from evpower.foundation.backoff import Backoff
from evpower.foundation.bus import EVERYTHING, Listener, LocalBus, Topic
from evpower.foundation.bus.nats_keys import NatsFiles
from evpower.foundation.bus.nats_servers import NatsServer, parse_servers
from evpower.foundation.loops import Loop, Pause, Round

if TYPE_CHECKING:
    from evpower.foundation.bus.nats_link import NatsLink

CONNECTED: Final = Gauge("evpower_bus_connected", "1 while this process is connected to NATS")
PUBLISHED: Final = Counter("evpower_bus_published_total", "Changes sent to the other nodes")
MESSAGES: Final = Counter("evpower_bus_messages_total", "Messages they were sent in")
RECEIVED: Final = Counter("evpower_bus_received_total", "Changes received from the other nodes")
DROPPED: Final = Counter(
    "evpower_bus_dropped_total",
    "Changes or messages that were dropped; harmless, every subscriber also polls",
    ["reason"],  # full: too many waited; malformed: not our format; slow: received faster than read
)

_FORMAT: Final = b"\x01"
_HELLO: Final = _FORMAT  # a message without changes
_CHANGE_BYTES: Final = 17
_PER_MESSAGE: Final = 1000
_WAITING: Final = 20_000
_GAP_S: Final = 0.002  # between messages: changes of that time share one message
_RECONNECT: Final = Backoff(0.1, 2.0)
_STEADY_S: Final = 5.0  # a connection that lived this long resets the back-off
_CLOSE_S: Final = 3.0
_ANNOUNCE_S: Final = 1.5
_NO_FILES: Final = NatsFiles()
log: Final = structlog.get_logger()


def topics_by_code(topics: Iterable[Topic]) -> dict[int, Topic]:
    """Return topics by their codes. Raises ValueError if two share one, or one is no byte."""
    by_code: dict[int, Topic] = {}
    for topic in topics:
        if len(topic.code) != 1 or by_code.setdefault(topic.code[0], topic) != topic:
            raise ValueError(f"topic {topic.name} needs a code of its own, one byte")
    return by_code


def encode(changes: list[bytes], per_message: int = _PER_MESSAGE) -> Iterator[bytes]:
    """Pack changes (17 bytes each) into messages."""
    for start in range(0, len(changes), per_message):
        yield _FORMAT + b"".join(changes[start : start + per_message])


def decode(message: bytes, topics: Mapping[int, Topic]) -> list[tuple[Topic, UUID]] | None:
    """Returns the changes of a message; None when the format is not ours.

    `topics`: by their codes; a change of an unknown topic is skipped.
    """
    body = message[1:]
    if (
        message[:1] != _FORMAT
        or len(body) % _CHANGE_BYTES
        or len(body) > _PER_MESSAGE * _CHANGE_BYTES
    ):
        return None
    return [
        (topics[body[at]], UUID(bytes=body[at + 1 : at + _CHANGE_BYTES]))
        for at in range(0, len(body), _CHANGE_BYTES)
        if body[at] in topics
    ]


async def announce(
    urls: str,
    changes: Sequence[tuple[Topic, UUID]],
    *,
    prefix: str = "evpower",
    files: NatsFiles = _NO_FILES,
    within_s: float = _ANNOUNCE_S,
) -> str:
    """Sends changes to the nodes from outside of them. Returns "", or why that was not possible.

    All servers are tried at the same time: one that hangs delays neither the others nor the caller,
    who waits at most `within_s`. Raises ValueError when the URLs or files are invalid.
    """
    files.check()
    link_type = _link_type()  # before the caller's time runs
    messages = list(encode([topic.code + key.bytes for topic, key in changes]))
    trying = {
        asyncio.create_task(_announce(link_type, server, f"{prefix}.changes", messages, files))
        for server in parse_servers(urls)
    }
    trouble = "no answer in time"
    try:
        async with asyncio.timeout(within_s):
            for tried in asyncio.as_completed(trying):
                trouble = await tried
                if not trouble:
                    break
    except TimeoutError:
        pass
    for late in trying:
        late.cancel()
    await asyncio.gather(*trying, return_exceptions=True)
    return trouble


def _link_type() -> "type[NatsLink]":
    """Returns the class of links, imported only by who has NATS: it takes a tenth of a second."""
    from evpower.foundation.bus.nats_link import NatsLink

    return NatsLink


async def _announce(
    link_type: "type[NatsLink]",
    server: NatsServer,
    subject: str,
    messages: Sequence[bytes],
    files: NatsFiles,
) -> str:
    try:
        link = await link_type.open(server, subject, _ignore, hello=_HELLO, files=files)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is returned
        return _reason(error)
    try:
        for message in messages:
            await link.publish(message)
        await link.settle()
    except Exception as error:  # noqa: BLE001 - as above
        return _reason(error)
    finally:
        await link.close()
    return ""


async def reach(
    urls: str, *, prefix: str = "evpower", files: NatsFiles = _NO_FILES
) -> list[tuple[str, str]]:
    """Connects to every server. Returns their addresses, each with the error, "" for none.

    Raises ValueError when the URLs or files are invalid.
    """
    files.check()
    servers, link_type = parse_servers(urls), _link_type()
    tried = (_announce(link_type, server, f"{prefix}.changes", (), files) for server in servers)
    troubles = await asyncio.gather(*tried)
    return [(server.address, trouble) for server, trouble in zip(servers, troubles, strict=True)]


class NatsBus:
    """A bus for several nodes; `publish` never waits and never fails."""

    def __init__(
        self,
        urls: str,
        *,
        prefix: str = "evpower",
        files: NatsFiles = _NO_FILES,
        check_s: float = 5.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`urls`: comma-separated nats:// or tls:// URLs.

        `check_s`: an idle connection is checked this often, so that a server that hangs is noticed.
        Raises ValueError when the URLs or files are invalid.
        """
        files.check()
        self._topics: dict[int, Topic] = {}
        self._missed: Topic | None = None
        self._files = files
        self._servers = parse_servers(urls)
        self._subject = f"{prefix}.changes"
        self._check_s = check_s
        self._jitter = jitter
        self._local = LocalBus()
        self._waiting: dict[bytes, None] = {}
        self._unsure: dict[bytes, None] = {}  # sent, and not yet confirmed by the server
        self._wakeup_event = asyncio.Event()
        self._up = asyncio.Event()
        self._is_disconnected = False  # a loss is logged once
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._servers_in_turn = cycle(sorted(self._servers, key=lambda _: self._jitter()))
        self._failures = 0  # in a row
        self.loop = Loop("bus", self._round, period_s=_RECONNECT.longest_s)

    def use_topics(self, topics: Iterable[Topic], *, missed: Topic) -> None:
        """Sets the topics this node knows, before the start. Raises ValueError if two share a code.

        `missed`: its listeners get EVERYTHING after messages of other nodes may have been lost.
        """
        self._topics = topics_by_code(topics)
        self._missed = missed

    @property
    def connected(self) -> bool:
        """Whether the other nodes can be reached now."""
        return self._up.is_set()

    def publish(self, topic: Topic, key: UUID) -> None:
        """Calls the listeners of this process now, and sends the change to the other nodes soon."""
        change = topic.code + key.bytes
        if change not in self._waiting:
            if len(self._waiting) < _WAITING:
                self._waiting[change] = None
                self._wakeup_event.set()
            else:
                DROPPED.labels("full").inc()
        self._local.publish(topic, key)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Calls `listener` for every change of any node. Returns a function that unsubscribes it.

        The listener gets (`missed`, EVERYTHING) when changes of other nodes may have been missed.
        """
        return self._local.subscribe(listener)

    async def start(self) -> None:
        """Starts to connect, and reconnects for ever; returns at once, even while NATS is down."""
        self._stop = asyncio.Event()
        CONNECTED.set(0)
        self._task = asyncio.create_task(self.loop.run(self._stop), name="loop-bus")

    async def wait_connected(self, timeout_s: float) -> bool:
        """Waits until it is connected, at most `timeout_s`. Returns whether it is."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._up.wait(), timeout_s)
        return self.connected

    async def close(self) -> None:
        """Sends what waits if NATS is up, and ends within a few seconds."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stop.set()
        self._wakeup_event.set()
        if self.connected:
            await asyncio.wait([task], timeout=_CLOSE_S)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _round(self, current: Round) -> Pause:
        """Connects to the next server and sends until that connection ends."""
        server, link_type = next(self._servers_in_turn), _link_type()
        try:
            link = await link_type.open(
                server,
                self._subject,
                self._receive,
                hello=_HELLO,
                files=self._files,
                on_lost=self._wakeup_event.set,
                on_slow=DROPPED.labels("slow").inc,
            )
        except Exception as error:  # noqa: BLE001 - logged, and tried again for ever
            self._log_disconnect(server.address, error)
        else:
            began_s = asyncio.get_running_loop().time()
            self._set_connected(server.address)
            await self._serve(link, server.address, current)
            if asyncio.get_running_loop().time() - began_s > _STEADY_S:
                self._failures = 0
        current.failed("bus_disconnected")
        self._failures += 1
        return Pause(_RECONNECT.pause_s(self._failures, self._jitter))

    async def _serve(self, link: "NatsLink", address: str, current: Round) -> None:
        """Sends until the connection is lost or the bus is closed."""
        now_s = asyncio.get_running_loop().time
        checked_s = now_s()
        try:
            while link.is_open:
                await self._wait_for_changes()
                await self._send(link)
                current.progress()
                if current.stopping or now_s() - checked_s >= self._check_s:
                    await (link.settle() if self._unsure else link.check())
                    self._unsure = {}
                    checked_s = now_s()
                if current.stopping:
                    return
                await asyncio.sleep(_GAP_S)
            self._log_disconnect(address, None)
        except Exception as error:  # noqa: BLE001 - as above
            self._log_disconnect(address, error)
        finally:
            self._up.clear()
            CONNECTED.set(0)
            again, self._unsure = self._unsure, {}
            for change in islice(again, max(0, _WAITING - len(self._waiting))):
                self._waiting[change] = None
            await link.close()

    async def _wait_for_changes(self) -> None:
        if not self._wakeup_event.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wakeup_event.wait(), self._check_s)
        self._wakeup_event.clear()

    async def _send(self, link: "NatsLink") -> None:
        changes, self._waiting = list(self._waiting), {}
        sent = 0
        self._unsure |= dict.fromkeys(islice(changes, max(0, _WAITING - len(self._unsure))))
        fits = max(1, (link.max_payload_bytes - len(_FORMAT)) // _CHANGE_BYTES)
        try:
            for message in encode(changes, min(_PER_MESSAGE, fits)):
                await link.publish(message)
                count = len(message) // _CHANGE_BYTES
                sent += count
                MESSAGES.inc()
                PUBLISHED.inc(count)
        finally:
            for change in changes[sent:]:
                self._waiting.setdefault(change, None)

    async def _receive(self, message: bytes) -> None:
        changes = decode(message, self._topics)
        if changes is None:
            DROPPED.labels("malformed").inc()
            return
        RECEIVED.inc(len(changes))
        for topic, key in changes:
            self._notify_local(topic, key)
        await asyncio.sleep(0)  # a flood of messages must not starve other tasks

    def _notify_local(self, topic: Topic, key: UUID) -> None:
        try:
            self._local.publish(topic, key)
        except Exception:
            log.exception("bus_listener_failed", topic=topic.name)

    def _set_connected(self, address: str) -> None:
        self._is_disconnected = False
        self._up.set()
        CONNECTED.set(1)
        log.info("bus_connected", server=address)
        if self._missed is not None:
            self._notify_local(
                self._missed, EVERYTHING
            )  # changes of other nodes were missed meanwhile

    def _log_disconnect(self, address: str, error: BaseException | None) -> None:
        """Logs the lost connection once, until it is back."""
        if not self._is_disconnected:
            self._is_disconnected = True
            reason = _reason(error) if error else "connection lost"
            log.warning("bus_disconnected", server=address, reason=reason)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def _ignore(_message: bytes) -> None:
    """Drops a message: this connection was opened only to send or to check."""

"""The station's way to the CSMS: connects, reconnects, and sends requests one at a time, in order.

Messages of transactions are stored while offline, and sent in their order with their own stamps.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Final
from uuid import UUID

from evpower.foundation.backoff import Backoff
from evpower.foundation.clock import Sleep
from evpower.simulator.configuration import ConfigurationKeys
from evpower.simulator.faults import Faults
from evpower.simulator.frames import Payload
from evpower.simulator.link import (
    CallRefused,
    ConnectFailed,
    Link,
    NoReply,
    OnCall,
    SimulatorError,
    StationOffline,
    open_socket,
)
from evpower.simulator.model import SUBPROTOCOL, StationConfig

RECONNECT: Final = Backoff(first_s=1.0, longest_s=60.0)
Build = Callable[[], Payload]


@dataclass(slots=True, eq=False)
class Message:
    """A request to be sent. `build` makes its payload when it is sent for the first time."""

    action: str
    build: Build
    is_stored: bool
    on_reply: Callable[[Payload], None] | None = None
    result: "asyncio.Future[Payload] | None" = None
    id: str = ""
    payload: Payload | None = None
    failures: int = 0

    def finish(self, reply: Payload) -> None:
        """Passes the reply on."""
        if self.on_reply is not None:
            self.on_reply(reply)
        if self.result is not None and not self.result.done():
            self.result.set_result(reply)

    def fail(self, error: SimulatorError) -> None:
        """Passes on that no reply will come."""
        if self.result is not None and not self.result.done():
            self.result.set_exception(error)


class Uplink:
    """Holds the queue and the present connection. `on_connected` prepares each new connection."""

    def __init__(  # noqa: PLR0913 - what a station passes on
        self,
        config: StationConfig,
        *,
        faults: Faults,
        configuration: ConfigurationKeys,
        sleep: Sleep,
        random: Random,
        stamp: Callable[[], str],
        on_call: OnCall,
        on_connected: Callable[[Link], Awaitable[None]],
        on_event: Callable[[str, str], None],
    ) -> None:
        self.password = config.password
        self.violations: list[str] = []
        self.online = asyncio.Event()
        self.link: Link | None = None
        self._config = config
        self._faults = faults
        self._configuration = configuration
        self._sleep = sleep
        self._random = random
        self._stamp = stamp
        self._on_call = on_call
        self._on_connected = on_connected
        self._on_event = on_event
        self._network = asyncio.Event()
        self._network.set()
        self._queue: list[Message] = []
        self._changed = asyncio.Event()
        self._abandoned: list[Link] = []
        self._was_connected = False
        self._failures = 0
        self._last_values: Message | None = None

    @property
    def queued(self) -> int:
        """How many messages wait to be sent."""
        return len(self._queue)

    def new_id(self) -> str:
        """Returns a random message id."""
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def bent(self, action: str, payload: Payload) -> Payload:
        """Returns a payload as this station sends it."""
        bend = self._faults.bend.get(action)
        return payload if bend is None else bend(payload)

    def post(
        self,
        action: str,
        build: Build,
        *,
        is_stored: bool = False,
        on_reply: Callable[[Payload], None] | None = None,
    ) -> None:
        """Queues a request. While offline only a stored one is accepted."""
        self._add(Message(action, build, is_stored, on_reply))

    async def ask(self, action: str, payload: Payload) -> Payload:
        """Sends a request after the queued ones. Returns its reply; raises SimulatorError."""
        result: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
        self._add(Message(action, lambda: payload, is_stored=False, result=result))
        return await result

    def lose_network(self) -> None:
        """Drops the connection; nothing connects until `restore_network`."""
        self._network.clear()
        self.drop()

    def restore_network(self) -> None:
        """Lets the station connect again."""
        self._network.set()

    def open_second_socket(self) -> None:
        """Connects anew, and leaves the present connection open and unread."""
        if self.link is None:
            raise StationOffline("there is no first socket")
        self._abandoned.append(self.link)
        self.link.abandon()

    def drop(self) -> None:
        """Drops every connection without a close frame."""
        self.online.clear()
        for link in (*self._abandoned, *([self.link] if self.link else [])):
            link.drop()
        self._abandoned.clear()

    async def wait_sent(self) -> None:
        """Waits until the queue is empty."""
        while self._queue:
            self._changed.clear()
            await self._changed.wait()

    async def run(self, *, retries_first: bool) -> None:
        """Stays connected and sends, until cancelled.

        Raises ConnectFailed when the very first connection fails and `retries_first` is false.
        """
        sending = asyncio.create_task(self._send_queued())
        connecting = asyncio.create_task(self._stay_connected(retries_first=retries_first))
        try:
            done, _ = await asyncio.wait({sending, connecting}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            sending.cancel()
            connecting.cancel()
            await asyncio.gather(sending, connecting, return_exceptions=True)

    async def close(self) -> None:
        """Ends the connections with close frames."""
        links = [*self._abandoned, *([self.link] if self.link else [])]
        await asyncio.gather(*(link.close() for link in links), return_exceptions=True)

    def _add(self, message: Message) -> None:
        if message.action in self._faults.skip:
            message.fail(NoReply(f"{message.action} is not sent"))
        elif not message.is_stored and not self.online.is_set():
            message.fail(StationOffline("the station is not connected"))
        else:
            self._queue.append(message)
            self._changed.set()

    async def _stay_connected(self, *, retries_first: bool) -> None:
        while True:
            await self._network.wait()
            try:
                link = await self._open()
            except ConnectFailed as error:
                if not self._was_connected and not retries_first:
                    raise
                self._on_event("connect_failed", str(error))
            else:
                self._was_connected = True
                await self._use(link)
                if link.is_abandoned:
                    continue
                self._on_event("connection_lost", "")
                if link.was_closed_by_peer and self._faults.never_redials:
                    self._network.clear()
                    continue
            self._failures += 1
            await self._sleep(RECONNECT.pause_s(self._failures, self._random.random))

    async def _open(self) -> Link:
        if self._faults.probe_socket:
            probe = await open_socket(self._config, self.password, (SUBPROTOCOL,))
            await probe.close()
        socket = await open_socket(self._config, self.password, self._config.subprotocols)
        return Link(
            socket,
            faults=self._faults,
            sleep=self._sleep,
            reply_timeout_s=self._config.reply_timeout_s,
            on_call=self._on_call,
            violations=self.violations,
        )

    async def _use(self, link: Link) -> None:
        self.link = link
        if not self._network.is_set():  # lost while connecting
            link.drop()
        tasks = [asyncio.create_task(self._prepare(link))]
        if self._faults.reconnects_every_s is not None:
            tasks.append(asyncio.create_task(self._drop_after(link)))
        try:
            await link.read()
        finally:
            self.online.clear()
            self.link = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for message in [message for message in self._queue if not message.is_stored]:
                self._remove(message)
                message.fail(StationOffline("the connection ended before the reply"))

    async def _drop_after(self, link: Link) -> None:
        await self._sleep(self._faults.reconnects_every_s or 0)
        link.drop()

    async def _prepare(self, link: Link) -> None:
        try:
            await self._on_connected(link)
        except (StationOffline, NoReply, CallRefused):
            link.drop()
            return
        self._failures = 0
        if self._faults.shuffle_queue:
            self._random.shuffle(self._queue)
        if self._faults.replay_on_reconnect and self._last_values is not None:
            with contextlib.suppress(SimulatorError):
                await self._deliver(link, self._last_values)
        self.online.set()
        self._on_event("online", "")
        self._changed.set()

    async def _send_queued(self) -> None:
        while True:
            while not (self._queue and self.online.is_set()):
                self._changed.clear()
                await self._changed.wait()
            if self.link is not None:
                await self._send(self.link, self._queue[0])

    async def _send(self, link: Link, message: Message) -> None:
        try:
            reply = await self._deliver(link, message)
        except StationOffline as error:
            self.online.clear()
            if not message.is_stored:
                self._remove(message)
                message.fail(error)
            return
        except (NoReply, CallRefused) as error:
            await self._fail(message, error)
            return
        self._remove(message)
        message.finish(reply)
        if message.action == "MeterValues":
            self._last_values = message
        for _ in range(self._faults.repeat.get(message.action, 0)):
            with contextlib.suppress(SimulatorError):
                self._renew(message)
                await self._deliver(link, message)

    async def _deliver(self, link: Link, message: Message) -> Payload:
        if message.payload is None:
            message.payload = self.bent(message.action, message.build())
            message.id = self.new_id()
        malformed = self._faults.malformed.get(message.action)
        return await link.call(message.action, message.payload, message.id, malformed)

    async def _fail(self, message: Message, error: SimulatorError) -> None:
        message.failures += 1
        attempts = self._configuration.number("TransactionMessageAttempts")
        if not message.is_stored or (
            message.failures >= attempts and not self._faults.endless_attempts
        ):
            self._on_event("message_dropped", f"{message.action}: {error}")
            self._remove(message)
            message.fail(error)
            return
        pause_s = self._configuration.number("TransactionMessageRetryInterval") * message.failures
        await self._sleep(pause_s)
        self._renew(message)

    def _renew(self, message: Message) -> None:
        if self._faults.new_id_on_repeat:
            message.id = self.new_id()
        if self._faults.new_stamp_on_repeat and message.payload and "timestamp" in message.payload:
            message.payload["timestamp"] = self._stamp()

    def _remove(self, message: Message) -> None:
        if message in self._queue:
            self._queue.remove(message)
        self._changed.set()

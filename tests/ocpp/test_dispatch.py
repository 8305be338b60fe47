"""Commands reach the socket once, one at a time, in time, and every outcome is recorded."""

# pyright: reportPrivateUsage=false, reportUnknownVariableType=false

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from evpower import alerts, stations
from evpower.charging import Changes
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.loops import Round
from evpower.ocpp.dispatch import Dispatcher
from evpower.ocpp.model import Reply, SocketClosed
from evpower.stations import Location
from tests.waiting import until

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
ACCEPTED = Reply({"status": "Accepted"}, None)
REJECTED = Reply({"status": "Rejected"}, None)


@dataclass
class ScriptedSocket:
    """A station's socket whose station answers when the test says so."""

    station_id: str
    epoch: int
    ready_at: datetime = NOW
    last_frame_at: datetime | None = None
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    replies: list["asyncio.Future[Reply]"] = field(default_factory=list["asyncio.Future[Reply]"])
    drops: list[str] = field(default_factory=list[str])
    notes: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def call(self, action: str, payload: Mapping[str, object]) -> "asyncio.Future[Reply]":
        self.sent.append((action, dict(payload)))
        self.replies.append(asyncio.get_running_loop().create_future())
        return self.replies[-1]

    def drop(self, reason: stations.DisconnectReason) -> None:
        self.drops.append(reason)

    def note(self, kind: str, sample: str) -> None:
        self.notes.append((kind, sample))

    async def was_sent(self, count: int) -> None:
        await until(lambda: len(self.sent) >= count, f"{count} calls were never sent")

    async def answer(self, reply: Reply, number: int = -1) -> None:
        await self.was_sent(1)
        self.replies[number].set_result(reply)


class Sockets:
    """The sockets of a node."""

    def __init__(self) -> None:
        self.sockets: dict[str, ScriptedSocket] = {}

    def get(self, station_id: str) -> ScriptedSocket | None:
        return self.sockets.get(station_id)

    def get_by_key(self, key: UUID) -> ScriptedSocket | None:
        return next(
            (
                each
                for each in self.sockets.values()
                if stations.station_key(each.station_id) == key
            ),
            None,
        )

    def __len__(self) -> int:
        return len(self.sockets)


class Node:
    """A node with one station's socket; its time and its time-outs are the test's."""

    def __init__(self, db: Database, name: str = "node-1") -> None:
        self.db = db
        self.name = name
        self.bus = LocalBus()
        self.sockets = Sockets()
        self.now = NOW
        self.failure: Exception | None = None
        self.ended: list[tuple[str, str]] = []
        self.timers: list[asyncio.Event] = []
        self.dispatcher = Dispatcher(
            db, self.bus, self.sockets, ended=self._end,
            clock=lambda: self.now, sleep=self._sleep, reply_s=30,
        )  # fmt: skip

    async def _end(
        self, _connection: Connection, command: stations.Command, _: datetime
    ) -> Changes:
        """Stores the outcome as a fact of its own, in the same transaction."""
        if self.failure is not None:
            raise self.failure
        self.ended.append((command.action, command.state))
        return Changes()

    async def _sleep(self, _: float) -> None:
        self.timers.append(asyncio.Event())
        await self.timers[-1].wait()

    async def connect(self, station_id: str = "EV-1") -> ScriptedSocket:
        async with self.db.transaction() as connection:
            opened = await stations.open_connection(
                connection, station_id, address="10.0.0.1", version="ocpp1.6",
                is_authenticated=False, node=self.name, now=self.now,
            )  # fmt: skip
        socket = ScriptedSocket(station_id, opened.epoch, ready_at=self.now)
        self.sockets.sockets[station_id] = socket
        return socket

    async def queue(
        self, action: Any = "clear_cache", *, expires_s: float = 60, **payload: Any
    ) -> int:
        async with self.db.transaction() as connection:
            command = await stations.queue_command(
                connection, "EV-1", action, payload, actor="aida",
                expires_in=timedelta(seconds=expires_s), now=self.now,
            )  # fmt: skip
        return command.id

    async def command(self, number: int) -> stations.Command:
        async with self.db.connection() as connection:
            return await stations.get_command(connection, number)

    async def state(self, number: int, state: str) -> stations.Command:
        """Waits until the command has this state; returns it."""

        async def has_state() -> bool:
            return (await self.command(number)).state == state

        await until(has_state, f"the command never was {state}")
        return await self.command(number)

    async def round(self) -> Any:
        return await self.dispatcher.run_once(Round())

    async def send(self, socket: ScriptedSocket, count: int = 1) -> None:
        """Rounds until the socket got its n-th call."""

        async def is_sent() -> bool:
            await self.round()
            return len(socket.sent) >= count

        await until(is_sent, f"{count} calls were never sent")

    async def is_unanswered(self, socket: ScriptedSocket, count: int) -> None:
        """Send one more command, the `count`th, and let its time pass."""
        number = await self.queue()
        await self.send(socket, count)
        await self.time_out(count)
        await self.state(number, "timed_out")

    async def time_out(self, count: int) -> None:
        """The time of the reply to the n-th call is over."""
        await until(lambda: len(self.timers) >= count)
        self.timers[count - 1].set()


@pytest.fixture
async def node(db: Database) -> AsyncIterator[Node]:
    async with db.transaction() as connection:
        await stations.add_station(
            connection,
            stations.StationDraft(
                "EV-1", Location("mall", "Mall"), (stations.usual_connector(1, 22_000),),
                no_auth=True,
            ),
            now=NOW, actor="aida",
        )  # fmt: skip
    node = Node(db)
    async with _listening(node):
        yield node


@asynccontextmanager
async def _listening(node: Node) -> AsyncGenerator[None]:
    async with node.dispatcher._listening():
        yield


async def test_a_command_is_sent_and_its_reply_is_recorded_as_it_came(node: Node) -> None:
    socket = await node.connect()
    number = await node.queue("trigger", message="meter_values", connector=1)
    await node.round()
    await socket.answer(Reply({"status": "Accepted", "x": 1}, None))
    command = await node.state(number, "accepted")
    assert command.response == {"status": "Accepted", "x": 1}
    assert command.epoch == socket.epoch
    assert socket.sent == [
        ("TriggerMessage", {"requestedMessage": "MeterValues", "connectorId": 1})
    ]


async def test_q86_an_error_reply_is_a_refusal_with_its_code(node: Node) -> None:
    socket = await node.connect()
    number = await node.queue()
    await node.round()
    error = {"error": "NotImplemented", "description": "", "details": {}}
    await socket.answer(Reply(None, error))
    assert (await node.state(number, "refused")).response == error


async def test_q17_the_next_command_waits_for_the_outcome_of_the_one_before(node: Node) -> None:
    socket = await node.connect()
    first, second = await node.queue("reset", kind="soft"), await node.queue()
    await node.round()
    await node.round()
    await socket.was_sent(1)
    assert [action for action, _ in socket.sent] == ["Reset"]
    assert (await node.command(second)).state == "queued"
    await socket.answer(ACCEPTED)
    await node.state(first, "accepted")
    await socket.was_sent(2)
    assert [action for action, _ in socket.sent] == ["Reset", "ClearCache"]


async def test_q15_nothing_is_sent_before_the_socket_is_ready(node: Node) -> None:
    socket = await node.connect()
    socket.ready_at = NOW + timedelta(seconds=0.4)
    number = await node.queue()
    pause = await node.round()
    assert pause.seconds == pytest.approx(0.4), "the next round is when it is ready"
    assert (await node.command(number)).state == "queued"
    node.now = socket.ready_at
    await node.round()
    await socket.was_sent(1)


async def test_a_command_is_not_sent_after_its_expiry(node: Node) -> None:
    socket = await node.connect()
    number = await node.queue(expires_s=60)
    node.now += timedelta(seconds=60)
    await node.round()
    later = await node.queue("reset", kind="soft")
    await node.round()
    await socket.answer(ACCEPTED)
    await node.state(later, "accepted")
    assert [action for action, _ in socket.sent] == ["Reset"]
    assert (await node.command(number)).sent_at is None


async def test_q13_two_unanswered_commands_drop_the_socket_once_while_frames_arrive(
    node: Node,
) -> None:
    socket = await node.connect()
    for count in (1, 2, 3):
        number = await node.queue()
        await node.send(socket, count)
        socket.last_frame_at = node.now + timedelta(seconds=1)
        await node.time_out(count)
        await node.state(number, "timed_out")
        await until(lambda: not node.dispatcher._sending)
        assert socket.drops == ["unresponsive"] * (count > 1)
        node.now += timedelta(seconds=31)
    async with node.db.connection() as connection:
        [alert] = await alerts.list_alerts(connection)
    assert (alert.kind, alert.subject) == ("station_unresponsive", "EV-1")


async def test_an_answer_lets_the_socket_be_dropped_again(node: Node) -> None:
    socket = await node.connect()
    for count in range(1, 7):
        number = await node.queue()
        await node.send(socket, count)
        socket.last_frame_at = node.now + timedelta(seconds=1)
        if count == 3:
            await socket.answer(ACCEPTED)
            await node.state(number, "accepted")
        else:
            await node.time_out(count)
            await node.state(number, "timed_out")
        node.now += timedelta(seconds=31)
    await until(lambda: not node.dispatcher._sending)
    assert socket.drops == ["unresponsive", "unresponsive"]


async def test_a_station_that_sends_nothing_is_not_dropped_for_commands(node: Node) -> None:
    socket = await node.connect()
    socket.last_frame_at = NOW - timedelta(seconds=1)
    for count in (1, 2, 3):
        await node.is_unanswered(socket, count)
    await until(lambda: not node.dispatcher._sending)
    assert socket.drops == []


async def test_a_frame_of_the_moment_of_the_first_command_came_after_none(node: Node) -> None:
    """It says nothing of a station that hears no more: only a later frame does."""
    socket = await node.connect()
    first_at = socket.last_frame_at = node.now
    for count in (1, 2, 3):
        await node.is_unanswered(socket, count)
        await until(lambda: not node.dispatcher._sending)
        node.now += timedelta(seconds=31)
        assert socket.drops == ["unresponsive"] * (count > 2)
        if count == 2:
            socket.last_frame_at = first_at + timedelta(microseconds=1)


async def test_a_reply_after_the_time_out_still_counts(node: Node) -> None:
    """Quirk Q66, edge case 17."""
    socket = await node.connect()
    number = await node.queue()
    await node.round()
    await node.time_out(1)
    await node.state(number, "timed_out")
    await socket.answer(REJECTED, 0)
    command = await node.state(number, "refused")
    assert command.response == {"status": "Rejected"}


async def test_the_end_of_the_socket_times_its_command_out_at_once(node: Node) -> None:
    """Edge case 20."""
    old = await node.connect()
    number = await node.queue()
    await node.round()
    await old.was_sent(1)
    new = await node.connect()
    old.replies[0].set_exception(SocketClosed())
    await node.state(number, "timed_out")
    again = await node.queue("reset", kind="soft")
    await node.send(new)
    await new.answer(ACCEPTED)
    assert (await node.state(again, "accepted")).epoch == new.epoch
    assert len(old.sent) == 1


async def test_an_outcome_is_stored_with_what_it_means_or_not_at_all(node: Node) -> None:
    socket = await node.connect()
    number = await node.queue("remote_start", id_tag="A1B2C3D4E5F6", connector=1)
    await node.round()
    node.failure = Unavailable("database_unavailable")
    await socket.answer(REJECTED)
    await until(lambda: len(node.timers) == 2, "it was not tried again")
    assert (await node.command(number)).state == "sent"
    node.failure = None
    await node.time_out(2)
    await node.state(number, "refused")
    assert node.ended == [("remote_start", "refused")]


async def test_a_fault_of_our_own_does_not_block_the_commands_after_it(node: Node) -> None:
    socket = await node.connect()
    number = await node.queue("remote_start", id_tag="A1B2C3D4E5F6", connector=1)
    later = await node.queue()
    await node.send(socket)
    node.failure = ValueError("a fault")
    await socket.answer(REJECTED)
    assert (await node.state(number, "refused")).response == {"status": "Rejected"}
    await node.send(socket, 2)
    node.failure = None
    await socket.answer(ACCEPTED)
    await node.state(later, "accepted")


async def test_q29_a_stop_tries_the_other_ids_when_one_is_refused(node: Node) -> None:
    socket = await node.connect()
    number = await node.queue("remote_stop", transaction_id=9, aliases=[7, 8])
    await node.round()
    await socket.answer(REJECTED)
    await socket.was_sent(2)
    await socket.answer(ACCEPTED)
    await node.state(number, "accepted")
    assert [payload["transactionId"] for _, payload in socket.sent] == [9, 7]


async def test_a_stop_that_is_not_answered_tries_no_other_id(node: Node) -> None:
    socket = await node.connect()
    number = await node.queue("remote_stop", transaction_id=9, aliases=[7, 8])
    await node.round()
    await node.time_out(1)
    await node.state(number, "timed_out")
    await until(lambda: not node.dispatcher._sending)
    assert len(socket.sent) == 1


async def test_a_command_that_can_not_be_written_is_refused_and_not_sent(node: Node) -> None:
    socket = await node.connect()
    number = await node.queue("remote_stop", transaction_id=0, aliases=[])
    await node.round()
    command = await node.state(number, "refused")
    assert command.response is not None
    assert command.response["error"] == "invalid_command"
    assert socket.sent == []


async def test_a_command_is_sent_by_the_node_that_has_the_socket(node: Node, db: Database) -> None:
    other = Node(db, "node-2")
    async with _listening(other):
        old = await node.connect()
        new = await other.connect()  # the station moved; the old node has not noticed
        number = await node.queue()
        await node.round()
        await other.round()
        await new.answer(ACCEPTED)
        assert (await other.state(number, "accepted")).epoch == new.epoch
    assert old.sent == []
    assert len(new.sent) == 1


async def test_a_message_of_the_bus_wakes_the_node_with_the_socket(node: Node) -> None:
    await node.connect()
    wakeup = node.dispatcher._wakeup
    node.bus.publish(stations.STATION_CHANGED, stations.station_key("EV-2"))
    assert not wakeup.is_set
    node.bus.publish(stations.STATION_CHANGED, stations.station_key("EV-1"))
    assert wakeup.is_set


async def test_a_queued_command_that_is_waited_for_goes_out_without_a_round(node: Node) -> None:
    socket = await node.connect()
    number = await node.queue()
    node.bus.publish(stations.COMMAND_QUEUED, stations.station_key("EV-1"))
    await socket.answer(ACCEPTED)
    await node.state(number, "accepted")


async def test_news_while_a_command_is_sent_makes_the_loop_look_again(node: Node) -> None:
    socket = await node.connect()
    await node.queue()
    await node.round()
    await socket.was_sent(1)
    node.bus.publish(stations.COMMAND_QUEUED, stations.station_key("EV-1"))
    assert not node.dispatcher._wakeup.is_set
    await socket.answer(ACCEPTED)
    await until(lambda: not node.dispatcher._sending)
    second = await node.queue("reset", kind="soft")
    node.bus.publish(stations.COMMAND_QUEUED, stations.station_key("EV-1"))
    await socket.was_sent(2)
    await socket.answer(ACCEPTED)
    await node.state(second, "accepted")


async def _claim(node: Node, socket: ScriptedSocket) -> stations.ClaimedCommand:
    async with node.db.transaction() as connection:
        claimed = await stations.claim_command(connection, "EV-1", socket.epoch, node.now)
    assert claimed is not None
    return claimed


async def test_a_command_that_is_claimed_already_goes_out_once(node: Node) -> None:
    socket = await node.connect()
    assert node.dispatcher.epoch_for("EV-1") == socket.epoch
    first, second = await node.queue("reset", kind="soft"), await node.queue()
    node.dispatcher.carry(await _claim(node, socket))
    assert node.dispatcher.epoch_for("EV-1") is None, "one at a time"
    await node.round()
    await socket.answer(ACCEPTED)
    await node.state(first, "accepted")
    await socket.was_sent(2)
    await socket.answer(ACCEPTED)
    await node.state(second, "accepted")
    assert [action for action, _ in socket.sent] == ["Reset", "ClearCache"]


async def test_a_claimed_command_goes_out_beside_a_task_that_found_it_in_flight(
    node: Node,
) -> None:
    socket = await node.connect()
    number = await node.queue()
    claimed = await _claim(node, socket)
    node.bus.publish(stations.COMMAND_QUEUED, stations.station_key("EV-1"))
    node.dispatcher.carry(claimed)
    await socket.answer(ACCEPTED)
    await node.state(number, "accepted")
    await until(lambda: not node.dispatcher._sending)
    assert len(socket.sent) == 1


async def test_no_socket_that_waits_or_is_gone_takes_a_claimed_command(node: Node) -> None:
    assert node.dispatcher.epoch_for("EV-1") is None, "not connected"
    socket = await node.connect()
    socket.ready_at = node.now + timedelta(seconds=1)
    assert node.dispatcher.epoch_for("EV-1") is None, "too early"
    node.now = socket.ready_at
    await node.queue()
    claimed = await _claim(node, socket)
    later = await node.connect()
    node.dispatcher.carry(claimed)
    assert (socket.sent, later.sent, dict(node.dispatcher._sending)) == ([], [], {})


async def test_a_trigger_asks_no_more_connectors_after_45_seconds(node: Node) -> None:
    """Other commands wait for it, a driver's stop among them."""
    socket = await node.connect()
    number = await node.queue("trigger", message="meter_values", connectors=[1, 2, 3])
    await node.round()
    for count, reply in ((1, REJECTED), (2, ACCEPTED)):
        await socket.was_sent(count)
        node.now += timedelta(seconds=25)
        await socket.answer(reply)
    await node.state(number, "accepted")
    assert [payload["connectorId"] for _, payload in socket.sent] == [1, 2]

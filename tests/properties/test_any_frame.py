"""Whatever a station sends as a start, values or a stop, it gets a good answer."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evpower import charging, wallet
from evpower.charging import StartRequest, StopRequest
from evpower.charging.operate import OperatorBill, correct_session
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict
from evpower.ocpp.schemas import violation
from tests.ocpp.driving import Driving, driving
from tests.properties.test_station_frames import (
    CLOCKS,
    CONNECTORS,
    CONTEXTS,
    FRAMES,
    IDS,
    REGISTERS,
    check_bills,
)
from tests.waiting import WAIT_LIMIT_S
from tests.wallet.scenario import Scenario

_MEMBERS = (
    "connectorId", "idTag", "meterStart", "meterStop", "timestamp", "transactionId", "reason",
    "transactionData", "meterValue", "reservationId", "x",
)  # fmt: skip
_SAMPLE_MEMBERS = ("value", "context", "measurand", "unit", "phase", "location", "format")
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False),
    st.text(max_size=30), st.sampled_from(["1", "0", "-1", "1,5", "Wh", "kWh", "2026-11-29T1:2:3"]),
)  # fmt: skip
_SAMPLES = st.dictionaries(st.sampled_from(_SAMPLE_MEMBERS), _SCALARS, max_size=7)
_ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": _SCALARS,
        "sampledValue": st.one_of(_SCALARS, _SAMPLES, st.lists(_SAMPLES | _SCALARS, max_size=3)),
    },
)
_VALUES = st.one_of(_SCALARS, _ENTRIES, st.lists(_ENTRIES | _SCALARS, max_size=3))
_PAYLOADS = st.dictionaries(st.sampled_from(_MEMBERS), _VALUES, max_size=8)
_ACTIONS = ("StartTransaction", "MeterValues", "StopTransaction", "StatusNotification", "Authorize")
OF_A_CHARGE = ("StartTransaction", "MeterValues", "StopTransaction")
STATUS_WORDS = {"available": "Available", "charging": "Charging", "suspended_ev": "SuspendedEV"}
# Also by clocks that say nothing, and frames that come again.
_TEXTS = st.sampled_from(["", "1970-01-01T00:00:00Z", "2026-13-45T99:00:00Z", "NaN", "0"])
AGED = st.one_of(
    FRAMES,
    st.tuples(st.just("again"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("start"), CONNECTORS, REGISTERS, CLOCKS | _TEXTS, st.booleans()),
    st.tuples(
        st.just("values"), IDS, CONNECTORS, st.lists(REGISTERS, max_size=3), _TEXTS, CONTEXTS
    ),
    st.tuples(st.just("stop"), IDS, REGISTERS, CLOCKS | _TEXTS, st.booleans()),
)
# A charge, so that more of what follows acts on one that runs, or that has ended.
BEGUN: list[tuple[Any, ...]] = [
    ("start", 1, 1_000, 0, True),
    ("pass", 10),
    ("values", "newest", 1, [2_000], 0, ""),
]
ENDED: list[tuple[Any, ...]] = [*BEGUN, ("stop", "newest", 2_500, 0, True), ("pass", 45)]


@pytest.fixture
async def drive(db: Database, owner: Connection) -> AsyncIterator[Driving]:
    async with driving(db, owner) as drive:
        yield drive


async def test_the_answer_is_never_an_error_nor_missing(drive: Driving) -> None:
    loop = asyncio.get_running_loop()
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)

        async def ask(action: str, payload: dict[str, Any]) -> None:
            message_id = str(next(station.ids))
            answer = await station.ask([2, message_id, action, payload])
            while answer[0] == 2:  # a stop was sent, and it goes on
                answer = await station.receive()
            assert answer[:2] == [3, message_id]
            assert violation(action, answer[2], "response") == ""

        @given(st.sampled_from(_ACTIONS), _PAYLOADS, st.booleans())
        def search(action: str, payload: dict[str, Any], is_ours: bool) -> None:  # noqa: FBT001
            if is_ours:
                payload = {**payload, "transactionId": transaction}
            asyncio.run_coroutine_threadsafe(ask(action, payload), loop).result(WAIT_LIMIT_S)

        await asyncio.to_thread(search)
    failed = await drive.value("select count(*) from alerts.alerts where kind = 'frame_failed'")
    assert failed == 0


class SocketStation:
    """A station of its own with a driver, as `test_station_frames.Station` but on a socket.

    Its message ids count from 1, anew after each boot, so that they come again.
    """

    def __init__(self, drive: Driving, name: str, password: str, driver: UUID) -> None:
        self.drive, self.name, self.password, self.driver = drive, name, password, driver
        self.began_at = drive.central.clock()
        self.opened = contextlib.AsyncExitStack()
        self.transactions: list[int] = []
        self.sent: list[list[Any]] = []  # of a charge since the boot, each with its answer
        self.last_id = 0
        self.session: UUID | None = None
        self.tag = ""

    async def connect(self) -> None:
        await self.opened.aclose()
        self.socket = await self.opened.enter_async_context(
            self.drive.central.open(f"/ocpp/{self.name}", user=self.name, password=self.password)
        )

    async def act(self, frame: tuple[Any, ...]) -> None:
        await getattr(self, f"_{frame[0]}")(*frame[1:])

    async def ask(self, message: list[Any]) -> dict[str, Any]:
        """Sends a request; each gets a good answer, whatever it says."""
        await self.socket.send(message)
        while (answer := await self.socket.receive())[0] == 2:  # a command
            await self.socket.send([3, answer[1], {"status": "Accepted"}])
        assert answer[:2] == [3, message[1]], answer
        assert violation(message[2], answer[2], "response") == ""
        return answer[2]

    async def send(self, action: str, payload: dict[str, Any]) -> None:
        self.last_id += 1
        message = [2, str(self.last_id), action, payload]
        answer = await self.ask(message)
        if action in OF_A_CHARGE:
            self.sent.append([message, answer])
        if action == "StartTransaction":
            self.transactions.append(answer["transactionId"])

    def stamp(self, clock: float | str | None) -> dict[str, Any]:
        """The time stamp: by a clock that is so many minutes off, or a text."""
        if clock is None or isinstance(clock, str):
            return {} if clock is None else {"timestamp": clock}
        at = self.drive.central.clock() + timedelta(minutes=clock)
        return {"timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z")}

    def named(self, name: Any) -> dict[str, Any]:
        """The transaction's id: an own one, or what stations send when they know none."""
        if isinstance(name, str):
            if not self.transactions:
                return {}
            name = self.transactions[-1 if name == "newest" else 0]
        return {} if name is None else {"transactionId": name}

    async def _again(self, back: int, is_new: bool) -> None:  # noqa: FBT001
        """A frame of since the boot once more, or what it says under the next id."""
        if not self.sent:
            return
        message, answer = self.sent[-1 - back % len(self.sent)]
        if is_new:
            await self.send(*message[2:])
        else:
            assert await self.ask(message) == answer

    async def _boot(self) -> None:
        await self.connect()
        self.sent.clear()
        self.last_id = 0
        await self.send("BootNotification", {"chargePointVendor": "A", "chargePointModel": "B"})

    async def _start(
        self, connector: int, register: int | None, clock: Any, knows_tag: object
    ) -> None:
        payload = {"connectorId": connector, "idTag": self.tag if knows_tag else "STRANGER"}
        await self.send(
            "StartTransaction", payload | _of("meterStart", register, self.stamp(clock))
        )

    async def _values(
        self, name: Any, connector: int, registers: list[int | None], clock: Any, context: str
    ) -> None:
        samples = [{"value": str(wh), "context": context} for wh in registers if wh is not None]
        entries = [{**self.stamp(clock), "sampledValue": [sample]} for sample in samples]
        payload = {"connectorId": connector, "meterValue": entries, **self.named(name)}
        await self.send("MeterValues", payload)

    async def _stop(self, name: Any, register: int | None, clock: Any, has_tag: object) -> None:
        payload = self.named(name) | ({"idTag": self.tag} if has_tag else {})
        await self.send("StopTransaction", payload | _of("meterStop", register, self.stamp(clock)))

    async def _status(self, connector: int, status: str) -> None:
        payload = {"connectorId": connector, "status": STATUS_WORDS[status]}
        await self.send("StatusNotification", payload | {"errorCode": "NoError"})

    async def _app(self, connector: int) -> None:
        await self.send("Heartbeat", {})
        await self.drive.central.parts.sockets.touch()
        with contextlib.suppress(Conflict):  # the connector or the driver is busy
            async with self.drive.central.db.transaction() as connection:
                started = await charging.start(
                    connection, StartRequest(self.driver, self.name, max(connector, 1)),
                    now=self.drive.central.clock(),
                )  # fmt: skip
            self.session = started.session_id
            self.tag = await self.value("select id_tag from charging.sessions where id = $1")

    async def value(self, query: str) -> Any:
        return await self.drive.value(query, self.session)

    async def _ask(self) -> None:
        assert self.session is not None, "it began with one"
        async with self.drive.central.db.transaction() as connection:
            stop = StopRequest(self.session, self.driver, "test")
            await charging.request_stop(connection, stop, now=self.drive.central.clock())

    async def _pay(self) -> None:
        payment = await Scenario(self.drive.central.owner).payment(self.driver, 20_000)
        await self.drive.value("select wallet.credit($1)", payment)

    async def _correct(self, energy_wh: int) -> None:
        assert self.session is not None, "it began with one"
        if await self.value("select state from charging.sessions where id = $1") != "settled":
            return
        bill = OperatorBill(self.session, energy_wh, None, "aida", "read", is_forced=True)
        async with self.drive.central.db.transaction() as connection:
            await correct_session(connection, bill, now=self.drive.central.clock())

    async def _pass(self, minutes: float) -> None:
        self.drive.later(minutes / 60)
        await self.drive.watch()

    async def end(self) -> None:
        """It is never heard of again: what began is billed once, and nothing is on hold."""
        await self.opened.aclose()
        hours = (self.drive.central.clock() - self.began_at) / timedelta(hours=1)
        await self._pass(60 * 25)
        await self.drive.expire_starts()
        owner = self.drive.central.owner
        await check_bills(owner, hours, self.name)
        held = "select held_minor from wallet.wallets where client_id = $1"
        assert await self.drive.value(held, self.driver) == 0
        report = await wallet.verify(self.drive.central.db)
        assert report.count == 0, report.discrepancies


def _of(name: str, register: int | None, rest: dict[str, Any]) -> dict[str, Any]:
    return rest if register is None else {name: register, **rest}


async def test_frames_of_any_age_order_and_clock_are_answered_and_billed_once(
    drive: Driving,
) -> None:
    loop = asyncio.get_running_loop()
    names = itertools.count(1)

    async def run(frames: list[tuple[Any, ...]]) -> None:
        name = f"ANY-{next(names)}"
        password = await drive.central.add(name)
        driver = await Scenario(drive.central.owner).topped_up(500_00)
        station = SocketStation(drive, name, password or "", driver)
        try:
            for frame in frames:
                await station.act(frame)
        finally:
            await station.end()

    @settings(max_examples=settings().max_examples // 6)
    @given(st.lists(AGED, min_size=4, max_size=20), st.sampled_from([ENDED, BEGUN, []]))
    def search(frames: list[tuple[Any, ...]], begin: list[tuple[Any, ...]]) -> None:
        work = run([("boot",), ("app", 1), *begin, *frames])
        asyncio.run_coroutine_threadsafe(work, loop).result(10 * WAIT_LIMIT_S)

    await asyncio.to_thread(search)
    assert await drive.value("select count(*) from alerts.alerts where kind = 'frame_failed'") == 0

"""Any frames of any age, order and clock: each is answered, nothing is billed twice."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
from hypothesis import given, settings
from hypothesis import strategies as st

from evpower import wallet
from evpower.charging.operate import OperatorBill, correct_session
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict
from tests.charging.place import POWER_W, ChargingPlace, read
from tests.conftest import Server, as_owner, patient_database

EXAMPLES = settings().max_examples // 2
# Minutes by which a station's stamp is off; None: it sends none.
CLOCKS = st.none() | st.sampled_from(
    [0, 0, 0, -1, 1, -120, 120, -60 * 24 * 400, -60 * 24 * 365 * 56]
)
REGISTERS = st.none() | st.integers(-50, 20_000) | st.sampled_from([0, 7_783_000, 2**31, 10**14])
CONNECTORS = st.sampled_from([1, 1, 1, 2, 0])
# Which id a frame names: of the n-th newest transaction, or what stations send when they know none.
IDS = st.sampled_from(["newest", "newest", "older", None, 0, -1, 1_758_670_080, 2**63 - 1])
CONTEXTS = st.sampled_from([
    "Sample.Periodic", "Sample.Periodic", "", "Transaction.Begin", "Transaction.End", "Trigger",
    "Interruption.Begin", "CurrentMax",
])  # fmt: skip
STATUSES = st.sampled_from(["available", "charging", "suspended_ev"])
VALUES = st.tuples(
    st.just("values"), IDS, CONNECTORS, st.lists(REGISTERS, max_size=3), CLOCKS, CONTEXTS
)
FRAMES = st.one_of(
    st.tuples(st.just("app"), CONNECTORS),
    st.tuples(st.sampled_from(["ask", "boot", "pay"])),
    st.tuples(st.just("correct"), st.integers(0, 9_000)),
    st.tuples(st.just("start"), CONNECTORS, REGISTERS, CLOCKS, st.booleans()),
    st.tuples(
        st.just("values"), IDS, CONNECTORS, st.lists(REGISTERS, max_size=3), CLOCKS, CONTEXTS
    ),
    st.tuples(
        st.just("values"), IDS, CONNECTORS, st.lists(REGISTERS, max_size=3), CLOCKS, CONTEXTS
    ),
    st.tuples(st.just("stop"), IDS, REGISTERS, CLOCKS, st.booleans()),
    st.tuples(
        st.just("status"), CONNECTORS, st.sampled_from(["available", "charging", "suspended_ev"])
    ),
    st.tuples(st.just("pass"), st.sampled_from([0.1, 1, 10, 45, 60 * 13, 60 * 25])),
)


class Station:
    """A station that sends what it likes."""

    def __init__(self, place: ChargingPlace, driver: UUID) -> None:
        self.place, self.driver = place, driver
        self.transactions: list[int] = []
        self.session: UUID | None = None

    async def act(self, frame: tuple[Any, ...]) -> None:
        await getattr(self, f"_{frame[0]}")(*frame[1:])

    def stamp(self, minutes: float | None) -> Any:
        return None if minutes is None else self.place.now + timedelta(minutes=minutes)

    def named(self, name: Any) -> int | None:
        if name == "newest":
            return self.transactions[-1] if self.transactions else None
        if name == "older":
            return self.transactions[0] if self.transactions else None
        return name

    async def _app(self, connector: int) -> None:
        try:
            self.session = await self.place.start(self.driver, max(connector, 1))
        except Conflict:  # the connector or the driver is busy
            return

    async def _start(
        self, connector: int, register: int | None, clock: float | None, knows_tag: object
    ) -> None:
        tag = None if knows_tag and self.session else "STRANGER"
        transaction = await self.place.begin(
            self.session, meter_wh=register, connector=connector, tag=tag,
            time=self.stamp(clock), has_time=clock is not None,
        )  # fmt: skip
        self.transactions.append(transaction)

    async def _values(
        self, name: Any, connector: int, registers: list[int | None], clock: float | None,
        context: str,
    ) -> None:  # fmt: skip
        readings = [read(register, self.stamp(clock), context) for register in registers]
        await self.place.frames(self.named(name), readings, connector=connector)

    async def _stop(
        self, name: Any, register: int | None, clock: float | None, has_tag: object
    ) -> None:
        tag = await self.place.value("id_tag", self.session) if has_tag and self.session else None
        await self.place.stop(
            self.named(name), register, tag=tag, time=self.stamp(clock),
            has_time=clock is not None,
        )  # fmt: skip

    async def _status(self, connector: int, status: str) -> None:
        await self.place.status(status, connector)

    async def _ask(self) -> None:
        if self.session is not None:
            await self.place.ask_to_stop(self.session, self.driver)

    async def _boot(self) -> None:
        await self.place.boot()

    async def _pay(self) -> None:
        payment = await self.place.money.payment(self.driver, 20_000)
        await self.place.owner.execute("select wallet.credit($1)", payment)

    async def _correct(self, energy_wh: int) -> None:
        if self.session is None or await self.place.value("state", self.session) != "settled":
            return
        bill = OperatorBill(
            self.session, energy_wh, None, "aida", "meter read on site", is_forced=True
        )
        async with self.place.db.transaction() as connection:
            await correct_session(connection, bill, now=self.place.now)

    async def _pass(self, minutes: float) -> None:
        self.place.later(minutes)
        await self.place.watch()


async def _run(dsn: str, frames: list[tuple[Any, ...]]) -> None:
    owner: Connection = await asyncpg.connect(as_owner(dsn))
    db = patient_database(dsn)
    await db.start()
    try:
        place = ChargingPlace(db, owner)
        await place.build()
        station = Station(place, await place.driver(som=500))
        begun_at = place.now
        for frame in frames:
            await station.act(frame)
        await check_bills(owner, (place.now - begun_at) / timedelta(hours=1), "S1")
        report = await wallet.verify(db)
        assert report.count == 0, report.discrepancies
    finally:
        await db.close()
        await owner.close()


async def check_bills(owner: Connection, hours: float, station_id: str) -> None:
    """Each settled session of a station is billed once, and again only for a better figure."""
    sessions = await owner.fetch(
        """
        select s.state, s.energy_wh, s.is_estimated,
               count(b.id) filter (where b.bill_number is not null) as bills,
               (select array_agg(c.is_estimated order by c.settlement_id)
                  from charging.cdrs c join charging.settlements x on x.id = c.settlement_id
                 where c.session_id = s.id
                   and coalesce(x.actor, 'evpower') = 'evpower') as estimated
          from charging.sessions s left join charging.settlements b on b.session_id = s.id
         where s.station_id = $1
         group by s.id
        """,
        station_id,
    )
    # A wrong clock allows a session no more than the longest span that any stamp allows.
    most_wh = POWER_W * (hours + 4) * 1.1 + 100
    for row in sessions:
        assert (row["state"] == "settled") == (row["bills"] > 0)
        assert row["energy_wh"] <= most_wh
        # Only an estimated bill is followed by another one, unless an operator wants it.
        estimated: list[bool] = row["estimated"] or []
        assert all(estimated[:-1])


async def test_any_frames_are_answered_and_nothing_is_billed_twice(server: Server) -> None:
    loop = asyncio.get_running_loop()

    async def run(frames: list[tuple[Any, ...]]) -> None:
        dsn = await server.new_database()
        try:
            await _run(dsn, frames)
        finally:
            await server.command(f"drop database if exists {dsn.rsplit('/', 1)[1]} with (force)")

    @settings(max_examples=EXAMPLES)
    @given(st.lists(FRAMES, min_size=4, max_size=25))
    def search(frames: list[tuple[Any, ...]]) -> None:
        asyncio.run_coroutine_threadsafe(run([("app", 1), *frames]), loop).result(300)

    await asyncio.to_thread(search)

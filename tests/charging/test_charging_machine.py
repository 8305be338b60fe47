"""Drivers, technicians, a station, an operator, the clock and crashes, in any order.

On real PostgreSQL. The station is one of the simulator's personas in what its frames say, which
are read as the edge reads them, and its clock may be wrong. Each session is settled once, money is
conserved, no energy or idle time is billed that was not, a station's own stop is billed to the Wh,
no value that came is lost, no money stays on hold without an open session, and no session stays
without an end. Each bill is the price of what happened, by the tariff of its client. What is of no
client has no session and no bill, a restart meets no one else, a limit of 0 outlives no charge that
follows it. No frame of a station raises.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from evpower import charging, tariffs, wallet
from evpower.charging import OperatorStop
from evpower.charging.due import find_due, watch_transaction
from evpower.charging.events import StationStatus, StationTime
from evpower.charging.meter_values import meter_values
from evpower.charging.operate import OperatorBill, correct_session
from evpower.charging.status_reported import status_reported
from evpower.foundation.errors import EvPowerError
from evpower.ocpp.model import Frame
from evpower.ocpp.v16 import start_transaction, stop_transaction
from evpower.ocpp.v16.meter_values import read as read_values
from evpower.stations import Command
from tests.charging.energy_model import differences
from tests.charging.fleet_model import Charge, Send, Socket, Station
from tests.charging.mortal import Death, Died, MortalDatabase
from tests.charging.persona_model import STATIONS, FrameFacts
from tests.charging.site import STATION, Site
from tests.conftest import Server, as_owner
from tests.stations.scenario import claim
from tests.waiting import WAIT_LIMIT_S

T = TypeVar("T")
CARD = "04A1B2C3D4E5F6"
TECHNICIAN = "04FFEEDDCCBBAA"
OPERATOR = "operator:aida"
CONNECTORS = st.sampled_from([1, 2])
CLIENTS = st.sampled_from([0, 1])
LIMITS = st.sampled_from(
    [{}, {"energy_wh": 4_000}, {"amount_minor": 3_000}, {"energy_wh": 9_000, "amount_minor": 2_000}]
)
ENDS = st.sampled_from(["", "by id", "by id", "without id"])
# Seconds that pass, and whether meter values follow.
Course = list[tuple[int, bool]]
COURSES = st.lists(
    st.tuples(st.sampled_from([61, 160, 400, 1_000]), st.booleans()), min_size=1, max_size=3
)
# By the hour, by the power, by the time, and for standing.
TARIFF: dict[str, Any] = {
    "name": "Four elements",
    "elements": [
        {"prices": {"energy_per_kwh": "10"}, "if": {"from": "22:00", "to": "06:00"}},
        {"prices": {"energy_per_kwh": "14", "flat": "2"}, "if": {"from": "18:30", "to": "22:00"}},
        {"prices": {"energy_per_kwh": "12", "flat": "3"}},
        {"prices": {"time_per_hour": "6", "parking_per_minute": "0.2"}},
    ],
    "parking_grace_minutes": 2,
    "parking_maximum": "40",
    "taxes": [{"name": "VAT", "percent": "12"}],
}
OVER = "('settled', 'expired', 'refused', 'cancelled', 'failed')"


class ChargingMachine(RuleBasedStateMachine):
    """One station with two connectors and two drivers; the second has a card."""

    persona: str
    facts: FrameFacts

    server: Server
    main_loop: asyncio.AbstractEventLoop
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.station = Station()
        self.tags: list[str] = []
        self.sessions: list[UUID] = []
        self.last_stop: dict[str, Any] | None = None
        self.last_values: Send | None = None
        self.death: Death | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    async def until_done(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does the work; if the process dies at it, it is sent again."""
        death, self.death = self.death, None
        return await self.db.until_done(work, death)

    # The scenario

    @initialize(ahead_s=st.sampled_from([0, 0, -100, 4_000, -4_000]), course=COURSES, ends=ENDS)
    def open(self, ahead_s: int, course: Course, ends: str) -> None:
        """With a charge, so that every rule has one to act on."""
        self.facts = FrameFacts(STATIONS[self.persona](), timedelta(seconds=ahead_s))
        self.dsn = self.elsewhere(self.server.new_database())
        self.run(self._open())
        self.charge(0, 1, is_full=False, course=course, ends=ends)

    async def _open(self) -> None:
        self.db = MortalDatabase(self.dsn, size=2, wait_limit_s=WAIT_LIMIT_S)
        await self.db.start()
        self.owner = await asyncpg.connect(as_owner(self.dsn))
        self.site = Site(self.db, self.owner)
        await self.site.open(tariff=TARIFF)
        await self.site.open_to_cards()
        await self.owner.execute(
            "insert into stations.profiles (station_id, overrides) values ($1, $2)",
            STATION,
            '{"release_detection": true}',
        )
        self.clients = [await self.site.driver(3_000), await self.site.driver(120)]
        async with self.db.transaction() as connection:
            await charging.add_card(
                connection, tag=CARD, client_id=str(self.clients[1]), actor=OPERATOR
            )
            await charging.add_technician(
                connection, tag=TECHNICIAN, name="Bakyt", daily_limit_wh=5_000, actor=OPERATOR
            )

    def teardown(self) -> None:
        if not hasattr(self, "owner"):
            return
        try:
            self.run(self._drain())
        finally:  # else the search for a shorter example uses up the server's connections
            self.run(self._close())
            name = self.dsn.rsplit("/", 1)[1]
            self.elsewhere(self.server.command(f"drop database {name} with (force)"))

    def elsewhere(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs work of the server's fixture in its own loop."""
        return asyncio.run_coroutine_threadsafe(work, self.main_loop).result()

    async def _close(self) -> None:
        await self.owner.close()
        await self.db.close()

    async def _drain(self) -> None:
        """The station is never heard of again: every session ends, and the money adds up."""
        self.station.is_online = False
        for _ in range(4):
            self.site.now += timedelta(hours=13)
            await self.until_done(self._jobs)
        left = await self.owner.fetch(
            f"select id, state from charging.sessions where state not in {OVER}"
        )
        assert [tuple(row) for row in left] == [], "a session has no end"
        assert await self.owner.fetchval("select sum(held_minor) from wallet.wallets") == 0
        await self._check()
        await self._check_prices()
        await self._check_energies()
        report = await wallet.verify(self.db)
        assert report.ok, report.discrepancies

    # The clock

    @rule(seconds=st.sampled_from([1, 20, 61, 160, 400, 2_000, 50_000]))
    def wait(self, seconds: int) -> None:
        self.station.deliver(seconds)
        self.site.now += timedelta(seconds=seconds)
        self.run(self.until_done(self._jobs))
        every_s = self.facts.faults.reconnects_every_s
        if self.station.is_online and every_s is not None and seconds >= every_s:
            self.run(self._reconnect(boots=False))

    @rule(death=st.sampled_from(["before", "after"]))
    def die_at_the_next_commit(self, death: Death) -> None:
        self.death = death

    async def _jobs(self) -> None:
        if self.station.is_online:
            await self.site.wait(0)
        await self.site.run_jobs()
        for _ in range(3):
            async with self.db.connection() as connection:
                due = await find_due(connection, self.site.now, self.site.rules)
            for item in due:
                async with self.db.transaction() as connection:
                    await watch_transaction(
                        connection, item, now=self.site.now, rules=self.site.rules
                    )
                await self._check_restarts()

    async def _check_restarts(self) -> None:
        """A restart is asked for only while no one else charges."""
        others = await self.owner.fetchval(
            """
            select count(*) from charging.stop_steps x
              join charging.transactions t on t.id <> x.transaction_id and t.ended_at is null
             where x.step = 'reset' and x.command_id is not null and x.taken_at = $1
               and t.received_at < $1
            """,
            self.site.now,
        )
        assert others == 0, "a restart ends another's charge"

    # Drivers and the operator

    @rule(client=CLIENTS, connector=CONNECTORS, limits=LIMITS)
    def start(self, client: int, connector: int, limits: dict[str, int]) -> None:
        try:
            started = self.run(
                self.until_done(lambda: self.site.start(self.clients[client], connector, **limits))
            )
        except EvPowerError:
            return
        self.sessions.append(started.session_id)
        self.tags.append(self.run(self.site.tag(started.session_id)))

    @rule(
        driver=st.sampled_from([0, 1, CARD]),
        connector=CONNECTORS,
        is_full=st.sampled_from([False, False, True]),
        course=COURSES,
        ends=ENDS,
    )
    def charge(
        self,
        driver: int | str,
        connector: int,
        is_full: bool,  # noqa: FBT001
        course: Course,
        ends: str,
    ) -> None:
        """As most charges go, by app or card, unless something stands against it."""
        socket = self.station.sockets[connector - 1]
        self.come_back(boots=False)
        self._end(connector, "EVDisconnected")  # of the car before
        socket.is_done = is_full
        if isinstance(driver, str):
            self._begin(connector, driver)
        else:
            self.start(driver, connector, {})
            for _ in range(3):  # other commands may wait before it
                if socket.charge is None:
                    self.deliver("accepted", acts=True, is_stop_lost=False)
        for seconds, sends in course:
            self.wait(seconds)
            if sends:
                self.meter(connector, knows_id=True)
        if ends:
            self._end(connector, "Local", knows_id=ends == "by id")

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), by_driver=st.booleans())
    def ask_to_stop(self, data: st.DataObject, by_driver: bool) -> None:  # noqa: FBT001
        session = data.draw(st.sampled_from(self.sessions))
        client = self.run(self.site.session(session))["client_id"] if by_driver else None
        self.run(self.until_done(lambda: self.site.stop(session, client)))

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def end_by_force(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(self.sessions))
        with contextlib.suppress(EvPowerError):  # the station is there
            self.run(self.until_done(lambda: self._end_by_force(session)))

    async def _end_by_force(self, session: UUID) -> None:
        stop = OperatorStop(session, OPERATOR, "the driver called", is_forced=True)
        async with self.db.transaction() as connection:
            await charging.stop_by_operator(
                connection, stop, now=self.site.now, rules=self.site.rules
            )

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), percent=st.sampled_from([0, 60, 100, None]), decides=st.booleans())
    def correct(self, data: st.DataObject, percent: int | None, decides: bool) -> None:  # noqa: FBT001
        session = data.draw(st.sampled_from(self.sessions))
        with contextlib.suppress(EvPowerError):  # it has no bill yet, or is in no quarantine
            self.run(self.until_done(lambda: self._correct(session, percent, decides=decides)))

    async def _correct(self, session: UUID, percent: int | None, *, decides: bool) -> None:
        billed_wh = (await self.site.session(session))["energy_wh"] or 0
        energy_wh = None if percent is None else billed_wh * percent // 100
        bill = OperatorBill(session, energy_wh, None, OPERATOR, "seen", is_decision=decides)
        async with self.db.transaction() as connection:
            await correct_session(connection, bill, now=self.site.now)

    @rule(minutes=st.sampled_from([1, 30]), ends=st.booleans())
    def free_the_station(self, minutes: int, ends: bool) -> None:  # noqa: FBT001
        with contextlib.suppress(EvPowerError):  # it is not free
            self.run(self._free_the_station(minutes, ends=ends))

    async def _free_the_station(self, minutes: int, *, ends: bool) -> None:
        async with self.db.transaction() as connection:
            if ends:
                await charging.end_free(
                    connection, station=STATION, actor=OPERATOR, reason=None, now=self.site.now
                )
                return
            await charging.free_station(
                connection, station=STATION, minutes=minutes, actor=OPERATOR,
                reason="the app is down", now=self.site.now,
            )  # fmt: skip

    @rule(client=CLIENTS, status=st.sampled_from(["active", "blocked"]))
    def set_status(self, client: int, status: str) -> None:
        self.run(
            self.owner.execute(
                "update identity.clients set status = $2 where id = $1",
                self.clients[client],
                status,
            )
        )

    @rule(client=CLIENTS)
    def top_up(self, client: int) -> None:
        self.run(self._top_up(self.clients[client]))

    async def _top_up(self, client: UUID) -> None:
        payment = await self.site.scenario.payment(client, 5_000)
        await self.owner.execute("select wallet.credit($1)", payment)

    @rule(client=CLIENTS, discount=st.sampled_from([None, 125_000, 1_000_000]), ends=st.booleans())
    def give_a_discount(self, client: int, discount: int | None, ends: bool) -> None:  # noqa: FBT001
        """Also one that ends the one before, and one that begins later."""
        self.run(self._give_a_discount(self.clients[client], discount, ends=ends))

    async def _give_a_discount(self, client: UUID, discount: int | None, *, ends: bool) -> None:
        now = self.site.now
        async with self.db.transaction() as connection:
            if discount is None:
                for own in await tariffs.list_client_tariffs(connection, client_id=client):
                    await tariffs.end_client_tariff(
                        connection, number=own.id, valid_until=now, now=now, actor="aida"
                    )
                return
            until = now + timedelta(minutes=20) if ends else None
            new = tariffs.NewClientTariff(client, now, until, discount_ppm=discount)
            await tariffs.add_client_tariff(connection, new, now=now, actor="aida")

    # The station

    @precondition(lambda self: self.station.is_online)
    @rule(
        reply=st.sampled_from(["accepted", "accepted", "accepted", "refused", "timed_out"]),
        acts=st.booleans(),
        is_stop_lost=st.sampled_from([False, False, True]),
    )
    def deliver(self, reply: str, acts: bool, is_stop_lost: bool) -> None:  # noqa: FBT001
        """The station gets a command; it may do something else than it replies."""
        death, self.death = self.death, None
        self.db.death = death if reply == "timed_out" else None
        command = None
        with contextlib.suppress(Died):  # nothing was written to the socket
            command = self.run(self._claim())
        if command is None:
            return
        if acts and command.action == "remote_start":
            self._begin(int(str(command.payload["connector"])), str(command.payload["id_tag"]))
        if acts and command.action == "remote_stop":
            connector = self.station.find(int(str(command.payload["transaction_id"])))
            if connector is not None:
                self._end(connector, "Remote", is_lost=is_stop_lost)
        if acts and command.action in {"set_charging_profile", "clear_charging_profile"}:
            socket = self.station.sockets[int(str(command.payload["connector"])) - 1]
            is_set = command.action == "set_charging_profile" and socket.charge is not None
            socket.is_limited = is_set
        if acts and command.action == "unlock":
            self._end(int(str(command.payload["connector"])), "UnlockCommand", is_lost=is_stop_lost)
        if acts and command.action == "reset":
            for socket in self.station.sockets:
                self._end(socket.number, "SoftReset", is_lost=is_stop_lost)
        self.db.death = death if reply != "timed_out" else None
        with contextlib.suppress(Died):  # the reply is lost
            self.run(self.site.reply(command, reply))

    async def _claim(self) -> Command | None:
        async with self.db.transaction() as connection:
            epoch = await connection.fetchval(
                "select epoch from stations.sockets_public where station_id = $1", STATION
            )
            return await claim(connection, STATION, epoch, self.site.now)

    @precondition(lambda self: self.tags)
    @rule(data=st.data(), connector=CONNECTORS)
    def begin_by_a_tag(self, data: st.DataObject, connector: int) -> None:
        """Also late, at the other connector, or again after its end."""
        self._begin(connector, data.draw(st.sampled_from(self.tags)))

    @rule(connector=CONNECTORS, tag=st.sampled_from([CARD, TECHNICIAN, "DEADBEEF", ""]))
    def begin_by_itself(self, connector: int, tag: str) -> None:
        self._begin(connector, tag)

    def _begin(self, connector: int, tag: str) -> None:
        socket = self.station.sockets[connector - 1]
        is_full, faults = socket.is_done, self.facts.faults
        if socket.charge is None:
            self.facts.reset(socket, "transaction")
        charge = self.station.begin(connector, tag, self.site.now)
        if charge is None:
            return
        faults.zero_samples = STATIONS[self.persona]().zero_samples
        charge.is_late = not self.station.is_online
        self._send(partial(self._report_start, connector, charge))
        for _ in range(faults.repeat.get("StartTransaction", 0)):
            again = faults.new_stamp_on_repeat
            self._send(partial(self._report_start, connector, charge, again))
        if is_full and faults.stops_full_car:
            self._end(connector, "Local", at=self.site.now - timedelta(seconds=1))

    async def _report_start(self, connector: int, charge: Charge, again: bool = False) -> None:  # noqa: FBT001, FBT002
        stamp = self.site.now if again else charge.started_at
        frame = self._frame("StartTransaction", self.facts.start(connector, charge, stamp))
        async with self.db.transaction() as connection:
            handled = await start_transaction.handle(connection, frame, self.site.now)
        charge.number = handled.response["transactionId"]

    @rule(connector=CONNECTORS, has_new_stamp=st.booleans())
    def repeat_a_start(self, connector: int, has_new_stamp: bool) -> None:  # noqa: FBT001
        charge = self.station.sockets[connector - 1].charge
        if charge is not None:
            self._send(partial(self._report_start, connector, charge, has_new_stamp))

    @rule(connector=CONNECTORS, knows_id=st.booleans())
    def meter(self, connector: int, knows_id: bool) -> None:  # noqa: FBT001
        socket = self.station.sockets[connector - 1]
        charge = socket.charge
        if charge is None and self.facts.faults.stale_transaction and socket.over:
            charge = socket.over[-1]
        self._send_values(socket, charge, knows_id=knows_id)

    def _send_values(self, socket: Socket, charge: Charge | None, *, knows_id: bool = True) -> None:
        is_shown = self.facts.shows_energy
        payload = self.facts.values(socket, self.site.now)
        if payload is None:
            return
        seen_wh = socket.register_wh - charge.start_wh if charge is not None and is_shown else 0
        self.last_values = partial(self._report_values, payload, charge, seen_wh, knows_id)
        self._send(self.last_values)

    async def _report_values(
        self,
        payload: dict[str, Any],
        charge: Charge | None,
        seen_wh: int,
        knows_id: bool,  # noqa: FBT001
    ) -> None:
        number = charge.number if charge is not None and knows_id else None
        frame = self._frame("MeterValues", self.facts.with_id(payload, number))
        event = read_values(frame, self.site.now)
        if charge is not None and await self._is_open(charge):
            charge.seen_wh = max(charge.seen_wh, seen_wh)
        async with self.db.transaction() as connection:
            await meter_values(connection, event, now=self.site.now, rules=self.site.rules)

    async def _is_open(self, charge: Charge) -> bool:
        return await self.owner.fetchval(
            "select ended_at is null from charging.transactions where id = $1", charge.number
        )

    def _frame(self, action: str, payload: dict[str, Any]) -> Frame:
        return self.facts.frame(action, payload, self.site.now, self.site.rules)

    @rule(
        connector=CONNECTORS,
        reason=st.sampled_from(["Local", "EVDisconnected", "PowerLoss"]),
        is_lost=st.sampled_from([False, False, True]),
        knows_id=st.sampled_from([True, True, False]),
    )
    def end(self, connector: int, reason: str, is_lost: bool, knows_id: bool) -> None:  # noqa: FBT001
        self._end(connector, reason, is_lost=is_lost, knows_id=knows_id)

    def _end(
        self,
        connector: int,
        reason: str,
        *,
        is_lost: bool = False,
        knows_id: bool = True,
        at: datetime | None = None,
    ) -> None:
        faults = self.facts.faults
        charge = self.station.end(connector, at or self.site.now)
        if charge is None:
            return
        # Nothing tells which of two charges by one card it is, where each counts from 0.
        is_alike = faults.register != "lifetime" and self.station.has_tag(charge.tag)
        if faults.status_before_stop:
            self._send(partial(self._report_status, connector, "available", self.site.now))
        if is_lost:
            return
        self._send(partial(self._report_stop, charge, reason, knows_id=knows_id or is_alike))
        for _ in range(faults.repeat.get("StopTransaction", 0)):
            self._send(self._repeat_the_last_stop)
        if faults.values_after_stop:
            socket = self.station.sockets[connector - 1]
            self._send_values(socket, charge)

    async def _report_stop(self, charge: Charge, reason: str, *, knows_id: bool) -> None:
        number = charge.number if knows_id else -1
        self.last_stop = self.facts.with_id(self.facts.stop(charge, reason), number)
        await self._stop(self.last_stop)
        charge.has_stop = True

    @rule()
    def repeat_the_last_stop(self) -> None:
        self._send(self._repeat_the_last_stop)

    async def _repeat_the_last_stop(self) -> None:
        if self.last_stop is not None:
            await self._stop(self.last_stop)

    async def _stop(self, payload: dict[str, Any]) -> None:
        frame = self._frame("StopTransaction", payload)
        async with self.db.transaction() as connection:
            await stop_transaction.handle(connection, frame, self.site.now)

    @rule(
        connector=CONNECTORS,
        status=st.sampled_from(
            ["available", "charging", "suspended_ev", "suspended_ev", "suspended_evse", "finishing"]
        ),
    )
    def report_status(self, connector: int, status: str) -> None:
        if status in {"charging", "suspended_ev", "suspended_evse"}:
            self.station.sockets[connector - 1].is_done = status == "suspended_ev"
        self._send(partial(self._report_status, connector, status, self.site.now))

    async def _report_status(self, connector: int, status: str, at: datetime) -> None:
        at += self.facts.clock_ahead
        event = StationStatus(
            STATION, connector, status, None, StationTime(at, at.isoformat()), self.site.now,
            is_history=False,
        )  # fmt: skip
        async with self.db.transaction() as connection:
            await status_reported(connection, event, now=self.site.now, rules=self.site.rules)

    @rule()
    def go_offline(self) -> None:
        self.station.is_online = False

    @rule(boots=st.booleans())
    def come_back(self, boots: bool) -> None:  # noqa: FBT001
        if self.station.is_online:
            return
        self.station.is_online = True
        self.run(self._reconnect(boots=boots))

    async def _reconnect(self, *, boots: bool) -> None:
        await self.site.connect()
        async with self.db.transaction() as connection:
            await charging.station_reconnected(connection, STATION, now=self.site.now)
        if boots:
            for socket in self.station.sockets:
                self.facts.reset(socket, "boot")
            async with self.db.transaction() as connection:
                await charging.station_booted(connection, STATION, False, now=self.site.now)
        if self.facts.faults.replay_on_reconnect and self.last_values is not None:
            await self.until_done(self.last_values)
        queue, self.station.queue = self.station.queue, []
        for send in queue:
            await self.until_done(send)
        for socket in self.station.sockets:
            if self.facts.faults.start_on_reconnect and socket.charge is not None:
                charge = socket.charge
                await self.until_done(partial(self._report_start, socket.number, charge))

    def _send(self, send: Any) -> None:
        """Sends a frame, or keeps it until the station is online."""
        if self.station.is_online:
            self.run(self.site.wait(0))
            self.run(self.until_done(send))
        else:
            self.station.queue.append(send)

    # What holds after every step

    @invariant()
    def holds_and_bills_are_right(self) -> None:
        if hasattr(self, "owner"):
            self.run(self._check())

    async def _check(self) -> None:
        rows = await self.owner.fetch(
            f"""
            select s.id, s.state, s.energy_wh, t.id as number, t.end_kind,
                   (select count(*) from charging.settlements b
                     where b.session_id = s.id and b.bill_number = 1) as first_bills,
                   (select count(*) from charging.settlements b
                     where b.session_id = s.id and b.bill_number is not null) as bills,
                   (select count(*) from charging.cdrs c where c.session_id = s.id) as records,
                   (select sum((part ->> 'duration_s')::int)
                      from (select c.parts from charging.cdrs c where c.session_id = s.id
                             order by c.settlement_id desc limit 1) newest,
                           jsonb_array_elements(newest.parts) part
                     where part ->> 'kind' = 'parking') as parked_s,
                   exists (select from wallet.holds h where h.session_id = s.id
                            and h.state = 'open' and s.state in {OVER}) as held_after
              from charging.sessions s left join charging.transactions t on t.session_id = s.id
            """
        )
        for row in rows:
            assert row["first_bills"] == (row["state"] == "settled"), dict(row)
            assert row["bills"] == row["records"], dict(row)
            assert not row["held_after"], dict(row)
            if row["state"] == "settled":
                delivered = sum(
                    socket.delivered_wh(row["number"]) for socket in self.station.sockets
                )
                rounded_wh = self.facts.step_wh // 2  # of a sample that is rounded up
                assert row["energy_wh"] <= delivered + rounded_wh, dict(row)
                done_s = sum(socket.done_s(row["number"]) for socket in self.station.sockets)
                assert (row["parked_s"] or 0) <= done_s, dict(row)
        left = await self.owner.fetchval(
            """
            select count(*) from charging.stop_steps x
              join charging.transactions t on t.id = x.transaction_id
              join charging.transactions n on n.station_id = t.station_id
                and n.connector = t.connector and n.id > t.id
             where x.step = 'zero_limit' and x.command_id is not null and x.cleared_at is null
               and t.ended_at is not null
            """
        )
        assert left == 0, "a limit of 0 meets the next charge"

    async def _check_prices(self) -> None:
        """What happened costs the same again, by the tariff that was stored at the start."""
        rows = await self.owner.fetch(
            "select s.id, s.cost_minor, f.snapshot from charging.sessions s"
            " join charging.session_tariffs f on f.session_id = s.id where s.state = 'settled'"
            " and s.quarantine_reason is distinct from 'no_register'"
        )
        for row in rows:
            snapshot = tariffs.read_snapshot(json.loads(row["snapshot"]))
            async with self.db.connection() as connection:
                bill = await charging.preview_session(connection, row["id"], snapshot)
            assert bill.cost_minor == row["cost_minor"], dict(row)

    async def _check_energies(self) -> None:
        """What the station's meter delivered is billed, and when it was is known."""
        rows = await self.owner.fetch(
            """
            select s.id, s.energy_wh, s.is_estimated, s.quarantine_reason, s.ended_at,
                   t.id as number, t.started_at, t.end_kind
              from charging.sessions s join charging.transactions t on t.session_id = s.id
             where s.state = 'settled' and not exists (
                   select from charging.settlements b
                    where b.session_id = s.id and b.actor like 'operator:%')
            """
        )
        charges = [charge for socket in self.station.sockets for charge in socket.all_charges]
        for row in rows:
            own = [charge for charge in charges if charge.number == row["number"]]
            if len(own) == 1:
                is_known = sum(charge.tag == own[0].tag for charge in charges) == 1
                wrong = list(differences(self.facts, own[0], dict(row), is_known=is_known))
                assert not wrong, (wrong, dict(row), own[0], self.facts)


async def test_charging_keeps_its_promises(server: Server) -> None:
    main = asyncio.get_running_loop()

    def work(number: int, name: str) -> None:
        loop = asyncio.new_event_loop()

        class Machine(ChargingMachine):
            persona = name

        Machine.server, Machine.main_loop, Machine.loop = server, main, loop
        # Of the profile: each takes a second, a step is many, and the first one is nearly empty.
        examples = settings().max_examples // 60
        try:
            run_state_machine_as_test(
                seed(number)(Machine),
                settings=settings(
                    max_examples=examples, stateful_step_count=settings().stateful_step_count // 4
                ),
            )
        finally:
            loop.close()

    # Each with a seed of its own: a few examples of one draw are much alike.
    for number, name in enumerate(STATIONS):
        await asyncio.to_thread(work, number, name)

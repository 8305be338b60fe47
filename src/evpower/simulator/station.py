"""A simulated charging station of OCPP 1.6J: its life between power, network and CSMS."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from random import Random
from typing import Any, Final

from ocpp.v16.enums import AuthorizationStatus, Reason, RegistrationStatus

from evpower.foundation.clock import Clock, Sleep, utc_now
from evpower.simulator.charge_control import ChargeControl
from evpower.simulator.commands import CommandHandlers
from evpower.simulator.configuration import ConfigurationKeys
from evpower.simulator.faults import Faults
from evpower.simulator.frames import Payload
from evpower.simulator.link import Link, NotPossible, SimulatorError, StationOffline
from evpower.simulator.model import (
    Car,
    OnEvent,
    SimulatedConnector,
    SimulatedTransaction,
    StationConfig,
    ignore_event,
)
from evpower.simulator.uplink import Uplink

_BOOT_RETRY_S: Final = 60


class SimulatedStation:
    """A station. It has power from the start; `run` connects it.

    `clock`, `sleep` and `random` are its time and chance; `faults` may be changed at any time.
    """

    def __init__(
        self,
        config: StationConfig,
        *,
        faults: Faults | None = None,
        clock: Clock = utc_now,
        sleep: Sleep = asyncio.sleep,
        random: Random | None = None,
        on_event: OnEvent = ignore_event,
    ) -> None:
        self.config = config
        self.faults = faults or Faults()
        self.configuration = ConfigurationKeys(config.connectors)
        self.control = ChargeControl(
            config,
            faults=self.faults,
            configuration=self.configuration,
            clock=clock,
            sleep=sleep,
            on_event=on_event,
        )
        self._uplink = self.control.uplink = Uplink(
            config,
            faults=self.faults,
            configuration=self.configuration,
            sleep=sleep,
            random=random or Random(config.id),  # noqa: S311 - reproducible, guards nothing
            stamp=self.control.stamp,
            on_call=CommandHandlers(self).receive,
            on_connected=self._prepare,
            on_event=self.control.report,
        )
        self._clock = clock
        self._sleep = sleep
        self._power = asyncio.Event()
        self._power.set()
        self._cut_at: datetime | None = None
        self._is_booted = False
        self._was_online = False
        self._life: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._heartbeat: asyncio.Task[None] | None = None

    @property
    def connectors(self) -> dict[int, SimulatedConnector]:
        """The connectors by their number, from 1."""
        return self.control.connectors

    @property
    def transactions(self) -> list[SimulatedTransaction]:
        """Every transaction since the station was made, oldest first."""
        return self.control.transactions

    @property
    def delivered_wh(self) -> int:
        """The energy that all connectors delivered since the station was made, in Wh."""
        for connector in self.connectors.values():
            self.control.advance(connector)
        return sum(connector.meter.delivered_wh for connector in self.connectors.values())

    @property
    def is_online(self) -> bool:
        """Whether the station is connected, and its boot was accepted."""
        return self._uplink.online.is_set()

    @property
    def is_booted(self) -> bool:
        """Whether BootNotification was accepted since power came."""
        return self._is_booted

    @property
    def link(self) -> Link | None:
        """The present connection."""
        return self._uplink.link

    @property
    def queued(self) -> int:
        """How many messages wait to be sent."""
        return self._uplink.queued

    @property
    def violations(self) -> list[str]:
        """What the CSMS sent against the schemas of OCPP 1.6."""
        return self._uplink.violations

    async def run(self, *, retries_first: bool = True) -> None:
        """Lives until cancelled, through power cuts.

        Raises ConnectFailed when the first connection fails and `retries_first` is false.
        """
        try:
            while True:
                await self._power.wait()
                self._life = asyncio.create_task(self._live(retries_first=retries_first))
                await asyncio.wait({self._life})
                if not self._life.cancelled():
                    self._life.result()
        finally:
            await self._uplink.close()
            self._end_life()
            await asyncio.gather(*filter(None, [self._life]), return_exceptions=True)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Runs the station while the block runs; its error is raised at the end."""
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def wait_sent(self) -> None:
        """Waits until every queued message was sent."""
        await self._uplink.wait_sent()

    def cut_power(self) -> None:
        """Switches the station off at once: no message, no close frame."""
        self._power.clear()
        self._end_life()

    def restore_power(self) -> None:
        """Switches it on: it boots, and stops what ran (or resumes it, by its configuration)."""
        self._power.set()

    def reboot(self) -> None:
        """Switches it off and on."""
        self._end_life()

    def lose_network(self) -> None:
        """Drops the connection; charging goes on, messages of transactions are stored."""
        self._uplink.lose_network()

    def restore_network(self) -> None:
        """Lets the station connect again."""
        self._uplink.restore_network()

    def open_second_socket(self) -> None:
        """Connects anew and leaves the first connection open, unread; StationOffline without it."""
        self._uplink.open_second_socket()

    def set_password(self, password: str) -> None:
        """Uses another password from the next connection on."""
        self._uplink.password = password

    def plug_in(self, number: int = 1, car: Car | None = None) -> None:
        """Plugs a car in. Raises NotPossible at an occupied connector."""
        self.control.plug_in(number, car or Car())

    def unplug(self, number: int = 1) -> None:
        """Takes the car away; a running transaction ends."""
        self.control.unplug(number)

    async def start_by_card(self, id_tag: str, number: int = 1) -> bool:
        """Starts with a card at a plugged-in car. Returns whether the card was accepted.

        Raises NotPossible without a car that waits.
        """
        connector = self.connectors[number]
        if connector.car is None or connector.transaction is not None:
            raise NotPossible(f"connector {number} has no car that waits")
        if not await self._authorize(id_tag):
            return False
        self.control.start(connector, id_tag)
        return True

    def stop_by_card(self, number: int = 1) -> None:
        """Ends the connector's transaction at the station."""
        self.control.stop(self.connectors[number], Reason.local)

    def start_remotely(self, connector: SimulatedConnector, id_tag: str) -> None:
        """Starts for RemoteStartTransaction, with Authorize first if so configured."""
        self.spawn(self._start_remotely(connector, id_tag))

    async def reset(self, reason: Reason) -> None:
        """Stops every transaction and reboots; a soft reset first sends what is queued."""
        for connector in self.connectors.values():
            self.control.stop(connector, reason)
        if reason is Reason.soft_reset and self.is_online:
            await self._uplink.wait_sent()
        self.reboot()

    def send_boot(self) -> None:
        """Queues BootNotification without a reboot, as TriggerMessage asks."""
        self._uplink.post("BootNotification", self._boot_payload)

    def send_heartbeat(self) -> None:
        """Queues Heartbeat."""
        self._uplink.post("Heartbeat", dict)

    def restart_timers(self) -> None:
        """Applies changed intervals at once."""
        self._begin_heartbeat()
        self.control.restart_samplers()

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Starts work that ends with the power."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _live(self, *, retries_first: bool) -> None:
        self._is_booted = False
        if self._cut_at is not None:
            self.control.power_on(self._cut_at)
            self._cut_at = None
        await self._uplink.run(retries_first=retries_first)

    def _end_life(self) -> None:
        self._cut_at = self._clock()
        self._is_booted = False
        self.control.power_off()
        self._uplink.drop()
        for task in (*self._tasks, *([self._life] if self._life else [])):
            if task is not asyncio.current_task():
                task.cancel()

    async def _prepare(self, link: Link) -> None:
        """Boots where power came since the last boot; queues the present statuses."""
        for action, payload in self.faults.greetings:
            await link.call(action, payload, self._uplink.new_id())
        while not self._is_booted and "BootNotification" not in self.faults.skip:
            payload = self._uplink.bent("BootNotification", self._boot_payload())
            reply = await link.call("BootNotification", payload, self._uplink.new_id())
            interval_s = reply.get("interval") or _BOOT_RETRY_S
            if reply.get("status") == RegistrationStatus.accepted:
                self._is_booted = True
                self.configuration.set("HeartbeatInterval", str(interval_s))
                self._begin_heartbeat()
                self.control.report("boot_accepted", f"heartbeat {interval_s} s")
            else:
                self.control.report("boot_refused", str(reply.get("status")))
                await self._sleep(interval_s)
        self._uplink.online.set()
        for number in (0, *self.connectors):
            self.control.send_status(number)
        if self.faults.start_on_reconnect and self._was_online:
            self.control.start_again()
        self._was_online = True

    def _boot_payload(self) -> Payload:
        return {
            "chargePointVendor": self.config.vendor,
            "chargePointModel": self.config.model,
            "chargePointSerialNumber": self.config.id[:25],
            "firmwareVersion": self.config.firmware,
            **self.config.boot,
        }

    def _begin_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._heartbeat = self.spawn(self._beat())

    async def _beat(self) -> None:
        while True:
            await self._sleep(max(1, self.configuration.number("HeartbeatInterval")))
            self.send_heartbeat()

    async def _authorize(self, id_tag: str) -> bool:
        """Returns whether a tag may start; offline that is a matter of configuration."""
        if "Authorize" in self.faults.skip:
            return True
        try:
            reply = await self._uplink.ask("Authorize", {"idTag": id_tag})
        except StationOffline:
            return self.configuration.flag("LocalAuthorizeOffline") and self.configuration.flag(
                "AllowOfflineTxForUnknownId"
            )
        except SimulatorError:
            return False
        is_accepted = reply["idTagInfo"]["status"] == AuthorizationStatus.accepted
        self.control.report("card_accepted" if is_accepted else "card_refused", id_tag)
        return is_accepted

    async def _start_remotely(self, connector: SimulatedConnector, id_tag: str) -> None:
        is_checked = self.configuration.flag("AuthorizeRemoteTxRequests")
        if is_checked and not await self._authorize(id_tag):
            return
        if not self.control.wait_for_car(connector, id_tag):
            await self._sleep(self.configuration.number("ConnectionTimeOut"))
            self.control.give_up(connector, id_tag)

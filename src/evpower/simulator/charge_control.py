"""The station's connectors: cars, transactions, power and readings."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from ocpp.v16.enums import (
    AuthorizationStatus,
    ChargePointErrorCode,
    ChargePointStatus,
    ReadingContext,
    Reason,
)

from evpower.foundation.clock import Clock, Sleep
from evpower.simulator.configuration import ConfigurationKeys
from evpower.simulator.faults import Faults
from evpower.simulator.frames import Payload
from evpower.simulator.link import NotPossible
from evpower.simulator.meter import UJ_PER_WH, Meter
from evpower.simulator.model import (
    UNKNOWN_TRANSACTION,
    Car,
    OnEvent,
    SimulatedConnector,
    SimulatedTransaction,
    StationConfig,
    StationEvent,
)
from evpower.simulator.profiles import Profiles
from evpower.simulator.uplink import Uplink
from evpower.simulator.values import MeterReading, write_meter_value, write_stamp

_FULL: Final = 100.0
_BEFORE: Final = timedelta(seconds=2)  # its start, by the stamp of a stop


class ChargeControl:
    """The connectors. What must be sent goes to `uplink`, which the station sets."""

    uplink: Uplink

    def __init__(
        self,
        config: StationConfig,
        *,
        faults: Faults,
        configuration: ConfigurationKeys,
        clock: Clock,
        sleep: Sleep,
        on_event: OnEvent,
    ) -> None:
        self.config = config
        self.faults = faults
        self.configuration = configuration
        self.profiles = Profiles()
        self.transactions: list[SimulatedTransaction] = []
        now = clock()
        self.connectors = {
            number: SimulatedConnector(number, Meter(config.meter_start_wh, now))
            for number in range(1, config.connectors + 1)
        }
        self._clock = clock
        self._sleep = sleep
        self._on_event = on_event
        self._samplers: dict[int, asyncio.Task[None]] = {}
        self._waits: dict[int, asyncio.Task[None]] = {}

    def plug_in(self, number: int, car: Car) -> None:
        """Plugs a car in; a remote start that waits for it begins."""
        connector = self.connectors[number]
        if connector.car is not None:
            raise NotPossible(f"connector {number} is occupied")
        connector.car = car
        connector.plugged_at_uj = connector.meter.total_uj
        self.set_status(connector, ChargePointStatus.preparing)
        if connector.remote_tag is not None:
            self.start(connector, connector.remote_tag)
        elif self.faults.preparing_limit_s is not None:
            self._end_wait(number)
            self._waits[number] = asyncio.create_task(
                self._wait_for_start(connector, self.faults.preparing_limit_s)
            )

    def unplug(self, number: int) -> None:
        """Takes the car away; a running transaction ends."""
        connector = self.connectors[number]
        if connector.transaction is not None:
            self.stop(connector, Reason.ev_disconnected)
        connector.car = None
        self._end_sampler(number)
        self._end_wait(number)
        self.set_status(connector, idle_status(connector))

    def start(self, connector: SimulatedConnector, id_tag: str) -> None:
        """Starts a transaction: power flows, StartTransaction is queued."""
        connector.remote_tag = None
        self.advance(connector)
        if self.faults.register == "transaction":
            connector.register_base_wh = connector.meter.register_wh
        begun = self._clock()
        transaction = SimulatedTransaction(
            connector.number, id_tag, begun, connector.meter.register_wh
        )
        connector.transaction = connector.last_transaction = transaction
        self.transactions.append(transaction)
        self._store_sample(connector, transaction, ReadingContext.transaction_begin)
        payload = {
            "connectorId": connector.number,
            "idTag": id_tag,
            "meterStart": self._register_wh(connector),
            "timestamp": self.stamp(),
        }
        transaction.start = payload
        self._post_start(connector, transaction, payload)
        self.report("transaction_started", id_tag, connector.number)
        self.update_power(connector)
        if self.faults.stops_full_car and connector.status is ChargePointStatus.suspended_ev:
            self.stop(connector, Reason.other, begun - _BEFORE)
        else:
            self.begin_sampler(connector.number)

    def start_again(self) -> None:
        """Queues the start of what runs once more, with its first stamp and a register of 0."""
        for connector in self.connectors.values():
            transaction = connector.transaction
            if transaction is not None:
                self._post_start(connector, transaction, transaction.start | {"meterStart": 0})

    def stop(
        self, connector: SimulatedConnector, reason: Reason, at: datetime | None = None
    ) -> None:
        """Ends a transaction: power stops, StopTransaction is queued. Nothing without one."""
        transaction = connector.transaction
        if transaction is None:
            return
        self.advance(connector)
        connector.meter.power_w = 0
        connector.transaction = None
        transaction.meter_stop_wh = connector.meter.register_wh
        transaction.reason = reason
        self._store_sample(connector, transaction, ReadingContext.transaction_end, at)
        self.profiles.end_transaction(connector.number)
        if self.faults.status_before_stop:
            self.set_status(connector, ChargePointStatus.available)
        payload: Payload = {
            "idTag": transaction.id_tag + self.faults.id_tag_tail,
            "meterStop": self._register_wh(connector) + self.faults.stop_offset_wh,
            "timestamp": self.stamp(at),
            "reason": reason.value,
        }
        if transaction.samples:
            payload["transactionData"] = transaction.samples
        self.uplink.post(
            "StopTransaction",
            lambda: payload | {"transactionId": self._sent_id(transaction)},
            is_stored=True,
        )
        if self.faults.values_after_stop:
            self.send_values(connector.number, ReadingContext.sample_periodic, transaction)
        if not self.faults.stale_transaction:
            self._end_sampler(connector.number)
        self.report("transaction_stopped", f"{transaction.delivered_wh} Wh", connector.number)
        if connector.car is not None and not self.faults.status_before_stop:
            self.set_status(connector, ChargePointStatus.finishing)
        if self.config.plugs_itself and connector.car is not None:
            self.unplug(connector.number)

    def wait_for_car(self, connector: SimulatedConnector, id_tag: str) -> bool:
        """Starts with the plugged-in car. Returns False when there is none, and it waits."""
        connector.remote_tag = id_tag
        if connector.car is not None:
            self.start(connector, id_tag)
        elif self.config.plugs_itself:
            self.plug_in(connector.number, Car())
        else:
            self.set_status(connector, ChargePointStatus.preparing)
            return False
        return True

    def give_up(self, connector: SimulatedConnector, id_tag: str) -> None:
        """Forgets a remote start for which no car came."""
        if connector.remote_tag == id_tag:
            connector.remote_tag = None
            self.set_status(connector, ChargePointStatus.available)
            self.report("start_timed_out", id_tag, connector.number)

    def advance(self, connector: SimulatedConnector) -> None:
        """Counts the energy up to now, at most what the battery takes."""
        most_uj = None if connector.car is None else self._left_uj(connector, connector.car)
        connector.meter.advance(self._clock(), most_uj)

    def update_power(self, connector: SimulatedConnector) -> None:
        """Sets a connector's power by its car, its rating and the charging profiles."""
        self.advance(connector)
        transaction, car = connector.transaction, connector.car
        if transaction is None or car is None:
            connector.meter.power_w = 0
            return
        if self._left_uj(connector, car) <= 0:
            connector.meter.power_w = 0
            self.set_status(connector, ChargePointStatus.suspended_ev)
            return
        power_w = min(round(car.max_power_w * self.config.speed), self.config.rated_w)
        limit_w = self.profiles.limit_w(connector.number, transaction.started_at, self._clock())
        connector.meter.power_w = power_w if limit_w is None else max(0, min(power_w, limit_w))
        flows = connector.meter.power_w > 0
        self.set_status(
            connector, ChargePointStatus.charging if flows else ChargePointStatus.suspended_evse
        )

    def stamp(self, at: datetime | None = None) -> str:
        """Returns the station's own time as text; `at` is a real time, now by default."""
        return write_stamp(at or self._clock(), self.config.clock_offset_s, self.faults)

    def report(self, name: str, text: str = "", connector: int | None = None) -> None:
        """Passes an event to the caller that follows the station."""
        self._on_event(StationEvent(self.config.id, connector, name, text))

    def set_status(self, connector: SimulatedConnector, status: ChargePointStatus) -> None:
        """Changes a connector's status, and notifies the CSMS of a change."""
        if connector.status is not status:
            connector.status = status
            self.report("status", status.value, connector.number)
            self.send_status(connector.number)

    def send_status(self, number: int) -> None:
        """Queues StatusNotification; connector 0 is the whole station."""
        status = self.connectors[number].status if number else ChargePointStatus.available
        payload = {
            "connectorId": number,
            "errorCode": ChargePointErrorCode.no_error.value,
            "status": status.value,
            "timestamp": self.stamp(),
        }
        self.uplink.post("StatusNotification", lambda: payload)

    def send_values(
        self,
        number: int,
        context: ReadingContext,
        transaction: SimulatedTransaction | None = None,
    ) -> None:
        """Queues MeterValues of a connector; those of a transaction are stored while offline.

        They are of the one that runs, or of `transaction`, which has ended.
        """
        connector = self.connectors[number]
        self.update_power(connector)
        measurands = self.configuration.measurands("MeterValuesSampledData")
        reading = self._read(connector)
        value = write_meter_value(reading, self.stamp(), context, measurands, self.faults)
        if value is None:
            return
        payload: Payload = {
            "connectorId": number,
            "meterValue": value if self.faults.values_as_object else [value],
        }
        transaction = transaction or connector.transaction
        if transaction is None and self.faults.stale_transaction:
            transaction = connector.last_transaction
        if transaction is None:
            self.uplink.post("MeterValues", lambda: payload)
        else:
            self.uplink.post(
                "MeterValues",
                lambda: payload | {"transactionId": self._sent_id(transaction)},
                is_stored=True,
            )
        self.report("meter_value", f"{reading.register_wh} Wh, {reading.power_w} W", number)

    def begin_sampler(self, number: int) -> None:
        """Sends meter values of a connector at each interval from now on."""
        self._end_sampler(number)
        self._samplers[number] = asyncio.create_task(self._sample(number))

    def restart_samplers(self) -> None:
        """Applies a changed interval at once."""
        for number in list(self._samplers):
            self.begin_sampler(number)

    def power_off(self) -> None:
        """Stops the flow of energy; transactions stay in the station's memory."""
        for connector in self.connectors.values():
            self.advance(connector)
            connector.meter.power_w = 0
            connector.remote_tag = None
            if connector.car is None:
                connector.status = idle_status(connector)
            self._end_sampler(connector.number)
            self._end_wait(connector.number)

    def power_on(self, cut_at: datetime) -> None:
        """Stops or resumes the transactions that a power cut interrupted."""
        for connector in self.connectors.values():
            self.advance(connector)
            if connector.transaction is not None and not self.config.resumes_after_power_cut:
                self.stop(connector, Reason.power_loss, cut_at)
            if self.faults.register == "boot":
                connector.register_base_wh = connector.meter.register_wh
            if connector.transaction is not None:
                self.update_power(connector)
                self.begin_sampler(connector.number)

    async def _sample(self, number: int) -> None:
        while True:
            interval_s = self.configuration.number("MeterValueSampleInterval")
            if interval_s <= 0:
                return
            await self._sleep(interval_s)
            self.send_values(number, ReadingContext.sample_periodic)

    async def _wait_for_start(self, connector: SimulatedConnector, limit_s: float) -> None:
        await self._sleep(limit_s)
        if connector.status is ChargePointStatus.preparing and connector.transaction is None:
            self.set_status(connector, ChargePointStatus.finishing)

    def _end_wait(self, number: int) -> None:
        wait = self._waits.pop(number, None)
        if wait is not None:
            wait.cancel()

    def _end_sampler(self, number: int) -> None:
        sampler = self._samplers.pop(number, None)
        if sampler is not None:
            sampler.cancel()

    def _post_start(
        self, connector: SimulatedConnector, transaction: SimulatedTransaction, payload: Payload
    ) -> None:
        self.uplink.post(
            "StartTransaction",
            lambda: payload,
            is_stored=True,
            on_reply=lambda reply: self._started(connector, transaction, reply),
        )

    def _started(
        self, connector: SimulatedConnector, transaction: SimulatedTransaction, reply: Payload
    ) -> None:
        number = reply.get("transactionId")
        transaction.id = number if isinstance(number, int) else None
        id_tag_info: Payload = reply.get("idTagInfo", {})
        status = id_tag_info.get("status")
        self.report("transaction_known", f"{number} {status}", connector.number)
        is_running = connector.transaction is transaction
        is_refused = status != AuthorizationStatus.accepted
        if is_running and is_refused and self.configuration.flag("StopTransactionOnInvalidId"):
            self.stop(connector, Reason.de_authorized)

    def _sent_id(self, transaction: SimulatedTransaction) -> int:
        if self.faults.transaction_id is not None:
            return self.faults.transaction_id
        return UNKNOWN_TRANSACTION if transaction.id is None else transaction.id

    def _register_wh(self, connector: SimulatedConnector) -> int:
        return connector.meter.register_wh - connector.register_base_wh

    def _left_uj(self, connector: SimulatedConnector, car: Car) -> int:
        room_wh = car.battery_wh * (_FULL - car.soc_percent) / _FULL
        return round(room_wh * UJ_PER_WH) - (connector.meter.total_uj - connector.plugged_at_uj)

    def _read(self, connector: SimulatedConnector) -> MeterReading:
        soc_percent = None
        if connector.car is not None:
            car = connector.car
            charged_uj = connector.meter.total_uj - connector.plugged_at_uj
            charged = charged_uj / UJ_PER_WH / car.battery_wh * _FULL
            soc_percent = min(_FULL, car.soc_percent + charged)
        return MeterReading(self._register_wh(connector), connector.meter.power_w, soc_percent)

    def _store_sample(
        self,
        connector: SimulatedConnector,
        transaction: SimulatedTransaction,
        context: ReadingContext,
        at: datetime | None = None,
    ) -> None:
        measurands = self.configuration.measurands("StopTxnSampledData")
        reading = self._read(connector)
        value = write_meter_value(reading, self.stamp(at), context, measurands, self.faults)
        if value is not None:
            transaction.samples.append(value)


def idle_status(connector: SimulatedConnector) -> ChargePointStatus:
    """Returns the status of a connector without a car."""
    if connector.is_operative:
        return ChargePointStatus.available
    return ChargePointStatus.unavailable

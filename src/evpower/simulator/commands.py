"""The commands of the CSMS by their action: the reply is sent first, then the command is done."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from ocpp.v16.enums import (
    Action,
    AvailabilityStatus,
    AvailabilityType,
    ChargePointStatus,
    ChargingProfileStatus,
    ClearCacheStatus,
    ClearChargingProfileStatus,
    ConfigurationStatus,
    DataTransferStatus,
    MessageTrigger,
    ReadingContext,
    Reason,
    RemoteStartStopStatus,
    ResetStatus,
    ResetType,
    TriggerMessageStatus,
    UnlockStatus,
)

from evpower.simulator.charge_control import idle_status
from evpower.simulator.frames import CallFrame, Payload
from evpower.simulator.model import SimulatedConnector

if TYPE_CHECKING:
    from evpower.simulator.station import SimulatedStation

Effect = Callable[[], object]
Answer = tuple[str, Effect | None]  # the status, and what is done after the reply
_LONG_LIST: Final = 4  # measurands: a faulty station reboots over them
# What a station says that refuses, where it is not `Rejected`.
_REFUSALS: Final = {
    Action.unlock_connector: UnlockStatus.unlock_failed,
    Action.clear_charging_profile: ClearChargingProfileStatus.unknown,
}


class CommandHandlers:
    """Answers the commands that come over a station's connection."""

    def __init__(self, station: "SimulatedStation") -> None:
        self._station = station
        self._handlers: dict[str, Callable[[Payload], Answer]] = {
            Action.change_availability: self._change_availability,
            Action.change_configuration: self._change_configuration,
            Action.clear_cache: lambda _: (ClearCacheStatus.accepted, None),
            Action.clear_charging_profile: self._clear_profile,
            Action.data_transfer: lambda _: (DataTransferStatus.unknown_vendor_id, None),
            Action.remote_start_transaction: self._remote_start,
            Action.remote_stop_transaction: self._remote_stop,
            Action.reset: self._reset,
            Action.set_charging_profile: self._set_profile,
            Action.trigger_message: self._trigger,
            Action.unlock_connector: self._unlock,
        }

    async def receive(self, call: CallFrame) -> None:
        """Answers a command, and does it."""
        station, faults, link = self._station, self._station.faults, self._station.link
        station.control.report("command", call.action)
        if link is None or call.action in faults.ignore_commands:
            return
        if faults.boot_loop and not station.is_booted:
            station.reboot()
            return
        if call.action == Action.get_configuration:
            await link.answer(call.id, station.configuration.describe(call.payload.get("key", ())))
            measurands = station.configuration.measurands("MeterValuesSampledData")
            if faults.configuration_boot_loop and len(measurands) >= _LONG_LIST:
                station.reboot()
            return
        handler = self._handlers.get(call.action)
        if handler is None:
            await link.refuse(call.id, "NotImplemented", call.action)
            return
        if call.action in faults.refuse_commands:
            await link.answer(call.id, {"status": _REFUSALS.get(Action(call.action), "Rejected")})
            return
        status, effect = handler(call.payload)
        await link.answer(call.id, {"status": status})
        if effect is not None and call.action not in faults.without_effect:
            effect()

    def _remote_start(self, payload: Payload) -> Answer:
        number = payload.get("connectorId")
        profile = payload.get("chargingProfile")
        connector = self._free_connector() if number is None else self._connector(number)
        if connector is None or not _is_free(connector):
            return RemoteStartStopStatus.rejected, None

        def start() -> None:
            if profile is not None:
                self._station.control.profiles.set(connector.number, profile)
            self._station.start_remotely(connector, payload["idTag"])

        return RemoteStartStopStatus.accepted, start

    def _remote_stop(self, payload: Payload) -> Answer:
        wanted = payload["transactionId"]
        for transaction in self._station.transactions:
            connector = self._station.connectors[transaction.connector]
            if transaction.id == wanted and connector.transaction is transaction:
                stop = partial(self._station.control.stop, connector, Reason.remote)
                return RemoteStartStopStatus.accepted, stop
        return RemoteStartStopStatus.rejected, None

    def _reset(self, payload: Payload) -> Answer:
        is_soft = payload["type"] == ResetType.soft
        reason = Reason.soft_reset if is_soft else Reason.hard_reset
        return ResetStatus.accepted, lambda: self._station.spawn(self._station.reset(reason))

    def _unlock(self, payload: Payload) -> Answer:
        connector = self._connector(payload["connectorId"])
        if connector is None:
            return UnlockStatus.not_supported, None
        if connector.car is None:
            return UnlockStatus.unlock_failed, None
        return UnlockStatus.unlocked, lambda: self._station.control.stop(
            connector, Reason.unlock_command
        )

    def _change_availability(self, payload: Payload) -> Answer:
        number = payload["connectorId"]
        connectors = [
            connector
            for connector in self._station.connectors.values()
            if number in {0, connector.number}
        ]
        if not connectors:
            return AvailabilityStatus.rejected, None
        is_operative = payload["type"] == AvailabilityType.operative

        def change() -> None:
            for connector in connectors:
                connector.is_operative = is_operative
                if connector.car is None:
                    self._station.control.set_status(connector, idle_status(connector))

        is_busy = any(connector.transaction for connector in connectors)
        if is_busy and not is_operative:
            return AvailabilityStatus.scheduled, change
        return AvailabilityStatus.accepted, change

    def _change_configuration(self, payload: Payload) -> Answer:
        key, value = payload["key"], payload["value"]
        if Action.change_configuration in self._station.faults.without_effect:
            return ConfigurationStatus.accepted, None
        status = self._station.configuration.change(key, value)
        if status is not ConfigurationStatus.accepted:
            return status, None
        if key == "AuthorizationKey":
            return status, lambda: self._station.set_password(value)
        if key in {"HeartbeatInterval", "MeterValueSampleInterval"}:
            return status, self._station.restart_timers
        return status, None

    def _set_profile(self, payload: Payload) -> Answer:
        number = payload["connectorId"]
        if number and self._connector(number) is None:
            return ChargingProfileStatus.rejected, None

        def apply() -> None:
            self._station.control.profiles.set(number, payload["csChargingProfiles"])
            self._update_power()

        return ChargingProfileStatus.accepted, apply

    def _clear_profile(self, payload: Payload) -> Answer:
        if Action.clear_charging_profile in self._station.faults.without_effect:
            return ClearChargingProfileStatus.accepted, None
        if not self._station.control.profiles.clear(payload):
            return ClearChargingProfileStatus.unknown, None
        return ClearChargingProfileStatus.accepted, self._update_power

    def _trigger(self, payload: Payload) -> Answer:
        station, control = self._station, self._station.control
        number = payload.get("connectorId")
        numbers = list(station.connectors) if number is None else [number]
        if any(number not in station.connectors for number in numbers):
            return TriggerMessageStatus.rejected, None
        match payload["requestedMessage"]:
            case MessageTrigger.boot_notification:
                return TriggerMessageStatus.accepted, station.send_boot
            case MessageTrigger.heartbeat:
                return TriggerMessageStatus.accepted, station.send_heartbeat
            case MessageTrigger.status_notification:
                send = control.send_status
            case MessageTrigger.meter_values:
                send = partial(control.send_values, context=ReadingContext.trigger)
            case _:
                return TriggerMessageStatus.not_implemented, None

        def send_all() -> None:
            for number in numbers:
                send(number)

        return TriggerMessageStatus.accepted, send_all

    def _update_power(self) -> None:
        for connector in self._station.connectors.values():
            self._station.control.update_power(connector)

    def _connector(self, number: int) -> SimulatedConnector | None:
        return self._station.connectors.get(number)

    def _free_connector(self) -> SimulatedConnector | None:
        connectors = self._station.connectors.values()
        return next((connector for connector in connectors if _is_free(connector)), None)


def _is_free(connector: SimulatedConnector) -> bool:
    return (
        connector.is_operative
        and connector.remote_tag is None
        and connector.status in {ChargePointStatus.available, ChargePointStatus.preparing}
    )

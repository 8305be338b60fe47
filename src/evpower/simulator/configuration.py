"""The configuration keys of a station, and the answers to their commands."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ocpp.v16.enums import ConfigurationStatus

from evpower.simulator.faults import ENERGY
from evpower.simulator.frames import Payload


@dataclass(slots=True)
class _Key:
    value: str
    is_readonly: bool = False
    is_hidden: bool = False  # written, never read
    is_number: bool = False


_MEASURANDS: Final = f"{ENERGY},Power.Active.Import,SoC,Current.Import,Voltage"
_MAX_LENGTH: Final = 500


class ConfigurationKeys:
    """The keys and their present values."""

    def __init__(self, connectors: int) -> None:
        self._keys = {
            "AllowOfflineTxForUnknownId": _Key("true"),
            "AuthorizationKey": _Key("", is_hidden=True),
            "AuthorizeRemoteTxRequests": _Key("false"),
            "ConnectionTimeOut": _Key("60", is_number=True),
            "GetConfigurationMaxKeys": _Key("50", is_readonly=True),
            "HeartbeatInterval": _Key("300", is_number=True),
            "LocalAuthorizeOffline": _Key("true"),
            "MeterValueSampleInterval": _Key("60", is_number=True),
            "MeterValuesSampledData": _Key(_MEASURANDS),
            "NumberOfConnectors": _Key(str(connectors), is_readonly=True),
            "ChargeProfileMaxStackLevel": _Key("10", is_readonly=True),
            "ChargingScheduleAllowedChargingRateUnit": _Key("Current,Power", is_readonly=True),
            "ChargingScheduleMaxPeriods": _Key("24", is_readonly=True),
            "StopTransactionOnInvalidId": _Key("true"),
            "StopTxnSampledData": _Key(ENERGY),
            "SupportedFeatureProfiles": _Key("Core,SmartCharging,RemoteTrigger", is_readonly=True),
            "TransactionMessageAttempts": _Key("3", is_number=True),
            "TransactionMessageRetryInterval": _Key("10", is_number=True),
        }

    def text(self, key: str) -> str:
        """Returns a key's value."""
        return self._keys[key].value

    def number(self, key: str) -> int:
        """Returns the value of a key that holds a number."""
        return int(self._keys[key].value)

    def flag(self, key: str) -> bool:
        """Returns the value of a key that holds true or false."""
        return self._keys[key].value == "true"

    def measurands(self, key: str) -> list[str]:
        """Returns the value of a key that lists measurands."""
        return [name for name in self._keys[key].value.split(",") if name]

    def set(self, key: str, value: str) -> None:
        """Sets a value from inside the station."""
        self._keys[key].value = value

    def change(self, key: str, value: str) -> ConfigurationStatus:
        """Applies ChangeConfiguration."""
        known = self._keys.get(key)
        if known is None:
            return ConfigurationStatus.not_supported
        is_good = not known.is_number or (value.isascii() and value.isdigit())
        if known.is_readonly or not is_good or len(value) > _MAX_LENGTH:
            return ConfigurationStatus.rejected
        known.value = value
        return ConfigurationStatus.accepted

    def describe(self, keys: Iterable[str]) -> Payload:
        """Returns the payload of GetConfiguration; no keys are all."""
        asked_for = list(keys)
        names = asked_for or list(self._keys)
        listed = [
            {"key": name, "readonly": key.is_readonly}
            | ({} if key.is_hidden else {"value": key.value})
            for name in names
            if (key := self._keys.get(name)) is not None
        ]
        unknown = [name for name in asked_for if name not in self._keys]
        return {"configurationKey": listed} | ({"unknownKey": unknown} if unknown else {})

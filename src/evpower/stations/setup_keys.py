"""The configuration keys of a station that matter: what they should be, and which are only shown.

What a station answers to GetConfiguration is read tolerantly: numbers and truths in place of texts,
null, quotes, keys in any case. A key that a station does not name is not written.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from evpower.stations.model import USUAL_PROFILE, VendorProfile
from evpower.stations.setup_model import SetupKey
from evpower.stations.texts import printable

_ATTEMPTS: Final = 10  # of a message about a transaction, before it is lost
_SOC: Final = "SoC"
_MEASURANDS: Final = "MeterValuesSampledData"
_HEARTBEAT_S: Final = 30  # of a station that takes no pings: three in the 90 s of `ONLINE_FOR`
_VALUE_MAX: Final = 500
_MOST_READ: Final = 5_000  # keys of one answer
_MOST_SHOWN: Final = 100
_KEY_MAX: Final = 50
_TRUTHS: Final = {"true": "true", "1": "true", "false": "false", "0": "false"}
# Parts of the names that vendors give to charging without any authorisation.
_AUTOSTART: Final = (
    "autostart", "automaticstart", "freevend", "freecharg", "freemode", "plugandcharge",
    "plugcharge", "plugplay", "starttransactionmode", "noauth",
)  # fmt: skip
_SHOWN: Final = (
    "ConnectionTimeOut", "MinimumStatusDuration", "TransactionMessageRetryInterval",
    "StopTransactionOnEVSideDisconnect", "UnlockConnectorOnEVSideDisconnect",
    "ClockAlignedDataInterval", "HeartbeatInterval", "WebSocketPingInterval", "NumberOfConnectors",
    "SupportedFeatureProfiles", "ChargingScheduleAllowedChargingRateUnit",
    "ChargingScheduleMaxPeriods", "ChargeProfileMaxStackLevel", "CustomDisplayCostAndPrice",
    "LocalAuthListEnabled", "AuthorizationCacheEnabled",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class WantedKey:
    """What a key should be. Without a needed one the energy or the bill may be wrong."""

    key: str
    value: Callable[[VendorProfile], str | None]  # None: as it is
    fits: Callable[[str, str], bool]
    is_needed: bool = False


def _is_same(actual: str, wanted: str) -> bool:
    return _TRUTHS.get(actual.lower(), actual.lower()) == wanted


def _has_all(actual: str, wanted: str) -> bool:
    """Returns whether a list has what is wanted; the default measurand may be unnamed."""
    listed = {part.strip().strip("'\"").casefold() for part in actual.split(",")}
    return {part.casefold() for part in wanted.split(",")} <= listed


def _has_only(actual: str, wanted: str) -> bool:
    """Returns whether a list has what is wanted and no more."""
    return _has_all(actual, wanted) and len(actual.split(",")) == len(wanted.split(","))


def _is_at_most(actual: str, wanted: str) -> bool:
    number = _number(actual)
    return number is not None and 0 < number <= int(wanted)


def _is_at_least(actual: str, wanted: str) -> bool:
    number = _number(actual)
    return number is not None and number >= int(wanted)


_WANTED: Final = (
    WantedKey(_MEASURANDS, lambda make: ",".join(make.measurands), _has_all, is_needed=True),
    WantedKey(
        "MeterValueSampleInterval",
        lambda make: str(make.sample_interval_s),
        _is_at_most,
        is_needed=True,
    ),
    WantedKey("StopTxnSampledData", lambda make: make.measurands[0], _has_all),
    WantedKey("AuthorizeRemoteTxRequests", lambda _: "false", _is_same),
    WantedKey("LocalAuthorizeOffline", lambda _: "false", _is_same),
    WantedKey("LocalPreAuthorize", lambda _: "false", _is_same),
    WantedKey("AllowOfflineTxForUnknownId", lambda _: "false", _is_same),
    WantedKey("StopTransactionOnInvalidId", lambda _: "true", _is_same),
    WantedKey("TransactionMessageAttempts", lambda _: str(_ATTEMPTS), _is_at_least),
    WantedKey(
        "HeartbeatInterval", lambda make: None if make.ping else str(_HEARTBEAT_S), _is_at_most
    ),
)
NEEDED: Final = frozenset(wanted.key for wanted in _WANTED if wanted.is_needed)


def compare_keys(
    response: Mapping[str, Any], profile: VendorProfile, *, has_dc: bool
) -> list[SetupKey]:
    """Returns the keys that matter, those to be written first, as a station answered.

    Only a car at a DC connector says its state of charge, so SoC is not asked for elsewhere.
    """
    actual = _read(response)
    keys: list[SetupKey] = []
    for wanted in _WANTED:
        value = wanted.value(profile)
        if value is None:
            continue
        if not has_dc:
            value = ",".join(part for part in value.split(",") if part != _SOC)
        known = actual.pop(wanted.key.casefold(), None)
        if known is None:
            keys.append(SetupKey(wanted.key, value, None, is_readonly=False, outcome="absent"))
        elif _fits(wanted, known.actual or "", value, profile):
            keys.append(_with(known, value, "as_wanted"))
        else:
            keys.append(_with(known, value, "read_only" if known.is_readonly else "to_write"))
    shown = {key.casefold() for key in _SHOWN}
    own = {key.casefold() for key in profile.autostart_keys}
    for name, known in list(actual.items())[:_MOST_READ]:
        if len(keys) >= _MOST_SHOWN:
            break
        if name in own or any(part in name for part in _AUTOSTART):
            keys.append(_with(known, None, "autostart"))
        elif name in shown:
            keys.append(_with(known, None, "shown"))
    return keys


def _fits(wanted: WantedKey, actual: str, value: str, profile: VendorProfile) -> bool:
    """Returns whether a key is as wanted; a make with few measurands must not have more of them."""
    if wanted.key == _MEASURANDS and profile.measurands != USUAL_PROFILE.measurands:
        return _has_only(actual, value)
    return wanted.fits(actual, value)


def _read(response: Mapping[str, Any]) -> dict[str, SetupKey]:
    """Returns the keys of an answer, by their names without case."""
    listed: object = response.get("configurationKey")
    if not isinstance(listed, list):
        listed = [listed]
    known: dict[str, SetupKey] = {}
    for item in cast("list[object]", listed):
        if not isinstance(item, Mapping):
            continue
        members = cast("Mapping[str, object]", item)
        name = members.get("key")
        if isinstance(name, str) and name.strip():
            key = printable(name, _KEY_MAX)
            known[key.casefold()] = SetupKey(
                key,
                None,
                read_value(members.get("value")),
                is_readonly=_is_true(members),
                outcome="",
            )
    return known


def _is_true(members: Mapping[str, object]) -> bool:
    return _TRUTHS.get(str(members.get("readonly", "")).strip().lower()) == "true"


def read_value(value: object) -> str | None:
    """Returns a key's value as it is meant: without quotes, a number or truth as text."""
    if value is None or isinstance(value, dict | list):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    text = printable(str(value), _VALUE_MAX).strip()
    return text.strip("'\"").strip() if text[:1] in {"'", '"'} else text


def _number(text: str) -> int | None:
    whole = text.strip().partition(".")[0]
    return (
        int(whole) if whole.isascii() and whole.isdigit() and len(whole) < len("1" * 10) else None
    )


def _with(known: SetupKey, wanted: str | None, outcome: str) -> SetupKey:
    return SetupKey(known.key, wanted, known.actual, is_readonly=known.is_readonly, outcome=outcome)

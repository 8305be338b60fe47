"""Personas that are off in starts and stops: tags, transaction ids, repeats."""

from datetime import datetime, timedelta
from typing import Any, Final

from evpower.foundation.clock import to_z
from evpower.simulator.faults import Faults, Payload
from evpower.simulator.personas.model import Persona

_OVERREAD: Final = "J2QIEGCC0MCJ5X16WG99"  # what lies behind the tag in the station's memory
_TAG_LENGTH: Final = 20
_LARGEST: Final = 2**63 - 1
_PLUGGED_IN: Final = '{"reason":"plugInGun","cpv":0,"rv":0}'


def _to_21_characters(payload: Payload) -> Payload:
    """The tag is read past its end."""
    tag: str = payload["idTag"]
    return payload | {"idTag": (tag + _OVERREAD)[:_TAG_LENGTH] + "-"}


def _modbus_lost(payload: Payload) -> Payload:
    """The whole station says it is faulted, as of two days ago, while its connectors work."""
    if payload["connectorId"] != 0:
        return payload
    at = datetime.fromisoformat(payload["timestamp"]) - timedelta(days=2)
    return payload | {
        "status": "Faulted",
        "errorCode": "OtherError",
        "info": "Modbus lost, safe mode",
        "timestamp": to_z(at),
    }


def _with_json_in_info(payload: Payload) -> Payload:
    info: dict[str, Any] = {} if payload["connectorId"] == 0 else {"info": _PLUGGED_IN}
    return payload | info


TRANSACTIONS: Final = (
    Persona(
        "alfen-2e63",
        "has the id 2^63-1 for every transaction, and a station that is faulted since two days"
        " while its connectors work",
        boot={
            "chargePointVendor": "Alfen BV",
            "chargePointModel": "NG910-60023",
            "firmwareVersion": "4.15.7-3398",
        },
        faults=lambda: Faults(transaction_id=_LARGEST, bend={"StatusNotification": _modbus_lost}),
    ),
    Persona(
        "en-plus-stale-tx",
        "sends meter values with the old transaction id after the stop, a message before its"
        " boot, and waits 45 s for a start, then for the cable to be plugged in anew",
        boot={
            "chargePointVendor": "EN+",
            "chargePointModel": "AC7000",
            "firmwareVersion": "1.0.25.130",
        },
        faults=lambda: Faults(
            stale_transaction=True,
            preparing_limit_s=45,
            bend={"StatusNotification": _with_json_in_info},
            greetings=[
                ("DataTransfer", {"vendorId": "EN+", "messageId": "gatewayInfo", "data": "{}"})
            ],
        ),
    ),
    Persona(
        "go-e-minus-1",
        "sends -1 for every transaction id; at a full car the stop comes at once, stamped before"
        " the start",
        boot={
            "chargePointVendor": "go-e",
            "chargePointModel": "Gemini V4",
            "firmwareVersion": "055.5",
        },
        faults=lambda: Faults(transaction_id=-1, stops_full_car=True),
    ),
    Persona(
        "ocular-21-char-tag",
        "sends a tag of 21 characters in the stop, and its closing values after it",
        boot={
            "chargePointVendor": "Ocular",
            "chargePointModel": "BS AC EV Charger",
            "firmwareVersion": "448.3251",
        },
        faults=lambda: Faults(values_after_stop=True, bend={"StopTransaction": _to_21_characters}),
    ),
    Persona(
        "sigen-repeat-stop",
        "sends a tag of 21 characters in the stop, again and again, in front of all that follows",
        boot={
            "chargePointVendor": "Sigen",
            "chargePointModel": "EVDC",
            "firmwareVersion": "V100R001C00",
        },
        faults=lambda: Faults(
            endless_attempts=True,
            new_id_on_repeat=True,
            repeat={"StopTransaction": 3},
            bend={"StopTransaction": _to_21_characters},
        ),
    ),
)

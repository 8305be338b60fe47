"""Each command is a call by the schema of OCPP 1.6, and each reply is accepted or refused."""

from decimal import Decimal
from typing import Any

import orjson
import pytest
from ocpp.messages import get_validator

from evpower import stations
from evpower.foundation.json_reader import read_exact_object
from evpower.ocpp.calls import _WRITERS, InvalidCommand, OutgoingCall, is_accepted, write_calls
from evpower.stations.request import PARAMETERS

TAG = "A1B2C3D4E5F6"
CALLS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("remote_start", {"id_tag": TAG, "connector": 2},
     "RemoteStartTransaction", {"connectorId": 2, "idTag": TAG}),
    ("remote_stop", {"transaction_id": 7, "aliases": []},
     "RemoteStopTransaction", {"transactionId": 7}),
    ("reset", {"kind": "soft"}, "Reset", {"type": "Soft"}),
    ("reset", {"kind": "hard"}, "Reset", {"type": "Hard"}),
    ("unlock", {"connector": 1}, "UnlockConnector", {"connectorId": 1}),
    ("change_availability", {"connector": 0, "availability": "inoperative"},
     "ChangeAvailability", {"connectorId": 0, "type": "Inoperative"}),
    ("change_availability", {"connector": 3, "availability": "operative"},
     "ChangeAvailability", {"connectorId": 3, "type": "Operative"}),
    ("get_configuration", {}, "GetConfiguration", {}),
    ("get_configuration", {"keys": []}, "GetConfiguration", {}),
    ("get_configuration", {"keys": ["HeartbeatInterval"]},
     "GetConfiguration", {"key": ["HeartbeatInterval"]}),
    ("change_configuration", {"key": "MeterValueSampleInterval", "value": "30"},
     "ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "30"}),
    ("change_configuration", {"key": "StopTxnAlignedData", "value": ""},
     "ChangeConfiguration", {"key": "StopTxnAlignedData", "value": ""}),
    ("clear_cache", {}, "ClearCache", {}),
    ("trigger", {"message": "boot_notification"},
     "TriggerMessage", {"requestedMessage": "BootNotification"}),
    ("trigger", {"message": "meter_values", "connector": 1},
     "TriggerMessage", {"requestedMessage": "MeterValues", "connectorId": 1}),
    ("trigger", {"message": "status_notification", "connector": 2},
     "TriggerMessage", {"requestedMessage": "StatusNotification", "connectorId": 2}),
    ("trigger", {"message": "heartbeat"}, "TriggerMessage", {"requestedMessage": "Heartbeat"}),
    ("trigger", {"message": "diagnostics_status_notification"},
     "TriggerMessage", {"requestedMessage": "DiagnosticsStatusNotification"}),
    ("trigger", {"message": "firmware_status_notification"},
     "TriggerMessage", {"requestedMessage": "FirmwareStatusNotification"}),
    ("data_transfer", {"vendor_id": "EN+"}, "DataTransfer", {"vendorId": "EN+"}),
    ("data_transfer", {"vendor_id": "EN+", "message_id": "mode", "data": '{"mode":"normal"}'},
     "DataTransfer", {"vendorId": "EN+", "messageId": "mode", "data": '{"mode":"normal"}'}),
    ("clear_charging_profile", {"connector": 1},
     "ClearChargingProfile", {"connectorId": 1, "chargingProfilePurpose": "TxProfile"}),
    ("clear_charging_profile", {"connector": 0},
     "ClearChargingProfile", {"chargingProfilePurpose": "TxProfile"}),
]  # fmt: skip


def violation(call: OutgoingCall) -> str:
    """What the schema refuses; steps of 0.1 are no floats."""
    validator = get_validator(2, call.action, "1.6", parse_float=Decimal)
    exact = read_exact_object(
        orjson.dumps(call.payload),
        lambda number: int(number) if number.isdigit() else Decimal(number),
    )
    error = next(validator.iter_errors(exact), None)
    return "" if error is None else error.message


@pytest.mark.parametrize(("action", "payload", "call", "request_"), CALLS)
def test_a_command_is_one_call(
    action: str, payload: dict[str, Any], call: str, request_: dict[str, Any]
) -> None:
    assert write_calls(action, payload) == (OutgoingCall(call, request_),)
    assert violation(OutgoingCall(call, request_)) == ""


@pytest.mark.parametrize(("limit", "sent"), [(0, 0.0), (6.3, 6.3), ("16", 16.0), (22000, 22000.0)])
@pytest.mark.parametrize("unit", ["A", "W"])
def test_a_limit_ends_with_its_transaction(limit: object, sent: float, unit: str) -> None:
    """Quirks Q72, Q73, Q80: a TxProfile of one period, stack level 0, relative."""
    payload = {"connector": 1, "transaction_id": 7, "limit": limit, "unit": unit}
    [call] = write_calls("set_charging_profile", payload)
    profile = call.payload["csChargingProfiles"]
    assert call.payload["connectorId"] == 1
    assert (profile["chargingProfilePurpose"], profile["transactionId"]) == ("TxProfile", 7)
    assert profile["stackLevel"] == 0
    assert profile["chargingSchedule"] == {
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": sent}],
    }
    assert violation(call) == ""


def test_a_stop_tries_the_id_seen_last_and_then_the_others() -> None:
    """Quirk Q29: two ids of one charge."""
    payload = {"transaction_id": 1758670080, "aliases": ["1758670200", 1758670080, "5"]}
    calls = write_calls("remote_stop", payload)
    assert [call.payload["transactionId"] for call in calls] == [1758670080, 1758670200, 5]
    assert {call.action for call in calls} == {"RemoteStopTransaction"}


def test_a_stop_sends_the_id_that_alfen_has_for_every_transaction() -> None:
    """Quirk Q41, edge case 14."""
    calls = write_calls("remote_stop", {"transaction_id": "9223372036854775807", "aliases": [7]})
    assert [call.payload["transactionId"] for call in calls] == [2**63 - 1, 7]
    assert [violation(call) for call in calls] == ["", ""]


@pytest.mark.parametrize("none", [0, -1, "0", "-1", "", "null", None, True, 2**63, "7a", "\u0667"])
def test_a_stop_never_sends_an_id_that_means_none(none: object) -> None:
    """Quirk Q54, edge case 4."""
    [call] = write_calls("remote_stop", {"transaction_id": none, "aliases": ["7"]})
    assert call.payload == {"transactionId": 7}
    with pytest.raises(InvalidCommand, match="no id of the transaction"):
        write_calls("remote_stop", {"transaction_id": none, "aliases": []})


@pytest.mark.parametrize(
    ("action", "payload", "problem"),
    [
        ("fly", {}, "no fly"),
        ("remote_start", {"connector": 1}, "no id_tag"),
        ("remote_start", {"id_tag": "A" * 21, "connector": 1}, "at most 20"),
        ("remote_start", {"id_tag": "", "connector": 1}, "id_tag is empty"),
        ("remote_start", {"id_tag": TAG, "connector": 0}, "connector is no number from 1"),
        ("remote_start", {"id_tag": TAG, "connector": True}, "connector is no number"),
        ("remote_start", {"id_tag": TAG, "connector": "1"}, "connector is no number"),
        ("reset", {"kind": "warm"}, "none of soft, hard"),
        ("unlock", {"connector": 0}, "connector is no number from 1"),
        ("change_availability", {"connector": 1, "availability": "on"}, "none of operative"),
        ("change_configuration", {"key": "K" * 51, "value": ""}, "at most 50"),
        ("change_configuration", {"key": "K", "value": "v" * 501}, "at most 500"),
        ("change_configuration", {"key": "K", "value": 30}, "no text"),
        ("get_configuration", {"keys": ["K" * 51]}, "at most 50"),
        ("trigger", {"message": "reboot"}, "none of boot_notification"),
        pytest.param(
            "trigger", {"message": "meter_values", "connector": 0},
            "connector is no number from 1", id="Q67-connector-0",
        ),
        ("data_transfer", {"vendor_id": "v" * 256}, "at most 255"),
        ("set_charging_profile", {"connector": 1, "transaction_id": 7, "limit": 6.25, "unit": "A"},
         "steps of 0.1"),
        ("set_charging_profile", {"connector": 1, "transaction_id": 7, "limit": -1, "unit": "A"},
         "0 or more"),
        ("set_charging_profile", {"connector": 1, "transaction_id": 7, "limit": "x", "unit": "A"},
         "limit is no number"),
        ("set_charging_profile", {"connector": 1, "transaction_id": 7, "limit": "NaN", "unit": "A"},
         "limit is no number"),
        ("set_charging_profile", {"connector": 1, "transaction_id": 0, "limit": 0, "unit": "A"},
         "transaction_id is no number from 1"),
        ("set_charging_profile", {"connector": 1, "transaction_id": 7, "limit": 0, "unit": "kW"},
         "none of A, W"),
    ],
)  # fmt: skip
def test_what_the_schema_would_refuse_is_never_written(
    action: str, payload: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidCommand, match=problem):
        write_calls(action, payload)


@pytest.mark.parametrize(
    ("call", "status", "accepted"),
    [
        ("RemoteStartTransaction", "Accepted", True),
        ("RemoteStartTransaction", "Rejected", False),
        ("RemoteStopTransaction", "Accepted", True),
        ("RemoteStopTransaction", "Rejected", False),
        ("Reset", "Accepted", True),
        ("Reset", "Rejected", False),
        ("UnlockConnector", "Unlocked", True),
        ("UnlockConnector", "UnlockFailed", False),
        ("UnlockConnector", "NotSupported", False),
        ("UnlockConnector", "Accepted", False),
        ("ChangeAvailability", "Accepted", True),
        ("ChangeAvailability", "Scheduled", True),
        ("ChangeAvailability", "Rejected", False),
        ("ChangeConfiguration", "Accepted", True),
        ("ChangeConfiguration", "RebootRequired", True),
        ("ChangeConfiguration", "Rejected", False),
        ("ChangeConfiguration", "NotSupported", False),
        ("ClearCache", "Accepted", True),
        ("ClearCache", "Rejected", False),
        ("TriggerMessage", "Accepted", True),
        ("TriggerMessage", "Rejected", False),
        ("TriggerMessage", "NotImplemented", False),
        ("DataTransfer", "Accepted", True),
        ("DataTransfer", "UnknownVendorId", False),
        ("SetChargingProfile", "Accepted", True),
        ("SetChargingProfile", "NotSupported", False),
        pytest.param("SetChargingProfile", "", False, id="Q80-empty-status"),
        ("ClearChargingProfile", "Accepted", True),
        ("ClearChargingProfile", "Unknown", False),
        ("RemoteStartTransaction", " accepted ", True),
        ("RemoteStartTransaction", None, False),
        ("RemoteStartTransaction", ["Accepted"], False),
    ],
)
def test_a_reply_is_accepted_or_refused(call: str, status: object, accepted: object) -> None:
    assert is_accepted(call, {"status": status}) is accepted


def test_a_reply_without_a_status_is_refused() -> None:
    assert not is_accepted("Reset", {})


def test_a_configuration_is_accepted_as_it_comes() -> None:
    assert is_accepted("GetConfiguration", {"configurationKey": [{"key": 1, "value": None}]})


def test_every_command_that_can_be_queued_can_be_written() -> None:
    assert set(_WRITERS) == set(stations.PARAMETERS)
    words = PARAMETERS["trigger"]["message"].words
    assert [write_calls("trigger", {"message": word})[0].action for word in words] == [
        "TriggerMessage"
    ] * len(words)

"""Personas that are off in what they measure, and in the frames that say so."""

from typing import Final

from evpower.simulator.faults import ENERGY, Faults
from evpower.simulator.personas.model import Persona

_ALL: Final = (ENERGY, "Power.Active.Import", "SoC", "Current.Import", "Voltage")

METERS: Final = (
    Persona(
        "aefa-bad-json",
        "writes no transaction id into meter values, and stamps without a zone",
        boot={
            "chargePointVendor": "AEFA",
            "chargePointModel": "Home",
            "firmwareVersion": "SW:A1B_2.8",
        },
        faults=lambda: Faults(malformed={"MeterValues": "empty_member"}, clock_without_zone=True),
    ),
    Persona(
        "alfen-currentmax",
        "sends a current of context CurrentMax without a measurand",
        boot={"chargePointVendor": "Alfen BV", "chargePointModel": "ICU EVE"},
        faults=lambda: Faults(current_max=True),
    ),
    Persona(
        "grizzle-no-register",
        "sends no energy register while it charges",
        boot={
            "chargePointVendor": "United Chargers",
            "chargePointModel": "GRS-*",
            "firmwareVersion": "5.43",
            "iccid": "-67",
        },
        faults=lambda: Faults(missing={ENERGY}),
    ),
    Persona(
        "growatt-two-registers",
        "sends a second register of 0 in each list, with the context Transaction.Begin",
        boot={
            "chargePointVendor": "Growatt",
            "chargePointModel": "THOR 11AS",
            "firmwareVersion": "V5.2.8",
        },
        faults=lambda: Faults(two_registers=True),
    ),
    Persona(
        "heidelberg-blank",
        "sends every value blank, and 0 for every transaction id",
        boot={"chargePointVendor": "Heidelberg", "chargePointModel": "Amperfied"},
        faults=lambda: Faults(blank=set(_ALL), transaction_id=0),
    ),
    Persona(
        "huawei-minus-1",
        "measures in steps of 10 Wh and stops 1 Wh below its meter",
        boot={"chargePointVendor": "Huawei", "chargePointModel": "SCharger-22KT-S0"},
        faults=lambda: Faults(kwh_samples=True, kwh_decimals=2, stop_offset_wh=-1),
    ),
    Persona(
        "huawei-object",
        "sends an object in place of the list of meter values, in kWh",
        boot={"chargePointVendor": "Huawei", "chargePointModel": "FusionCharge"},
        faults=lambda: Faults(values_as_object=True, kwh_samples=True),
    ),
    Persona(
        "teison-10wh",
        "measures in steps of 10 Wh, and is available before the stop",
        boot={
            "chargePointVendor": "Teison",
            "chargePointModel": "Smart MINI",
            "firmwareVersion": "V1.5@25238bf+100,F8.gl,ws,ESP32,RN8213@V31",
        },
        faults=lambda: Faults(kwh_samples=True, kwh_decimals=2, status_before_stop=True),
    ),
)

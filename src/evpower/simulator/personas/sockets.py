"""Personas that are off in how they connect, boot and take commands."""

from typing import Final

from evpower.simulator.faults import Faults
from evpower.simulator.model import SUBPROTOCOL
from evpower.simulator.personas.model import Persona

SOCKETS: Final = (
    Persona(
        "abb-boot-loop",
        "reboots when it is asked for a long list of measurands, begins a running transaction"
        " again on each new connection, and counts each from 0",
        boot={
            "chargePointVendor": "ABB",
            "chargePointModel": "CDT_TACW11::NET_WIFI",
            "firmwareVersion": "TAC3Z9119006710273::V1.8.21",
        },
        faults=lambda: Faults(
            configuration_boot_loop=True, start_on_reconnect=True, register="transaction"
        ),
    ),
    Persona(
        "foxess-probe",
        "opens a short connection without a message before each real one, which offers two"
        " versions",
        boot={
            "chargePointVendor": "FoxESS",
            "chargePointModel": "A022KP1",
            "firmwareVersion": "1.10",
        },
        faults=lambda: Faults(probe_socket=True),
        subprotocols=("ocpp2.0.1", SUBPROTOCOL),
    ),
    Persona(
        "jigu-no-redial",
        "never comes back after a close frame",
        boot={
            "chargePointVendor": "JIGU",
            "chargePointModel": "WeGood",
            "firmwareVersion": "V1.4",
        },
        faults=lambda: Faults(never_redials=True),
    ),
    Persona(
        "wallbox-boot-loop",
        "reboots at a command before its boot was answered, and connects anew twice a minute",
        boot={
            "chargePointVendor": "Wall Box Chargers",
            "chargePointModel": "CPB1",
            "firmwareVersion": "6.6.20",
        },
        faults=lambda: Faults(boot_loop=True, reconnects_every_s=30),
    ),
    Persona(
        "webasto-replay",
        "sends its last meter values again, with the same message id, on each new connection",
        boot={
            "chargePointVendor": "Webasto",
            "chargePointModel": "NEXT",
            "firmwareVersion": "3.182.0",
        },
        faults=lambda: Faults(replay_on_reconnect=True),
    ),
)

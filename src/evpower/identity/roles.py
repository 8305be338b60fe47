"""Which role of an operator may do what: the one table that calls, documents and tests read."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from evpower.identity.model import OperatorRole

OPERATOR_PATH: Final = "/api/v1/operator"
ROLES: Final[tuple[OperatorRole, ...]] = get_args(OperatorRole)
Right = Literal[
    "read",
    "export",
    "audit.read",
    "alert.act",
    "client.block",
    "client.close",
    "client.credit",
    "client.phone",
    "session.stop",
    "station.help",
    "station.command",
    "station.change",
    "card.change",
    "tariff.change",
    "session.bill",
    "payment.decide",
    "payment.refund",
    "operator.change",
]


@dataclass(frozen=True, slots=True)
class Grant:
    """Who has a right, and what it is in words."""

    roles: frozenset[OperatorRole]
    text: str


_EVERYONE: Final = frozenset(ROLES)
_HELP: Final[frozenset[OperatorRole]] = frozenset({"support", "operator", "admin"})
_STATIONS: Final[frozenset[OperatorRole]] = frozenset({"operator", "admin"})
# An administrator gives roles, and so does not move money: two persons are needed, or a second
# role that the audit shows.
_MONEY: Final[frozenset[OperatorRole]] = frozenset({"finance"})
# What support may send: it ends no contract and changes no setting.
HELP_ACTIONS: Final = frozenset({"get_configuration", "reset", "trigger", "unlock"})

RIGHTS: Final[Mapping[Right, Grant]] = MappingProxyType({
    "read": Grant(
        _EVERYONE,
        "read clients, stations, sessions, bills, tariffs, cards, alerts, commands and the "
        "message log",
    ),
    "export": Grant(
        frozenset({"operator", "finance", "admin"}), "export the charge detail records"
    ),
    "audit.read": Grant(frozenset({"finance", "admin"}), "read who did what"),
    "alert.act": Grant(
        frozenset({"support", "operator", "finance", "admin"}), "acknowledge alerts"
    ),
    "client.block": Grant(_HELP, "block and unblock a client"),
    "client.close": Grant(_STATIONS, "close a client for good"),
    "client.credit": Grant(_MONEY, "credit a payment that was received by hand"),
    "client.phone": Grant(
        _MONEY, "decide whose a phone is: whoever has it signs in as that client"
    ),
    "session.stop": Grant(_HELP, "stop a session with a reason"),
    "station.help": Grant(_HELP, "send a station reset, unlock, trigger or get_configuration"),
    "station.command": Grant(
        _STATIONS, "send any other command, or one command to many stations"
    ),
    "station.change": Grant(
        _STATIONS,
        "add, accept, change, secure and retire stations, and take them out of service",
    ),
    "card.change": Grant(_STATIONS, "register and remove cards"),
    "tariff.change": Grant(_MONEY, "save, activate and assign tariffs"),
    "session.bill": Grant(_MONEY, "decide a quarantine and correct a bill"),
    "payment.decide": Grant(
        _MONEY, "reconcile with a payment provider, and decide about what differs"
    ),
    "payment.refund": Grant(_MONEY, "return a payment to the driver's bank"),
    "operator.change": Grant(frozenset({"admin"}), "give and take roles"),
})  # fmt: skip


def operator_call(right: Right) -> dict[str, Any]:
    """Returns what the OpenAPI document says of an operator's call: token, right and roles."""
    roles = RIGHTS[right].roles
    return {
        "security": [{"supabaseToken": []}],
        "x-evpower-right": right,
        "x-evpower-roles": [role for role in ROLES if role in roles],
    }

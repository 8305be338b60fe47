"""What four revisions of the phone app accept: R1, R3, R5, HEAD.

As their own pages were tried with prepared answers: a member of a wrong type, or null where that
revision refuses null, makes the whole answer count as broken. Unknown members do no harm.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, cast

Revision = Literal["R1", "R3", "R5", "HEAD"]
REVISIONS: Final[tuple[Revision, ...]] = ("R1", "R3", "R5", "HEAD")
Answer = Mapping[str, Any]
_Z: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Member(NamedTuple):
    """A member that an app reads."""

    is_right: Callable[[Any], bool]
    required: bool = False
    nullable: bool = False


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def text(value: Any) -> bool:
    return isinstance(value, str)


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def yes(value: Any) -> bool:
    return value is True


def zulu(value: Any) -> bool:
    return isinstance(value, str) and _Z.fullmatch(value) is not None


def word(*words: str) -> Callable[[Any], bool]:
    return lambda value: value in words


def each(members: Mapping[str, Member]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list)
        and all(
            isinstance(entry, dict) and not flaws(entry, members)
            for entry in cast("list[Any]", value)
        )
    )


def inside(members: Mapping[str, Member]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and not flaws(value, members)


def flaws(answer: Any, members: Mapping[str, Member]) -> list[str]:
    """Returns the members for which the app would refuse the answer."""
    problems: list[str] = []
    for name, member in members.items():
        if name not in answer:
            if member.required:
                problems.append(f"{name} is absent")
        elif answer[name] is None:
            if not member.nullable:
                problems.append(f"{name} is null")
        elif not member.is_right(answer[name]):
            problems.append(f"{name} is {answer[name]!r:.60}")
    return problems


def _all(check: Callable[[Any], bool], names: str, *, nullable: bool = False) -> dict[str, Member]:
    return {name: Member(check, nullable=nullable) for name in names.split()}


_LIMIT = word("energy", "amount", "none")
_NESTED = {
    **_all(text, "id session_id station_id start_time stop_time ocpp_status transaction_id"),
    **_all(
        number,
        "connector_id energy_consumed current_cost reserved_amount limit_value limit_percentage"
        " rate_per_kwh session_fee meter_start meter_current charging_duration_minutes"
        " ocpp_transaction_id",
    ),
    "limit_type": Member(_LIMIT),
    "limit_reached": Member(flag),
    "status": Member(word("started", "stopped"), required=True),
}


def _session(revision: Revision) -> dict[str, Member]:
    members = dict(_NESTED)
    required = {
        "R1": ("energy_consumed", "current_cost"),
        "R3": (
            "id", "station_id", "connector_id", "start_time", "energy_consumed", "current_cost",
            "limit_type",
        ),
        "R5": ("station_id", "start_time"),
        "HEAD": ("station_id", "start_time"),
    }[revision]  # fmt: skip
    nullable = {
        "R1": members.keys() - {"status", "energy_consumed", "current_cost"},
        "R3": set[str](),
        "R5": {"stop_time"},
        "HEAD": {"stop_time", "ocpp_transaction_id", "transaction_id", "ocpp_status"},
    }[revision]
    return {
        name: member._replace(
            required=member.required or name in required, nullable=name in nullable
        )
        for name, member in members.items()
    }


_FLAT = {
    **_all(
        text,
        "session_id station_id client_id start_time stop_time last_update transaction_id"
        " ocpp_transaction_id ocpp_status error message",
    ),
    **_all(
        number,
        "connector_id duration_minutes energy_consumed energy_consumed_kwh current_cost cost"
        " current_amount final_amount_som amount_charged_som reserved_amount limit_value"
        " progress_percent charging_power station_current station_voltage ev_battery_soc"
        " ev_current ev_voltage meter_start meter_current rate_per_kwh",
    ),
    **_all(flag, "station_online has_meter_data"),
    "limit_type": Member(_LIMIT),
    "temperatures": Member(
        lambda value: isinstance(value, dict) and all(map(number, value.values()))
    ),
}


def _status(revision: Revision) -> dict[str, Member]:
    nullable = {
        "R1": _FLAT.keys(),
        "R3": {"stop_time", "last_update", "ocpp_transaction_id", "error", "message"},
        "R5": {"stop_time", "last_update", "ocpp_transaction_id", "error", "message"},
        "HEAD": {
            "stop_time", "last_update", "ocpp_transaction_id", "error", "message", "transaction_id",
            "ocpp_status",
        },
    }[revision]  # fmt: skip
    flat = {name: member._replace(nullable=name in nullable) for name, member in _FLAT.items()}
    return {
        **flat,
        "success": Member(yes, required=True),
        "session": Member(inside(_session(revision)), required=True),
    }


_START = {
    **_all(text, "session_id"),
    **_all(
        number,
        "connector_id reserved_amount limit_value rate_per_kwh session_fee required_amount"
        " current_balance",
    ),
    "limit_type": Member(_LIMIT),
    "success": Member(yes, required=True),
}
_STOP = {
    **_all(number, "final_cost energy_consumed duration_minutes refunded_amount additional_charge"),
    "success": Member(yes, required=True),
}


def _start(revision: Revision) -> dict[str, Member]:
    members = {**_START, **_all(text, "error message", nullable=True)}
    members["session_id"] = Member(text, required=True)
    if revision == "R1":
        return {
            name: member._replace(nullable=name not in {"success", "session_id"})
            for name, member in members.items()
        }
    return members


def _stop(revision: Revision) -> dict[str, Member]:
    members = {**_STOP, **_all(text, "error message", nullable=True)}
    if revision == "R1":
        return {
            name: member._replace(nullable=name != "success") for name, member in members.items()
        }
    return members


def _station(revision: Revision) -> dict[str, Member]:
    is_first = revision == "R1"
    connector = {
        "id": Member(number, required=True),
        **_all(text, "type status"),
        "available": Member(flag),
        "power_kw": Member(number),
        "error": Member(text, nullable=True),
    }
    return {
        **_all(
            text,
            "station_id model manufacturer station_status location_status location_id"
            " location_address currency working_hours",
            nullable=is_first,
        ),
        **_all(flag, "online available_for_charging", nullable=is_first),
        **_all(
            number,
            "total_connectors available_connectors occupied_connectors faulted_connectors"
            " session_fee",
            nullable=is_first,
        ),
        "message": Member(text, nullable=revision != "R3"),
        "tariff_rub_kwh": Member(number, required=revision != "R3"),
        "success": Member(yes, required=True),
        "serial_number": Member(lambda value: text(value) and value != "", required=True),
        "location_name": Member(lambda value: text(value) and value != "", required=True),
        "connectors": Member(lambda value: bool(value) and each(connector)(value), required=True),
    }


_SUMMARY = {
    name: Member(number, required=True)
    for name in ("total", "available", "occupied", "offline", "maintenance")
}


def _connectors_summary(revision: Revision) -> Member:
    names = ("available", "occupied", "faulted", *(("total",) if revision == "R3" else ()))
    return Member(
        inside({name: Member(number, required=True) for name in names}), required=revision != "R1"
    )


def _listed_station(revision: Revision) -> dict[str, Member]:
    words = {
        "R1": ("active", "offline", "maintenance", "inactive"),
        "R3": ("active", "offline", "maintenance", "inactive"),
        "R5": ("available", "occupied", "offline", "maintenance"),
        "HEAD": ("available", "occupied", "offline", "maintenance"),
    }[revision]
    new = revision in ("R5", "HEAD")
    tariff = {
        "price_per_kwh": Member(number, required=True),
        "session_fee": Member(number, required=True),
        "currency": Member(word("KGS"), required=True),
    }
    return {
        **{name: Member(text, required=True) for name in ("id", "serial_number")},
        **_all(text, "model manufacturer"),
        "status": Member(word(*words), required=True),
        "power_capacity": Member(number, required=new),
        "connectors_count": Member(number, required=new),
        "connector_types": Member(
            lambda value: isinstance(value, list) and all(map(text, value)), required=True
        ),
        "price_per_kwh": Member(number, required=True),
        "session_fee": Member(number),
        "currency": Member(word("KGS")),
        "tariff": Member(inside(tariff), required=new),
        "connectors_summary": _connectors_summary(revision),
    }


def _locations(revision: Revision) -> dict[str, Member]:
    new = revision in ("R5", "HEAD")
    coordinates = {
        name: Member(number, required=True, nullable=True) for name in ("latitude", "longitude")
    }
    place = {
        **{name: Member(text, required=True) for name in ("id", "name", "address")},
        **_all(text, "city country", nullable=new),
        "coordinates": Member(inside(coordinates), required=new),
        **{name: Member(number, required=not new) for name in ("latitude", "longitude")},
        "status": Member(
            word("available", "partial", "occupied", "offline", "maintenance"), required=True
        ),
        **_all(number, "stations_count connectors_count available_connectors"),
        "stations_summary": Member(inside(_SUMMARY), required=new),
        "connectors_summary": _connectors_summary(revision),
        "stations": Member(each(_listed_station(revision))),
    }
    return {
        "success": Member(yes, required=revision != "R3"),
        "total": Member(number, required=new),
        "locations": Member(each(place), required=True),
    }


def _top_up(revision: Revision) -> dict[str, Member]:
    is_first = revision == "R1"
    nullable = not is_first
    members = {
        **_all(
            text,
            "order_id qr_code app_link client_id qr_expires_at invoice_expires_at",
            nullable=is_first,
        ),
        **_all(
            number,
            "amount current_balance qr_lifetime_seconds invoice_lifetime_seconds",
            nullable=is_first,
        ),
        "error": Member(text, nullable=nullable or is_first),
        "success": Member(yes, required=True),
        "invoice_id": Member(text, required=True),
        "qr_code_url": Member(lambda value: text(value) and value.startswith("https://")),
    }
    if is_first:  # only this member has its link
        members["payment_url"] = Member(text, required=True)
    return members


def _payment(revision: Revision) -> dict[str, Member]:
    dated = zulu if revision in ("R5", "HEAD") else text
    nullable = {
        "R1": {"amount", "invoice_id", "qr_expires_at", "invoice_expires_at", "error"},
        "R3": {"paid_amount", "last_status_check_at", "error"},
        "R5": {
            "paid_amount",
            "last_status_check_at",
            "error",
            "qr_expires_at",
            "invoice_expires_at",
        },
        "HEAD": {
            "paid_amount",
            "last_status_check_at",
            "error",
            "qr_expires_at",
            "invoice_expires_at",
        },
    }[revision]
    members = {
        **_all(number, "amount paid_amount"),
        **_all(text, "status_text invoice_id error"),
        **_all(flag, "qr_expired invoice_expired can_proceed can_start_charging"),
        **_all(flag, "needs_callback_check"),
        **_all(dated, "qr_expires_at invoice_expires_at last_status_check_at"),
        "success": Member(yes, required=True),
        "status": Member(word_number, required=True),
    }
    return {
        name: member._replace(nullable=member.nullable or name in nullable)
        for name, member in members.items()
    }


def word_number(value: Any) -> bool:
    return number(value) and 0 <= value <= 4


def _balance(_: Revision) -> dict[str, Member]:
    return {
        "success": Member(yes, required=True),
        "balance": Member(number, required=True),
        **_all(text, "client_id currency"),
        "last_topup_at": Member(text, nullable=True),
        "total_spent": Member(number, nullable=True),
    }


_ROUTES: Final = {
    "start": _start,
    "stop": _stop,
    "status": _status,
    "station": _station,
    "locations": _locations,
    "top_up": _top_up,
    "payment": _payment,
    "balance": _balance,
}


def refused_by(revision: Revision, route: str, answer: Answer) -> list[str]:
    """Returns why a revision refuses the answer of a route; empty: it takes it."""
    return flaws(answer, _ROUTES[route](revision))


def assert_taken(route: str, answer: Answer, *revisions: Revision) -> None:
    """Fails the test unless every revision takes the answer."""
    for revision in revisions or REVISIONS:
        assert not (why := refused_by(revision, route, answer)), (
            f"{revision} refuses {route}: {why}"
        )

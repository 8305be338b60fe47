"""The rules of the revisions are those that their pages showed: nulls, absences, types, words."""

import copy
from typing import Any

import pytest

from tests.old_api.revisions import REVISIONS, Revision, refused_by
from tests.old_api.samples import SAMPLES

ALL = "R1 R3 R5 HEAD"
# By route and member: the revisions that take null there.
NULLS = {
    ("top_up", "invoice_id"): "",
    ("top_up", "order_id"): "R1",
    ("top_up", "qr_code"): "R1",
    ("top_up", "qr_code_url"): "R1",
    ("top_up", "app_link"): "R1",
    ("top_up", "amount"): "R1",
    ("top_up", "error"): ALL,
    ("payment", "status"): "",
    ("payment", "paid_amount"): "R3 R5 HEAD",
    ("payment", "last_status_check_at"): ALL,
    ("payment", "qr_expires_at"): "R1 R5 HEAD",
    ("payment", "invoice_expires_at"): "R1 R5 HEAD",
    ("payment", "status_text"): "R1",
    ("payment", "error"): ALL,
    ("start", "session_id"): "",
    ("start", "reserved_amount"): "R1",
    ("start", "error"): ALL,
    ("start", "message"): "R1 R5 HEAD",
    ("stop", "final_cost"): "R1",
    ("stop", "error"): ALL,
    ("stop", "message"): "R1 R5 HEAD",
    ("status", "session"): "",
    ("status", "session.status"): "",
    ("status", "session.energy_consumed"): "",
    ("status", "session.current_cost"): "",
    ("status", "session.stop_time"): "R1 R5 HEAD",
    ("status", "session.ocpp_transaction_id"): "R1 HEAD",
    ("status", "session.transaction_id"): "R1 R3 HEAD",
    ("status", "session.ocpp_status"): "R1 R3 HEAD",
    ("status", "session.limit_value"): "R1",
    ("status", "session.start_time"): "R1",
    ("status", "stop_time"): ALL,
    ("status", "last_update"): ALL,
    ("status", "ocpp_transaction_id"): ALL,
    ("status", "transaction_id"): "R1 R3 HEAD",
    ("status", "ocpp_status"): "R1 R3 HEAD",
    ("status", "error"): ALL,
    ("status", "message"): ALL,
    ("status", "cost"): "R1 R3",
    ("station", "connectors"): "",
    ("station", "connectors.0.id"): "",
    ("station", "connectors.0.error"): ALL,
    ("station", "connectors.0.error_code"): "R1 R5 HEAD",
    ("station", "connectors.0.type"): "R1",
    ("station", "message"): "R1 R5 HEAD",
    ("station", "session_fee"): "R1",
    ("station", "location_address"): "R1",
    ("locations", "locations.0.latitude"): "R1 R5 HEAD",
    ("locations", "locations.0.coordinates.latitude"): ALL,
    ("locations", "locations.0.city"): "R1 R5 HEAD",
    ("locations", "locations.0.country"): "R1 R5 HEAD",
    ("locations", "locations.0.status"): "",
    ("locations", "locations.0.stations.0.connector_types"): "",
    ("locations", "locations.0.stations.0.power_capacity"): "R1",
    ("balance", "balance"): "",
    ("balance", "currency"): "R1 R3 R5",
    ("balance", "last_topup_at"): ALL,
    ("balance", "total_spent"): ALL,
}
# The revisions that take the answer without the member.
ABSENT = {
    ("top_up", "success"): "R3",
    ("top_up", "invoice_id"): "R3 R5 HEAD",
    ("top_up", "qr_code_url"): "R1",
    ("top_up", "payment_url"): "R3 R5 HEAD",
    ("payment", "success"): "R3",
    ("payment", "status"): "",
    ("start", "success"): "",
    ("start", "session_id"): "",
    ("start", "message"): ALL,
    ("stop", "success"): "",
    ("stop", "final_cost"): ALL,
    ("status", "session"): "R5 HEAD",
    ("status", "cost"): ALL,
    ("status", "session.id"): "R1 R5 HEAD",
    ("status", "session.status"): "",
    ("status", "session.station_id"): "R1",
    ("status", "session.connector_id"): "R1 R5 HEAD",
    ("status", "session.start_time"): "R1",
    ("status", "session.energy_consumed"): "R5 HEAD",
    ("status", "session.current_cost"): "R5 HEAD",
    ("status", "session.limit_type"): "R1 R5 HEAD",
    ("status", "session.stop_time"): ALL,
    ("station", "tariff_rub_kwh"): "R1 R3",
    ("station", "session_fee"): "R1 R3",
    ("station", "working_hours"): "R1 R3",
    ("station", "location_name"): "",
    ("station", "connectors.0.power_kw"): ALL,
    ("station", "connectors.0.error"): ALL,
    ("station", "connectors.0.id"): "",
    ("locations", "success"): "R3",
    ("locations", "total"): "R1 R3",
    ("locations", "locations.0.latitude"): ALL,
    ("locations", "locations.0.coordinates"): "R1 R3",
    ("locations", "locations.0.stations_summary"): "R1 R3",
    ("locations", "locations.0.connectors_summary.total"): "R1 R5 HEAD",
    ("locations", "locations.0.stations.0.tariff"): "R1 R3",
    ("locations", "locations.0.stations.0.connectors_count"): "R1 R3",
    ("locations", "locations.0.stations.0.connector_types"): "",
    ("balance", "success"): "HEAD",
    ("balance", "balance"): "",
}
# The revisions that take another value there.
VALUES = [
    ("start", "success", False, ""),
    ("stop", "success", False, ""),
    ("status", "session.status", "error", ""),
    ("status", "session.status", "starting", ""),
    ("status", "session.status", "expired", ""),
    ("status", "status", "starting", ALL),
    ("status", "session.energy_consumed", "3.25", ""),
    ("status", "session.reserved_amount", "100", "R1"),
    ("status", "session.ocpp_transaction_id", "812", "R1"),
    ("status", "ocpp_transaction_id", 812, "R1 R3"),
    ("status", "session.energy_consumed", 3, ALL),
    ("balance", "balance", "250", ""),
    ("payment", "status", 7, ""),
    ("payment", "qr_expires_at", "2025-09-25T10:05:00.123456Z", ALL),
    ("payment", "qr_expires_at", "2025-09-25T10:05:00+00:00", "R1 R3"),
    ("payment", "qr_expires_at", "2025-09-25T16:05:00+06:00", "R1 R3"),
    ("payment", "qr_expires_at", "2025-09-25 10:05:00", "R1 R3"),
    ("top_up", "invoice_id", 123456789012, ""),
    ("top_up", "qr_code_url", "http://bank.example/qr.png", "R1"),
    ("top_up", "qr_code_url", "00020101021132", "R1"),
    ("locations", "locations.0.stations.0.status", "active", "R1 R3"),
    ("locations", "locations.0.stations.0.status", "available", "R5 HEAD"),
    ("locations", "locations.0.stations.0.status", "occupied", "R5 HEAD"),
    ("locations", "locations.0.stations.0.status", "inactive", "R1 R3"),
    ("locations", "locations.0.stations.0.currency", "USD", "R1 R5 HEAD"),
    ("locations", "locations.0.stations.0.price_per_kwh", "13.5", ""),
    ("locations", "locations.0.status", "closed", ""),
    ("station", "connectors", [], ""),
    ("station", "location_name", "", ""),
    ("station", "connectors.0.id", "1", ""),
    ("station", "station_status", "any text", ALL),
]


def changed(route: str, path: str, change: Any) -> dict[str, Any]:
    """The sample of a route with one member changed; Ellipsis: without it."""
    answer = copy.deepcopy(SAMPLES[route])
    *way, name = [int(step) if step.isdigit() else step for step in path.split(".")]
    place: Any = answer
    for step in way:
        place = place[step]
    if change is ...:
        del place[name]
    else:
        place[name] = change
    return answer


def takers(route: str, answer: dict[str, Any]) -> str:
    return " ".join(revision for revision in REVISIONS if not refused_by(revision, route, answer))


def of_words(route: str, path: str, change: Any) -> str:
    """Who takes the change; the word for a free station is each revision's own."""
    accepting: list[Revision] = []
    for revision in REVISIONS:
        answer = changed(route, path, change)
        if route == "locations" and not path.endswith("stations.0.status"):
            word = "active" if revision in ("R1", "R3") else "available"
            answer["locations"][0]["stations"][0]["status"] = word
        if not refused_by(revision, route, answer):
            accepting.append(revision)
    return " ".join(accepting)


@pytest.mark.parametrize("route", sorted(SAMPLES))
def test_the_sample_is_taken_by_all(route: str) -> None:
    if route != "locations":  # no word for a free station suits all
        assert takers(route, SAMPLES[route]) == ALL


@pytest.mark.parametrize(("route", "path"), NULLS)
def test_who_takes_null(route: str, path: str) -> None:
    assert of_words(route, path, None) == NULLS[route, path]


@pytest.mark.parametrize(("route", "path"), ABSENT)
def test_who_takes_an_absence(route: str, path: str) -> None:
    assert of_words(route, path, ...) == ABSENT[route, path]


@pytest.mark.parametrize(("route", "path", "value", "expected"), VALUES)
def test_who_takes_another_value(route: str, path: str, value: Any, expected: str) -> None:
    assert of_words(route, path, value) == expected


def test_a_flat_status_alone_is_refused_by_the_older_two() -> None:
    flat = {name: value for name, value in SAMPLES["status"].items() if name != "session"}
    assert takers("status", flat) == "R5 HEAD"
    assert takers("status", {**flat, "status": "starting"}) == "R5 HEAD", "they show the bare word"


@pytest.mark.parametrize("route", sorted(SAMPLES))
def test_unknown_members_do_no_harm(route: str) -> None:
    before = takers(route, SAMPLES[route])
    assert takers(route, {**SAMPLES[route], "unknown": None, "later": {"a": []}}) == before

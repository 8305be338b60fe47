"""The page of each revision names every call that its rules are for."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.old_api.phones import HOSTS
from tests.old_api.revisions import REVISIONS, RULES, Revision

PAGES: Final = Path(__file__).parents[2] / "docs/apps"
CALLS: Final = {
    "start": "POST /api/v1/charging/start",
    "stop": "POST /api/v1/charging/stop",
    "status": "GET /api/v1/charging/status/{session_id}",
    "station": "GET /api/v1/station/status/{station_id}",
    "locations": "GET /api/v1/locations",
    "top_up": "POST /api/v1/balance/topup-qr",
    "payment": "GET /api/v1/payment/status/{invoice_id}",
    "balance": "GET /api/v1/balance/{client_id}",
    "send_otp": "POST /api/v1/auth/send-otp",
    "verify_otp": "POST /api/v1/auth/verify-otp",
    "refresh": "POST /api/v1/auth/refresh",
    "me": "GET /api/v1/auth/me",
    "logout": "POST /api/v1/auth/logout",
    "delete_account": "POST /api/v1/auth/delete-account",
    "device": "POST /api/v1/devices/register",
    "favorites": "/api/v1/favorites",
    "favorite": "DELETE /api/v1/favorites/{location_id}",
}


def test_each_rule_is_of_a_call() -> None:
    assert {route for routes in RULES.values() for route in routes} == CALLS.keys()


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_page_names_every_call_and_the_host(revision: Revision) -> None:
    page = (PAGES / f"{revision.lower()}.md").read_text("utf-8")
    assert [CALLS[route] for route in RULES[revision] if CALLS[route] not in page] == []
    assert f"Host `{HOSTS[revision]}`" in page


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_overview_links_it(revision: Revision) -> None:
    overview = (PAGES / "README.md").read_text("utf-8")
    assert re.search(rf"\[{revision}\]\({revision.lower()}\.md\)", overview)

"""The reconciliation with payment providers by the operator API: who may, what is listed."""

from datetime import timedelta
from typing import Any

import pytest

from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection
from evpower.payments.reconciliation.period import last_day
from tests.api.operator_scenario import OperatorApi

WHY = {"decision": "explained", "reason": "the bank mends it"}


@pytest.fixture
async def numbers(owner: Connection) -> list[int]:
    """Three differences of a run; the order of the first one is a formula."""
    now = utc_now()
    run = await owner.fetchval(
        "insert into payments.reconciliations (provider, kind, source, since, until, actor,"
        " started_at, finished_at, ours_count, ours_minor, ours_returned_minor, theirs_count,"
        " theirs_minor, theirs_returned_minor, difference_count) values ('odengi', 'daily',"
        " 'list', $1, $2, 'daily reconciliation', $2, $2, 0, 0, 0, 3, 600, 0, 3) returning id",
        now - timedelta(days=1),
        now,
    )
    rows = await owner.fetch(
        "insert into payments.differences (provider, subject, kind, reference, order_id, currency,"
        " theirs_currency, theirs_status, ours_minor, theirs_minor, ours_returned_minor,"
        " theirs_returned_minor, at, found_at, first_run, last_run) select 'odengi', 't' || n,"
        " 'missing_at_ours', 't' || n, '=cmd|' || n, 'KGS', 'KGS', 'approved', 0, 100 * n, 0, 0,"
        " $2, $2, $1, $1 from generate_series(1, 3) n returning id",
        run,
        now,
    )
    return [row["id"] for row in rows]


async def test_differences_are_listed_in_pages_and_decided(
    operators: OperatorApi, numbers: list[int]
) -> None:
    first = await operators.call("GET", "/payment-differences?limit=2", "viewer")
    rest = await operators.call(
        "GET", f"/payment-differences?limit=2&cursor={first['next']}", "viewer"
    )
    listed = [row["id"] for row in (*first["items"], *rest["items"])]
    assert (listed, rest["next"]) == (numbers[::-1], None)
    assert first["items"][0]["theirs_minor"] == 300
    [run] = (await operators.call("GET", "/reconciliations", "viewer"))["items"]
    assert (run["provider"], run["theirs_minor"], run["difference_count"]) == ("odengi", 600, 3)

    path = f"/payment-differences/{numbers[0]}/decide"
    for role in ("viewer", "support", "operator", "admin"):
        await operators.call("POST", path, role, json=WHY, expect=403)
    decided = await operators.call("POST", path, "finance", json=WHY)
    assert (decided["difference"]["decision"], decided["outcomes"]) == ("explained", [])
    assert decided["difference"]["decided_by"].startswith("operator:")
    again = await operators.call("POST", path, "finance", json=WHY, expect=409)
    assert again["error"] == "difference_decided"
    assert await operators.acts(f"difference:{numbers[0]}") == ["payments.difference_explained"]
    by_state = {
        state: (await operators.call("GET", f"/payment-differences?state={state}", "viewer"))
        for state in ("open", "decided", "closed", "all")
    }
    assert {state: len(page["items"]) for state, page in by_state.items()} == {
        "open": 2, "decided": 1, "closed": 0, "all": 3,
    }  # fmt: skip


async def test_a_spreadsheet_computes_no_cell(operators: OperatorApi, numbers: list[int]) -> None:
    assert numbers
    answer = await operators.answer("GET", "/payment-differences?format=csv", "viewer")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "evpower-differences-" in answer.headers["content-disposition"]
    assert "'=cmd|1" in answer.text
    assert ",=cmd" not in answer.text
    assert "3.00" in answer.text


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"decision": "explained", "reason": ""}, 422, "invalid_request"),
        ({"decision": "credit", "reason": "x"}, 422, "invalid_request"),
        ({"decision": "ask", "reason": "x"}, 404, "provider_not_found"),
    ],
)
async def test_a_decision_that_makes_no_sense_is_refused(
    operators: OperatorApi, numbers: list[int], body: dict[str, Any], status: int, error: str
) -> None:
    path = f"/payment-differences/{numbers[0]}/decide"
    refused = await operators.call("POST", path, "finance", json=body, expect=status)
    assert refused["error"] == error
    page = await operators.call("GET", "/payment-differences", "viewer")
    assert len(page["items"]) == 3


async def test_a_period_is_reconciled_by_finance_alone(operators: OperatorApi) -> None:
    day = last_day(utc_now()).isoformat()
    body = {"provider": "odengi", "first": day, "last": day}
    await operators.call("POST", "/reconciliations", "operator", json=body, expect=403)
    unknown = await operators.call("POST", "/reconciliations", "finance", json=body, expect=404)
    assert unknown["error"] == "provider_not_found"
    wrong = {**body, "last": "2020-01-01"}
    await operators.call("POST", "/reconciliations", "finance", json=wrong, expect=422)

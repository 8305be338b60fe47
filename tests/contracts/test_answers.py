"""The check of answers itself: what is not as documented does not pass."""

from typing import Any

import httpx
import pytest

from tests.contracts.answers import check_answer

KNOWN: dict[str, Any] = {
    "success": True,
    "status": 2,
    "status_text": "canceled",
    "amount": 0.0,
    "invoice_id": "ABC",
    "can_proceed": False,
    "can_start_charging": False,
    "qr_expired": True,
    "invoice_expired": True,
    "needs_callback_check": False,
    "error_code": "payment_not_found",
    "message": "Платёж не найден.",
}


def answered(body: Any) -> httpx.Response:
    request = httpx.Request("GET", "http://api/api/v1/payment/status/ABC")
    return httpx.Response(200, json=body, request=request)


async def test_an_answer_as_documented_passes() -> None:
    await check_answer(answered(KNOWN))


@pytest.mark.parametrize(
    "changed",
    [
        {"extra": 1},
        {"status": 7},
        {"error_code": None},
        {"message": None},
        {"success": False},
    ],
)
async def test_another_member_or_type_does_not_pass(changed: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="not as documented"):
        await check_answer(answered({**KNOWN, **changed}))


async def test_a_missing_member_does_not_pass() -> None:
    body = {name: value for name, value in KNOWN.items() if name != "message"}
    with pytest.raises(AssertionError, match="not as documented"):
        await check_answer(answered(body))

"""Golden answers of both families: each route's states and refusals, as files."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from evpower import payments
from evpower.api.legacy.old_routes import CARD_PATHS
from evpower.foundation.db import Connection, Database
from evpower.foundation.standard_webhooks import sign
from tests.api.charging_scenario import STATION
from tests.old_api.golden_answers import assert_golden, folder_of
from tests.old_api.whole import BANK_SECRET, FAMILIES, Walk, walking
from tests.payments.conftest import payment
from tests.payments.test_webhook import fact

UNKNOWN = "5e0c2f0a-6e3a-4d0b-9a41-7a1d6f0f5c11"
START, STOP, TOP_UP = "/charging/start", "/charging/stop", "/balance/topup-qr"


@pytest.fixture(params=FAMILIES)
async def walk(
    request: pytest.FixtureRequest, db: Database, owner: Connection, tmp_path: Path
) -> AsyncIterator[Walk]:
    async with walking(request.param, db, owner, tmp_path) as walk:
        yield walk


def start(connector: int = 1, **more: object) -> dict[str, object]:
    return {"station_id": STATION, "connector_id": connector, **more}


async def started(walk: Walk, client: UUID, connector: int = 1) -> str:
    response = await walk.call("POST", START, client, json=start(connector))
    return response.json()["session_id"]


class TestStart:
    async def test_each_limit(self, walk: Walk) -> None:
        for connector, (state, limits) in enumerate(
            {
                "no_limit": {},
                "energy": {"energy_kwh": 20},
                "amount": {"amount_som": 150.5},
            }.items(),
            1,
        ):
            client = await walk.driver(1000)
            body = start(connector, client_id=str(client), **limits)
            await walk.golden(f"{state}", "POST", START, client, json=body)

    async def test_refused_for_money(self, walk: Walk) -> None:
        for som, state in ((0, "zero_balance"), (5, "insufficient_balance")):
            client = await walk.driver(som)
            await walk.golden(f"refused_{state}", "POST", START, client, json=start())
        rich = await walk.driver(1000)
        body = start(amount_som=1500)
        await walk.golden("refused_amount_exceeds_balance", "POST", START, rich, json=body)
        body = start(energy_kwh=100)
        await walk.golden("refused_energy_exceeds_balance", "POST", START, rich, json=body)

    async def test_refused_at_the_station(self, walk: Walk) -> None:
        client, site = await walk.driver(1000), walk.ride.site
        for state, body in {
            "station_not_found": start(station_id="nowhere"),
            "connector_not_found": start(9),
        }.items():
            await walk.golden(f"refused_{state}", "POST", START, client, json=body)
        await started(walk, await walk.driver(1000))
        await walk.golden("refused_connector_occupied", "POST", START, client, json=start())
        await site.report(STATION, 2, "finishing")
        await walk.golden("refused_unplug_first", "POST", START, client, json=start(2))
        await started(walk, client, 3)
        body = start(2)
        await walk.golden("refused_session_already_active", "POST", START, client, json=body)
        walk.ride.forward(seconds=100)
        late = await walk.driver(1000)
        await walk.golden("refused_station_offline", "POST", START, late, json=start())

    async def test_refused_for_who_it_is(self, walk: Walk) -> None:
        client = await walk.driver(1000)
        body = start(client_id=UNKNOWN)
        await walk.golden("refused_of_another_client", "POST", START, client, json=body)
        for status, state in (("blocked", "client_blocked"), ("closed", "client_deleted")):
            barred = await walk.driver(1000)
            await walk.ride.owner.execute(
                "update identity.clients set status = $2 where id = $1", barred, status
            )
            await walk.golden(f"refused_{state}", "POST", START, barred, json=start())
        await walk.guarded("POST", START, START, json=start())

    async def test_refused_for_its_body(self, walk: Walk) -> None:
        client = await walk.driver(1000)
        for state, body in {
            "wrong_type": start(station_id=7),
            "null": start(station_id=None),
            "amount_range": start(amount_som=5),
            "energy_range": start(energy_kwh=500),
        }.items():
            await walk.golden(f"refused_{state}", "POST", START, client, json=body)
        await walk.golden("refused_no_json", "POST", START, client, content=b"nonsense")
        await walk.golden("refused_huge", "POST", START, client, content=b" " * 300_000)


class TestStatusAndStop:
    async def test_the_course_of_a_session(self, walk: Walk) -> None:
        ride, client = walk.ride, await walk.driver(1000)
        response = await walk.call("POST", START, client, json=start(energy_kwh=20))
        session = response.json()["session_id"]
        tail, route = f"/charging/status/{session}", "/charging/status"
        await walk.golden("requested", "GET", tail, client, route=route)
        transaction = await ride.begin(session)
        ride.forward(minutes=20)
        await ride.stay_online()
        await ride.progress(
            session, energy_wh=5250, cost_minor=7588, register_wh=6250, power_w=22_000
        )
        await walk.golden("charging", "GET", tail, client, route=route)
        await ride.end(transaction, 6250)
        await walk.golden("settled", "GET", tail, client, route=route)
        body = {"session_id": session}
        await walk.golden("after_the_end", "POST", STOP, client, json=body)
        await walk.golden("refused_of_another_client", "POST", STOP, uuid4(), json=body)
        await walk.golden("refused_of_another_client", "GET", tail, uuid4(), route=route)
        await walk.guarded("GET", tail, route)
        await walk.guarded("POST", STOP, STOP, json=body)

    async def test_a_stop_before_the_start(self, walk: Walk) -> None:
        client = await walk.driver(1000)
        session = await started(walk, client)
        body = {"session_id": session}
        await walk.golden("cancelled", "POST", STOP, client, json=body)
        tail = f"/charging/status/{session}"
        await walk.golden("cancelled", "GET", tail, client, route="/charging/status")

    async def test_what_is_not_there(self, walk: Walk) -> None:
        client = await walk.driver()
        for state, session in (("unknown", UNKNOWN), ("no_id", "nothing")):
            tail = f"/charging/status/{session}"
            await walk.golden(f"{state}", "GET", tail, client, route="/charging/status")
            body = {"session_id": session}
            await walk.golden(f"refused_{state}", "POST", STOP, client, json=body)
        for state, session in (("wrong_type", 7), ("null", None)):
            body = {"session_id": session}
            await walk.golden(f"refused_{state}", "POST", STOP, client, json=body)


async def test_a_station(walk: Walk) -> None:
    route = "/station/status"
    await walk.golden("free", "GET", f"{route}/{STATION}", route=route)
    await walk.ride.site.report(STATION, 1, "charging")
    await walk.ride.site.report(STATION, 2, "faulted", "GroundFailure")
    await walk.api.http.get("/api/v1/locations/mall")
    await walk.golden("unknown", "GET", f"{route}/nowhere", route=route)


async def test_a_balance(walk: Walk) -> None:
    client, route = await walk.driver(), "/balance"
    tail = f"{route}/{client}"
    await walk.golden("new", "GET", tail, client, route=route)
    await walk.golden(
        "topped_up",
        "GET",
        f"{route}/{await walk.driver(250)}",
        route=route,
        headers=walk.api.service,
    )
    await walk.golden("refused_of_another_client", "GET", f"{route}/{UNKNOWN}", client, route=route)
    await walk.golden(
        "refused_unknown", "GET", f"{route}/{UNKNOWN}", route=route, headers=walk.api.service
    )
    await walk.golden("refused_no_id", "GET", f"{route}/nothing", client, route=route)
    await walk.guarded("GET", tail, route)


class TestPayments:
    async def test_a_top_up(self, walk: Walk) -> None:
        client = await walk.driver(20)
        body = {"client_id": str(client), "amount": 100, "description": "Tesla"}
        qr = await walk.golden("begun", "POST", TOP_UP, client, json=body)
        assert qr["success"] is True
        tail, route = f"/payment/status/{qr['invoice_id']}", "/payment/status"
        await walk.golden("processing", "GET", tail, client, route=route)
        await walk.golden("of_another_client", "GET", tail, uuid4(), route=route)
        walk.ride.forward(minutes=6)
        await walk.golden("expired", "GET", tail, client, route=route)
        await walk.ride.owner.execute(
            "update payments.payments set status = 'approved', paid_minor = amount_minor,"
            " confirmed_at = now(), credited_ref = order_id, last_checked_at = now()"
            " where invoice_id = $1",
            qr["invoice_id"],
        )
        await walk.golden("approved", "GET", tail, client, route=route)
        await walk.guarded("GET", tail, route)
        await walk.ride.owner.execute(
            "select wallet.credit(id) from payments.payments where invoice_id = $1",
            qr["invoice_id"],
        )
        h2h = "/payment/h2h-status"
        for part, state in ((4_000, "partial_refund"), (6_000, "refunded")):
            async with walk.api.db.transaction() as connection:
                await payments.refund_payment(
                    connection, invoice_id=qr["invoice_id"], amount_minor=part, operator="aida",
                    reason="asked for it", reference=f"R-{part}",
                )  # fmt: skip
            await walk.golden(state, "GET", tail, client, route=route)
            await walk.golden(state, "GET", f"{h2h}/{qr['invoice_id']}", client, route=h2h)

    async def test_a_check_and_a_cancellation_that_come_too_late(self, walk: Walk) -> None:
        client = await walk.driver()
        invoice = (await walk.call("POST", TOP_UP, client, json={"amount": 100})).json()
        walk.ride.forward(minutes=6)
        check = f"/payment/status-check/{invoice['invoice_id']}"
        await walk.golden("refused_expired", "POST", check, client, route="/payment/status-check")
        await walk.ride.owner.execute(
            "update payments.payments set status = 'approved', paid_minor = amount_minor,"
            " confirmed_at = now(), credited_ref = order_id where invoice_id = $1",
            invoice["invoice_id"],
        )
        await walk.golden("refused_paid", "POST", check, client, route="/payment/status-check")
        cancel = f"/payment/cancel/{invoice['invoice_id']}"
        await walk.golden("refused_paid", "POST", cancel, client, route="/payment/cancel")

    async def test_what_is_not_there(self, walk: Walk) -> None:
        client = await walk.driver()
        await walk.golden(
            "unknown", "GET", "/payment/status/nothing", client, route="/payment/status"
        )

    async def test_a_top_up_that_is_refused(self, walk: Walk) -> None:
        client = await walk.driver()
        for state, amount in {
            "wrong_type": "100",
            "null": None,
            "negative": -5,
            "too_small": 1,
            "too_large": 200_000,
        }.items():
            body = {"amount": amount}
            await walk.golden(f"refused_{state}", "POST", TOP_UP, client, json=body)
        body = {"amount": 100, "client_id": UNKNOWN}
        await walk.golden("refused_of_another_client", "POST", TOP_UP, client, json=body)
        for status, state in (("blocked", "client_blocked"), ("closed", "client_deleted")):
            barred = await walk.driver()
            await walk.ride.owner.execute(
                "update identity.clients set status = $2 where id = $1", barred, status
            )
            await walk.golden(f"refused_{state}", "POST", TOP_UP, barred, json={"amount": 100})
        await walk.golden("refused_no_json", "POST", TOP_UP, client, content=b"[]")
        await walk.golden("refused_huge", "POST", TOP_UP, client, content=b" " * 300_000)
        await walk.guarded("POST", TOP_UP, TOP_UP, json={"amount": 100})

    async def test_a_bank_that_refuses_or_does_not_answer(self, walk: Walk) -> None:
        client = await walk.driver()
        await walk.bank_is_down()
        await walk.golden("refused_bank_down", "POST", TOP_UP, client, json={"amount": 100})


@pytest.mark.parametrize("tail", [row.removeprefix("/api") for row in CARD_PATHS[:6]])
async def test_a_card_is_refused_unread(walk: Walk, tail: str) -> None:
    """Also without a token: no number of a card gets anywhere."""
    card = {"client_id": UNKNOWN, "amount": 100, "card_pan": "4111111111111111", "card_cvv": "123"}
    await walk.golden("refused", "POST", tail, await walk.driver(), json=card)
    await walk.golden("refused_without_token", "POST", tail, json=card)


async def test_a_payment_in_the_words_of_cards(walk: Walk) -> None:
    client, route = await walk.driver(), "/payment/h2h-status"
    qr = (await walk.call("POST", TOP_UP, client, json={"amount": 100})).json()
    tail = f"{route}/{qr['invoice_id']}"
    await walk.golden("pending", "GET", tail, client, route=route)
    await walk.golden("refused_of_another_client", "GET", tail, uuid4(), route=route)
    await walk.golden("refused_unknown", "GET", f"{route}/nothing", client, route=route)
    await walk.guarded("GET", tail, route)


async def test_the_routes_outside_the_families(
    db: Database, owner: Connection, tmp_path: Path
) -> None:
    async with walking("api", db, owner, tmp_path) as walk:
        for path in ("/", "/health", "/health-force", "/readyz"):
            response = await walk.api.http.get(path)
            assert_golden(f"{folder_of(path)}/ready", response)


async def test_a_bank_s_notice_at_the_old_address(walk: Walk) -> None:
    """The settings say which bank that is; its answer is the bank's, in both families."""
    route = "/payment/webhook"
    order = await payment(walk.ride.owner, await walk.driver())
    raw = fact(order)
    at = int(walk.api.clock().timestamp())
    signed = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(at),
        "webhook-signature": sign(BANK_SECRET.encode(), "evt_1", at, raw),
    }
    forged = {**signed, "webhook-signature": "v1,forged"}
    await walk.golden("refused_forged", "POST", route, content=raw, headers=forged)
    await walk.golden("refused_unsigned", "POST", route, content=raw)
    await walk.golden("confirmed", "POST", route, content=raw, headers=signed)
    await walk.golden("repeated", "POST", route, content=raw, headers=signed)


async def test_a_payment_that_is_asked_about_and_canceled(walk: Walk) -> None:
    client = await walk.driver()
    qr = (await walk.call("POST", TOP_UP, client, json={"amount": 100})).json()
    for name, done in (("status-check", "asked"), ("cancel", "canceled")):
        route = f"/payment/{name}"
        tail = f"{route}/{qr['invoice_id']}"
        await walk.golden("refused_unknown", "POST", f"{route}/nothing", client, route=route)
        await walk.golden("refused_of_another_client", "POST", tail, uuid4(), route=route)
        await walk.guarded("POST", tail, route)
        await walk.golden(done, "POST", tail, client, route=route)
    await walk.golden("refused_again", "POST", tail, client, route=route)
    for name in ("status", "h2h-status"):
        route = f"/payment/{name}"
        tail = f"{route}/{qr['invoice_id']}"
        await walk.golden("canceled", "GET", tail, client, route=route)

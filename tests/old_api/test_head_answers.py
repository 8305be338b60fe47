"""Golden answers of the calls that only HEAD makes."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from evpower.foundation.db import Connection, Database
from tests.api.charging_scenario import STATION
from tests.old_api.revisions import assert_taken
from tests.old_api.whole import Walk, walking


@pytest.fixture
async def walk(db: Database, owner: Connection, tmp_path: Path) -> AsyncIterator[Walk]:
    async with walking("api/v1", db, owner, tmp_path) as walk:
        yield walk


async def test_favorites(walk: Walk) -> None:
    path, client = "/favorites", await walk.driver()
    mall = {"location_id": "mall"}
    await walk.golden("none", "GET", path, client)
    await walk.golden("added", "POST", path, client, json=mall)
    await walk.golden("listed", "GET", path, client)
    await walk.golden("removed", "DELETE", f"{path}/mall", client, route=path)
    nowhere = {"location_id": "nowhere"}
    await walk.golden("refused_unknown", "POST", path, client, json=nowhere)
    for state, value in {"wrong_type": 7, "null": None}.items():
        await walk.golden(f"refused_{state}", "POST", path, client, json={"location_id": value})
    await walk.guarded("GET", path, path)


async def test_devices(walk: Walk) -> None:
    client, token = await walk.driver(), {"fcm_token": "a-token-of-the-phone:APA91b"}
    phone = {**token, "platform": "android", "app_version": "1.1.4"}
    register, unregister = "/devices/register", "/devices/unregister"
    await walk.golden("registered", "POST", register, client, json=phone)
    await walk.golden("again", "POST", register, client, json=phone)
    for state, member in {
        "platform": {"platform": "toaster"},
        "wrong_type": {"fcm_token": 7},
        "null": {"fcm_token": None},
        "empty": {"fcm_token": ""},
    }.items():
        await walk.golden(f"refused_{state}", "POST", register, client, json={**phone, **member})
    await walk.golden("unregistered", "POST", unregister, client, json=token)
    await walk.golden("again", "POST", unregister, client, json=token)
    await walk.golden("refused_null", "POST", unregister, client, json={"fcm_token": None})
    await walk.guarded("POST", register, register, json=phone)
    await walk.guarded("POST", unregister, unregister, json=token)


PHONE = "+996555123456"
STARTED = {"station_id": STATION, "connector_id": 1}
SIGN_IN = {
    "sign_in_sender": "console",
    "sign_in_secret": "a secret of sign-in for the tests, long enough",
}
# Both of the app's ways to the same calls.
CODES = [("/auth/send-otp", "/auth/verify-otp"), ("/auth/otp/send", "/auth/otp/verify")]


@pytest.fixture
async def phones(db: Database, owner: Connection, tmp_path: Path) -> AsyncIterator[Walk]:
    async with walking("api/v1", db, owner, tmp_path, **SIGN_IN) as walk:
        yield walk


async def driver_with_phone(walk: Walk) -> UUID:
    client = await walk.driver(250)
    await walk.ride.owner.execute(
        "update identity.clients set phone = $2, phone_verified = true, name = 'Aida'"
        " where id = $1",
        client,
        PHONE,
    )
    return client


@pytest.mark.parametrize(("send", "verify"), CODES, ids=["otp last", "otp first"])
async def test_a_code(
    phones: Walk, capsys: pytest.CaptureFixture[str], send: str, verify: str
) -> None:
    client, phone = await driver_with_phone(phones), {"phone": PHONE}
    capsys.readouterr()
    await phones.golden("sent", "POST", send, json=phone)
    match = re.search(r"SMS to \S+: .*?(\d{6})", capsys.readouterr().err)
    assert match is not None
    right = {**phone, "code": match[1]}
    wrong = {**phone, "code": "000000" if match[1] != "000000" else "111111"}
    await phones.golden("refused_too_soon", "POST", send, json=phone)
    await phones.golden("refused_wrong_code", "POST", verify, json=wrong)
    answer = await phones.golden("signed_in", "POST", verify, json=right)
    assert answer["user"]["id"] == str(client)
    assert_taken("verify_otp", answer, "HEAD")
    await phones.golden("refused_used_code", "POST", verify, json=right)
    for state, number in {
        "no_phone": "12", "country": "+12025550123", "wrong_type": 7, "null": None,
    }.items():  # fmt: skip
        await phones.golden(f"refused_{state}", "POST", send, json={"phone": number})
        body = {"phone": number, "code": "123456"}
        await phones.golden(f"refused_{state}", "POST", verify, json=body)


@pytest.mark.parametrize(("send", "verify"), CODES, ids=["otp last", "otp first"])
async def test_a_right_code_of_who_may_not_sign_in(
    phones: Walk, capsys: pytest.CaptureFixture[str], send: str, verify: str
) -> None:
    client = await driver_with_phone(phones)
    capsys.readouterr()
    await phones.call("POST", send, json={"phone": PHONE})
    match = re.search(r"SMS to \S+: .*?(\d{6})", capsys.readouterr().err)
    assert match is not None
    body = {"phone": PHONE, "code": match[1]}
    for state, change in {
        "needs_review": "phone_verified = false, phone_since = null",
        "blocked": "phone_verified = true, banned_until = now() + interval '1 day'",
    }.items():
        await phones.ride.owner.execute(
            f"update identity.clients set {change} where id = $1", client
        )
        await phones.golden(f"refused_{state}", "POST", verify, json=body)
    wrong = {**body, "code": "000000" if match[1] != "000000" else "111111"}
    for _ in range(5):
        await phones.call("POST", verify, json=wrong)
    await phones.golden("refused_void_code", "POST", verify, json=body)


async def signed_in(walk: Walk, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    await driver_with_phone(walk)
    capsys.readouterr()
    await walk.call("POST", "/auth/send-otp", json={"phone": PHONE})
    match = re.search(r"SMS to \S+: .*?(\d{6})", capsys.readouterr().err)
    assert match is not None
    body = {"phone": PHONE, "code": match[1]}
    return (await walk.call("POST", "/auth/verify-otp", json=body)).json()


async def test_tokens(phones: Walk, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = await signed_in(phones, capsys)
    refresh, logout = "/auth/refresh", "/auth/logout"
    body = {"refresh_token": tokens["refresh_token"]}
    await phones.golden("refreshed", "POST", refresh, json=body)
    replaced = await phones.golden("rotated", "POST", refresh, json={**body, "rotation": True})
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    me = await phones.golden("known", "GET", "/auth/me", headers=headers)
    assert_taken("me", me, "HEAD")
    await phones.guarded("GET", "/auth/me", "/auth/me")
    newest = {"refresh_token": replaced["refresh_token"]}
    await phones.golden("signed_out", "POST", logout, headers=headers, json=newest)
    await phones.golden("refused_signed_out", "POST", refresh, json=newest)
    await phones.golden("refused_wrong_type", "POST", logout, json={"refresh_token": 7})
    for state, value in {"unknown": "nothing", "wrong_type": 7, "null": None}.items():
        await phones.golden(f"refused_{state}", "POST", refresh, json={"refresh_token": value})


async def test_an_account(phones: Walk) -> None:
    client = await driver_with_phone(phones)
    profile, request = "/profile", "/account/delete-request"
    restore, delete = "/account/restore", "/auth/delete-account"
    await phones.golden("known", "GET", profile, client)
    await phones.golden("refused_with_money", "POST", delete, client)
    await phones.golden("refused_without_supabase", "POST", request, client)
    await phones.golden("refused_without_supabase", "POST", restore, client)
    charging = await phones.driver(1000)
    await phones.call("POST", "/charging/start", charging, json=STARTED)
    await phones.golden("refused_while_charging", "POST", delete, charging)
    await phones.golden("refused_while_charging", "POST", request, charging)
    for method, tail in (("GET", profile), ("POST", request), ("POST", restore), ("POST", delete)):
        await phones.guarded(method, tail, tail)

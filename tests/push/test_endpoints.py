"""The calls by which apps register and remove devices."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from evpower.foundation.db import Connection, Database
from evpower.push import devices
from tests.api.operator_scenario import OperatorApi, running_operator_api
from tests.api.scenario import Headers, bearer
from tests.old_api.golden_answers import assert_golden, folder_of
from tests.push.scenario import PRIVATE_KEY, Browser

REGISTER = "/api/v1/devices/register"
UNREGISTER = "/api/v1/devices/unregister"
KEY = "/api/v1/notifications/vapid-public-key"
SUBSCRIBE = "/api/v1/notifications/subscribe"
UNSUBSCRIBE = "/api/v1/notifications/unsubscribe"
ENDPOINT = "https://fcm.googleapis.com/fcm/send/abc"
PHONE = {"fcm_token": "dXy:APA91b", "platform": "android", "app_version": "1.1.4"}


@pytest.fixture
async def api(db: Database) -> AsyncIterator[OperatorApi]:
    async with running_operator_api(
        db,
        push_vapid_private_key=SecretStr(PRIVATE_KEY),
        push_contact="mailto:support@example.kg",
    ) as api:
        yield api


@pytest.fixture
def driver() -> Headers:
    return bearer(UUID("6f1e0000-0000-4000-8000-000000000001"))


async def post(
    api: OperatorApi, path: str, headers: Headers, body: Any, expect: int = 200
) -> dict[str, Any]:
    response = await api.http.post(path, headers=headers, json=body)
    assert response.status_code == expect, response.text
    answer: dict[str, Any] = response.json()
    assert answer["success"] is (expect == 200)
    assert answer["message"]
    return answer


async def rows(owner: Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in await owner.fetch("select * from push.devices order by id")]


async def test_a_phone_is_stored_once(api: OperatorApi, driver: Headers, owner: Connection) -> None:
    for version in ("1.1.4", "1.1.5"):
        await post(api, REGISTER, driver, {**PHONE, "app_version": version, "extra": 1})
    [row] = await rows(owner)
    assert (row["kind"], row["platform"], row["app_version"]) == ("fcm", "android", "1.1.5")
    assert (row["address"], row["language"]) == ("dXy:APA91b", "ru")
    await post(api, REGISTER, {**driver, "Accept-Language": "ky"}, PHONE)
    assert [row["language"] for row in await rows(owner)] == ["ky"]
    for _ in range(2):
        await post(api, UNREGISTER, driver, {"fcm_token": PHONE["fcm_token"]})
    assert await rows(owner) == []


async def test_a_phone_that_changes_hands_is_the_new_clients(
    api: OperatorApi, driver: Headers, owner: Connection
) -> None:
    await post(api, REGISTER, driver, PHONE)
    await owner.execute(
        """
        insert into push.messages (device_id, session_id, event, facts, created_at, due_at,
                                   expires_at)
        select id, gen_random_uuid(), 'stopped', '{}', now(), now(), now() from push.devices
        """
    )
    other = uuid4()
    await post(api, REGISTER, bearer(other), PHONE)
    [row] = await rows(owner)
    assert row["client_id"] == other
    assert await owner.fetchval("select count(*) from push.messages") == 0
    await post(api, UNREGISTER, driver, {"fcm_token": PHONE["fcm_token"]})  # it is not theirs
    assert len(await rows(owner)) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_request"),
        ({**PHONE, "fcm_token": None}, "invalid_request"),
        ({**PHONE, "fcm_token": 7}, "invalid_request"),
        ({**PHONE, "fcm_token": ""}, "invalid_request"),
        ({**PHONE, "fcm_token": " "}, "fcm_token_invalid"),
        ({**PHONE, "fcm_token": "two words"}, "fcm_token_invalid"),
        ({**PHONE, "fcm_token": "ключ"}, "fcm_token_invalid"),
        ({**PHONE, "fcm_token": "x" * 513}, "fcm_token_invalid"),
        ({**PHONE, "platform": "windows"}, "invalid_request"),
        ({**PHONE, "app_version": "x" * 33}, "invalid_request"),
        ({**PHONE, "app_version": "1\n2"}, "invalid_request"),
        ([PHONE], "invalid_request"),
    ],
)
async def test_a_phone_without_its_facts_is_refused(
    api: OperatorApi, driver: Headers, owner: Connection, body: Any, code: str
) -> None:
    answer = await post(api, REGISTER, driver, body, expect=422)
    assert answer["error_code"] == code
    assert await rows(owner) == []


async def test_a_browser_subscribes_with_our_key(
    api: OperatorApi, driver: Headers, owner: Connection
) -> None:
    key = (await api.http.get(KEY, headers=driver)).json()
    assert key == {"success": True, "public_key": key["public_key"]}
    subscription = Browser(ENDPOINT).json()
    await post(api, SUBSCRIBE, driver, subscription)
    await post(api, SUBSCRIBE, driver, {"subscription": subscription})
    [row] = await rows(owner)
    assert (row["kind"], row["host"]) == ("web", "fcm.googleapis.com")
    assert row["vapid_key"] == key["public_key"]
    await post(api, UNSUBSCRIBE, bearer(uuid4()), {"endpoint": ENDPOINT})
    assert len(await rows(owner)) == 1
    await post(api, UNSUBSCRIBE, driver, {"subscription": {"endpoint": ENDPOINT}})
    assert await rows(owner) == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"endpoint": "https://evil.example/x"}, "subscription_invalid"),
        ({"endpoint": "http://fcm.googleapis.com/x"}, "subscription_invalid"),
        ({"endpoint": "https://169.254.169.254/latest"}, "subscription_invalid"),
        ({"endpoint": "https://fcm.googleapis.com/" + "x" * 1024}, "invalid_request"),
        ({"keys": {"p256dh": "AAAA", "auth": "AAAA"}}, "subscription_invalid"),
        ({"keys": None}, "invalid_request"),
        ({"keys": {}}, "invalid_request"),
        ({"endpoint": None}, "invalid_request"),
    ],
)
async def test_a_subscription_that_is_none_is_refused(
    api: OperatorApi, driver: Headers, owner: Connection, changed: Any, code: str
) -> None:
    body = {**Browser(ENDPOINT).json(), **changed}
    assert (await post(api, SUBSCRIBE, driver, body, expect=422))["error_code"] == code
    assert await rows(owner) == []


async def test_without_keys_browsers_get_a_refusal_and_phones_are_stored(
    db: Database, driver: Headers, owner: Connection
) -> None:
    async with running_operator_api(db) as api:
        response = await api.http.get(KEY, headers=driver)
        refused = await post(api, SUBSCRIBE, driver, Browser(ENDPOINT).json(), expect=404)
        assert response.status_code == 404
        assert refused["error_code"] == response.json()["error_code"] == "push_not_configured"
        await post(api, UNSUBSCRIBE, driver, {"endpoint": ENDPOINT})
        await post(api, REGISTER, driver, PHONE)
    assert len(await rows(owner)) == 1


async def test_a_client_has_so_many_devices_and_the_oldest_makes_room(
    api: OperatorApi, driver: Headers, owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "MOST", 3)
    await post(api, REGISTER, driver, PHONE)
    await asyncio.gather(
        *(
            api.http.post(REGISTER, headers=driver, json={**PHONE, "fcm_token": f"t{number}"})
            for number in range(6)
        )
    )
    addresses = {row["address"] for row in await rows(owner)}
    assert len(addresses) == 3
    assert PHONE["fcm_token"] not in addresses


async def test_only_a_client_has_devices(api: OperatorApi) -> None:
    for headers, expected in (
        ({}, (401, "missing_token")),
        (api.service, (403, "forbidden")),
        (api.headers("admin"), (403, "forbidden")),
    ):
        for method, path in (
            ("GET", KEY), ("POST", REGISTER), ("POST", UNREGISTER), ("POST", SUBSCRIBE),
            ("POST", UNSUBSCRIBE),
        ):  # fmt: skip
            body = None if method == "GET" else {}
            response = await api.http.request(method, path, headers=headers, json=body)
            assert (response.status_code, response.json()["error_code"]) == expected


async def test_what_a_browser_gets_is_stored(api: OperatorApi, driver: Headers) -> None:
    stored: list[tuple[str, str, str, Headers, Any]] = [
        ("GET", KEY, "key", driver, None),
        ("POST", SUBSCRIBE, "subscribed", driver, Browser(ENDPOINT).json()),
        ("POST", UNSUBSCRIBE, "removed", driver, {"endpoint": ENDPOINT}),
        ("POST", SUBSCRIBE, "refused_invalid_request", driver, {}),
        ("POST", UNSUBSCRIBE, "refused_invalid_request", driver, {}),
        *(("POST", path, "refused_missing_token", {}, {}) for path in (SUBSCRIBE, UNSUBSCRIBE)),
        ("GET", KEY, "refused_missing_token", {}, None),
        ("GET", KEY, "refused_forbidden", api.headers("viewer"), None),
    ]
    for method, path, name, headers, body in stored:
        response = await api.http.request(method, path, headers=headers, json=body)
        assert_golden(f"{folder_of(path)}/ru_{name}", response)

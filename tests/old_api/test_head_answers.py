"""Golden answers of the calls that only HEAD makes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from evpower.foundation.db import Connection, Database
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

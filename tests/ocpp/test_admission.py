"""Which station a handshake is of, and whether it may connect."""

import asyncio
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from evpower import stations
from evpower.simulator import ConnectFailed, SimulatedStation, StationConfig
from tests.ocpp.scenario import V16, Central
from tests.waiting import WAIT_LIMIT_S, until


async def refused(central: Central, path: str = "/ocpp/EVP-001", **how: Any) -> int:
    """The status of a refused handshake."""
    with pytest.raises(InvalidStatus) as caught:
        async with central.open(path, **how):
            pass
    return caught.value.response.status_code


async def test_a_station_with_its_password_is_served(central: Central) -> None:
    password = await central.add()
    async with central.open(password=password) as station:
        assert (await station.boot())["status"] == "Accepted"
        assert station.wire.subprotocol == V16
    row = await central.owner.fetchrow("select * from stations.connections")
    assert row["is_authenticated"]
    assert row["version"] == "ocpp1.6"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/ocpp/EVP-001", id="plain"),
        pytest.param("/ws/EVP-001", id="ws"),
        pytest.param("/ocpp/EVP-001/", id="Q2-slash"),
        pytest.param("///EVP-001", id="Q1-slashes"),
        pytest.param("/ocpp//EVP-001//", id="Q1-slashes-between"),
        pytest.param("/ocpp/x/EVP-001", id="Q2-tail-before"),
        pytest.param("/ocpp/EVP-001/x", id="Q2-tail-behind"),
        pytest.param("/ocpp/EVP-001/EVP-001", id="Q2-doubled"),
        pytest.param("/ocpp/evp-001", id="Q1-other-case"),
        pytest.param("/ocpp/EVP%2D001", id="Q1-percent"),
        pytest.param("/ocpp", id="Q3-user-alone"),
        pytest.param("/", id="Q3-root"),
        pytest.param("/charger", id="Q1-another-word"),
    ],
)
async def test_a_station_is_found_in_odd_addresses(central: Central, path: str) -> None:
    password = await central.add()
    async with central.open(path, password=password) as station:
        await station.boot()
        assert central.socket() is not None


@pytest.mark.parametrize("path", ["/ocpp/KG%2FOSH%2F1", "/ocpp/KG/OSH/1", "/ws/x/KG%2FOSH%2F1"])
async def test_an_id_may_hold_slashes(central: Central, path: str) -> None:
    await central.add("KG/OSH/1", no_auth=True)
    await central.add("1", no_auth=True)
    async with central.open(path) as station:
        await station.boot()
        assert central.socket("KG/OSH/1") is not None


async def test_a_wrong_password_is_refused(central: Central) -> None:
    await central.add()
    assert await refused(central, password="a wrong password") == 401


@pytest.mark.parametrize(
    "password", [pytest.param(None, id="no-header"), pytest.param("", id="Q8-empty")]
)
async def test_without_a_password_a_station_is_refused(
    central: Central, password: str | None
) -> None:
    await central.add()
    assert await refused(central, password=password) == 401


async def test_a_refused_station_is_asked_for_basic(central: Central) -> None:
    await central.add()
    with pytest.raises(InvalidStatus) as caught:
        async with central.open():
            pass
    assert caught.value.response.headers["WWW-Authenticate"] == 'Basic realm="ocpp"'


async def test_q3_an_unknown_station_is_recorded(central: Central) -> None:
    """The operator finds it by its name and address."""
    assert await refused(central, "/ocpp/NEW-1", headers={"Origin": "https://github.com/x"}) == 404
    await central.parts.unknown.flush()
    row = await central.owner.fetchrow("select name, address from stations.unknown_stations")
    assert (row["name"], row["address"]) == ("NEW-1", "127.0.0.1")


async def test_a_path_without_any_name_is_refused(central: Central) -> None:
    assert await refused(central, "/ocpp/") == 404
    await central.parts.unknown.flush()
    assert await central.owner.fetchval("select name from stations.unknown_stations") == "(no id)"


async def test_a_path_that_names_two_stations_is_refused(central: Central) -> None:
    await central.add(no_auth=True)
    await central.add("EVP-002", no_auth=True)
    assert await refused(central, "/ocpp/EVP-001/EVP-002") == 404


async def listed(central: Central) -> dict[str, tuple[str, int]]:
    """Each listed name: why its last attempt was refused, and how many there were."""
    await central.parts.unknown.flush()
    async with central.db.connection() as connection:
        rows = await stations.list_unknown(connection)
    return {row.name: (row.reason, row.attempts) for row in rows}


async def test_a_refused_station_is_listed_with_the_reason(central: Central) -> None:
    for name in ("S-WRONG", "S-NONE", "S-RETIRED"):
        await central.add(name)
    for name in ("S-PINNED", "S-FAST", "S-TWO"):
        version = "ocpp2.0.1" if name == "S-PINNED" else None
        await central.add(name, no_auth=True, pinned_version=version)
    await central.owner.execute(
        "update stations.stations set retired_at = now() where id = 'S-RETIRED'"
    )
    for _ in range(2):
        assert await refused(central, "/ocpp/S-WRONG", password="wrong") == 401
    assert await refused(central, "/ocpp/S-NONE") == 401
    assert await refused(central, "/ocpp/S-RETIRED", password="any") == 403
    assert await refused(central, "/ocpp/S-PINNED") == 400
    assert await refused(central, "/ocpp/S-TWO/S-FAST") == 404
    assert await refused(central, "/ocpp/s-fast", headers={"X-Simulated-Speed": "60"}) == 403
    assert await refused(central, "/ocpp/S-NEW") == 404
    assert await listed(central) == {
        "S-WRONG": ("wrong_password", 2),
        "S-NONE": ("no_password", 1),
        "S-RETIRED": ("station_retired", 1),
        "S-PINNED": ("version_pinned", 1),
        "S-TWO/S-FAST": ("station_ambiguous", 1),
        "s-fast": ("station_not_simulated", 1),
        "S-NEW": ("station_not_found", 1),
    }


async def test_the_last_reason_is_listed_until_the_station_connects(central: Central) -> None:
    password = await central.add()
    assert await refused(central) == 401
    assert await refused(central, password="wrong") == 401
    assert await listed(central) == {"EVP-001": ("wrong_password", 2)}
    async with central.open(password=password):
        await until(lambda: central.socket() is not None)
        assert await listed(central) == {}


async def test_a_station_without_authentication_needs_no_password(central: Central) -> None:
    await central.add(no_auth=True)
    async with central.open() as station:
        await station.boot()
    assert not await central.owner.fetchval("select is_authenticated from stations.connections")


@pytest.mark.parametrize("upper", [True, False])
async def test_q9_a_password_may_come_as_hex(central: Central, *, upper: bool) -> None:
    """OCPP 1.6 has two ways to present a key."""
    password = (await central.add() or "").encode()
    shown = password.hex()
    async with central.open(password=shown.upper() if upper else shown) as station:
        await station.boot()


async def test_q10_a_password_that_is_no_utf8_is_refused_like_any_wrong_one(
    central: Central,
) -> None:
    await central.add()
    assert await refused(central, password=b"\xff\xfe:colon") == 401


async def test_the_user_need_not_be_the_name_in_the_path(central: Central) -> None:
    password = await central.add()
    async with central.open(user="someone", password=password) as station:
        await station.boot()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        pytest.param(None, None, id="Q4-none"),
        pytest.param(["ocpp1.6"], "ocpp1.6", id="1.6"),
        pytest.param(["ocpp2.0.1", "ocpp1.6"], "ocpp1.6", id="Q5-two"),
        pytest.param(["ocpp1.6", "ocpp2.0.1"], "ocpp1.6", id="Q5-two-the-other-way"),
        pytest.param(["OCPP1.6"], "OCPP1.6", id="other-case"),
    ],
)
async def test_the_subprotocol_is_one_that_was_offered(
    central: Central, offered: list[str] | None, chosen: str | None
) -> None:
    await central.add(no_auth=True)
    names = None if offered is None else [Subprotocol(name) for name in offered]
    async with central.open(subprotocols=names) as station:
        await station.boot()
        assert station.wire.subprotocol == chosen


async def test_later_versions_alone_are_refused(central: Central) -> None:
    await central.add(no_auth=True)
    assert await refused(central, subprotocols=[Subprotocol("ocpp2.0.1")]) == 400


async def test_a_station_pinned_to_another_version_is_refused(central: Central) -> None:
    await central.add(no_auth=True, pinned_version="ocpp2.0.1")
    assert await refused(central) == 400


async def test_only_a_station_for_tests_may_be_faster_than_real_ones(central: Central) -> None:
    await central.add(no_auth=True)
    await central.add("EVP-002", no_auth=True, is_simulated=True)
    assert await refused(central, headers={"X-Simulated-Speed": "60"}) == 403
    for name, speed, reason in (
        ("EVP-001", 60, "speed"), ("EVP-001", 1, None), ("EVP-002", 60, None),
    ):  # fmt: skip
        config = StationConfig(name, f"{central.base}/ocpp", speed=speed)
        station = SimulatedStation(config)
        running = asyncio.create_task(station.run(retries_first=False))
        await until(lambda station=station, running=running: station.is_online or running.done())
        if reason is None:
            running.cancel()
        with pytest.raises(asyncio.CancelledError if reason is None else ConnectFailed) as caught:
            await running
        assert getattr(caught.value, "reason", None) == reason


async def test_a_retired_station_is_refused(central: Central) -> None:
    await central.add(no_auth=True)
    await central.owner.execute("update stations.stations set retired_at = now()")
    assert await refused(central) == 403


async def test_q7_compression_is_not_agreed_to(central: Central) -> None:
    await central.add(no_auth=True)
    async with central.open(compression="deflate") as station:
        await station.boot()
        assert station.wire.protocol.extensions == []


async def test_the_api_has_paths_of_its_own(central: Central) -> None:
    await central.add(no_auth=True)
    assert await refused(central, "/api/v1/EVP-001") == 404


@pytest.mark.parametrize("path", ["/ocpp/EVP-001", "/ws/EVP-001", "/EVP-001", "/ocpp", "/ws/"])
async def test_a_plain_request_is_sent_nowhere_else(central: Central, path: str) -> None:
    """Old stations follow no redirect to https, and lose their password at one."""
    await central.add(no_auth=True)
    base = central.base.replace("ws", "http", 1)
    async with httpx.AsyncClient(trust_env=False, timeout=WAIT_LIMIT_S) as http:
        for scheme in ("http", "https"):
            response = await http.get(base + path, headers={"X-Forwarded-Proto": scheme})
            assert not response.is_redirect, response.status_code
            assert "location" not in response.headers


async def test_the_newest_socket_wins(central: Central) -> None:
    """Edge case 20: the old one's end touches nothing of the new one."""
    password = await central.add()
    async with central.open(password=password) as old:
        await old.boot()
        first = central.socket()
        async with central.open(password=password) as new:
            assert await old.ended() is None
            await until(lambda: first.is_over and central.socket() is not first)
            assert (await new.call("Heartbeat"))["currentTime"]
            epochs = await central.owner.fetch("select epoch from stations.sockets")
            assert [row["epoch"] for row in epochs] == [central.socket().epoch]
    await until(central.all_closed)
    assert await central.reasons() == ["replaced", "station"]

"""What is known of a station: its make, its set-up, and what it was seen to do."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from typer.testing import CliRunner

from evpower.cli.app import app
from evpower.foundation.db import Database
from evpower.stations.setup import set_up_stations
from tests.api.operator_scenario import OperatorApi
from tests.charging.place import ChargingPlace

WHY = {"reason": "asked by phone"}
_USUAL: dict[str, Any] = {
    "name": "default",
    "is_chosen": False,
    "overrides": {},
    "rate_unit": "A",
    "ping": True,
}


def main_members(profile: dict[str, Any]) -> dict[str, Any]:
    return {member: profile[member] for member in _USUAL}


@pytest.mark.usefixtures("place")
class TestProfile:
    async def test_it_is_shown_and_chosen_with_members_of_its_own(
        self, operators: OperatorApi
    ) -> None:
        assert main_members((await operators.call("GET", "/stations/S1"))["profile"]) == _USUAL
        overrides = {"ping": False, "settle_s": 30, "fixed_tag": "A1", "autostart_keys": ["X", "Y"]}
        body = {"profile": "huawei", "overrides": overrides, **WHY}
        changed = await operators.call("PATCH", "/stations/S1", "operator", json=body)
        profile = changed["profile"]
        assert main_members(profile) == {
            "name": "huawei", "is_chosen": True, "overrides": overrides, "rate_unit": "W",
            "ping": False,
        }  # fmt: skip
        assert (profile["settle_s"], profile["autostart_keys"]) == (30, ["X", "Y"])
        assert profile["notes"]
        [listed] = (await operators.call("GET", "/stations"))["items"]
        assert listed["profile"] == profile
        body = {"profile": "", "overrides": dict.fromkeys(overrides), **WHY}
        back = await operators.call("PATCH", "/stations/S1", "operator", json=body)
        assert main_members(back["profile"]) == _USUAL
        assert await operators.acts("S1") == ["station.add", "station.change", "station.change"]

    @pytest.mark.parametrize(
        "body",
        [
            {"profile": "none"},
            {"overrides": {"ping": "perhaps"}},
            {"overrides": {"ping": 1}},
            {"overrides": {"settle_s": -1}},
            {"overrides": {"measurands": ["SoC"]}},
            {"overrides": {"notes": ["x"]}},
            {"overrides": {"fixed_tag": True}},
            {"overrides": {"fixed_tag": 7}},
            {"overrides": {"ping": ["true"]}},
            {"overrides": {"autostart_keys": ["A,B"]}},
        ],
    )
    async def test_what_no_file_may_have_is_refused(
        self, operators: OperatorApi, body: dict[str, Any]
    ) -> None:
        refused = await operators.call(
            "PATCH", "/stations/S1", "operator", json={**body, **WHY}, expect=422
        )
        assert refused["error"] == "profile_invalid"
        assert main_members((await operators.call("GET", "/stations/S1"))["profile"]) == _USUAL

    async def test_of_two_who_change_the_profile_one_is_refused(
        self, operators: OperatorApi
    ) -> None:
        tag = (await operators.answer("GET", "/stations/S1")).headers["etag"]
        for expected in (200, 412):
            await operators.call(
                "PATCH", "/stations/S1", json={"overrides": {"ping": False}, **WHY},
                headers={"If-Match": tag}, expect=expected,
            )  # fmt: skip

    async def test_its_version_is_pinned_and_free_again(self, operators: OperatorApi) -> None:
        for given, shown in (("ocpp1.6", "ocpp1.6"), ("none", None)):
            body = {"pinned_version": given, **WHY}
            changed = await operators.call("PATCH", "/stations/S1", "operator", json=body)
            assert changed["pinned_version"] == shown
        assert await operators.acts("S1") == ["station.add", "station.pin", "station.pin"]


class TestSetup:
    async def test_it_is_begun_and_shown_key_by_key(
        self, operators: OperatorApi, place: ChargingPlace, db: Database
    ) -> None:
        never = await operators.call("GET", "/stations/S1/setup", "viewer")
        assert (never["state"], never["keys"]) == (None, [])
        begun = await operators.call("POST", "/stations/S1/setup", "operator", json=WHY, expect=202)
        assert (begun["station"], begun["state"], begun["keys"]) == ("S1", "running", [])
        refused = await operators.call(
            "POST", "/stations/S1/setup", "operator", json=WHY, expect=409
        )
        assert refused["error"] == "setup_running"
        place.now = operators.clock()
        key = {"key": "ConnectionTimeOut", "readonly": True, "value": "60"}
        assert await place.answer(response={"configurationKey": [key]}) == ["get_configuration"]
        await set_up_stations(db, operators.bus, place.now)
        shown = await operators.call("GET", "/stations/S1/setup", "viewer")
        assert {
            "key": "ConnectionTimeOut", "wanted": None, "actual": "60", "is_readonly": True,
            "outcome": "shown",
        } in shown["keys"]  # fmt: skip
        assert await operators.acts("S1") == ["station.add", "station.setup"]


class TestLearned:
    async def test_registers_clock_and_what_no_one_paid(
        self, operators: OperatorApi, place: ChargingPlace, dsn: str
    ) -> None:
        """10 kWh that are paid, 500 Wh after their stop, and 2 kWh by an unknown card."""
        _, transaction = await place.charging(await place.driver())
        for wh in (4_000, 8_000):
            place.later(10)
            await place.values(transaction, wh)
        place.later(5)
        await place.stop(transaction, 10_000)
        place.later(1)
        await place.values(transaction, 10_500)
        outside = await place.begin(None, tag="NOBODYS", meter_wh=10_500)
        place.later(10)
        await place.stop(outside, 12_500)
        learned = await operators.call("GET", "/stations/s1/learned", "viewer")
        assert learned == {
            "station": "S1", "clock_skew_s": None, "unbilled_tail_kwh": 0.5,
            "outside_charges": 1, "outside_kwh": 2.0,
            "meters": [{"connector": 1, "register_kind": "lifetime", "sample_interval_s": 600}],
        }  # fmt: skip
        with ThreadPoolExecutor(1) as pool:  # a command runs an event loop of its own
            env = {"EVPOWER_DATABASE_URL": dsn}
            call = pool.submit(lambda: CliRunner().invoke(app, ["station", "show", "S1"], env=env))
        for line in (
            "connector 1: register goes on for ever, a value each 600 s",
            "500 Wh after its stops, not billed",
            "1 charges of no client, 2 kWh",
        ):
            assert line in call.result().stdout

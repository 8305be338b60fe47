"""Commands: each with its outcome, waited for or not; one to many stations."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from evpower import stations
from evpower.foundation.db import Database
from evpower.foundation.errors import Unavailable
from evpower.stations import STATION_CHANGED, Command, Touch, operator_commands, station_key
from tests.api.operator_scenario import OperatorApi
from tests.charging.place import ChargingPlace
from tests.stations.scenario import Operator, claim
from tests.waiting import until

WHY = {"reason": "asked by phone"}
RESET = {"action": "reset", "arguments": {"kind": "soft"}, **WHY}


@dataclass
class Post:
    """A station's side: it is connected, takes its command and answers as the test says."""

    api: OperatorApi
    id: str
    epoch: int = 0

    async def connect(self) -> "Post":
        async with self.api.db.transaction() as connection:
            opened = await stations.open_connection(
                connection, self.id, address="10.0.0.1", version="ocpp1.6",
                is_authenticated=False, node="here", now=self.api.clock(),
            )  # fmt: skip
            await stations.touch(connection, [Touch(self.id, opened.epoch, self.api.clock())])
        self.epoch = opened.epoch
        return self

    async def take(self) -> Command:
        claimed: list[Command] = []

        async def is_sent() -> bool:
            async with self.api.db.transaction() as connection:
                command = await claim(connection, self.id, self.epoch, self.api.clock())
            claimed.extend([command] if command else [])
            return bool(claimed)

        await until(is_sent, f"no command for {self.id}")
        return claimed[0]

    async def answer(self, outcome: Any, response: dict[str, Any] | None = None) -> None:
        command = await self.take()
        async with self.api.db.transaction() as connection:
            await stations.end_command(
                connection, command.id, outcome, response or {}, self.api.clock()
            )
        self.api.bus.publish(STATION_CHANGED, station_key(self.id))


def outcomes(bulk: Any) -> dict[str, str]:
    return {result["station"]: result["outcome"] for result in bulk["results"]}


@pytest.fixture
async def post(operators: OperatorApi, db: Database) -> Post:
    await Operator(db).add("EV-1", no_auth=True)
    return await Post(operators, "EV-1").connect()


class TestOne:
    async def test_it_is_queued_without_waiting(self, operators: OperatorApi, post: Post) -> None:
        queued = await operators.call(
            "POST", "/stations/EV-1/commands", "support", json=RESET, expect=202
        )
        assert (queued["state"], queued["station"], queued["response"]) == ("queued", "EV-1", None)
        await post.answer("refused", {"status": "Rejected"})
        ended = await operators.call("GET", f"/commands/{queued['id']}", "viewer")
        assert (ended["state"], ended["response"]) == ("refused", {"status": "Rejected"})

    async def test_its_outcome_is_waited_for(self, operators: OperatorApi, post: Post) -> None:
        body = RESET | {"wait_s": 25}
        waiting = asyncio.create_task(
            operators.call("POST", "/stations/EV-1/commands", "support", json=body)
        )
        await post.answer("accepted", {"status": "Accepted"})
        ended = await waiting
        assert (ended["state"], ended["response"]) == ("accepted", {"status": "Accepted"})

    async def test_a_station_that_is_not_there_is_not_waited_for(
        self, operators: OperatorApi, db: Database
    ) -> None:
        await Operator(db).add("EV-1")
        body = RESET | {"wait_s": 25}
        queued = await operators.call(
            "POST", "/stations/EV-1/commands", "support", json=body, expect=202
        )
        assert queued["state"] == "queued"

    async def test_support_helps_and_sets_nothing(self, operators: OperatorApi, post: Post) -> None:
        body = {"action": "change_configuration", "arguments": {"key": "a", "value": "b"}, **WHY}
        path = f"/stations/{post.id}/commands"
        refused = await operators.call("POST", path, "support", json=body, expect=403)
        assert refused["error"] == "forbidden"
        await operators.call("POST", path, "operator", json=body, expect=202)

    async def test_q59_a_hard_reset_waits_for_what_charges(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        _, transaction = await place.charging(await place.driver())
        hard = RESET | {"arguments": {"kind": "hard"}}
        path = "/stations/S1/commands"
        refused = await operators.call("POST", path, "support", json=hard, expect=409)
        assert refused["error"] == "station_in_use"
        many = await operators.call("POST", "/bulk-commands", json=hard | {"stations": ["S1"]})
        assert [result["error"] for result in many["results"]] == ["station_in_use"]
        await operators.call("POST", path, "support", json=RESET, expect=202)
        await place.stop(transaction, 1_000)
        await operators.call("POST", path, "support", json=hard, expect=202)

    @pytest.mark.parametrize(
        ("action", "arguments"),
        [
            ("remote_stop", {"transaction_id": 7}),
            ("change_configuration", {"key": "authorizationKey", "value": "SECRETSECRET1234"}),
            (
                "set_charging_profile",
                {"connector": 1, "transaction_id": 7, "limit": 6, "unit": "A"},
            ),
        ],
    )
    async def test_no_transaction_s_id_and_no_secret_is_sent(
        self, operators: OperatorApi, post: Post, action: str, arguments: dict[str, Any]
    ) -> None:
        body = {"action": action, "arguments": arguments, **WHY}
        refused = await operators.call(
            "POST", f"/stations/{post.id}/commands", json=body, expect=422
        )
        assert refused["error"] == "command_invalid"

    async def test_a_repeat_with_its_key_asks_once(
        self, operators: OperatorApi, post: Post
    ) -> None:
        key = {"Idempotency-Key": "reset-1"}
        path = f"/stations/{post.id}/commands"
        first = await operators.call("POST", path, json=RESET, headers=key, expect=202)
        again = await operators.call("POST", path, json=RESET, headers=key, expect=202)
        assert again == first
        assert len((await operators.call("GET", "/commands"))["items"]) == 1

    async def test_commands_are_filtered(self, operators: OperatorApi, post: Post) -> None:
        path = f"/stations/{post.id}/commands"
        await operators.call("POST", path, json=RESET, expect=202)
        trigger = {"action": "trigger", "arguments": {"message": "heartbeat"}, **WHY}
        await operators.call("POST", path, json=trigger, expect=202)
        await post.answer("accepted")
        for query, listed in (
            ({"station": "EV-1"}, ["trigger", "reset"]),
            ({"state": "accepted"}, ["reset"]),
            ({"action": "trigger"}, ["trigger"]),
            ({"state": "refused"}, []),
        ):
            page = await operators.call("GET", "/commands", "viewer", params=query)
            assert [command["action"] for command in page["items"]] == listed
        first = await operators.call("GET", "/commands", params={"limit": 1})
        rest = await operators.call("GET", "/commands", params={"cursor": first["next"]})
        assert [command["action"] for command in rest["items"]] == ["reset"]


class TestMany:
    async def test_each_station_has_a_result_of_its_own(
        self, operators: OperatorApi, db: Database
    ) -> None:
        """One accepts, one refuses, one is silent, one is away, one was never there."""
        for name in ("ACCEPTS", "REFUSES", "SILENT", "AWAY"):
            await Operator(db).add(name, no_auth=True)
        posts = [await Post(operators, name).connect() for name in ("ACCEPTS", "REFUSES", "SILENT")]
        names = ["ACCEPTS", "REFUSES", "SILENT", "AWAY", "NOWHERE", "accepts"]
        bulk = await operators.call(
            "POST", "/bulk-commands", "operator", json=RESET | {"stations": names}
        )
        assert outcomes(bulk) == {
            "ACCEPTS": "waiting", "REFUSES": "waiting", "SILENT": "waiting", "AWAY": "offline",
            "NOWHERE": "refused",
        }  # fmt: skip
        errors = {result["station"]: result["error"] for result in bulk["results"]}
        assert errors["NOWHERE"] == "station_not_found"
        assert bulk["counts"] == {"refused": 1, "waiting": 3, "offline": 1}
        await posts[0].answer("accepted")
        await posts[1].answer("refused", {"status": "Rejected"})
        silent = await posts[2].take()
        path = f"/bulk-commands/{bulk['id']}"
        certain = {
            "ACCEPTS": "accepted", "REFUSES": "refused", "AWAY": "offline", "NOWHERE": "refused",
        }  # fmt: skip
        present = await operators.call("GET", path, "viewer")
        assert outcomes(present) == certain | {"SILENT": "waiting"}
        assert {result["station"]: result["error"] for result in present["results"]} == errors
        async with db.transaction() as connection:
            await stations.end_command(connection, silent.id, "timed_out", None, operators.clock())
        later = await operators.call("GET", path, "viewer")
        assert outcomes(later) == certain | {"SILENT": "timed_out"}

    async def test_all_are_asked_at_once_and_who_is_away_is_not_waited_for(
        self, operators: OperatorApi, db: Database
    ) -> None:
        """The slow one has its command before the quick one has answered."""
        for name in ("QUICK", "SLOW", "AWAY"):
            await Operator(db).add(name, no_auth=True)
        quick, slow = [await Post(operators, name).connect() for name in ("QUICK", "SLOW")]
        body = RESET | {"location": "mall", "wait_s": 25}
        waiting = asyncio.create_task(operators.call("POST", "/bulk-commands", json=body))
        claimed = await slow.take()
        await quick.answer("accepted")
        async with db.transaction() as connection:
            await stations.end_command(connection, claimed.id, "refused", {}, operators.clock())
        operators.bus.publish(STATION_CHANGED, station_key("SLOW"))
        assert outcomes(await waiting) == {
            "QUICK": "accepted", "SLOW": "refused", "AWAY": "offline",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "stations_of",
        [
            {},
            {"stations": []},
            {"stations": ["EV-1"], "location": "mall"},
        ],
    )
    async def test_no_stations_or_two_ways_to_name_them(
        self, operators: OperatorApi, post: Post, stations_of: dict[str, Any]
    ) -> None:
        del post
        refused = await operators.call(
            "POST", "/bulk-commands", json=RESET | stations_of, expect=422
        )
        assert refused["error"] == "command_invalid"

    async def test_a_location_is_named_by_its_id_or_name(
        self, operators: OperatorApi, post: Post
    ) -> None:
        for location in ("mall", "Mall", "MALL"):
            body = RESET | {"location": location}
            bulk = await operators.call("POST", "/bulk-commands", json=body)
            assert list(outcomes(bulk)) == [post.id]
        body = RESET | {"location": "nowhere"}
        refused = await operators.call("POST", "/bulk-commands", json=body, expect=404)
        assert refused["error"] == "location_not_found"

    async def test_wrong_arguments_ask_no_station(self, operators: OperatorApi, post: Post) -> None:
        body = RESET | {"arguments": {"kind": "gently"}, "stations": [post.id]}
        await operators.call("POST", "/bulk-commands", json=body, expect=422)
        assert (await operators.call("GET", "/commands"))["items"] == []

    async def test_one_that_asked_no_station_says_why(self, operators: OperatorApi) -> None:
        body = RESET | {"stations": ["NOWHERE"]}
        first = await operators.call("POST", "/bulk-commands", json=body)
        stored = await operators.call("GET", f"/bulk-commands/{first['id']}")
        assert (stored["action"], stored["counts"]) == ("reset", {"refused": 1})
        assert {result["error"] for result in stored["results"]} == {"station_not_found"}
        assert await operators.acts(first["id"]) == ["station.bulk_command"]

    async def test_it_has_its_id_though_the_refusals_were_not_stored(
        self, operators: OperatorApi, post: Post, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A second try would ask again."""

        async def away(*_: object) -> None:
            raise Unavailable("database_unavailable")

        monkeypatch.setattr(operator_commands, "insert_refusals", away)
        body = RESET | {"stations": [post.id, "NOWHERE"]}
        bulk = await operators.call("POST", "/bulk-commands", json=body)
        assert outcomes(bulk) == {post.id: "waiting", "NOWHERE": "refused"}
        stored = await operators.call("GET", f"/bulk-commands/{bulk['id']}")
        assert outcomes(stored) == {post.id: "waiting"}
        assert len((await operators.call("GET", "/commands"))["items"]) == 1
        body = RESET | {"stations": ["NOWHERE"]}
        await operators.call("POST", "/bulk-commands", json=body, expect=503)

    async def test_no_such_bulk(self, operators: OperatorApi) -> None:
        await operators.call("GET", f"/bulk-commands/{uuid4()}", expect=404)

"""Balance and its history over HTTP: who may read them, shapes, pages."""

from uuid import UUID, uuid4

import pytest

from evpower.foundation.db import Connection
from tests.api.scenario import Api, bearer
from tests.charging.money import top_up
from tests.contracts.answers import code_of
from tests.old_api.golden_answers import assert_golden
from tests.old_api.revisions import assert_taken

ENDPOINTS = ["/api/v1/balance/{}", "/api/v1/balance/history/{}"]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
class TestWho:
    async def test_anonymous(self, api: Api, client_id: UUID, endpoint: str) -> None:
        assert (await api.get(endpoint.format(client_id))).status_code == 401

    async def test_expired(self, api: Api, client_id: UUID, endpoint: str) -> None:
        response = await api.get(endpoint.format(client_id), bearer(client_id, exp=1))
        assert (response.status_code, code_of(response)) == (401, "token_expired")

    async def test_other_client(self, api: Api, client_id: UUID, endpoint: str) -> None:
        response = await api.get(endpoint.format(client_id), bearer(uuid4()))
        assert (response.status_code, code_of(response)) == (403, "forbidden")

    async def test_the_client(self, api: Api, client_id: UUID, endpoint: str) -> None:
        assert (await api.get(endpoint.format(client_id), bearer(client_id))).status_code == 200

    async def test_a_client_never_seen_before(self, api: Api, endpoint: str) -> None:
        new_client = uuid4()
        assert (await api.get(endpoint.format(new_client), bearer(new_client))).status_code == 200

    @pytest.mark.parametrize("caller", ["operator", "service"])
    async def test_operator_and_service(
        self, api: Api, client_id: UUID, endpoint: str, caller: str
    ) -> None:
        headers = getattr(api, caller)
        assert (await api.get(endpoint.format(client_id), headers)).status_code == 200
        unknown = await api.get(endpoint.format(uuid4()), headers)
        assert (unknown.status_code, code_of(unknown)) == (404, "client_not_found")

    async def test_an_id_that_is_none(self, api: Api, endpoint: str) -> None:
        response = await api.get(endpoint.format("1%20or%201=1"), api.operator)
        assert response.status_code == 422


class TestOwnBalance:
    """`/balance/get`, which a later version of the old backend had."""

    async def test_is_that_of_the_token(self, api: Api, owner: Connection, client_id: UUID) -> None:
        await top_up(owner, client_id, 12_345)
        own = await api.get("/api/v1/balance/get", bearer(client_id))
        named = await api.get(f"/api/v1/balance/{client_id}", bearer(client_id))
        assert own.json() == named.json()
        assert_golden("v1/balance/get/balance", own)

    async def test_is_refused_without_a_client_s_token(self, api: Api) -> None:
        anonymous = await api.get("/api/v1/balance/get")
        assert_golden("v1/balance/get/ru_refused_missing_token", anonymous)
        operator = await api.get("/api/v1/balance/get", api.operator)
        assert_golden("v1/balance/get/ru_refused_forbidden", operator)


class TestBalance:
    async def test_the_old_shape_and_the_new_members(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        await top_up(owner, client_id, 12_345)
        answer = (await api.get(f"/api/v1/balance/{client_id}", bearer(client_id))).json()
        assert answer.pop("last_topup_at").endswith("Z")
        assert answer == {
            "success": True, "client_id": str(client_id), "balance": 123.45, "currency": "KGS",
            "total_spent": 0, "held": 0, "available": 123.45, "version": 1, "debt": 0,
        }  # fmt: skip

    async def test_every_app_takes_it_before_and_after_the_first_top_up(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        path = f"/api/v1/balance/{client_id}"
        fresh = (await api.get(path, bearer(client_id))).json()
        assert "last_topup_at" not in fresh
        assert_taken("balance", fresh)
        await top_up(owner, client_id, 100)
        assert_taken("balance", (await api.get(path, bearer(client_id))).json())


class TestHistory:
    async def test_120_changes_have_no_gap_or_repeat_while_new_ones_arrive(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        for _ in range(120):
            await top_up(owner, client_id, 100)
        seen: list[int] = []
        address = f"/api/v1/balance/history/{client_id}?limit=11"
        while address:
            response = await api.get(address, bearer(client_id))
            seen += [line["version"] for line in response.json()]
            await top_up(owner, client_id, 100)
            address = response.headers.get("link", "").partition(">")[0].lstrip("<")
        assert seen == list(range(120, 0, -1))

    async def test_a_line_has_the_keys_of_supabase(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        await top_up(owner, client_id, 100)
        [line] = (await api.get(f"/api/v1/balance/history/{client_id}", bearer(client_id))).json()
        assert (line["type"], line["amount"], line["balance_before"], line["balance_after"]) == (
            "topup", 1.0, 0, 1.0,
        )  # fmt: skip
        assert line["created_at"].endswith("Z")

    @pytest.mark.parametrize("limit", ["0", "100000", "abc"])
    async def test_limits_out_of_range_are_refused(
        self, api: Api, client_id: UUID, limit: str
    ) -> None:
        response = await api.get(
            f"/api/v1/balance/history/{client_id}?limit={limit}", bearer(client_id)
        )
        assert (response.status_code, code_of(response)) == (422, "invalid_request")

    @pytest.mark.parametrize("cursor", ["x", "", "-1", "1.5", "٣", "9" * 19, "1;drop table x"])
    async def test_cursors_that_are_none_are_refused(
        self, api: Api, client_id: UUID, cursor: str
    ) -> None:
        response = await api.get(
            f"/api/v1/balance/history/{client_id}", bearer(client_id), params={"before": cursor}
        )
        assert (response.status_code, code_of(response)) == (422, "invalid_cursor")

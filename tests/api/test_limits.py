"""Rate limits: who is counted, how much, and that the key cannot be chosen by the caller."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from fastapi import APIRouter

from evpower.api.limits import Budgets, RateLimits
from evpower.foundation.addresses import client_address, parse_networks
from evpower.foundation.buckets import AddressBuckets, Buckets
from evpower.foundation.db import Database
from evpower.foundation.errors import Unauthenticated
from evpower.foundation.module import Limit
from evpower.identity import access, service_keys
from tests.api.scenario import Api, Turning, bearer, running_api
from tests.contracts.answers import code_of


class TestBuckets:
    def test_a_full_bucket_empties_and_refills(self) -> None:
        now = Turning()
        buckets = Buckets(3, 60, now)
        assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 20]
        now.at_s += 19
        assert buckets.take("a") == 1
        now.at_s += 1
        assert [buckets.take("a"), buckets.take("a")] == [0, 20]
        now.at_s += 3600
        assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 20]

    def test_callers_do_not_share(self) -> None:
        buckets = Buckets(1, 60, Turning())
        assert (buckets.take("a"), buckets.take("b"), buckets.take("a")) == (0, 0, 60)

    def test_memory_is_bounded_and_forgets_the_least_recent(self) -> None:
        buckets = Buckets(1, 60, Turning(), remembered=3)
        for caller in ("a", "b", "c", "a", "d"):
            buckets.take(caller)
        assert len(buckets) == 3
        assert buckets.take("a") > 0  # seen after b: still remembered

    def test_who_has_many_addresses_fills_no_table_beyond_its_own_budget(self) -> None:
        buckets = AddressBuckets(1, 60, Turning())
        for subnet in range(1000):
            buckets.take(f"2001:db8:1:{subnet:x}::/64")
        assert len(buckets._own) == 16
        assert buckets.take("2001:db8:1:ffff::/64") == 4  # s, until the /48 has a token again


class TestPublicReads:
    LIMIT = Limit("public", "public", ("/api/v1/locations",), 3, 60)

    def test_they_have_a_budget_of_their_own_by_address_whoever_calls(self) -> None:
        rates = RateLimits(Budgets(general_per_minute=1), Turning(), [self.LIMIT])
        paths = ["/api/v1/locations", "/api/v1/locations/7", "/api/v1/locations/7/refresh-status"]
        waits = [rates.take("POST", path, f"client:{path}", "203.0.113.9") for path in paths]
        assert waits == [0, 0, 0]
        assert rates.take("GET", paths[0], "", "203.0.113.9") == 20
        assert rates.take("GET", paths[0], "", "203.0.113.10") == 0
        assert rates.take("GET", "/api/v1/other", "", "203.0.113.9") == 0

    def test_no_credential_is_read_and_no_answer_stored_there(self) -> None:
        rates = RateLimits(Budgets(), Turning(), [self.LIMIT])
        assert rates.is_open("/api/v1/locations/7")
        assert rates.is_public("/api/v1/locations/7")
        assert not rates.is_open("/api/v1/location")
        assert not RateLimits(Budgets(), Turning()).is_public("/api/v1/locations")


class TestAddresses:
    TRUSTED = parse_networks("10.0.0.0/8, 192.0.2.1")

    @pytest.mark.parametrize(
        ("peer", "forwarded", "expected"),
        [
            ("203.0.113.9", "", "203.0.113.9"),
            ("203.0.113.9", "1.2.3.4", "203.0.113.9"),  # a stranger may write what it likes
            ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),  # the left was written by the caller
            ("10.0.0.1", "1.2.3.4, 192.0.2.1, 10.9.9.9", "1.2.3.4"),
            ("10.0.0.1", "10.0.0.7", "10.0.0.7"),
            ("10.0.0.1", "nonsense", "10.0.0.1 nonsense"),
            ("10.0.0.1", ", ,", "10.0.0.1"),
            ("10.0.0.1", "1.2.3.4," * 50, "1.2.3.4"),
            ("2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
            ("::ffff:203.0.113.9", "", "203.0.113.9"),
            ("", "", "unknown"),
        ],
    )
    def test_only_trusted_proxies_are_believed(
        self, peer: str, forwarded: str, expected: str
    ) -> None:
        assert client_address(peer, forwarded, self.TRUSTED) == expected

    def test_nonsense_in_the_settings_is_refused(self) -> None:
        with pytest.raises(ValueError, match="nonsense"):
            parse_networks("10.0.0.1, nonsense")


def stand_ins() -> APIRouter:
    routes = APIRouter()

    @routes.post("/api/v1/balance/topup-qr")
    @routes.post("/api/v1/auth/register")
    @routes.post("/api/v1/payment/webhook/sandbox")
    async def fine() -> dict[str, bool]:
        return {"success": True}

    @routes.post("/api/v1/payment/webhook/forged")
    async def forged() -> None:
        raise Unauthenticated("invalid_signature", "")

    return routes


@pytest.fixture
async def api(db: Database) -> AsyncIterator[Api]:
    async with running_api(
        db, [stand_ins()], rate_per_minute=5, rate_money_per_minute=2, rate_register_per_hour=3,
        rate_webhook_per_minute=7, rate_service_per_minute=9, trusted_proxies="127.0.0.1",
    ) as api:  # fmt: skip
        yield api


async def passed(api: Api, method: str, path: str, headers: dict[str, str], tries: int = 12) -> int:
    """How many of `tries` pass before the first 429."""
    for count in range(tries):
        response = await api.http.request(method, path, headers=headers)
        if response.status_code == 429:
            assert code_of(response) == "too_many_requests"
            assert response.headers["retry-after"] in response.json()["message"]
            return count
    return tries


class TestBudgets:
    async def test_each_client_has_its_own(self, api: Api) -> None:
        client_id, other = uuid4(), uuid4()
        assert await passed(api, "GET", f"/api/v1/balance/{client_id}", bearer(client_id)) == 5
        assert await passed(api, "GET", f"/api/v1/balance/{other}", bearer(other)) == 5
        api.now_s.at_s += 12
        assert await passed(api, "GET", f"/api/v1/balance/{client_id}", bearer(client_id)) == 1

    async def test_a_new_token_of_the_same_client_is_the_same_client(self, api: Api) -> None:
        client_id = uuid4()
        assert await passed(api, "GET", f"/api/v1/balance/{client_id}", bearer(client_id)) == 5
        assert (
            await passed(api, "GET", f"/api/v1/balance/{client_id}", bearer(client_id, jti="2"))
            == 0
        )

    async def test_tokens_that_are_none_are_counted_by_address(
        self, api: Api, client_id: UUID
    ) -> None:
        path = f"/api/v1/balance/{client_id}"
        assert await passed(api, "GET", path, {}) == 5
        forged = {"Authorization": f"Bearer {uuid4()}"}
        assert await passed(api, "GET", path, forged) == 0
        elsewhere = {"X-Forwarded-For": "203.0.113.77"}
        assert await passed(api, "GET", path, elsewhere) == 5
        assert await passed(api, "GET", path, bearer(client_id)) == 5

    async def test_money_has_a_smaller_one(self, api: Api) -> None:
        client_id = uuid4()
        assert await passed(api, "POST", "/api/v1/balance/topup-qr", bearer(client_id)) == 2
        assert (await api.get(f"/api/v1/balance/{client_id}", bearer(client_id))).status_code == 200

    async def test_registrations_are_counted_by_address_whatever_the_token(self, api: Api) -> None:
        for _ in range(3):
            response = await api.post("/api/v1/auth/register", bearer(uuid4()))
            assert response.status_code == 200
        refused = await api.post("/api/v1/auth/register", bearer(uuid4()))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1200")

    async def test_webhooks_and_services_have_theirs(self, api: Api) -> None:
        assert await passed(api, "POST", "/api/v1/payment/webhook/forged", {}) == 7
        assert await passed(api, "GET", f"/api/v1/balance/{uuid4()}", api.service) == 9

    async def test_good_webhooks_cost_nothing_and_refused_ones_do_not_use_up_the_banks(
        self, api: Api
    ) -> None:
        bank, stranger = {"X-Forwarded-For": "203.0.113.9"}, {"X-Forwarded-For": "203.0.113.10"}
        good, forged = "/api/v1/payment/webhook/sandbox", "/api/v1/payment/webhook/forged"
        assert await passed(api, "POST", good, bank, tries=30) == 30
        assert await passed(api, "POST", forged, stranger) == 7
        assert (await api.post(good, stranger)).status_code == 429
        assert await passed(api, "POST", good, bank, tries=30) == 30
        assert await passed(api, "POST", forged, bank, tries=30) == 30  # ten times as many, here
        assert await passed(api, "POST", good, bank, tries=30) == 30

    async def test_a_flood_of_service_keys_is_not_looked_up(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lookups: list[str] = []
        check = service_keys.check_service_key

        async def counted(db: Database, key: str) -> str:
            lookups.append(key)
            return await check(db, key)

        monkeypatch.setattr(access, "check_service_key", counted)
        path = f"/api/v1/balance/{uuid4()}"
        address = {"X-Forwarded-For": "203.0.113.9"}
        assert (await api.get(path, api.service | address)).status_code == 404
        lookups.clear()
        statuses = []
        for number in range(40):
            key = "evp_" + f"{number:043}"
            sent = {"X-Service-Key": key} if number % 2 else {"Authorization": f"Bearer {key}"}
            response = await api.get(path, sent | {"X-Forwarded-For": f"198.51.100.{number % 4}"})
            statuses.append(response.status_code)
        assert set(statuses) == {401, 429}
        assert len(lookups) == statuses.count(401)  # once each, and none of those refused
        for number in range(100):
            await api.get(path, {"X-Service-Key": "evp_" + f"{number:043}"} | address)
        assert len(lookups) < 30 + 60
        assert (await api.get(path, api.service | address)).status_code == 404, "a good one passes"

    async def test_a_provider_of_ipv6_addresses_has_not_a_budget_for_each(self, api: Api) -> None:
        path = f"/api/v1/balance/{uuid4()}"

        async def passes(address: str) -> bool:
            response = await api.get(path, {"X-Forwarded-For": address})
            return response.status_code != 429

        for subnet in range(16):
            for _ in range(5):
                assert await passes(f"2001:db8:1:{subnet:x}::1")
            assert not await passes(f"2001:db8:1:{subnet:x}::2")
        assert not await passes("2001:db8:1:ff::1"), "the /48 has had its budget"
        assert await passes("2001:db8:2::1"), "another has its own"

    async def test_health_is_not_counted(self, api: Api) -> None:
        assert await passed(api, "GET", "/healthz", {}, tries=30) == 30

    @pytest.mark.parametrize(
        "path",
        ["/", "/docs", "/docs/swagger-ui-bundle.js", "/openapi.json", "/nothing", "//api/v1/"],
    )
    async def test_what_is_no_api_is_counted_by_address(self, api: Api, path: str) -> None:
        assert await passed(api, "GET", path, bearer(uuid4())) == 5
        assert await passed(api, "GET", "/docs", {}) == 0, "together"
        assert await passed(api, "GET", "/docs", {"X-Forwarded-For": "203.0.113.77"}) == 5
        expired = await api.get(f"/api/v1/balance/{uuid4()}")
        assert expired.status_code == 401, "drivers there are still asked to sign in"

"""Old ids resolve to their client in every endpoint; access is checked afterwards."""

from uuid import UUID, uuid4

import pytest

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Forbidden, Invalid
from evpower.identity import Principal, resolve
from evpower.identity.aliases import CACHE_TTL_S, OldIds, fold_id_tag, resolve_id_tag
from tests.api.scenario import Api, bearer
from tests.charging.money import top_up
from tests.charging.test_sync_history import report, send
from tests.contracts.answers import code_of
from tests.identity.conftest import Clock

SERVICE = Principal("service", None, "ocpp", None)
READS = ["/api/v1/balance/{}", "/api/v1/balance/history/{}", "/api/v1/charging/history/{}"]


def client_principal(client_id: UUID) -> Principal:
    return Principal("client", client_id, "", None, client_id)


async def add_alias(
    owner: Connection, client: UUID, alias: object, kind: str = "client_id"
) -> None:
    await owner.execute(
        "insert into identity.aliases (kind, alias, client_id) values ($1, $2, $3)",
        kind,
        str(alias),
        client,
    )


@pytest.fixture
async def old(owner: Connection, client_id: UUID) -> str:
    """Give `client_id` an old id; returns it."""
    await add_alias(owner, client_id, "Client-77")
    return "Client-77"


class TestResolve:
    async def test_ids_resolve_to_their_client(
        self, owner: Connection, client_id: UUID, old: str
    ) -> None:
        former = uuid4()
        await add_alias(owner, client_id, former)
        assert await resolve(owner, old) == client_id
        assert await resolve(owner, str(client_id)) == client_id
        assert await resolve(owner, str(client_id).upper()) == client_id
        assert await resolve(owner, former.hex) == client_id
        for unknown in ("client-77", str(uuid4()), "", "\0", "x" * 5000, "' or 1=1"):
            assert await resolve(owner, unknown) is None

    async def test_a_clients_own_id_is_never_another_client(
        self, owner: Connection, client_id: UUID
    ) -> None:
        other = uuid4()
        await owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", other
        )
        await add_alias(owner, other, client_id)
        assert await resolve(owner, str(client_id)) == client_id

    async def test_id_tags_have_no_case(self, owner: Connection, client_id: UUID) -> None:
        await add_alias(owner, client_id, "04a1b2", "id_tag")
        assert await resolve_id_tag(owner, "04A1B2") == client_id
        assert await resolve_id_tag(owner, "04A1B3") is None
        assert await resolve(owner, "04a1b2") is None

    async def test_the_database_folds_id_tags_as_we_do(self, owner: Connection) -> None:
        characters = [chr(n) for n in (*range(1, 0xD800), *range(0xE000, 0x10000), 0x1F50C)]
        tags = [f"{c}A{c}b{c}" for c in characters]
        tags += ["", "-", "\u2014", ":-.", "20:69:C0:21", "a-.", "+996 555", "a\n", "a\n\n.", "İ.-"]
        folded: list[str] = await owner.fetchval(
            "select array_agg(identity.folded_tag(tag) order by place)"
            "  from unnest($1::text[]) with ordinality as t (tag, place)",
            [tag.lower() for tag in tags],
        )
        ours = [fold_id_tag(tag) for tag in tags]
        assert [it for it in zip(tags, ours, folded, strict=True) if it[1] != it[2]] == []
        assert [fold_id_tag(tag) for tag in ours] == ours
        assert await owner.fetchval("select identity.folded_tag('04:A1:Bz.')") == "04a1bz"


class TestOldIds:
    async def test_the_callers_own_id_needs_no_database(self, client_id: UUID) -> None:
        ids = OldIds(Database("postgres://user@127.0.0.1:1/none"))
        assert await ids.client(client_principal(client_id), str(client_id)) == client_id
        assert await ids.client(client_principal(client_id), client_id) == client_id

    async def test_results_are_cached_for_a_minute(
        self, db: Database, owner: Connection, client_id: UUID, old: str
    ) -> None:
        clock = Clock()
        ids = OldIds(db, clock=clock)
        assert await ids.client(SERVICE, old) == client_id
        await owner.execute("delete from identity.aliases")
        assert await ids.client(SERVICE, old) == client_id
        clock.forward(seconds=CACHE_TTL_S + 1)
        with pytest.raises(Invalid):
            await ids.client(SERVICE, old)
        await add_alias(owner, client_id, old)
        with pytest.raises(Invalid):
            await ids.client(SERVICE, old)
        ids.flush()
        assert await ids.client(SERVICE, old) == client_id

    async def test_a_closed_client_resolves_to_its_successor_within_a_minute(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        former, clock = uuid4(), Clock()
        ids = OldIds(db, clock=clock)
        await owner.execute(
            "insert into identity.clients (id, origin, status) values ($1, 'import', 'closed')",
            former,
        )
        assert await ids.client(SERVICE, former) == former
        await add_alias(owner, client_id, former)
        clock.forward(seconds=CACHE_TTL_S + 1)
        assert await ids.client(SERVICE, former) == client_id

    async def test_the_cache_is_bounded(self, db: Database, client_id: UUID) -> None:
        ids = OldIds(db, cache_size=3)
        for _ in range(10):
            await ids.client(SERVICE, str(uuid4()))
        assert len(ids._known) == 3  # pyright: ignore[reportPrivateUsage]
        assert await ids.client(SERVICE, client_id) == client_id

    async def test_a_client_learns_nothing_about_other_ids(
        self, db: Database, old: str, client_id: UUID
    ) -> None:
        ids = OldIds(db)
        assert await ids.client(client_principal(uuid4()), old) == client_id  # may_read is next
        with pytest.raises(Forbidden):
            await ids.client(client_principal(client_id), "unknown")


class TestEndpoints:
    @pytest.mark.parametrize("path", READS)
    async def test_the_client_an_operator_and_a_service_may_use_the_old_id(
        self, api: Api, owner: Connection, client_id: UUID, old: str, path: str
    ) -> None:
        await top_up(owner, client_id, 12_345)
        for headers in (bearer(client_id), api.operator, api.service):
            now = await api.get(path.format(client_id), headers)
            before = await api.get(path.format(old), headers)
            assert (before.status_code, before.content) == (200, now.content)

    @pytest.mark.parametrize("path", READS)
    async def test_an_old_uuid_takes_the_fast_path_too(
        self, api: Api, owner: Connection, client_id: UUID, path: str
    ) -> None:
        former = uuid4()
        await add_alias(owner, client_id, former)
        for query in ("", "?unknown=1"):
            answer = await api.get(path.format(former) + query, bearer(client_id))
            assert answer.status_code == 200
            assert str(former) not in answer.text

    @pytest.mark.parametrize("path", READS)
    async def test_another_client_is_refused_for_any_id(
        self, api: Api, old: str, client_id: UUID, path: str
    ) -> None:
        for raw_id in (old, client_id, "unknown", uuid4(), "1%20or%201=1"):
            answer = await api.get(path.format(raw_id), bearer(uuid4()))
            assert (answer.status_code, code_of(answer)) == (403, "forbidden")

    @pytest.mark.parametrize("path", READS)
    async def test_an_unknown_id(self, api: Api, path: str) -> None:
        answer = await api.get(path.format("unknown"), api.service)
        assert (answer.status_code, code_of(answer)) == (422, "invalid_request")
        answer = await api.get(path.format(uuid4()), api.service)
        assert (answer.status_code, code_of(answer)) == (404, "client_not_found")

    async def test_the_link_to_the_next_page_has_the_uuid(
        self, api: Api, owner: Connection, client_id: UUID, old: str
    ) -> None:
        for _ in range(3):
            await top_up(owner, client_id, 100)
        answer = await api.get(f"/api/v1/balance/history/{old}?limit=2", bearer(client_id))
        assert f"/api/v1/balance/history/{client_id}?" in answer.headers["link"]

    async def test_a_session_reported_under_the_old_id_is_its_clients(
        self, api: Api, owner: Connection, client_id: UUID, old: str
    ) -> None:
        await top_up(owner, client_id, 100_000)
        body = report(client_id, client_id=old)
        assert (await send(api, body)).status_code == 201
        again = await send(api, body | {"client_id": str(client_id)})
        assert (again.status_code, again.json()["created"]) == (200, False)
        assert await owner.fetchval("select client_id from charging.sessions") == client_id
        assert await owner.fetchval("select balance_minor from wallet.wallets") == 100_000 - 8_856

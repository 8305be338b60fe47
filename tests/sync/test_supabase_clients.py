"""What evpower_apply makes of a client's contacts and status."""

from uuid import uuid4

from evpower.foundation.db import Connection
from tests.sync.changes_log import as_auth, make_user
from tests.sync.test_supabase_schema import _apply, _client


class TestClosed:
    """The contacts of a closed client are free for the next."""

    async def test_contacts_and_name_of_a_closed_client_go(self, there: Connection) -> None:
        client, other = uuid4(), uuid4()
        contacts = {"email": "left@example.kg", "phone": "+996700123123"}
        await _apply(there, clients=[_client(client, **contacts), _client(other, name="Stays")])
        erased = {"email": None, "phone": None, "name": None, "status": "inactive", "closed": True}
        await _apply(there, clients=[_client(client, revision=2, **erased), _client(other)])
        select = "select email, phone, name, status::text from public.clients where id::text = $1"
        row = await there.fetchrow(select, str(client))
        assert row is not None
        assert tuple(row) == (None, None, None, "inactive")
        assert (await there.fetchrow(select, str(other)))["name"] == "Stays"  # type: ignore[index]
        answer = await _apply(there, clients=[_client(uuid4(), **contacts)])
        assert [outcome for _, _, outcome, _ in answer] == ["applied"]

    async def test_a_call_that_writes_nothing_takes_no_contacts(self, there: Connection) -> None:
        client = uuid4()
        await _apply(there, clients=[_client(client, email="stays@example.kg", revision=5)])
        erased = {"email": None, "phone": None, "name": None, "status": "inactive", "closed": True}
        answer = await _apply(there, clients=[_client(client, revision=2, **erased)])
        assert [outcome for _, _, outcome, _ in answer] == ["stale"]
        assert await there.fetchval("select email from public.clients") == "stays@example.kg"

    async def test_where_a_contact_must_be_there_it_is_unique_by_the_id(
        self, there: Connection
    ) -> None:
        client, second = uuid4(), uuid4()
        transaction = there.transaction()
        await transaction.start()
        try:
            await there.execute(
                "alter table public.clients alter email set not null, alter phone set not null,"
                " alter phone type varchar(15), alter name set not null"
            )
            rows = [
                _client(key, email=f"{key}@x.kg", phone=f"+9967{n}")
                for n, key in enumerate((client, second))
            ]
            await _apply(there, clients=rows)
            erased = {"email": None, "phone": None, "name": None, "closed": True}
            answer = await _apply(
                there,
                clients=[{**row, **erased, "status": "inactive", "revision": 2} for row in rows],
            )
            assert [outcome for _, _, outcome, _ in answer] == ["applied", "applied"]
            client_rows = await there.fetch("select email, phone, name from public.clients")
            assert {row["email"] for row in client_rows} == {
                f"{key.hex}@closed.invalid" for key in (client, second)
            }
            assert {row["phone"] for row in client_rows} == {client.hex[:15], second.hex[:15]}
        finally:
            await transaction.rollback()

    async def test_a_deletion_in_auth_leaves_the_row_as_it_is(self, there: Connection) -> None:
        """A trigger on auth.users must never fail a deletion: EvPower closes, then the row goes."""
        user = await make_user(there, email=f"{uuid4().hex}@example.kg")
        await _apply(there, clients=[_client(user, email="row@example.kg")])
        await as_auth(there, "delete from auth.users where id = $1", user)
        email = await there.fetchval(
            "select email from public.clients where id::text = $1", str(user)
        )
        assert email == "row@example.kg"


class TestOrderOfTheStatus:
    """What orders a status is a clock, which a fail-over may turn back."""

    async def test_a_status_that_came_by_an_older_number_is_named(self, there: Connection) -> None:
        client = uuid4()
        await _apply(there, clients=[_client(client, revision=9)])
        late = _client(client, status="blocked", revision=5)
        assert await _apply(there, clients=[late]) == [["client", str(client), "stale", "status"]]
        answer = await _apply(there, clients=[{**late, "force": True}])
        assert answer == [["client", str(client), "applied", None]]
        assert await there.fetchval("select status::text from public.clients") == "blocked"
        assert await _apply(there, clients=[late]) == [["client", str(client), "stale", None]]

    async def test_a_deletion_that_was_asked_for_is_no_other_status(
        self, there: Connection
    ) -> None:
        client = uuid4()
        await _apply(there, clients=[_client(client, revision=9)])
        await there.execute("update public.clients set status = 'inactive'")
        answer = await _apply(there, clients=[_client(client, revision=5)])
        assert answer == [["client", str(client), "stale", None]]

    async def test_older_money_is_stale_and_nothing_else(self, there: Connection) -> None:
        client = uuid4()
        await _apply(there, clients=[_client(client, balance_version=3, revision=9)])
        late = _client(client, status="blocked", balance_version=2, revision=5)
        assert await _apply(there, clients=[late]) == [["client", str(client), "stale", None]]

"""Only a token that was issued to an operator, for the phone it signs in with, is an operator's."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import jwt
import pytest
from starlette.requests import Request

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Forbidden, NotFound
from evpower.identity.access import Access
from evpower.identity.clients import close_client, ensure
from evpower.identity.model import Profile
from evpower.identity.operators import add_operator, remove_operator
from evpower.identity.sign_in.operate import get_operator, set_operator_phone
from evpower.identity.sign_in.refresh import refresh
from tests.identity.sign_in.conftest import OLD_SECRET, Phones, new_phone, refusal_of


def with_token(token: str) -> Request:
    headers = [(b"authorization", f"Bearer {token}".encode())]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": headers, "state": {}})


@pytest.fixture
def access(phones: Phones) -> Access:
    return Access(phones.calls.db, phones.refreshes.verifier, clock=phones.clock)


async def an_operator(db: Database, user_id: UUID, phone: str | None = None) -> None:
    async with db.transaction() as connection:
        await add_operator(connection, user_id=user_id, name="Aida", role="finance", actor="cli")
        if phone is not None:
            await set_operator_phone(connection, user_id, phone, actor="cli")


async def give_phone(db: Database, user_id: UUID, phone: str | None) -> None:
    async with db.transaction() as connection:
        await set_operator_phone(connection, user_id, phone, actor="cli")


async def assert_a_client(access: Access, token: str, user_id: UUID) -> None:
    """The token is a client's, also where operators are asked for."""
    principal = await access.principal(with_token(token))
    assert (principal.kind, principal.client_id, principal.role) == ("client", user_id, None)
    assert (await access.client_of_token(token)).sub == user_id
    with pytest.raises(Forbidden):
        await access.require_role(with_token(token), "finance")


async def test_a_clients_token_stays_a_clients_though_the_user_is_an_operator(
    phones: Phones, db: Database, access: Access
) -> None:
    phone = new_phone()
    before = await phones.sign_in(phone)
    await assert_a_client(access, before.tokens.access, before.account.user_id)
    await an_operator(db, before.account.user_id)
    access.flush()
    after = await phones.sign_in(phone)
    for token in (
        before.tokens.access,
        after.tokens.access,
        (await refresh(phones.refreshes, before.tokens.refresh)).access,
    ):
        await assert_a_client(access, token, before.account.user_id)


async def test_a_token_of_the_old_backend_is_never_an_operators(
    phones: Phones, db: Database, access: Access
) -> None:
    client_id, operator = uuid4(), uuid4()
    async with db.transaction() as connection:
        await ensure(connection, client_id, Profile(), "token")
    await an_operator(db, client_id)
    await an_operator(db, operator)
    now = int(phones.clock().timestamp())
    for kind in ("client", "admin"):
        claims = {"type": kind, "iat": now, "exp": now + 600}
        of_client = jwt.encode({"sub": str(client_id), **claims}, OLD_SECRET, algorithm="HS256")
        await assert_a_client(access, of_client, client_id)
        of_operator = jwt.encode({"sub": str(operator), **claims}, OLD_SECRET, algorithm="HS256")
        assert (await refusal_of(access.principal(with_token(of_operator)))).http_status == 401


@pytest.mark.parametrize("change", ["cleared", "changed", "set again"])
async def test_another_phone_of_an_operator_ends_the_sign_ins_of_before(
    phones: Phones, db: Database, access: Access, change: str
) -> None:
    phone, user = new_phone(), uuid4()
    await an_operator(db, user, phone)
    signed_in = await phones.sign_in(phone)
    principal = await access.require_role(with_token(signed_in.tokens.access), "finance")
    assert principal.user_id == user
    changed = {"cleared": None, "changed": new_phone(), "set again": phone}[change]
    await give_phone(db, user, changed)
    assert (await refusal_of(refresh(phones.refreshes, signed_in.tokens.refresh))).code == (
        "invalid_token"
    )
    if change != "set again":
        refused = await refusal_of(access.principal(with_token(signed_in.tokens.access)))
        assert refused.http_status == 403


async def test_a_sign_in_that_the_change_overtook_is_refused(
    phones: Phones, db: Database, owner: Connection
) -> None:
    phone, user = new_phone(), uuid4()
    await an_operator(db, user, phone)
    token = (await phones.sign_in(phone)).tokens.refresh
    await owner.execute("update identity.operators set phone = null where user_id = $1", user)
    assert (await refusal_of(refresh(phones.refreshes, token))).http_status == 401


async def test_a_change_that_is_rolled_back_ends_nothing(phones: Phones, db: Database) -> None:
    phone, user = new_phone(), uuid4()
    await an_operator(db, user, phone)
    token = (await phones.sign_in(phone)).tokens.refresh

    async def roll_back() -> None:
        async with db.transaction() as connection:
            await set_operator_phone(connection, user, None, actor="cli")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await roll_back()
    assert (await refresh(phones.refreshes, token)).subject.kind == "admin"
    with pytest.raises(NotFound):
        await give_phone(db, uuid4(), None)


async def test_the_sign_ins_of_the_same_users_client_go_on(phones: Phones, db: Database) -> None:
    signed_in = await phones.sign_in(new_phone())
    await an_operator(db, signed_in.account.user_id, new_phone())
    assert (await refresh(phones.refreshes, signed_in.tokens.refresh)).subject.kind == "client"


async def test_an_operator_who_comes_back_needs_a_phone_and_a_sign_in_anew(
    phones: Phones, db: Database, owner: Connection
) -> None:
    phone, user = new_phone(), uuid4()
    await an_operator(db, user, phone)
    token = (await phones.sign_in(phone)).tokens.refresh
    async with db.transaction() as connection:
        await remove_operator(connection, user_id=user, actor="cli")
    with pytest.raises(NotFound):  # a phone is given to operators only
        await give_phone(db, user, phone)
    await an_operator(db, uuid4(), phone)
    await an_operator(db, user)
    async with db.connection() as connection:
        returned = await get_operator(connection, user)
    assert returned is not None
    assert returned[1] == ""
    acts = await owner.fetch(
        "select details ->> 'phone' as phone from identity.audit where action = 'operator.phone'"
    )
    assert [act["phone"] for act in acts] == [phone, phone]
    assert (await refusal_of(refresh(phones.refreshes, token))).http_status == 401


async def test_closing_a_client_ends_its_sign_ins(
    phones: Phones, db: Database, owner: Connection
) -> None:
    signed_in = await phones.sign_in(new_phone())
    async with db.transaction() as connection:
        await close_client(connection, signed_in.account.user_id, actor="sync", reason="deleted")
    revoked = await owner.fetchrow("select revoked_at, revoked_by from identity.refresh_tokens")
    assert revoked is not None
    assert revoked["revoked_by"] == "deletion"
    assert revoked["revoked_at"] <= datetime.now(UTC)

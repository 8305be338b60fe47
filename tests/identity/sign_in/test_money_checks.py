"""EVPOWER_AUTH_INTROSPECT=money with EvPower's own tokens: Auth knows their user, not the token."""

from uuid import UUID

import httpx
import pytest
from starlette.requests import Request

from evpower.config import Settings
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Database
from evpower.foundation.http import HttpClient
from evpower.foundation.module import Shared
from evpower.identity import Access, configured_access
from evpower.identity.supabase_admin import SupabaseAdmin
from tests.identity.conftest import Answer, Edge
from tests.identity.conftest import Request as Seen
from tests.identity.sign_in.conftest import Phones, new_phone, refusal_of


def with_token(token: str) -> Request:
    headers = [(b"authorization", f"Bearer {token}".encode())]
    return Request({"type": "http", "method": "POST", "headers": headers, "state": {}})


@pytest.fixture
def access(db: Database, phones: Phones, admin: SupabaseAdmin) -> Access:
    return Access(db, phones.refreshes.verifier, clock=phones.clock, introspect_with=admin)


async def signed_in(phones: Phones) -> tuple[UUID, str]:
    done = await phones.sign_in(new_phone())
    return done.account.user_id, done.tokens.access


async def test_a_driver_who_signed_in_by_phone_may_spend(phones: Phones, access: Access) -> None:
    user, token = await signed_in(phones)
    assert (await access.require_client_for_money(with_token(token))).client_id == user


async def test_a_deleted_user_spends_nothing_from_then_on(
    phones: Phones, access: Access, admin: SupabaseAdmin
) -> None:
    user, token = await signed_in(phones)
    await admin.delete_user(user)
    refused = await refusal_of(access.require_client_for_money(with_token(token)))
    assert (refused.code, refused.http_status) == ("invalid_token", 401)


async def test_a_banned_user_spends_nothing_from_then_on(
    phones: Phones, access: Access, supabase: LocalSupabase, http: httpx.AsyncClient
) -> None:
    user, token = await signed_in(phones)
    banned = await http.put(
        f"{supabase.url}/auth/v1/admin/users/{user}",
        json={"ban_duration": "24h"},
        headers={"apikey": supabase.secret_key},
    )
    assert banned.status_code == 200, banned.text
    refused = await refusal_of(access.require_client_for_money(with_token(token)))
    assert (refused.code, refused.http_status) == ("client_blocked", 403)


async def test_while_auth_does_not_answer_nothing_is_spent_and_no_token_is_called_bad(
    db: Database, phones: Phones, admin_through_edge: SupabaseAdmin, edge: Edge
) -> None:
    async def down(_: Seen) -> Answer:
        return 500, b"{}"

    _, token = await signed_in(phones)
    edge.respond = down
    access = Access(
        db, phones.refreshes.verifier, clock=phones.clock, introspect_with=admin_through_edge
    )
    refused = await refusal_of(access.require_client_for_money(with_token(token)))
    assert (refused.code, refused.http_status) == ("auth_unavailable", 503)
    assert edge.requests[-1].path.startswith("/auth/v1/admin/users/")
    assert token not in str(edge.requests[-1].headers)  # it is not Auth's to know


async def test_the_setting_switches_it_on(
    db: Database, phones: Phones, admin: SupabaseAdmin, supabase: LocalSupabase
) -> None:
    user, token = await signed_in(phones)
    await admin.delete_user(user)
    async with HttpClient() as outside:
        shared = Shared(db, outside, LocalBus(), phones.clock)
        for word, passes in (("never", True), ("money", False)):
            settings = Settings(
                _env_file=None, env="development", supabase_url=supabase.url, auth_introspect=word
            )  # fmt: skip
            request = with_token(token)
            access = configured_access(settings, shared, admin)
            if passes:
                assert (await access.require_client_for_money(request)).client_id == user
            else:
                refused = await refusal_of(access.require_client_for_money(request))
                assert refused.code == "invalid_token"

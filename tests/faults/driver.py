"""A driver who pays, and what both databases have of it."""

import secrets
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import httpx

from evpower.devstack.local import LocalEvPower
from tests.conftest import as_owner


@dataclass(frozen=True)
class Money:
    """A client as one database shows it: tyiyn, and the number of transactions."""

    balance_minor: int
    transactions: int


@dataclass(frozen=True)
class Standing:
    """Returns the client in EvPower, and how often it was created and closed."""

    name: str | None
    status: str
    wallets: int
    closings: int


class Driver:
    """Signs up for real, then pays through the bank."""

    def __init__(self, evpower: LocalEvPower, http: httpx.AsyncClient) -> None:
        self.evpower = evpower
        self.http = http
        self.urls = evpower.urls()
        self.client_id = UUID(int=0)
        self._token = ""

    async def sign_up(self) -> None:
        name = secrets.token_hex(5)
        body = {
            "email": f"{name}@example.kg",
            "password": name * 2,
            "phone": f"+996555{secrets.randbelow(10**6):06d}",
        }
        answer = await self.http.post(f"{self.urls.api}/api/v1/auth/register", json=body)
        assert answer.status_code == 201, answer.text
        self.client_id = UUID(answer.json()["client_id"])
        signed_in = await self.http.post(
            f"{self.urls.supabase}/auth/v1/token?grant_type=password",
            headers={"apikey": self.urls.publishable_key},
            json={"email": body["email"], "password": body["password"]},
        )
        self._token = signed_in.json()["access_token"]

    async def sign_up_there(self) -> None:
        """At Supabase itself, as the apps do; EvPower is not asked."""
        name = secrets.token_hex(5)
        made = await self.http.post(
            f"{self.urls.supabase}/auth/v1/signup",
            headers={"apikey": self.urls.publishable_key},
            json={
                "email": f"{name}@example.kg",
                "password": name * 2,
                "data": {"phone": f"+996777{secrets.randbelow(10**6):06d}", "name": "Aida"},
            },
        )
        assert made.status_code == 200, made.text
        self.client_id = UUID(made.json()["user"]["id"])
        self._token = made.json()["access_token"]

    async def rename(self, name: str) -> None:
        """The app writes the profile in Supabase."""
        answer = await self.http.patch(
            f"{self.urls.supabase}/rest/v1/clients?id=eq.{self.client_id}",
            headers={
                "apikey": self.urls.publishable_key,
                "Authorization": f"Bearer {self._token}",
                "Prefer": "return=representation",
            },
            json={"name": name},
        )
        assert answer.status_code == 200, answer.text
        assert answer.json(), "there is no row to rename"

    async def leave(self) -> None:
        """The user is deleted in Supabase."""
        answer = await self.http.request(
            "DELETE",
            f"{self.urls.supabase}/auth/v1/admin/users/{self.client_id}",
            headers={"apikey": self.urls.secret_key},
            json={},
        )
        assert answer.status_code == 200, answer.text

    async def open_invoice(self, som: int) -> dict[str, str]:
        answer = await self.http.post(
            f"{self.urls.api}/api/v1/balance/topup-qr",
            headers={"Authorization": f"Bearer {self._token}"},
            json={"amount": som},
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["success"], answer.text
        return answer.json()

    async def approve(self, invoice: dict[str, str]) -> None:
        answer = await self.http.post(f"{invoice['app_link']}/approve", json={})
        assert answer.is_success, answer.text

    async def read(self, path: str) -> httpx.Response:
        return await self.http.get(
            self.urls.api + path, headers={"Authorization": f"Bearer {self._token}"}
        )

    async def standing(self) -> Standing | None:
        """The client as EvPower has them; None: not at all."""
        connection = await asyncpg.connect(as_owner(self.urls.database_url))
        try:
            row = await connection.fetchrow(
                "select c.name, c.status, (select count(*) from wallet.wallets w"
                " where w.client_id = c.id) as wallets, (select count(*) from identity.audit a"
                " where a.subject = c.id::text and a.action = 'client.close') as closings"
                " from identity.clients c where c.id = $1",
                self.client_id,
            )
            return Standing(*row) if row is not None else None
        finally:
            await connection.close()

    async def here(self) -> Money:
        """The wallet in EvPower's database."""
        connection = await asyncpg.connect(as_owner(self.urls.database_url))
        try:
            row = await connection.fetchrow(
                "select balance_minor, (select count(*) from wallet.transactions t"
                " where t.client_id = w.client_id) as n from wallet.wallets w where client_id = $1",
                self.client_id,
            )
            return Money(row["balance_minor"], row["n"])
        finally:
            await connection.close()

    async def there(self) -> Money:
        """The same in Supabase's database."""
        connection = await asyncpg.connect(self.urls.supabase_database_url)
        try:
            row = await connection.fetchrow(
                "select (select (balance * 100)::bigint from public.clients where id = $1) as b,"
                " (select count(*) from public.transactions where client_id = $1) as n",
                self.client_id,
            )
            return Money(row["b"] if row["b"] is not None else -1, row["n"])
        finally:
            await connection.close()

"""Signing in with a sender that stores what it sends, a clock to turn, and a real Supabase Auth."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import EvPowerError
from evpower.identity.issued_tokens import OwnKeys
from evpower.identity.sign_in.account import Accounts
from evpower.identity.sign_in.by_code import SignedIn, SignInCalls, sign_in_by_code
from evpower.identity.sign_in.codes import CodeHasher
from evpower.identity.sign_in.keys import TokenIssuer
from evpower.identity.sign_in.refresh import RefreshCalls
from evpower.identity.sign_in.send import CodeRules, SentCode, send_code
from evpower.identity.sign_in.senders.protocol import Sms
from evpower.identity.supabase_admin import SupabaseAdmin
from evpower.identity.tokens import TokenVerifier
from tests.identity.conftest import Clock

SECRET = "a sign-in secret of the tests, 32 bytes and more"
OLD_SECRET = "the secret of the old backend, long enough for each HMAC"
HOME = "192.0.2.1"
ADDRESS_CODES = 12  # in an hour
_PHONES = count(1)


def new_phone() -> str:
    return f"+996700{next(_PHONES):06}"


@dataclass
class Inbox:
    """A sender whose messages can be read; `fails` is raised instead of sending."""

    name: str = "inbox"
    messages: list[Sms] = field(default_factory=list)
    fails: Exception | None = None

    async def send(self, message: Sms) -> None:
        if self.fails is not None:
            raise self.fails
        self.messages.append(message)

    def code(self, phone: str) -> str:
        """The code in the last message to this phone."""
        texts = [message.text for message in self.messages if message.phone == phone]
        match = re.search(r"\d{6}", texts[-1])
        assert match is not None
        return match[0]


@dataclass
class Phones:
    """What drivers with phones do."""

    calls: SignInCalls
    refreshes: RefreshCalls
    inbox: Inbox
    clock: Clock
    # Clients that hold money, with the time their balance was imported.
    rich: dict[UUID, datetime | None] = field(default_factory=dict[UUID, datetime | None])

    async def ask(self, phone: str, address: str = HOME) -> SentCode:
        return await send_code(
            self.calls.db,
            self.calls.rules,
            phone,
            address,
            text=lambda code: f"code {code}",
            clock=self.clock,
        )

    async def type(self, phone: str, code: str, address: str = HOME) -> SignedIn:
        return await sign_in_by_code(self.calls, phone, code, address)

    async def sign_in(self, phone: str, address: str = HOME) -> SignedIn:
        """Asks for a code and types it; a minute later, so that the next one may be asked for."""
        await self.ask(phone, address)
        signed_in = await self.type(phone, self.inbox.code(phone), address)
        self.clock.forward(seconds=61)
        return signed_in

    def through(
        self, *, admin: SupabaseAdmin | None = None, db: Database | None = None
    ) -> "Phones":
        """The same with another way to Auth or to the database."""
        accounts = replace(
            self.calls.accounts,
            admin=admin or self.calls.accounts.admin,
            db=db or self.calls.accounts.db,
        )
        calls = replace(self.calls, accounts=accounts, db=db or self.calls.db)
        return replace(self, calls=calls)


async def refusal_of(awaitable: object) -> EvPowerError:
    """The error that a call raises."""
    with pytest.raises(EvPowerError) as refused:
        await awaitable  # pyright: ignore[reportGeneralTypeIssues]
    return refused.value


@pytest.fixture
def phones(db: Database, admin: SupabaseAdmin, clock: Clock, http: httpx.AsyncClient) -> Phones:
    inbox = Inbox()
    rich: dict[UUID, datetime | None] = {}

    async def with_money(_: Connection, client_ids: Sequence[UUID]) -> dict[UUID, datetime | None]:
        return {client_id: rich[client_id] for client_id in client_ids if client_id in rich}

    issuer = TokenIssuer(SECRET, clock)
    verifier = TokenVerifier(
        issuer_url="https://project.supabase.co/auth/v1",
        http=http,
        clock=clock,
        own=OwnKeys(db, clock),
        old_secret=SecretStr(OLD_SECRET),
    )
    rules = CodeRules(inbox, CodeHasher(SECRET), ["996"], 1000, ADDRESS_CODES)
    accounts = Accounts(db, admin, with_money, clock)
    return Phones(
        SignInCalls(db, rules, accounts, issuer, clock),
        RefreshCalls(db, issuer, verifier, clock),
        inbox,
        clock,
        rich,
    )

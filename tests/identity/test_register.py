"""Registration ends with one user and one client under one id, wherever it was interrupted."""

import asyncio
import json
from dataclasses import replace
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import SecretStr

from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, EvPowerError, Invalid, Unavailable
from evpower.identity import clients
from evpower.identity.jobs import converge_registrations
from evpower.identity.model import Client, Confirm, NewUser, Profile
from evpower.identity.register import RegistrationRequest, register
from evpower.identity.supabase_admin import SupabaseAdmin
from tests.identity.conftest import Answer, Clock, Edge, Request, forward
from tests.identity.crashing import Crash, CrashingAdmin, CrashingDatabase

PASSWORD = "correct-horse-7"
USERS = "/auth/v1/admin/users"


_PHONES = count(1)


def a_registration(**changes: Any) -> RegistrationRequest:
    number = uuid4().int
    fields: dict[str, Any] = {
        "email": f"{number:x}@example.kg",
        "password": SecretStr(PASSWORD),
        "phone": f"+996555{next(_PHONES):06}",
        "name": "Aida",
    }
    return RegistrationRequest(**(fields | changes))


@pytest.fixture
def crashing(supabase: LocalSupabase, http: httpx.AsyncClient) -> CrashingAdmin:
    return CrashingAdmin(http=http, url=supabase.url, secret_key=SecretStr(supabase.secret_key))


@pytest.fixture
def sign_up(db: Database, admin: SupabaseAdmin, clock: Clock) -> Any:
    async def sign_up(
        application: RegistrationRequest,
        *,
        through: SupabaseAdmin = admin,
        on: Database = db,
        confirm: Confirm = "auto",
    ) -> Client:
        client, _ = await register(on, through, application, confirm=confirm, clock=clock)
        return client

    return sign_up


async def signed_in(
    supabase: LocalSupabase, http: httpx.AsyncClient, email: str, password: str = PASSWORD
) -> Any:
    answer = await http.post(
        f"{supabase.url}/auth/v1/token?grant_type=password",
        json={"email": email, "password": password},
        headers={"apikey": supabase.publishable_key},
    )
    return answer.json()


async def users_of(supabase: LocalSupabase, http: httpx.AsyncClient, email: str) -> list[Any]:
    answer = await http.get(
        f"{supabase.url}{USERS}?per_page=1000", headers={"apikey": supabase.secret_key}
    )
    return [user for user in answer.json()["users"] if user["email"] == email]


async def states(owner: Connection) -> list[str]:
    rows = await owner.fetch("select state from identity.registrations order by created_at")
    return [row["state"] for row in rows]


async def test_driver_registers_and_signs_in_under_the_same_id(
    sign_up: Any, supabase: LocalSupabase, http: httpx.AsyncClient, owner: Connection
) -> None:
    registration = a_registration(email=f"Driver.{uuid4().hex}@Example.KG", phone="0555 123456")
    client = await sign_up(registration)
    assert (client.email, client.phone) == (registration.email.lower(), "+996555123456")
    assert (client.name, client.origin) == ("Aida", "register")
    user = (await signed_in(supabase, http, registration.email))["user"]
    assert UUID(user["id"]) == client.id
    assert user["user_metadata"]["phone"] == "+996555123456"
    assert user["phone"] == ""  # it is not verified
    assert user["app_metadata"]["evpower_email_unverified"] is True
    assert await states(owner) == ["done"]
    version = await owner.fetchval(
        "select version from wallet.wallets where client_id = $1", client.id
    )
    assert version == 0


async def test_nothing_of_the_password_is_stored(sign_up: Any, owner: Connection) -> None:
    await sign_up(a_registration())
    for table in ("clients", "registrations", "audit"):
        rows = await owner.fetch(f"select t::text as row from identity.{table} t")
        assert all(PASSWORD not in row["row"] for row in rows)
    assert PASSWORD not in repr(a_registration())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"email": "no-address"}, "invalid_email"),
        ({"email": "a\0@example.kg"}, "invalid_email"),
        ({"phone": "12"}, "invalid_phone"),
        ({"phone": "' or 1=1 --"}, "invalid_phone"),
        ({"password": SecretStr("seven77")}, "weak_password"),
        ({"password": SecretStr("x" * 73)}, "weak_password"),
        ({"password": SecretStr("ы" * 37)}, "weak_password"),
        ({"password": SecretStr("with\0nul-inside")}, "invalid_password"),
        ({"password": SecretStr("")}, "weak_password"),
    ],
)
async def test_bad_input_is_refused_before_anything_is_written(
    sign_up: Any, owner: Connection, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(Invalid) as caught:
        await sign_up(a_registration(**changes))
    assert caught.value.code == code
    assert await states(owner) == []


async def test_email_and_phone_are_registered_once(sign_up: Any, db: Database) -> None:
    first = a_registration()
    await sign_up(first)
    with pytest.raises(Conflict) as email:
        await sign_up(a_registration(email=first.email.upper()))
    async with db.transaction() as connection:
        owner = Profile(phone="+996700999001", phone_verified=True)
        await clients.ensure(connection, uuid4(), owner, "supabase")
    with pytest.raises(Conflict) as phone:
        await sign_up(a_registration(phone=str(owner.phone)))
    assert (email.value.code, phone.value.code) == ("email_taken", "phone_taken")


async def test_an_unverified_phone_does_not_refuse_a_registration(sign_up: Any) -> None:
    first = a_registration()
    client, other = await sign_up(first), await sign_up(a_registration(phone=first.phone))
    assert (client.phone, other.phone) == (first.phone, first.phone)
    assert not client.phone_verified


async def test_contacts_claimed_by_a_stranger_do_not_refuse_a_registration(
    sign_up: Any, db: Database, owner: Connection
) -> None:
    registration = a_registration()
    async with db.transaction() as connection:
        claimed = Profile(registration.email, registration.phone, "Squatter")
        squatter = await clients.ensure(connection, uuid4(), claimed, "supabase")
    assert await sign_up(registration, confirm="email")
    assert await owner.fetchval(
        "select count(*) from identity.clients where email = $1", registration.email
    )
    async with db.connection() as connection:
        assert (await clients.get_client(connection, squatter.id)).email == registration.email


async def test_the_email_of_a_user_who_signed_up_at_supabase_is_a_conflict(
    sign_up: Any, supabase: LocalSupabase, http: httpx.AsyncClient, owner: Connection
) -> None:
    registration = a_registration()
    await http.post(
        f"{supabase.url}/auth/v1/signup",
        json={"email": registration.email, "password": PASSWORD},
        headers={"apikey": supabase.publishable_key},
    )
    with pytest.raises(Conflict) as caught:  # even with the right password: the user can sign in
        await sign_up(registration)
    assert caught.value.code == "email_taken"
    assert await states(owner) == ["refused"]
    assert await owner.fetchval("select count(*) from identity.clients") == 0


async def test_two_at_once_with_one_email_make_one_client(
    sign_up: Any, supabase: LocalSupabase, http: httpx.AsyncClient, owner: Connection
) -> None:
    registration = a_registration()
    answers = await asyncio.gather(
        *(sign_up(registration) for _ in range(6)), return_exceptions=True
    )
    ids = {answer.id for answer in answers if isinstance(answer, Client)}
    refusals = {str(getattr(a, "code", a)) for a in answers if not isinstance(a, Client)}
    assert len(ids) == 1
    assert refusals <= {"email_taken"}
    assert [
        UUID(user["id"]) for user in await users_of(supabase, http, registration.email)
    ] == list(ids)
    assert await owner.fetchval("select count(*) from identity.clients") == 1


async def test_two_at_once_with_other_passwords_never_share_a_client(
    sign_up: Any, supabase: LocalSupabase, http: httpx.AsyncClient
) -> None:
    registration = a_registration()
    passwords = ["first-password", "other-password"]
    answers = await asyncio.gather(
        *(
            sign_up(a_registration(email=registration.email, password=SecretStr(text)))
            for text in passwords
        ),
        return_exceptions=True,
    )
    won = [isinstance(answer, Client) for answer in answers]
    assert sorted(won) == [False, True]
    assert [a.code for a in answers if isinstance(a, EvPowerError)] == ["email_taken"]
    session = await signed_in(supabase, http, registration.email, passwords[won.index(True)])
    assert UUID(session["user"]["id"]) == answers[won.index(True)].id  # type: ignore[union-attr]


async def test_two_at_once_with_one_phone_are_two_clients(sign_up: Any) -> None:
    first = a_registration()
    answers = await asyncio.gather(sign_up(first), sign_up(a_registration(phone=first.phone)))
    assert [answer.phone for answer in answers] == [first.phone] * 2
    assert len({answer.id for answer in answers}) == 2


CRASHES = {
    "before the intent is committed": (1, False, None),
    "after the intent is committed": (1, True, None),
    "before the user is created": (0, False, "before"),
    "after the user is created": (0, False, "after"),
    "before the client is committed": (2, False, None),
}


@pytest.fixture(params=CRASHES.values(), ids=CRASHES.keys())
async def crashed(
    request: pytest.FixtureRequest, sign_up: Any, crashing: CrashingAdmin, db: Database
) -> RegistrationRequest:
    """Return a registration that crashed at one of the steps."""
    nth, committed, side = request.param
    if side:
        setattr(crashing, side, True)
    registration = a_registration()
    with pytest.raises(Crash):
        await sign_up(
            registration, through=crashing, on=CrashingDatabase(db, nth=nth, committed=committed)
        )
    return registration


async def test_retry_after_any_crash_ends_with_one_client(
    crashed: RegistrationRequest,
    sign_up: Any,
    supabase: LocalSupabase,
    http: httpx.AsyncClient,
    owner: Connection,
) -> None:
    intended = await owner.fetchval("select client_id from identity.registrations")
    client = await sign_up(crashed)
    assert intended in {None, client.id}
    assert [user["id"] for user in await users_of(supabase, http, crashed.email)] == [
        str(client.id)
    ]
    assert (client.email, client.phone) == (crashed.email, crashed.phone)
    assert await states(owner) == ["done"]
    assert await owner.fetchval("select count(*) from wallet.wallets") == 1


async def test_after_any_crash_the_job_ends_the_registration(
    crashed: RegistrationRequest,
    db: Database,
    admin: SupabaseAdmin,
    clock: Clock,
    supabase: LocalSupabase,
    http: httpx.AsyncClient,
    owner: Connection,
) -> None:
    assert await converge_registrations(db, admin, clock) == 0  # it may still be running
    count = len(await states(owner))
    for _ in range(31):
        clock.forward(seconds=31)
        await converge_registrations(db, admin, clock)
    users = [UUID(user["id"]) for user in await users_of(supabase, http, crashed.email)]
    ids = [row["id"] for row in await owner.fetch("select id from identity.clients")]
    assert ids == users
    assert await states(owner) == (["done"] if users else ["expired"] * count)


async def test_intent_lives_15_minutes(
    sign_up: Any, crashing: CrashingAdmin, db: Database, clock: Clock, owner: Connection
) -> None:
    crashing.before = True
    with pytest.raises(Crash):
        await sign_up(a_registration(), through=crashing)
    clock.forward(minutes=14, seconds=59)
    assert await converge_registrations(db, crashing, clock) == 0
    assert await states(owner) == ["intended"]
    clock.forward(seconds=31)
    assert await converge_registrations(db, crashing, clock) == 1
    assert await states(owner) == ["expired"]


async def test_retry_with_another_password_gets_nothing(
    sign_up: Any, crashing: CrashingAdmin, owner: Connection
) -> None:
    crashing.after = True
    registration = a_registration()
    with pytest.raises(Crash):
        await sign_up(registration, through=crashing)
    with pytest.raises(Conflict) as caught:
        await sign_up(
            a_registration(email=registration.email, password=SecretStr("a-guess-of-mine"))
        )
    assert caught.value.code == "email_taken"
    assert await owner.fetchval("select count(*) from identity.clients") == 0
    assert (await sign_up(registration)).phone == registration.phone  # the owner still gets theirs


async def test_a_strangers_retry_does_not_change_the_phone(
    sign_up: Any, crashing: CrashingAdmin, db: Database, clock: Clock
) -> None:
    crashing.after = True
    registration = a_registration()
    with pytest.raises(Crash):
        await sign_up(registration, through=crashing)
    with pytest.raises(Conflict):
        await sign_up(
            a_registration(email=registration.email, password=SecretStr("a-guess-of-mine"))
        )
    clock.forward(seconds=31)
    assert await converge_registrations(db, crashing, clock) == 1
    async with db.connection() as connection:
        phones = await connection.fetch("select phone from identity.clients")
    assert [row["phone"] for row in phones] == [registration.phone]


async def test_a_user_whose_creation_response_was_lost_is_registered_at_once(
    sign_up: Any,
    admin_through_edge: SupabaseAdmin,
    edge: Edge,
    supabase: LocalSupabase,
    http: httpx.AsyncClient,
) -> None:
    for lost in (None, (500, b"{}"), (504, b"gateway"), (200, b"nonsense")):
        done: list[Answer] = []

        async def lose(request: Request, lost: Answer = lost, done: list[Answer] = done) -> Answer:
            answer = await forward(supabase, http, request)
            if request.method == "POST" and request.path == USERS and not done:
                done.append(answer)
                return lost
            return answer

        edge.respond = lose
        registration = a_registration()
        client = await sign_up(registration, through=admin_through_edge)
        assert [u["id"] for u in await users_of(supabase, http, registration.email)] == [
            str(client.id)
        ]
        assert len(done) == 1


@pytest.mark.parametrize(
    "answer",
    [
        None,
        (500, b"{}"),
        (503, b"{}"),
        (429, b"{}"),
        (401, b'{"message":"Invalid API key"}'),
        (403, b'{"error_code":"bad_jwt"}'),
        (422, b'{"error_code":"something_new"}'),
    ],
)
async def test_auth_failing_is_auth_unavailable(
    sign_up: Any, admin_through_edge: SupabaseAdmin, edge: Edge, owner: Connection, answer: Answer
) -> None:
    async def fail(_: Request) -> Answer:
        return answer

    edge.respond = fail
    with pytest.raises(Unavailable) as caught:
        await sign_up(a_registration(), through=admin_through_edge)
    assert caught.value.code == "auth_unavailable"
    assert caught.value.retry_after_s
    assert await owner.fetchval("select count(*) from identity.clients") == 0


async def test_with_auth_down_it_is_auth_unavailable_and_the_job_waits(
    sign_up: Any, http: httpx.AsyncClient, db: Database, clock: Clock, owner: Connection
) -> None:
    # A closed port may be reused by another test at any moment; port 1 is never used.
    unreachable = SupabaseAdmin(
        http=http, url="http://127.0.0.1:1", secret_key=SecretStr("sb_secret_x")
    )
    with pytest.raises(Unavailable) as caught:
        await sign_up(a_registration(), through=unreachable)
    assert caught.value.code == "auth_unavailable"
    clock.forward(hours=1)
    assert await converge_registrations(db, unreachable, clock) == 0
    assert await states(owner) == ["intended"]


async def test_refusals_of_supabase_are_translated(
    sign_up: Any, admin_through_edge: SupabaseAdmin, edge: Edge, owner: Connection
) -> None:
    codes = {
        "weak_password": "weak_password",
        "validation_failed": "invalid_email",
        "email_address_invalid": "invalid_email",
    }
    for auth_code, code in codes.items():
        body = json.dumps({"code": 422, "error_code": auth_code, "msg": "no"}).encode()

        async def refuse(_: Request, body: bytes = body) -> Answer:
            return 422, body

        edge.respond = refuse
        with pytest.raises(Invalid) as caught:
            await sign_up(a_registration(), through=admin_through_edge)
        assert caught.value.code == code
        assert ("min" in caught.value.params) == (code == "weak_password")  # the text has them
    assert await states(owner) == ["refused"] * 3


async def test_keys_are_in_the_headers_that_hosted_supabase_expects(
    edge: Edge, http: httpx.AsyncClient
) -> None:
    for key, bearer in (("sb_secret_abc", None), ("aaa.bbb.ccc", "Bearer aaa.bbb.ccc")):
        admin = SupabaseAdmin(http=http, url=edge.url + "/", secret_key=SecretStr(key))
        assert await admin.get_user(uuid4()) is None
        seen = edge.requests[-1].headers
        assert (seen["apikey"], seen.get("authorization")) == (key, bearer)


async def test_email_mode_creates_an_unconfirmed_user_and_requests_one_mail(
    sign_up: Any,
    admin_through_edge: SupabaseAdmin,
    edge: Edge,
    supabase: LocalSupabase,
    http: httpx.AsyncClient,
) -> None:
    registration = a_registration()
    client = await sign_up(registration, through=admin_through_edge, confirm="email")
    assert client.email == registration.email
    [mail] = [request for request in edge.requests if request.path == "/auth/v1/resend"]
    assert json.loads(mail.body) == {"type": "signup", "email": registration.email}
    session = await signed_in(supabase, http, registration.email)
    assert session["error_code"] == "email_not_confirmed"
    [user] = await users_of(supabase, http, registration.email)
    assert "evpower_email_unverified" not in user["app_metadata"]


async def test_email_mode_retry_checks_the_password_of_an_unconfirmed_user(
    sign_up: Any, crashing: CrashingAdmin
) -> None:
    crashing.after = True
    registration = a_registration()
    with pytest.raises(Crash):
        await sign_up(registration, through=crashing, confirm="email")
    with pytest.raises(Conflict):
        await sign_up(
            a_registration(email=registration.email, password=SecretStr("a-guess-of-mine")),
            confirm="email",
        )
    assert (await sign_up(registration, confirm="email")).email == registration.email


async def test_an_earlier_attempt_whose_user_has_another_email_now_is_not_resumed(
    sign_up: Any, crashing: CrashingAdmin, admin: SupabaseAdmin, db: Database,
    supabase: LocalSupabase, http: httpx.AsyncClient,
) -> None:  # fmt: skip
    """Auth's "not confirmed" is about the address's current user, so it does not identify ours."""
    crashing.after = True
    registration = a_registration()
    with pytest.raises(Crash):
        await sign_up(registration, through=crashing, confirm="email")
    async with db.connection() as connection:
        first = await connection.fetchval("select client_id from identity.registrations")
    await http.put(
        f"{supabase.url}{USERS}/{first}",
        headers={"apikey": supabase.secret_key},
        json={"email": a_registration().email},
    )
    assert await users_of(supabase, http, registration.email) == []
    await admin.create_user(
        NewUser(uuid4(), registration.email, None, None, registration.password, email_confirm=False)
    )
    with pytest.raises(Conflict) as refusal:
        await sign_up(registration, confirm="email")
    assert refusal.value.code == "email_taken"
    async with db.connection() as connection:
        assert await connection.fetchval("select count(*) from identity.clients") == 0


async def test_signing_up_with_an_owners_contacts_gets_none_of_them(
    sign_up: Any, db: Database, supabase: LocalSupabase, http: httpx.AsyncClient
) -> None:
    """A wallet was imported; a stranger signs up at Supabase with its email and phone."""
    wallet_owner, stranger = uuid4(), uuid4()
    email = f"{wallet_owner.hex}@example.kg"
    profile = Profile(email, "+996555777777", "Owner", email_verified=True, phone_verified=True)
    async with db.transaction() as connection:
        await clients.ensure(connection, wallet_owner, profile, "import")
    async with db.transaction() as connection:
        claimed = replace(profile, email_verified=False, phone_verified=False)
        other = await clients.ensure(connection, stranger, claimed, "token")
    assert (other.id, other.email, other.phone) == (stranger, None, None)
    with pytest.raises(Conflict):
        await sign_up(a_registration(email=profile.email))
    assert await users_of(supabase, http, str(profile.email)) == []
    with pytest.raises(Conflict):
        await sign_up(a_registration(phone=profile.phone))

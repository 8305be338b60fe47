"""Confirmation mails above Auth's limit are queued, retried, shown, and sent again on request."""

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from uuid import UUID, uuid4

import httpx
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from evpower.cli.doctor_registration import look_at_registration
from evpower.cli.doctor_sign_in import look_at_phone_sign_up
from evpower.config import Settings
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict
from evpower.foundation.loops import Record, Round
from evpower.identity import Client, SupabaseAdmin, waiting_confirmations
from evpower.identity.confirmations import Mail, measure_confirmations, send_confirmations
from evpower.identity.jobs import converge_registrations
from evpower.identity.model import Confirm
from evpower.identity.register import RegistrationRequest, register
from tests.api.test_loops_shown import sync_status
from tests.identity.conftest import Answer, Clock, Edge, Request, forward

RESEND = "/auth/v1/resend"
BUSY: Answer = (
    429,
    b'{"code":429,"error_code":"over_email_send_rate_limit","msg":"email rate limit exceeded"}',
)
_PHONES: Iterator[int] = count(1)


def a_registration(**changes: object) -> RegistrationRequest:
    fields: dict[str, object] = {
        "email": f"{uuid4().hex}@example.kg",
        "password": SecretStr("correct-horse"),
        "phone": f"+996777{next(_PHONES):06}",
        "name": "Aida",
    }
    return RegistrationRequest(**(fields | changes))  # type: ignore[arg-type]


class Auth:
    """The local Supabase, whose mail server can be made to refuse."""

    def __init__(
        self,
        edge: Edge,
        supabase: LocalSupabase,
        http: httpx.AsyncClient,
        admin: SupabaseAdmin,
        db: Database,
        clock: Clock,
    ) -> None:
        self.answer: Answer | None = None
        self.admin, self.db, self.clock = admin, db, clock
        self._edge, self._supabase, self._http = edge, supabase, http
        edge.respond = self._respond

    async def _respond(self, request: Request) -> Answer:
        if request.path == RESEND and self.answer is not None:
            return self.answer
        return await forward(self._supabase, self._http, request)

    @property
    def mails(self) -> list[str]:
        """The addresses of the mails requested from Auth, in order."""
        requests = [request for request in self._edge.requests if request.path == RESEND]
        return [json.loads(request.body)["email"] for request in requests]

    async def register(
        self, registration: RegistrationRequest, confirm: Confirm = "email"
    ) -> tuple[Client, Mail]:
        return await register(self.db, self.admin, registration, confirm=confirm, clock=self.clock)

    async def send(self, current: Round | None = None) -> int:
        return await send_confirmations(self.db, self.admin, self.clock, current)

    async def waiting(self) -> tuple[int, str | None]:
        async with self.db.connection() as connection:
            now = await waiting_confirmations(connection)
        return now.count, now.error


@pytest.fixture
def auth(
    edge: Edge,
    supabase: LocalSupabase,
    http: httpx.AsyncClient,
    admin_through_edge: SupabaseAdmin,
    db: Database,
    clock: Clock,
) -> Auth:
    return Auth(edge, supabase, http, admin_through_edge, db, clock)


async def test_a_sent_mail_is_deleted_from_the_queue(auth: Auth) -> None:
    registration = a_registration()
    _, mail = await auth.register(registration)
    assert (mail, auth.mails, await auth.waiting()) == ("sent", [registration.email], (0, None))
    assert await auth.send() == 0
    assert auth.mails == [registration.email]


async def test_without_a_due_mail_none_is_queued(auth: Auth) -> None:
    _, mail = await auth.register(a_registration(), "auto")
    assert (mail, auth.mails, await auth.waiting()) == ("none", [], (0, None))


async def test_above_the_limit_a_registration_succeeds_and_its_mail_is_queued(auth: Auth) -> None:
    auth.answer = BUSY
    registration = a_registration()
    client, mail = await auth.register(registration)
    assert (client.email, mail) == (registration.email, "queued")
    waiting, error = await auth.waiting()
    assert (waiting, error) == (1, "Supabase Auth answered 429 over_email_send_rate_limit")
    await measure_confirmations(auth.db)
    assert REGISTRY.get_sample_value("evpower_identity_confirmations_waiting") == 1
    auth.clock.forward(seconds=59)
    assert await auth.send() == 0
    assert len(auth.mails) == 1, "not before a minute is over"
    auth.answer = None
    auth.clock.forward(seconds=2)
    assert await auth.send() == 1
    assert (auth.mails, await auth.waiting()) == ([registration.email] * 2, (0, None))
    await measure_confirmations(auth.db)
    assert REGISTRY.get_sample_value("evpower_identity_confirmations_waiting") == 0


async def test_a_busy_auth_is_called_once_a_minute_however_many_mails_wait(auth: Auth) -> None:
    auth.answer = BUSY
    registrations = [a_registration() for _ in range(5)]
    for registration in registrations:
        await auth.register(registration)
    count_before = len(auth.mails)
    for _ in range(10):
        auth.clock.forward(seconds=61)
        for _ in range(3):  # rounds of two workers within the minute
            assert await auth.send() == 0
    assert len(auth.mails) == count_before + 10
    assert len(set(auth.mails[count_before:])) > 2, "one mail does not block the others"
    auth.answer = None
    auth.clock.forward(hours=1)
    assert await auth.send() == 5
    assert await auth.waiting() == (0, None)


@pytest.mark.parametrize("after_s", [1800, 99_999])
async def test_the_retry_after_of_auth_is_respected(auth: Auth, after_s: int) -> None:
    auth.answer = (*BUSY[:2], f"Retry-After: {after_s}".encode())
    await auth.register(a_registration())
    auth.answer = None
    auth.clock.forward(seconds=min(after_s, 3600) - 1)
    assert await auth.send() == 0
    auth.clock.forward(seconds=2)
    assert await auth.send() == 1


@pytest.mark.parametrize(
    "answer",
    [
        (500, b'{"error_code":"unexpected_failure","msg":"Error sending confirmation email"}'),
        (403, b'{"error_code":"email_address_not_authorized"}'),
        (422, b'{"error_code":"email_provider_disabled"}'),
        (200, b"x" * 100),
        None,
    ],
)
async def test_any_other_failure_is_queued_with_its_error(
    auth: Auth, answer: Answer | None
) -> None:
    auth.answer = answer if answer is not None else (504, b"")
    registration = a_registration()
    _, mail = await auth.register(registration)
    if answer is not None and answer[0] == 200:
        assert mail == "sent"
        return
    count_waiting, error = await auth.waiting()
    assert (mail, count_waiting) == ("queued", 1)
    assert error is not None
    assert str(auth.answer[0]) in error
    auth.answer = None
    auth.clock.forward(seconds=61)
    assert await auth.send() == 1


async def test_a_refused_address_does_not_block_the_others(auth: Auth) -> None:
    auth.answer = (422, b'{"error_code":"email_address_invalid"}')
    await auth.register(a_registration())
    auth.answer = BUSY
    await auth.register(good := a_registration())
    auth.answer = None
    auth.clock.forward(seconds=61)
    assert await auth.send() == 2
    assert good.email in auth.mails


async def test_registering_again_sends_again(auth: Auth) -> None:
    registration = a_registration()
    auth.answer = BUSY
    first, _ = await auth.register(registration)
    auth.answer = None
    again, mail = await auth.register(registration)
    assert (again.id, mail) == (first.id, "sent")
    once_more, mail = await auth.register(
        a_registration(email=registration.email.upper(), phone=registration.phone)
    )
    assert (once_more.id, mail) == (first.id, "sent")
    assert auth.mails == [registration.email] * 3
    assert await auth.waiting() == (0, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"password": SecretStr("another-password")},
        {"phone": "+996700999999"},
    ],
)
async def test_a_different_registration_is_a_conflict_and_sends_no_mail(
    auth: Auth, changes: dict[str, object]
) -> None:
    registration = a_registration()
    await auth.register(registration)
    with pytest.raises(Conflict):
        await auth.register(
            a_registration(
                **{
                    "email": registration.email,
                    "phone": registration.phone,
                    "password": registration.password,
                }
                | changes
            )
        )
    assert auth.mails == [registration.email]


async def test_a_confirmed_registration_is_a_conflict(auth: Auth, supabase: LocalSupabase) -> None:
    registration = a_registration()
    client, _ = await auth.register(registration)
    await _confirm(supabase, client.id)
    with pytest.raises(Conflict) as caught:
        await auth.register(registration)
    assert caught.value.code == "email_taken"
    assert auth.mails == [registration.email]


async def test_a_closed_client_is_not_registered_again_by_a_mail(
    auth: Auth, owner: Connection
) -> None:
    auth.answer = BUSY
    registration = a_registration()
    client, _ = await auth.register(registration)
    await owner.execute("update identity.clients set status = 'closed' where id = $1", client.id)
    auth.clock.forward(seconds=61)
    assert await auth.send() == 0
    assert await auth.waiting() == (0, None)
    assert len(auth.mails) == 1


async def test_a_crash_between_the_client_and_its_mail_loses_no_mail(
    auth: Auth, owner: Connection
) -> None:
    registration = a_registration()
    await auth.register(registration)
    # The state after the commit, before the call.
    await owner.execute(
        "insert into identity.confirmations (client_id, email, requested_at, next_try_at)"
        " select id, email, $1, $1 from identity.clients",
        auth.clock(),
    )
    assert await auth.send() == 1


async def test_an_interrupted_registration_gets_its_mail_when_it_is_finished(
    auth: Auth, owner: Connection
) -> None:
    auth.answer = BUSY
    registration = a_registration()
    client, _ = await auth.register(registration)
    await owner.execute("delete from identity.confirmations")
    await owner.execute("update identity.registrations set state = 'intended'")
    auth.clock.forward(minutes=1)
    assert await converge_registrations(auth.db, auth.admin, auth.clock) == 1
    assert (await auth.waiting())[0] == 1
    auth.answer = None
    auth.clock.forward(seconds=61)
    assert await auth.send() == 1
    assert auth.mails[-1] == client.email


async def test_after_a_week_a_mail_is_given_up(auth: Auth) -> None:
    auth.answer = BUSY
    await auth.register(a_registration())
    auth.clock.forward(days=6, hours=23)
    await auth.send()
    assert (await auth.waiting())[0] == 1
    auth.clock.forward(hours=2)
    before = _given_up()
    await auth.send()
    assert (await auth.waiting(), _given_up() - before) == ((0, None), 1)


async def test_the_loop_shows_that_mails_are_not_sent(auth: Auth) -> None:
    auth.answer = BUSY
    await auth.register(a_registration())
    auth.clock.forward(seconds=61)
    record = Record("send_confirmations", 10, lambda: 0.0, auth.clock)
    current = Round(record=record)
    await auth.send(current)
    assert current.error == "confirmation_not_sent"


async def test_sync_status_shows_queued_mails(auth: Auth, dsn: str) -> None:
    assert "mails" not in await sync_status(dsn)
    auth.answer = BUSY
    await auth.register(a_registration())
    shown = await sync_status(dsn)
    assert "mails      1 confirmations wait" in shown
    assert "429 over_email_send_rate_limit" in shown
    row = json.loads(await sync_status(dsn, "--json"))
    assert row["confirmations_waiting"] == 1
    assert row["confirmations_error"].endswith("over_email_send_rate_limit")


class TestDoctor:
    def settings(self, supabase: LocalSupabase, dsn: str, **changes: object) -> Settings:
        return Settings(
            _env_file=None,  # pyright: ignore[reportCallIssue]
            **{
                "supabase_url": supabase.url,
                "supabase_publishable_key": supabase.publishable_key,
                "database_url": dsn,
                **changes,
            },  # type: ignore[arg-type]
        )

    async def test_queued_mails_are_reported_with_their_error(
        self, auth: Auth, supabase: LocalSupabase, dsn: str, http: httpx.AsyncClient
    ) -> None:
        settings = self.settings(supabase, dsn)
        [good] = await look_at_registration(settings, http)
        assert good.ok
        auth.answer = BUSY
        await auth.register(a_registration())
        [bad] = await look_at_registration(settings, http)
        assert (bad.ok, bad.name) == (False, "registration")
        assert "1 mail waits" in bad.detail
        assert "over_email_send_rate_limit" in bad.detail
        assert "SMTP" in bad.fix
        assert "2 mails an hour" not in bad.fix, "only hosted projects are so limited"
        hosted = self.settings(supabase, dsn, supabase_url="https://ref.supabase.co")
        [bad] = await look_at_registration(hosted, http)
        assert "2 mails an hour" in bad.fix

    async def test_with_the_database_down_the_check_is_unknown(
        self, supabase: LocalSupabase, http: httpx.AsyncClient
    ) -> None:
        away = self.settings(supabase, "postgres://user:x@127.0.0.1:1/none")
        [unknown] = await look_at_registration(away, http)
        assert unknown.ok is None

    @pytest.mark.parametrize(
        ("answer", "ok"),
        [
            ((200, b'{"external":{"email":true,"phone":false,"google":false}}'), True),
            ((200, b'{"external":{"email":true,"google":true,"apple":true}}'), False),
            ((200, b'{"external":{"anonymous_users":true}}'), True),
            ((200, b"{}"), None),
            ((200, b"<html>"), None),
            ((503, b"{}"), None),
        ],
    )
    async def test_auto_beside_other_providers_is_reported(
        self, edge: Edge, http: httpx.AsyncClient, answer: Answer, *, ok: bool | None
    ) -> None:
        async def respond(_: Request) -> Answer:
            return answer

        edge.respond = respond
        settings = Settings(
            _env_file=None,  # pyright: ignore[reportCallIssue]
            supabase_url=edge.url,
            register_confirm="auto",
        )
        [finding] = await look_at_registration(settings, http)
        assert finding.ok is ok
        if ok is False:
            assert "apple, google" in finding.detail
            assert "EVPOWER_REGISTER_CONFIRM=email" in finding.fix

    @pytest.mark.parametrize(
        ("answer", "ok"),
        [
            ((200, b'{"external":{"email":true,"phone":true},"disable_signup":false}'), False),
            ((200, b'{"external":{"email":true,"phone":true}}'), False),
            ((200, b'{"external":{"email":true,"phone":false}}'), True),
            ((200, b'{"external":{"email":true,"phone":true},"disable_signup":true}'), True),
            ((200, b"{}"), None),
            ((200, b'{"external":[]}'), None),
            ((503, b"{}"), None),
        ],
    )
    async def test_sign_up_by_phone_beside_evpowers_is_reported(
        self, edge: Edge, http: httpx.AsyncClient, answer: Answer, *, ok: bool | None
    ) -> None:
        async def respond(_: Request) -> Answer:
            return answer

        edge.respond = respond
        settings = self.at(edge, sign_in_sender="console")
        [finding] = await look_at_phone_sign_up(settings, http)
        assert (finding.name, finding.ok) == ("sign-up by phone", ok)
        if ok is False:
            assert "any phone" in finding.detail
            assert "Phone off" in finding.fix
        assert await look_at_phone_sign_up(self.at(edge, sign_in_sender=""), http) == []

    async def test_in_the_local_project_sign_up_by_phone_is_off(
        self, supabase: LocalSupabase, dsn: str, http: httpx.AsyncClient
    ) -> None:
        settings = self.settings(supabase, dsn, sign_in_sender="console")
        [finding] = await look_at_phone_sign_up(settings, http)
        assert finding.ok, finding

    def at(self, edge: Edge, **changes: object) -> Settings:
        return Settings(_env_file=None, supabase_url=edge.url, **changes)  # type: ignore[arg-type]


def test_emails_are_confirmed_by_default() -> None:
    assert Settings(_env_file=None).register_confirm == "email"  # pyright: ignore[reportCallIssue]


def _given_up() -> float:
    labels = {"result": "given_up"}
    name = "evpower_identity_confirmations_total"
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def _confirm(supabase: LocalSupabase, client: UUID) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.put(
            f"{supabase.url}/auth/v1/admin/users/{client}",
            headers={"apikey": supabase.secret_key},
            json={"email_confirm": True},
            timeout=timedelta(minutes=1).total_seconds(),
        )
    assert answer.status_code == 200, answer.text

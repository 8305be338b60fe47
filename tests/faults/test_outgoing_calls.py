"""Every HTTP call that leaves a process, by a written list, against every hostile answer.

Each call must end in its own slice's error (or, where it says yes or no, in a no), in the time it
was given, whatever the other side sends.
"""

# pyright: reportPrivateUsage=false

import ast
import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast, get_args
from uuid import UUID

import pytest
from pydantic import SecretStr

from evpower.alerts.model import AlertMessage
from evpower.alerts.webhook import WebhookChannel
from evpower.cli import doctor_installed, doctor_registration, doctor_supabase, doctor_tokens
from evpower.config import Settings
from evpower.devstack import services
from evpower.devstack.bank.delivery import Courier
from evpower.devstack.bank.odengi.notices import BankNotice, send_notice
from evpower.devstack.bank.state import Delivery
from evpower.foundation.clock import utc_now
from evpower.foundation.errors import Unavailable
from evpower.foundation.http import HttpClient, HttpError, HttpResponse, Target
from evpower.identity import SupabaseAdmin
from evpower.identity.jwks import Jwks
from evpower.identity.model import ImportedUser, NewUser
from evpower.identity.sign_in.senders.nikita import NikitaSender
from evpower.identity.sign_in.senders.protocol import Sms, SmsFailed
from evpower.identity.supabase_rows import ClientRows
from evpower.payments.errors import ProviderError, ProviderUnavailable
from evpower.payments.providers.odengi import OdengiProvider
from evpower.payments.providers.odengi.client import Merchant
from evpower.payments.providers.odengi.history import _fetch_file
from evpower.payments.providers.odengi.probe import _look
from evpower.payments.providers.odengi.provider import Reports
from evpower.payments.providers.sandbox import SandboxProvider
from evpower.push.model import PushMessage
from evpower.push.web_push import WebPush
from evpower.sync import SupabaseRpc, TargetUnavailable
from evpower.sync.module import supabase_answers
from tests.faults.hostile_server import (
    NEVER_ENDING,
    TOO_LARGE,
    HostileServer,
    closes_after,
    whole,
)
from tests.push.scenario import Browser, configured, settings_for
from tests.waiting import WAIT_LIMIT_S

SOURCE = Path(__file__).parents[2] / "src" / "evpower"
GIVE_UP_S = 0.3
REPORT_HOST = "reports.example"
# The answer to the command, and as CSV the file that it names: a header without lines.
REPORT = {"x": f"http://{REPORT_HOST}/", "y;trans_id;order_id;amount;date_pay;status;": 0}
ID = UUID(int=7)
# The public key of RFC 7517, appendix A.1.
P256 = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}
USER = {"id": str(ID), "email": "a@example.kg"}


class HttpFor(HttpClient):
    """Gives every call this much time, whatever the caller says."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__()
        self._timeout_s = timeout_s

    async def fetch(self, *args: Any, timeout_s: float, **how: Any) -> HttpResponse:
        del timeout_s
        return await super().fetch(*args, timeout_s=self._timeout_s, **how)


@dataclass(frozen=True)
class Call:
    """One outgoing call: how it is made, what a right answer is, how it fails.

    `fails` is the exception; a call that tells yes from no may also answer False.
    """

    make: Callable[[HttpClient, str], Awaitable[object]]
    right: bytes
    fails: type[Exception] | None


def body(answer: object) -> bytes:
    return json.dumps(answer).encode()


def admin(http: HttpClient, url: str) -> SupabaseAdmin:
    return SupabaseAdmin(
        http=http, url=url, secret_key=SecretStr("sb_secret_1"), timeout_s=WAIT_LIMIT_S
    )


def rows(http: HttpClient, url: str) -> ClientRows:
    return ClientRows(http, url=url, secret_key=SecretStr("sb_secret_1"))


def bank(http: HttpClient, url: str) -> SandboxProvider:
    return SandboxProvider(url, ["a secret of the bank"], http, timeout_s=WAIT_LIMIT_S)


def odengi(http: HttpClient, url: str) -> OdengiProvider:
    reports = Reports(hosts=frozenset({REPORT_HOST}))
    return OdengiProvider(Merchant(url, "1", b"a password"), http, reports=reports)


class AtOnePlace(HttpClient):
    """Fetches the bank's reports from the server that answers its commands."""

    def __init__(self, http: HttpClient, url: str) -> None:
        super().__init__()
        self._http, self._url = http, url

    async def fetch(self, target: Target, method: str, url: str, **how: Any) -> HttpResponse:
        here = url.replace(f"http://{REPORT_HOST}", self._url)
        return await self._http.fetch(target, method, here, **how)


async def odengi_looks(http: HttpClient, url: str) -> bool:
    """Whether a host of the bank answers as doctor expects."""
    return (await _look(url.removeprefix("http://"), http, scheme="http")).detail == "answers too"


async def notice_arrives(http: HttpClient, url: str) -> bool:
    """Whether a notice of the simulated bank was answered."""
    return await send_notice(http, BankNotice(url, {"order_id": "1"})) is not None


def settings(url: str) -> Settings:
    return Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        env="development",
        database_url=SecretStr("postgres://stranger@127.0.0.1:1/none"),
        supabase_url=url,
        supabase_secret_key=SecretStr("sb_secret_1"),
        supabase_publishable_key="sb_publishable_1",
    )


def delivery() -> Delivery:
    fields: dict[str, Any] = {"id": 1, "event_id": "evt_1", "body": b"{}", "lose": 0, "attempts": 0}
    return cast("Delivery", type("FakeDelivery", (), fields)())


async def alert_accepted(http: HttpClient, url: str) -> bool:
    """Whether the receiver of an alert accepted it."""
    channel = WebhookChannel(http, url, [b"a key of 24 bytes or more"], "en", utc_now)
    now = datetime.now(UTC)
    message = AlertMessage(
        1, ID, "opened", now, 1, 1, "loop_overdue", "relay", {}, 1, now, now, None
    )
    [attempt] = await channel.send([message])
    return attempt.error is None


async def pushed(http: HttpClient, url: str) -> bool:
    """Whether a push service accepted a message."""
    push = configured(settings_for(push_hosts=url))
    browser, now = Browser(f"{url}/x"), datetime.now(UTC)
    message = PushMessage(
        1, ID, "started", {}, now, 1, 1, browser.endpoint, "a", browser.point, browser.auth, "en"
    )
    sender = WebPush(http, push, lambda codes, _: codes[0], utc_now)
    return (await sender.send(message)).word == "sent"


async def signing_keys_by_doctor(http: HttpClient, url: str) -> bool | None:
    return (await doctor_tokens._signing_keys(settings(url), http)).ok


async def providers_by_doctor(http: HttpClient, url: str) -> bool:
    """Whether they could be read."""
    return (await doctor_registration._automatic(settings(url), http)).ok is not None


ADMIN: dict[str, tuple[Callable[[SupabaseAdmin], Awaitable[object]], object]] = {
    "create_user": (
        lambda it: it.create_user(
            NewUser(
                id=ID, email="a@example.kg", phone="+996555123456", name=None,
                password=SecretStr("12345678"), email_confirm=False, app_metadata={},
            )
        ),
        USER,
    ),
    "import_user": (
        lambda it: it.import_user(
            ImportedUser(
                id=ID, email="a@example.kg", email_confirm=True, phone=None, phone_confirm=False,
                claimed_phone=None, name=None, password_hash=None,
            )
        ),
        USER,
    ),
    "confirm_phone": (lambda it: it.confirm_phone(ID, "+996555123456"), USER),
    "delete_user": (lambda it: it.delete_user(ID), {}),
    "list_users": (lambda it: it.list_users(1, 50), {"users": []}),
    "get_user": (lambda it: it.get_user(ID), USER),
    "check_password": (
        lambda it: it.check_password(ID, "a@example.kg", SecretStr("12345678")),
        {"user": USER},
    ),
    "sign_in": (
        lambda it: it.sign_in("a@example.kg", SecretStr("12345678")),
        {"access_token": "a token"},
    ),
    "user_of": (lambda it: it.user_of("a token"), USER),
    "send_confirmation": (lambda it: it.send_confirmation("a@example.kg"), {}),
}  # fmt: skip

ODENGI: dict[
    str, tuple[Callable[[HttpClient, str], Awaitable[object]], object, type[Exception]]
] = {
    "create_invoice": (
        lambda http, url: odengi(http, url).create_invoice(
            order_id="order-1",
            amount_minor=100,
            currency="KGS",
            description="",
            expires_at=datetime.now(UTC),
        ),
        {"invoice_id": "1"},
        ProviderUnavailable,
    ),
    "fetch_status": (
        lambda http, url: odengi(http, url).fetch_status(order_id="order-1", provider_ref=None),
        {"status": "processing"},
        ProviderUnavailable,
    ),
    "cancel": (
        lambda http, url: odengi(http, url).cancel(order_id="order-1", provider_ref="1"),
        {"success": True},
        ProviderUnavailable,
    ),
    "refund": (
        lambda http, url: odengi(http, url).refund(
            transaction_ref="1", amount_minor=1, paid_minor=1, key="1"
        ),
        {"success": True},
        ProviderError,
    ),
    "fetch_history": (
        lambda http, url: odengi(AtOnePlace(http, url), url).fetch_history(
            since=datetime.now(UTC), until=datetime.now(UTC)
        ),
        REPORT,
        ProviderUnavailable,
    ),
}

# The list. By the function that calls `fetch`, and of a client of one API by its operation.
CALLS: dict[str, Call] = {
    **{
        f"identity/supabase_admin.py attempt {name}": Call(
            lambda http, url, make=make: make(admin(http, url)), body(right), Unavailable
        )
        for name, (make, right) in ADMIN.items()
    },
    "identity/jwks.py _fetch": Call(
        lambda http, url: Jwks(url=url, http=http, clock=utc_now, on_loss=lambda: None).find("k"),
        body({"keys": []}),
        Unavailable,
    ),
    "sync/supabase_rpc.py call": Call(
        lambda http, url: SupabaseRpc(http, url, "sb_secret_1").call("evpower_apply", b"{}"),
        body({"keys": []}),
        TargetUnavailable,
    ),
    "payments/providers/sandbox.py _request create_invoice": Call(
        lambda http, url: bank(http, url).create_invoice(
            order_id="order-1",
            amount_minor=100,
            currency="KGS",
            description="",
            expires_at=datetime.now(UTC),
        ),
        body({"ref": "r", "qr_code": "q", "qr_code_url": "u", "app_link": "a"}),
        ProviderUnavailable,
    ),
    "payments/providers/sandbox.py _request fetch_status": Call(
        lambda http, url: bank(http, url).fetch_status(order_id="order-1", provider_ref=None),
        body({"ref": "r", "attempts": []}),
        ProviderUnavailable,
    ),
    "payments/providers/sandbox.py _request cancel": Call(
        lambda http, url: bank(http, url).cancel(order_id="order-1", provider_ref="r"),
        body({"result": "canceled"}),
        ProviderUnavailable,
    ),
    "payments/providers/sandbox.py _request refund": Call(
        lambda http, url: bank(http, url).refund(
            transaction_ref="r", amount_minor=1, paid_minor=1, key="k"
        ),
        body({"success": True}),
        ProviderUnavailable,
    ),
    "payments/providers/sandbox.py _request fetch_history": Call(
        lambda http, url: bank(http, url).fetch_history(
            since=datetime.now(UTC), until=datetime.now(UTC)
        ),
        body({"transactions": []}),
        ProviderUnavailable,
    ),
    "identity/supabase_rows.py _update request_deletion": Call(
        lambda http, url: rows(http, url).request_deletion(ID, datetime.now(UTC)),
        b"",
        Unavailable,
    ),
    "identity/supabase_rows.py _update withdraw_deletion": Call(
        lambda http, url: rows(http, url).withdraw_deletion(ID), b"", Unavailable
    ),
    "identity/sign_in/senders/nikita.py _try send": Call(
        lambda http, url: NikitaSender(
            http, url=url, login="l", password=SecretStr("p"), sender="EvPower", pause_s=0
        ).send(Sms("ID1", "+996555123456", "123456")),
        b"<response><status>0</status></response>",
        SmsFailed,
    ),
    **{
        f"payments/providers/odengi/client.py call {name}": Call(make, body({"data": right}), fails)
        for name, (make, right, fails) in ODENGI.items()
    },
    "payments/providers/odengi/history.py _fetch_file": Call(_fetch_file, b"", ProviderUnavailable),
    "payments/providers/odengi/probe.py _look": Call(odengi_looks, b"{}", None),
    "alerts/webhook.py _post": Call(alert_accepted, b"", None),
    "push/web_push.py send": Call(pushed, b"", None),
    "sync/module.py supabase_answers": Call(
        lambda http, url: supabase_answers(settings(url), http), b"{}", HttpError
    ),
    "cli/doctor_calls.py call": Call(
        lambda http, url: doctor_installed.examine_installed(settings(url), http),
        body({"lacking": []}),
        HttpError,
    ),
    "cli/doctor_calls.py auth_settings": Call(
        providers_by_doctor, body({"external": {"email": True}}), None
    ),
    "cli/doctor_supabase.py _rest": Call(
        lambda http, url: doctor_supabase._rest(settings(url), http), b"[]", HttpError
    ),
    "cli/doctor_supabase.py _auth": Call(
        lambda http, url: doctor_supabase._auth(settings(url), http, [], has_key=True), b"{}", None
    ),
    "cli/doctor_tokens.py _signing_keys": Call(
        signing_keys_by_doctor, body({"keys": [{**P256, "kid": "1", "alg": "ES256"}]}), None
    ),
    "devstack/services.py _is_ready": Call(services._is_ready, b"", None),
    "devstack/bank/delivery.py _delivered": Call(
        lambda http, url: Courier(cast("Any", None), "secret", url, utc_now)._delivered(
            http, delivery()
        ),
        b"{}",
        None,
    ),
    "devstack/bank/odengi/notices.py send_notice": Call(notice_arrives, b"{}", None),
    "devstack/demo/calls.py __init__": Call(
        lambda http, url: http.fetch("devstack", "GET", url, timeout_s=30.0), b"{}", HttpError
    ),
}
# Clients of one API with several operations, and how the list names these.
CLIENTS: dict[type, str] = {
    SupabaseAdmin: "identity/supabase_admin.py attempt",
    SandboxProvider: "payments/providers/sandbox.py _request",
    OdengiProvider: "payments/providers/odengi/client.py call",
    SupabaseRpc: "sync/supabase_rpc.py",
    ClientRows: "identity/supabase_rows.py _update",
    NikitaSender: "identity/sign_in/senders/nikita.py _try",
}
_TARGETS = set(get_args(Target))
# Dates and seconds that no calendar has, or that overflow on the way to one.
HARD_MOMENTS = [
    b"Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    b"Mon, 01 Jan 2025 00:00:00 +99999999999999999999",
    b"Mon, 01 Jan 0001 00:00:00 +1400",
    b"Fri, 31 Dec 9999 23:59:59 -1400",
    b"Mon, 01 Jan 2025 00:00:00 -0000",
    b"9" * 400,
    b"-1",
    b"1e400",
    b"\xd9\xa1",
    b"",
]


def calling_functions() -> set[str]:
    """Where the source hands a target to `fetch`, or `fetch` to another: file and function."""
    names: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            inner = [
                node
                for node in ast.walk(function)
                if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and node is not function
            ]
            nested = {id(node) for function_ in inner for node in ast.walk(function_)}
            if any(calls_out(node) for node in ast.walk(function) if id(node) not in nested):
                names.add(f"{path.relative_to(SOURCE)} {function.name}")
    return names


def calls_out(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    fetches = any(
        isinstance(part, ast.Attribute) and part.attr == "fetch" for part in (node.func, *node.args)
    )
    return fetches and any(
        isinstance(part, ast.Constant) and part.value in _TARGETS
        for argument in node.args
        for part in ast.walk(argument)
    )


def test_every_call_of_the_source_is_in_the_list() -> None:
    listed = {" ".join(name.split(" ")[:2]) for name in CALLS}
    assert calling_functions() == listed


@pytest.mark.parametrize("kind", CLIENTS)
def test_every_operation_of_a_client_is_in_the_list(kind: type) -> None:
    operations = {
        f"{CLIENTS[kind]} {name}"
        for name, member in vars(kind).items()
        if inspect.iscoroutinefunction(member) and not name.startswith("_")
    }
    assert operations == {name for name in CALLS if name.startswith(f"{CLIENTS[kind]} ")}


def is_error(came_to: object) -> bool:
    return isinstance(came_to, Exception)


async def outcome(call: Call, http: HttpClient, url: str) -> object:
    """True when it came to nothing, as it should; anything else is what it came to."""
    try:
        answer = await call.make(http, url)
    except Exception as error:  # noqa: BLE001 - what it raises is what is asked
        return (call.fails is not None and isinstance(error, call.fails)) or error
    return answer is False or answer


@pytest.mark.parametrize("name", CALLS)
async def test_a_right_response_is_accepted(name: str) -> None:
    call = CALLS[name]
    async with HostileServer(closes_after(whole(call.right))) as server, HttpClient() as http:
        assert await call.make(http, server.url) is not False
        assert server.requests > 0


@pytest.mark.parametrize("name", CALLS)
async def test_an_answer_that_never_ends_is_given_up(name: str) -> None:
    async def given_up(how: str) -> bool:
        async with HostileServer(NEVER_ENDING[how]) as server:
            return await outcome(CALLS[name], http, server.url) is True

    async with HttpFor(GIVE_UP_S) as http, asyncio.timeout(WAIT_LIMIT_S):
        ended = await asyncio.gather(*map(given_up, NEVER_ENDING))
    assert dict(zip(NEVER_ENDING, ended, strict=True)) == dict.fromkeys(NEVER_ENDING, True)


@pytest.mark.parametrize("how", TOO_LARGE)
@pytest.mark.parametrize("name", CALLS)
async def test_an_answer_of_1_gb_is_not_read(name: str, how: str) -> None:
    async with HostileServer(TOO_LARGE[how]) as server, HttpFor(WAIT_LIMIT_S) as http:
        assert await outcome(CALLS[name], http, server.url) is True


@pytest.mark.parametrize("name", CALLS)
async def test_an_answer_cut_at_any_byte_is_none(name: str) -> None:
    call = CALLS[name]
    right = whole(call.right)
    async with HostileServer(closes_after(b"")) as server, HttpFor(WAIT_LIMIT_S) as http:
        for length in range(len(right)):
            server.answer, server.requests = closes_after(right[:length]), 0
            assert await outcome(call, http, server.url) is True, right[:length]
            assert server.requests > 0, right[:length]


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"[]", b"{", b'"text"', b"\xff\xfe", b"[" * 10_000, b"<html>no</html>"],
    ids=["empty", "null", "list", "cut", "text", "no UTF-8", "deep", "HTML"],
)
@pytest.mark.parametrize("name", CALLS)
async def test_a_whole_answer_without_sense_raises_nothing_else(name: str, raw: bytes) -> None:
    call = CALLS[name]
    answer = closes_after(whole(raw, b"Date: the day before"))
    async with HostileServer(answer) as server, HttpFor(WAIT_LIMIT_S) as http:
        came_to = await outcome(call, http, server.url)
        assert not isinstance(came_to, Exception), came_to


@pytest.mark.parametrize("head", [b"Retry-After", b"Date"])
@pytest.mark.parametrize("name", CALLS)
async def test_a_moment_that_cannot_be_raises_nothing_else(name: str, head: bytes) -> None:
    call = CALLS[name]

    async def came_to(status: bytes, moment: bytes) -> object:
        answer = whole(call.right, head + b": " + moment).replace(b"200 OK", status)
        async with HostileServer(closes_after(answer)) as server:
            return await outcome(call, http, server.url)

    cases = [(status, moment) for status in (b"429 X", b"503 X") for moment in HARD_MOMENTS]
    async with HttpFor(WAIT_LIMIT_S) as http:
        ends = await asyncio.gather(*(came_to(*case) for case in cases))
    raised = [(case, end) for case, end in zip(cases, ends, strict=True) if is_error(end)]
    assert raised == []


@pytest.mark.parametrize("moment", HARD_MOMENTS)
async def test_doctor_ends_with_findings_whatever_supabase_says_of_its_clock(
    moment: bytes,
) -> None:
    right = whole(body({"lacking": [], "keys": []}), b"Date: " + moment)
    async with HostileServer(closes_after(right)) as server, HttpFor(WAIT_LIMIT_S) as http:
        findings = await doctor_supabase.examine_supabase(
            settings(server.url), http, may_write=False
        )
    [clock] = [finding for finding in findings if finding.name == "Supabase clock"]
    assert clock.ok is not True


@pytest.mark.parametrize("right_ones", range(0, 18, 3))
async def test_doctor_ends_with_findings_wherever_supabase_falls_silent(right_ones: int) -> None:
    right, hang = closes_after(whole(body({"lacking": [], "keys": []}))), NEVER_ENDING["hangs"]

    async def answer(writer: asyncio.StreamWriter) -> None:
        await (right if server.requests <= right_ones else hang)(writer)

    async with HostileServer(answer) as server, HttpFor(GIVE_UP_S) as http:
        async with asyncio.timeout(WAIT_LIMIT_S):
            findings = await doctor_supabase.examine_supabase(
                settings(server.url), http, may_write=False
            )
        assert not all(finding.ok for finding in findings)

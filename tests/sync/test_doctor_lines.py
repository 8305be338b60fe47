"""Every line of `evpower doctor` has a fault of its own that makes it bad, and no other line.

Here are the faults of EvPower's own side, before a healthy project of Supabase, and the table of
where each line's fault and its neighbours are tested.
"""

import ast
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from evpower.cli.doctor import examine
from evpower.cli.finding import Finding
from evpower.config import Settings
from evpower.devstack.bank.odengi import create_odengi_bank
from evpower.foundation.db import LOGIN_DEFAULTS, Connection
from tests.alerts.receivers import SECRET as WEBHOOK_SECRET
from tests.cli.test_push import WAITING as LATE_PUSH
from tests.conftest import Server
from tests.payments.conftest import LoopbackServer
from tests.push.scenario import PRIVATE_KEY
from tests.sync.gateway import JSON, running_gateway
from tests.sync.scenario import Target

ROOT = Path(__file__).resolve().parents[2]
CLI = ROOT / "src" / "evpower" / "cli"
HERE = "tests/sync/test_doctor_lines.py"
THERE = "tests/sync/test_doctor_faults.py"
AWAY = "127.0.0.1:9"
SID, PASSWORD = "1000000001", "a password of the API"
BANK = {
    "odengi_sid": SID,
    "odengi_password": SecretStr(PASSWORD),
    "public_url": "https://api.example.kg",
}
SIGN_IN = {
    "sign_in_sender": "console",
    "sign_in_secret": SecretStr("a sign-in secret of the tests, 32 bytes and more"),
}
HOOK = {
    "alert_webhook_url": SecretStr("https://hooks.example/x"),
    "alert_webhook_secret": SecretStr(WEBHOOK_SECRET),
}
PUSH = {
    "push_vapid_private_key": SecretStr(PRIVATE_KEY),
    "push_contact": "mailto:support@example.kg",
    "push_hosts": "push.example.kg",
}
ALERT = """
insert into alerts.alerts (kind, subject, opened_at, last_seen_at)
values ('{}', 'EVP-001', now() - interval '2 hours', now())
"""
CARDS = """
with clients as (insert into identity.clients (id, origin)
                 values (gen_random_uuid(), 'import'), (gen_random_uuid(), 'import') returning id)
insert into identity.aliases (kind, alias, client_id)
select 'id_tag', (array['04:a1:b2', '04a1b2'])[row_number() over ()], id from clients
"""
LATE_MESSAGE = f"""
{ALERT.format("start_after_stop")};
update alerts.messages set created_at = now() - interval '2 hours', error = 'HTTP 500'
 where channel = 'webhook'
"""
OTHER_KEY = """
insert into identity.signing_keys (kid, public_key, private_key)
values ('evpower-abcdefghijkl', decode(repeat('04', 65), 'hex'), decode(repeat('00', 64), 'hex'))
"""
PHONE = """
insert into identity.phone_reviews (phone, reason, claimants, opened_at, last_at)
values ('+996555123456', 'claim_with_money', array[gen_random_uuid()], now(), now())
"""
ANOTHER_CLOCK = """
create function public.clock_timestamp() returns timestamptz language sql
as $$ select pg_catalog.clock_timestamp() + interval '1 hour' $$
"""


@dataclass(frozen=True)
class Fault:
    """What makes `line` bad: SQL of the database's owner or of an administrator, or settings."""

    line: str
    fix: str
    sql: str = ""
    administrator: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


FAULTS = (
    Fault("settings", ".env.example", settings={"payment_report_columns": "nonsense"}),
    Fault(
        "database",
        "check EVPOWER_DATABASE_URL",
        settings={"database_url": SecretStr(f"postgresql://evpower:x@{AWAY}/evpower")},
    ),
    Fault(
        "migrations",
        "evpower migrate",
        "delete from public.evpower_migrations where version ="
        " (select max(version) from public.evpower_migrations)",
    ),
    Fault("database role", "--no-acl", "revoke all on identity.clients_public from evpower_app"),
    Fault(
        "database login",
        "evpower migrate",
        administrator="alter role evpower in database \"{database}\" set statement_timeout = '1h'",
    ),
    Fault("cards of two clients", "evpower card remove", CARDS),
    Fault(
        "durability",
        "turn it on",
        administrator='alter role evpower in database "{database}" set synchronous_commit = off',
    ),
    Fault(
        "database clock",
        "NTP",
        ANOTHER_CLOCK,
        'alter role evpower in database "{database}" set search_path = public, pg_catalog',
    ),
    Fault(
        "old calls without a token",
        "evpower clients without-token add",
        settings={"without_token_mobile": "start"},
    ),
    Fault("alerts", "evpower alert list", ALERT.format("loop_overdue")),
    Fault("alerts by webhook", "evpower alert test-delivery", LATE_MESSAGE, settings=HOOK),
    Fault("signing key", "evpower sign-in-keys rotate", OTHER_KEY, settings=SIGN_IN),
    Fault("phones to decide", "evpower sign-in decide", PHONE, settings=SIGN_IN),
    Fault(
        "push messages",
        "evpower push status",
        LATE_PUSH.replace("$1", "now() - interval '1 hour'"),
        settings=PUSH,
    ),
    Fault(f"NATS {AWAY}", "EVPOWER_NATS_*", settings={"nats_url": SecretStr(f"nats://{AWAY}")}),
    Fault(
        "NATS",
        "EVPOWER_NATS_*",
        settings={"nats_url": SecretStr(f"nats://{AWAY}"), "nats_creds": str(CLI / "finding.py")},
    ),
    Fault(
        f"O!Dengi {AWAY}",
        "EVPOWER_ODENGI_URL",
        settings={**BANK, "odengi_url": f"http://{AWAY}"},
    ),
    Fault("outgoing HTTP", "EVPOWER_SUPABASE_CA", settings={"supabase_ca": "/no/such/file.pem"}),
    Fault(
        "Supabase publishable key",
        "EVPOWER_SUPABASE_PUBLISHABLE_KEY",
        settings={"supabase_publishable_key": "sb_publishable_other"},
    ),
)


def here(line: str) -> tuple[str, str]:
    """One of FAULTS: its test looks at the neighbours, too."""
    return both(f"{HERE}::test_a_fault_makes_its_own_line_bad[{line}]")


def both(node: str) -> tuple[str, str]:
    return node, node


OBJECTS = both(
    "tests/sync/test_doctor.py::test_each_fault_makes_its_own_line_bad_and_says_what_to_do"
)
# Line: the test of its fault, and the one that no other line is bad by it.
LINES = {
    "O!Dengi notices": both(f"{HERE}::test_without_an_address_for_notices"),
    "O!Dengi {}": here(f"O!Dengi {AWAY}"),
    "NATS": here("NATS"),
    "NATS {}": here(f"NATS {AWAY}"),
    "Supabase Auth": both(f"{THERE}::TestOutages::test_auth_is_down"),
    "Supabase address": both(f"{THERE}::TestAddress::test_nothing_listens"),
    "Supabase clock": both(f"{THERE}::test_a_clock_that_is_an_hour_off"),
    "Supabase database": both(f"{THERE}::TestOutages::test_the_database_is_down"),
    "Supabase function {}": both(f"{THERE}::test_a_function_that_postgrest_has_not_read_yet"),
    "Supabase guard": both(f"{THERE}::test_a_backend_that_is_not_guarded_against"),
    "Supabase history": OBJECTS,
    "Supabase invoice ids": both(
        "tests/sync/test_payment_rows.py::test_an_id_that_is_too_long_for_the_table_is_left_out"
    ),
    "Supabase migrations": OBJECTS,
    "Supabase owners": OBJECTS,
    "Supabase publishable key": both(f"{THERE}::TestKeys::test_a_wrong_publishable_key"),
    "Supabase rights": OBJECTS,
    "Supabase secret key": both(f"{THERE}::TestKeys::test_a_wrong_secret_key"),
    "Supabase triggers": OBJECTS,
    "access token": both(f"{THERE}::TestKeys::test_a_wrong_jwt_secret"),
    "alerts": here("alerts"),
    "alerts by {}": here("alerts by webhook"),
    "cards of two clients": here("cards of two clients"),
    "change notification": both(
        f"{THERE}::TestNotification::test_an_address_where_nothing_listens"
    ),
    "database": here("database"),
    "database clock": here("database clock"),
    "database login": here("database login"),
    "database role": here("database role"),
    "durability": here("durability"),
    "migrations": here("migrations"),
    "old calls without a token": here("old calls without a token"),
    "outgoing HTTP": here("outgoing HTTP"),
    "phones to decide": here("phones to decide"),
    "push messages": here("push messages"),
    "registration": both(f"{HERE}::TestSettingsOfAuth::test_other_ways_to_sign_in_beside_auto"),
    "settings": here("settings"),
    "sign-up by phone": both(f"{HERE}::TestSettingsOfAuth::test_the_provider_phone_is_on"),
    "signing key": here("signing key"),
    "status words": both(f"{THERE}::test_a_word_that_no_operator_mapped_is_named"),
    "token signing keys": both(f"{THERE}::TestSigningKeys::test_neither_public_keys_nor_a_secret"),
}
# Lines that are never bad, each with the test of when they are shown.
NEVER_BAD = {
    "O!Dengi test mode": f"{HERE}::test_bills_of_the_test_mode_are_shown",
    "sign-in by phone": f"{HERE}::test_without_the_database_sign_in_is_not_examined",
    "stations without a password": (
        "tests/cli/test_station_commands.py::test_doctor_lists_stations_without_a_password"
    ),
    "tariffs of no place": (
        "tests/cli/test_tariffs.py::test_doctor_names_a_tariff_of_no_place_until_it_is_ended"
    ),
}


@pytest.fixture
async def healthy(
    server: Server, dsn: str, fresh_project: Target, there_fresh: Connection
) -> dict[str, Any]:
    """Settings of which doctor finds nothing bad."""
    assert there_fresh
    limits = {name: LOGIN_DEFAULTS[name] for name in ("lock_timeout", "statement_timeout")}
    await server.set_login_defaults(dsn.rsplit("/", 1)[1], **limits)
    local = fresh_project.local
    return {
        "env": "development",
        "database_url": SecretStr(dsn),
        "supabase_url": local.url,
        "supabase_secret_key": SecretStr(local.secret_key),
        "supabase_publishable_key": local.publishable_key,
        "supabase_jwt_secret": SecretStr(local.jwt_secret),
    }


@pytest.fixture
async def bank() -> AsyncIterator[str]:
    server = LoopbackServer()
    await server.start(create_odengi_bank(SID, PASSWORD))
    yield server.url
    await server.stop()
    server.close()


async def look(values: Mapping[str, Any]) -> dict[str, Finding]:
    findings = await examine(Settings(_env_file=None, **values), may_write=False)
    return {finding.name: finding for finding in findings}


def bad(findings: Mapping[str, Finding]) -> list[str]:
    return [name for name, finding in findings.items() if finding.ok is False]


async def test_nothing_is_bad_where_all_is_set_up(healthy: dict[str, Any], bank: str) -> None:
    findings = await look({**healthy, **BANK, "odengi_url": bank, **SIGN_IN, **HOOK, **PUSH})
    assert bad(findings) == []
    assert {"push messages", "signing key", "alerts by webhook"} <= findings.keys()


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.line for fault in FAULTS])
async def test_a_fault_makes_its_own_line_bad(
    healthy: dict[str, Any], server: Server, owner: Connection, dsn: str, fault: Fault
) -> None:
    if fault.sql:
        await owner.execute(fault.sql)
    if fault.administrator:
        database = dsn.rsplit("/", 1)[1]
        await server.administrator.execute(fault.administrator.replace("{database}", database))
    findings = await look({**healthy, **fault.settings})
    assert bad(findings) == [fault.line]
    assert fault.fix in findings[fault.line].fix


async def test_without_an_address_for_notices(healthy: dict[str, Any], bank: str) -> None:
    findings = await look({**healthy, **BANK, "odengi_url": bank, "public_url": ""})
    assert bad(findings) == ["O!Dengi notices"]
    assert "EVPOWER_PUBLIC_URL" in findings["O!Dengi notices"].fix


async def test_bills_of_the_test_mode_are_shown(healthy: dict[str, Any], bank: str) -> None:
    findings = await look({**healthy, **BANK, "odengi_url": bank, "odengi_test": True})
    assert bad(findings) == []
    assert findings["O!Dengi test mode"].ok is None


async def test_without_the_database_sign_in_is_not_examined(healthy: dict[str, Any]) -> None:
    away = {"database_url": SecretStr(f"postgresql://evpower:x@{AWAY}/evpower")}
    findings = await look({**healthy, **SIGN_IN, **away})
    assert bad(findings) == ["database"]
    assert findings["sign-in by phone"].ok is None


class TestSettingsOfAuth:
    """What the project's Auth says of its providers."""

    @pytest.fixture
    async def answers(
        self, healthy: dict[str, Any], fresh_project: Target, http: httpx.AsyncClient
    ) -> AsyncIterator[Callable[..., Awaitable[dict[str, Finding]]]]:
        """What doctor finds where these providers are on."""
        async with running_gateway(fresh_project, http) as gateway:

            async def looked(*providers: str, **settings: Any) -> dict[str, Finding]:
                on = json.dumps({"external": dict.fromkeys(providers, True)})
                gateway.faults = [("/auth/v1/settings", (200, JSON, on))]
                return await look({**healthy, "supabase_url": gateway.url, **settings})

            yield looked

    async def test_other_ways_to_sign_in_beside_auto(self, answers: Any) -> None:
        findings = await answers("email", "google", register_confirm="auto", **SIGN_IN)
        assert bad(findings) == ["registration"]
        assert "EVPOWER_REGISTER_CONFIRM=email" in findings["registration"].fix

    async def test_the_provider_phone_is_on(self, answers: Any) -> None:
        findings = await answers("email", "phone", register_confirm="auto", **SIGN_IN)
        assert bad(findings) == ["sign-up by phone"]
        assert "switch the provider Phone off" in findings["sign-up by phone"].fix

    async def test_without_a_publishable_key_the_secret_one_asks(self, answers: Any) -> None:
        findings = await answers(
            "google",
            "phone",
            register_confirm="auto",
            supabase_publishable_key="",
            **SIGN_IN,
        )
        assert bad(findings) == ["settings", "registration", "sign-up by phone"]
        assert findings["Supabase publishable key"].ok is None


def test_each_line_has_a_test_of_its_fault_and_of_its_neighbours() -> None:
    assert sorted(names_in_source()) == sorted({*LINES, *NEVER_BAD})
    nodes = {node for pair in LINES.values() for node in pair} | set(NEVER_BAD.values())
    assert {node for node in nodes if source_of(node) is None} == set()
    neighbours = {node for _, node in LINES.values()}
    assert {node for node in neighbours if "assert bad" not in (source_of(node) or "")} == set()


def source_of(node: str) -> str | None:
    """The test's text; None: there is no such test."""
    file, *names = node.split("[", maxsplit=1)[0].split("::")
    _, _, case = node.partition("[")
    if case and case.rstrip("]") not in {fault.line for fault in FAULTS}:
        return None
    text = (ROOT / file).read_text()
    scope: ast.AST = ast.parse(text)
    for name in names:
        inner = [
            child
            for child in ast.iter_child_nodes(scope)
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and child.name == name
        ]
        if not inner:
            return None
        scope = inner[0]
    return ast.get_source_segment(text, scope)


def names_in_source() -> set[str]:
    """The names of all findings: constants, where a name is passed on those of its callers."""
    sources = [path.read_text() for path in CLI.glob("*.py")]
    trees = [ast.parse(source) for source in sources if "evpower.cli.finding" in source]
    trees.append(ast.parse((CLI / "finding.py").read_text()))
    makers = {"Finding": 0}
    names: set[str] = set()
    while True:
        passed = dict[str, int]()
        for tree in trees:
            for function, call in calls(tree, makers):
                position = makers[call_name(call)]
                argument = call.args[position]
                parameters = [argument.arg for argument in function.args.args] if function else []
                if isinstance(argument, ast.Name) and argument.id in parameters:
                    assert function is not None
                    passed[function.name] = parameters.index(argument.id)
                else:
                    names |= texts(argument, function, tree)
        if passed.items() <= makers.items():
            return names
        makers |= passed


def calls(
    tree: ast.Module, makers: Mapping[str, int]
) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef | None, ast.Call]]:
    """The calls that make findings, with the function around them."""
    inside = {
        id(node): function
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and call_name(node) in makers:
            yield inside.get(id(node)), node


def call_name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def texts(argument: ast.AST, function: ast.AST | None, tree: ast.Module) -> set[str]:
    """What the argument may be, {} for a part that varies. Fails where that can't be read."""
    match argument:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.JoinedStr(values=parts):
            return {
                "".join(str(it.value) if isinstance(it, ast.Constant) else "{}" for it in parts)
            }
        case ast.Tuple(elts=parts):
            return {text for part in parts for text in texts(part, function, tree)}
        case ast.Name(id=name):
            values = [value for scope in (function, tree) if scope for value in bound(name, scope)]
            assert values, f"{name} at line {argument.lineno} can't be read"
            return texts(values[0], function, tree)
        case _:
            pass
    raise AssertionError(f"{ast.unparse(argument)} can't be read")


def bound(name: str, scope: ast.AST) -> Iterator[ast.expr]:
    """What a name is assigned, or is in turn, within the scope."""
    for node in ast.walk(scope):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=target)], value=value)
                | ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value)
                | ast.comprehension(target=ast.Name(id=target), iter=value)
            ) if target == name:
                yield value
            case _:
                pass

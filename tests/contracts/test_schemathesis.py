"""What our OpenAPI document says is so: its answers, and whose credentials a call takes."""

import copy
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from uuid import UUID, uuid4

import httpx
import hypothesis
import pytest
import requests
import schemathesis
from schemathesis import checks, openapi
from schemathesis.core import NOT_SET

from evpower.devstack.ports import free_port
from evpower.identity import OPERATOR_PATH, ROLES, add_operator, create_service_key
from evpower.identity.model import OperatorRole
from tests.api.scenario import SECRET, bearer
from tests.conftest import Server, patient_database
from tests.contracts.document import document
from tests.waiting import WAIT_LIMIT_S, until

DOCUMENT = document()["paths"]
FOR_OPERATORS = (f"{OPERATOR_PATH}/", "/api/v1/admin/")
# Of a call of operators the document has one form of answer for who may not: a few tries show it.
TRIES, TRIES_OF_OPERATORS, TRIES_REFUSED = 20, 8, 1
OPERATIONS = sorted(
    (
        method.upper(),
        path,
        caller,
        TRIES
        if not path.startswith(FOR_OPERATORS)
        else TRIES_OF_OPERATORS
        if caller == "operator"
        else TRIES_REFUSED,
    )
    for path, methods in DOCUMENT.items()
    for method in methods
    for caller in ("anonymous", "client", "service", "operator")
    if caller != "operator" or path.startswith(FOR_OPERATORS)
)
GUARDED = sorted(
    (method.upper(), path, sorted(name for way in operation["security"] for name in way))
    for path, methods in DOCUMENT.items()
    for method, operation in methods.items()
    if operation.get("security")  # an empty one: open to everyone
)
CLIENT = uuid4()  # operators may block or close it with some input
GUEST = uuid4()
OPERATORS: dict[OperatorRole, UUID] = {role: uuid4() for role in ROLES}


AWAY = {"supabase_unavailable", "auth_unavailable"}


def no_server_error(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> bool | None:
    """There is no Supabase here: a call that needs it says so."""
    if response.status_code == 503 and response.json().get("error_code") in AWAY:
        return None
    return checks.not_a_server_error(ctx, response, case)


CHECKS = [
    no_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]


@pytest.fixture(scope="module")
async def dsn_of_module(server: Server) -> str:
    return await server.new_database()


@pytest.fixture(scope="module")
async def service(dsn_of_module: str) -> dict[str, str]:
    """Headers of a service key."""
    db = patient_database(dsn_of_module, size=2)
    await db.start()
    async with db.transaction() as connection:
        key = await create_service_key(connection, name="importer", actor="test")
        for role, user in OPERATORS.items():
            await add_operator(connection, user_id=user, name="Aida", role=role, actor="test")
        await connection.executemany(
            "insert into identity.clients (id, origin) values ($1, 'import')", [[CLIENT], [GUEST]]
        )
    await db.close()
    return {"X-Service-Key": key.key}


@pytest.fixture(scope="module")
async def url(dsn_of_module: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The real process, with limits out of the way and a Supabase that does not answer."""
    port = free_port()
    out = tmp_path_factory.mktemp("serve") / "log"
    environment = {
        **os.environ,
        "EVPOWER_ENV": "development",
        "EVPOWER_DATABASE_URL": dsn_of_module,
        "EVPOWER_SUPABASE_URL": "http://127.0.0.1:9",
        "EVPOWER_SUPABASE_SECRET_KEY": "sb_secret_of_no_project",
        "EVPOWER_SUPABASE_PUBLISHABLE_KEY": "sb_publishable_of_no_project",
        "EVPOWER_SUPABASE_JWT_SECRET": SECRET,
        "EVPOWER_RATE_PER_MINUTE": "1000000",
        "EVPOWER_RATE_SERVICE_PER_MINUTE": "1000000",
        "EVPOWER_RATE_MONEY_PER_MINUTE": "1000000",
        "EVPOWER_RATE_REGISTER_PER_HOUR": "1000000",
        "EVPOWER_RATE_WEBHOOK_PER_MINUTE": "1000000",
        "EVPOWER_LOG_LEVEL": "warning",
    }
    with out.open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - it is not waited for here
            [sys.executable, "-m", "evpower", "serve", "--role", "api", "--port", str(port)],
            env=environment, stdout=log, stderr=log, cwd=out.parent,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        await until(lambda: process.poll() is not None or _is_alive(address), "no server")
        assert process.poll() is None, out.read_text()
        yield address
        assert process.poll() is None, out.read_text()
    finally:
        process.terminate()
        process.wait(WAIT_LIMIT_S)


def _is_alive(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """The connection of all calls; adds nothing to them."""
    with requests.Session() as session:
        session.headers.clear()
        session.trust_env = False
        yield session


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False, timeout=WAIT_LIMIT_S) as http:
        yield http


@pytest.fixture(scope="module")
def schema(url: str) -> schemathesis.BaseSchema:
    document = httpx.get(f"{url}/openapi.json", trust_env=False, timeout=WAIT_LIMIT_S).json()
    document["servers"] = [{"url": url}]
    return openapi.from_dict(document)


class Drawn:
    """The cases of each operation. They are the same for every caller: they are drawn once."""

    def __init__(self, schema: schemathesis.BaseSchema) -> None:
        self._schema = schema
        self._cases: dict[tuple[str, str], list[schemathesis.Case]] = {}

    def cases(self, method: str, path: str, tries: int) -> list[schemathesis.Case]:
        """Returns them for one caller, who may change them."""
        if (method, path) not in self._cases:
            most = max(n for *operation, _, n in OPERATIONS if operation == [method, path])
            self._cases[method, path] = self._draw(method, path, most)
        return [copied(case) for case in self._cases[method, path][:tries]]

    def _draw(self, method: str, path: str, tries: int) -> list[schemathesis.Case]:
        operation = self._schema[path][method]
        strategy = hypothesis.strategies.one_of(
            *(operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode)
        )
        drawn: list[schemathesis.Case] = []

        @hypothesis.settings(
            max_examples=tries, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )  # fmt: skip
        @hypothesis.given(case=strategy)
        def draw(case: schemathesis.Case) -> None:
            drawn.append(case)

        draw()
        assert drawn
        return drawn


def copied(case: schemathesis.Case) -> schemathesis.Case:
    new = object.__new__(schemathesis.Case)
    shared = {id(common): common for common in (case.operation, NOT_SET)}
    for name in schemathesis.Case.__slots__:
        object.__setattr__(new, name, copy.deepcopy(getattr(case, name), shared))
    return new


@pytest.fixture(scope="module")
def drawn(schema: schemathesis.BaseSchema) -> Drawn:
    return Drawn(schema)


@pytest.mark.parametrize(
    ("method", "path", "caller", "tries"),
    # On one worker for each operation: its callers share what is drawn.
    [pytest.param(*row, marks=pytest.mark.xdist_group(" ".join(row[:2]))) for row in OPERATIONS],
)
def test_every_answer_is_documented(
    drawn: Drawn,
    session: requests.Session,
    url: str,
    service: dict[str, str],
    method: str,
    path: str,
    caller: str,
    tries: int,
) -> None:
    client = CLIENT
    headers = {"anonymous": {}, "client": bearer(client), "service": service}.get(caller)
    if headers is None:
        [*_, role] = DOCUMENT[path][method.lower()]["x-evpower-roles"]
        headers = bearer(OPERATORS[role])
    for case in drawn.cases(method, path, tries):
        for name in ("Authorization", "X-Service-Key"):
            case.headers.pop(name, None)
        if caller != "anonymous" and "client_id" in case.path_parameters:
            case.path_parameters["client_id"] = str(client)
        if caller == "service" and isinstance(case.body, dict):
            case.body["client_id"] = str(client)
        case.call_and_validate(
            base_url=url, session=session, headers=headers, checks=CHECKS, timeout=WAIT_LIMIT_S
        )


@pytest.mark.parametrize(("method", "path", "schemes"), GUARDED)
def test_a_call_takes_the_credentials_it_names_and_no_others(
    http: httpx.Client, service: dict[str, str], method: str, path: str, schemes: list[str]
) -> None:
    known = {"client_id": str(GUEST), "invoice_id": "none"}
    address = re.sub(r"{(\w+)}", lambda name: known.get(name[1], str(uuid4())), path)

    def is_let_in(headers: dict[str, str]) -> bool:
        body = None if method in {"GET", "DELETE"} else {"reason": ""}
        answer = http.request(
            method, address, headers=headers, params={"q": "a@example.kg"}, json=body
        )
        return answer.status_code not in {401, 403}

    let_in = {
        "serviceKey": is_let_in(service),
        "supabaseToken": any(is_let_in(bearer(user)) for user in (GUEST, *OPERATORS.values())),
    }
    assert sorted(name for name, passed in let_in.items() if passed) == schemes
    assert not is_let_in({})

"""What the logs say, and never say."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
import structlog

from evpower.foundation import logging as ours
from tests.api.scenario import Api, bearer, token

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Lines]:
    """Log as production does; answers what was written since."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    ours.configure("info", json=True)
    # The loggers of modules outlive this test, its standard output doesn't.
    structlog.configure(**{**structlog.get_config(), "cache_logger_on_first_use": False})
    yield lambda: [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)


def lines_of(lines: Lines, event: str) -> list[dict[str, Any]]:
    """The lines of one event: what other tests left may speak at any moment, when it is freed."""
    return [line for line in lines() if line["event"] == event]


def test_secrets_are_hidden_by_name(lines: Lines) -> None:
    log = structlog.get_logger()
    log.info(
        "called", password="correct horse", access_token="eyJ", X_Supabase_Signature="v1,x", ok=1
    )
    [line] = lines_of(lines, "called")
    assert (line["password"], line["access_token"], line["X_Supabase_Signature"]) == (
        "[hidden]",
    ) * 3
    assert (line["ok"], line["event"], line["level"]) == (1, "called", "info")


def test_a_traceback_shows_no_local_variables(lines: Lines) -> None:
    def fail(password: str) -> None:
        raise RuntimeError(str(len(password)))

    try:
        fail("correct horse")
    except RuntimeError:
        structlog.get_logger().exception("failed")
    [line] = lines_of(lines, "failed")
    assert line["exception"][0]["exc_type"] == "RuntimeError"
    assert "correct horse" not in json.dumps(line)


def test_other_libraries_speak_the_same_way(lines: Lines) -> None:
    ours.configure("info", json=True)  # its handler writes to the standard output of this moment
    logging.getLogger("library").warning("it is %s", "late")
    logging.getLogger("library").info("chatter")
    logged = lines()
    assert [line["level"] for line in logged if line["event"] == "it is late"] == ["warning"]
    assert "chatter" not in {line["event"] for line in logged}


async def test_one_line_a_request_with_its_id_and_without_its_token(
    lines: Lines, api: Api, client_id: UUID
) -> None:
    headers = {**bearer(client_id), "X-Request-ID": "phone-12345"}
    lines()
    await api.get(f"/api/v1/balance/{client_id}?secret=1", headers)
    requests = lines_of(lines, "request")
    assert len(requests) == 1
    assert (requests[0]["request_id"], requests[0]["status"]) == ("phone-12345", 200)
    assert requests[0]["path"] == f"/api/v1/balance/{client_id}"
    assert token(client_id)[:20] not in json.dumps(requests)

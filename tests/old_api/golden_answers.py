"""Golden answers: what a route answers, member for member, as a file beside the tests.

EVPOWER_TEST_WRITE_GOLDEN=1 writes the files; a person reads the difference before it is committed.
"""

import json
import os
import re
from pathlib import Path
from typing import Any, Final

import httpx

FOLDER: Final = Path(__file__).parent / "golden"
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_BANK: Final = re.compile(r"http://127\.0\.0\.1:\d+/[^\s\"]*")  # the sandbox
_DRAWN: Final = frozenset(
    {"invoice_id", "order_id", "qr_code", "access_token", "refresh_token"}
)  # texts that differ each time
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def folder_of(path: str) -> str:
    """The folder of a route: its path without parameters; what is in no family is under `root`."""
    plain = re.sub(r"/\{\w+\}", "", path)
    if not plain.startswith("/api/"):
        return f"root{plain}".rstrip("/")
    return plain[1:].replace("api/v1/", "v1/", 1)


def assert_golden(name: str, response: httpx.Response) -> None:
    """Fails unless the response is the stored one; ids and times are compared by their form."""
    compare(
        name,
        {
            "status": response.status_code,
            "content_type": response.headers.get("content-type"),
            "body": response.json() if response.content else None,
        },
    )


def compare(name: str, answer: Any) -> None:
    """Fails unless the answer is the stored one."""
    path = FOLDER / f"{name}.json"
    written = json.dumps(_plain(answer), ensure_ascii=False, indent=2) + "\n"
    if os.environ.get("EVPOWER_TEST_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written, "utf-8")
    assert path.read_text("utf-8") == written, f"{path} has another answer"


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: _placed(name, _plain(member)) for name, member in value.items()}
        case list():
            return [_plain(member) for member in value]
        case str():
            value = _BANK.sub("<bank>", value)
            return _TIME.sub("<time>", _UUID.sub("<uuid>", value))
        case _:
            return value


def _placed(name: str, value: Any) -> Any:
    """Replaces what is drawn, and numbers of transactions, which depend on the order of tests."""
    if name in _DRAWN and isinstance(value, str) and value not in ("nothing", ""):
        return "<text>"
    if name == "version" and isinstance(value, str):
        return "<version>"
    if name in ("transaction_id", "ocpp_transaction_id") and value is not None:
        return "<number>" if isinstance(value, str) else 0
    return value

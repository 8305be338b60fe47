"""docs/live.md says what the code does: its close codes, its frames to the letter, its figures."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson

from evpower.api.messages import LANGUAGES
from evpower.config import Settings
from evpower.foundation import websocket
from evpower.foundation.db import Connection, Database
from evpower.realtime import endpoints, model, protocol
from evpower.realtime.hub import Hub
from evpower.realtime.model import BalanceState, CloseReason
from tests.charging.views import AT, CHARGING
from tests.realtime.scenario import running, token

PAGE = (Path(__file__).parents[2] / "docs" / "live.md").read_text()
# Close codes whose reason comes from the token check, or that have none.
_OF_TOKENS = {
    (4401, "invalid_token"), (4403, "forbidden"), (4403, "anonymous_user"),
    (4403, "token_too_large"), (1013, "auth_unavailable"),
    (1013, "database_unavailable"), (1013, "database_busy"),
}  # fmt: skip
_WITHOUT_A_WORD = {1000, 1001, 1002, 1007, 1009, 1012}
NOW = datetime(2025, 9, 25, 10, tzinfo=UTC)


def _section(title: str) -> str:
    return PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def _rows(text: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    rows = [line.strip("| ").split(" |") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def _words(cell: str) -> list[str]:
    return re.findall(r"`([a-z_0-9]+)`", cell)


def test_every_close_code_is_there_and_no_other() -> None:
    documented: set[tuple[int, str]] = set()
    silent: set[int] = set()
    for codes, reasons, _ in _rows(_section("Close codes")):
        for code in re.findall(r"\d+", codes):
            words = _words(reasons)
            documented |= {(int(code), word) for word in words}
            silent |= set() if words else {int(code)}
    endings = {value for value in vars(model).values() if isinstance(value, CloseReason)} - {
        model.RESTART
    }
    assert (
        documented
        == {(close_reason.code, close_reason.reason) for close_reason in endings} | _OF_TOKENS
    )
    assert silent == _WITHOUT_A_WORD
    assert model.RESTART.code in silent


def test_what_the_example_never_comes_back_after_is_what_the_table_says() -> None:
    rows = _rows(_section("Close codes"))
    final = {int(codes) for codes, _, does in rows if "do not come back" in does}
    (codes,) = re.findall(r"\[([\d, ]+)\]\.includes\(code\)", PAGE)
    assert {int(code) for code in codes.split(",")} == final


def _body(frame: bytes) -> dict[str, Any]:
    return orjson.loads(frame[frame.index(b"{") :])


def _frames() -> dict[str, dict[str, Any]]:
    client = uuid4()
    balance = BalanceState(client, "KGS", 25050, 10000, 42, 57, NOW)
    made = [
        protocol.connected(client, NOW, 20.0), protocol.balance(balance),
        protocol.balance(balance, "ready"), protocol.session(CHARGING, AT, "Идёт зарядка."),
        protocol.PING, protocol.PONG,
        protocol.error("too_many_messages", "at most 10 a second"),
    ]  # fmt: skip
    return {body["type"]: body for body in map(_body, made)}


def test_every_message_is_there_and_no_other() -> None:
    documented = {
        word for kind, _ in _rows(_section("Messages from the server")) for word in _words(kind)
    }
    assert documented == set(_frames())


def test_the_messages_shown_are_the_messages_sent() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", _section("Messages from the server"), re.DOTALL)
    decoder, at, shown = json.JSONDecoder(), 0, dict[str, dict[str, Any]]()
    while at < len(block.rstrip()):
        message, at = decoder.raw_decode(block, at)
        at += len(block[at:]) - len(block[at:].lstrip())
        shown[message["type"]] = message
    sent = _frames()
    assert set(shown) == {"connection", "balance_update", "charging_update", "error"}
    for kind, message in shown.items():
        assert list(message) == list(sent[kind]), kind
        for name, value in message.items():
            assert isinstance(value, type(sent[kind][name])), f"{kind}.{name}"
    shown_session = shown["charging_update"]
    for name in ("session_id", "client_id"):
        shown_session[name] = sent["charging_update"][name]
    assert shown_session == sent["charging_update"]
    assert shown["balance_update"]["available"] == sent["balance_update"]["available"]


def test_the_figures_are_those_of_the_code() -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    per_address = settings.live_sockets_per_address
    waiting = settings.live_unauthenticated_per_address
    hub = Hub.__init__.__kwdefaults__
    assert hub is not None
    for sentence in (
        f"at most {endpoints.MAX_MESSAGE_BYTES // 1024} KiB each",
        f"At most {endpoints._MESSAGES_PER_S} messages a second",
        f"from {endpoints._FLOOD_PER_S} the socket",
        f"more than {websocket._FRAMES_PER_S} frames of any kind",
        f"more than {websocket._PARTS}\nparts",
        f"more than {settings.live_sockets_per_client} sockets",
        f"({waiting} of one address that have not signed in yet, or {per_address} in all)",
        f"({settings.rate_sockets_per_minute} opened by one address in a minute)",
        f"within {hub['auth_s']:.0f} seconds",
        f"every {hub['ping_s']:.0f} seconds",
        f"nothing was read for {hub['slow_s']:.0f} s",
    ):
        flat = " ".join(PAGE.split())
        assert " ".join(sentence.split()) in flat, sentence


def test_the_refusals_of_a_handshake_have_their_texts() -> None:
    for code in ("forbidden_origin", "too_many_sockets", "too_many_requests", "overloaded"):
        assert f"`{code}`" in PAGE
        assert all(code in texts for texts in LANGUAGES.values()), code


async def test_a_database_that_is_away_while_someone_signs_in(
    db: Database, owner: Connection, client_id: UUID
) -> None:
    async with running(db, owner) as live, live.open() as app:
        await db.close()
        await app.say({"type": "auth", "token": token(client_id)})
        assert await app.closed() == (1013, "database_unavailable")
        await db.start()
